//! With which certificates apps are served.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use router::{Certificate, HostName};

use super::Call;
use super::arguments::{Domain, Form};
use super::line::Certs;
use crate::clock::{short, timestamp};
use crate::failure::{Failure, Result};
use crate::listing::Listing;
use crate::names::AppName;
use crate::store::{App, OwnCertificate};
use crate::tls::{Report, read_bundle};

/// Longest text on standard input: a long chain and a key.
const LIMIT: u64 = 256 << 10;
/// A certificate that ends so soon is worth a word.
const SOON: Duration = Duration::from_secs(14 * 24 * 3600);

/// Carries out one of them.
pub(super) async fn carry_out(call: &mut Call<'_>, command: Certs) -> Result<()> {
    match command {
        Certs::List { app, form } => list(call, app.as_ref(), form).await,
        Certs::Add { app, domain } => add(call, app.as_ref(), domain).await,
        Certs::Remove { app, domain } => remove(call, app.as_ref(), domain).await,
        Certs::Retry { app, domain } => retry(call, &app, domain).await,
        Certs::Authority => authority(call).await,
    }
}

async fn list(call: &mut Call<'_>, name: Option<&AppName>, form: Form) -> Result<()> {
    let apps = match name {
        Some(name) => vec![call.app(name)?],
        None => call.platform.store.apps()?.into_iter().filter(|app| call.actor.sees(&app.name)).collect(),
    };
    let heading = name.map_or_else(|| "Certificates".to_owned(), |name| format!("{name} certificates"));
    let columns = ["domain", "state", "source", "issuer", "issued_at", "expires_at", "next_at", "failed_at", "failure"];
    let mut listing = Listing::new(heading, columns, "None yet: make an app first");
    let reports: Vec<Report> = apps.iter().flat_map(|app| call.platform.tls.report(app.id)).collect();
    let any = !reports.is_empty();
    for report in reports {
        listing.row(row(report));
    }
    call.console.print(&if any { listing.render_turned(form.json) } else { listing.render(form.json) }).await;
    if !call.platform.tls.is_on() && !form.json {
        call.console.print(" !     HTTPS is off: start the server with --https ADDR\n").await;
    }
    Ok(())
}

fn row(report: Report) -> [crate::listing::Cell; 9] {
    let validity = report.certificate.as_ref().map(|certificate| certificate.validity());
    let issuer = report.certificate.as_ref().map(|certificate| certificate.issuer().to_owned());
    let (failure, failed_at) = report.failure.unzip();
    [
        report.host.as_str().into(),
        report.state.into(),
        report.source.as_str().into(),
        issuer.into(),
        validity.map(|(from, _)| time(from)).into(),
        validity.map(|(_, until)| time(until)).into(),
        report.next.map(time).into(),
        failed_at.flatten().map(time).into(),
        failure.into(),
    ]
}

fn time(time: SystemTime) -> String {
    Timestamp::try_from(time).map(timestamp).unwrap_or_default()
}

async fn add(call: &mut Call<'_>, name: Option<&AppName>, domain: Option<Domain>) -> Result<()> {
    let app = name.map(|name| call.app(name)).transpose()?;
    let domain = domain.map(|Domain(domain)| domain);
    let hosts = app.as_ref().map(|app| hosts(call, app, domain.as_ref())).transpose()?;
    let bundle = call.console.read_stdin(LIMIT).await?;
    let certificate = read_bundle(&bundle)?;
    let covered = check(&certificate, hosts.as_deref(), domain.is_some())?;
    let domain = domain.map(|domain| domain.as_str().to_owned());
    call.platform.store.keep_own_certificate(&OwnCertificate { app: app.map(|app| app.id), domain, bundle })?;
    call.platform.tls.refresh()?;
    let served = if hosts.is_some() { covered.join(", ") } else { certificate.names().join(", ") };
    let until = certificate.validity().1;
    let said = format!(
        "-----> Serving {served}\n       with the certificate of {}, until {}\n",
        certificate.issuer(),
        time(until)
    );
    call.console.print(&said).await;
    for word in words(&certificate, hosts.as_deref().unwrap_or_default()) {
        call.console.print(&format!(" !     {word}\n")).await;
    }
    Ok(())
}

/// The names of an app, or the one that is meant.
fn hosts(call: &Call<'_>, app: &App, domain: Option<&HostName>) -> Result<Vec<HostName>> {
    let all = call.platform.hosts(app)?.into_iter().filter_map(|host| HostName::new(&host).ok());
    let hosts: Vec<HostName> = all.filter(|host| domain.is_none_or(|domain| host == domain)).collect();
    if let (Some(domain), true) = (domain, hosts.is_empty()) {
        let remedy = format!("see `domains {0}`, or add it: domains:add {0} {domain}", app.name);
        return Err(Failure::new(format!("{} has no domain {domain}", app.name), remedy));
    }
    Ok(hosts)
}

/// Whether it can be used now; gives the names that it covers.
fn check(certificate: &Certificate, hosts: Option<&[HostName]>, all: bool) -> Result<Vec<String>> {
    let wanted = if all { hosts.unwrap_or_default() } else { &[] };
    let remedy = format!("it is for {}", certificate.names().join(", "));
    certificate.check(SystemTime::now(), wanted).map_err(|error| Failure::new(error.to_string(), remedy.clone()))?;
    let Some(hosts) = hosts else { return Ok(Vec::new()) };
    let covered: Vec<String> =
        hosts.iter().filter(|host| certificate.covers(host)).map(|host| host.as_str().to_owned()).collect();
    if covered.is_empty() {
        return Err(Failure::new("the certificate is for none of the app's domains", remedy));
    }
    Ok(covered)
}

/// What the owner should know.
fn words(certificate: &Certificate, hosts: &[HostName]) -> Vec<String> {
    let left = certificate.validity().1.duration_since(SystemTime::now()).unwrap_or_default();
    let soon = (left < SOON).then(|| format!("it ends in {}: nobody renews it but you", short(left)));
    let alone = (certificate.chain_length() == 1)
        .then(|| "it came without those that have signed it: clients that do not know them will refuse it".to_owned());
    let others: Vec<&str> = hosts.iter().filter(|host| !certificate.covers(host)).map(HostName::as_str).collect();
    let others = (!others.is_empty()).then(|| format!("it is not for {}", others.join(", ")));
    [soon, alone, others].into_iter().flatten().collect()
}

async fn remove(call: &mut Call<'_>, name: Option<&AppName>, domain: Option<Domain>) -> Result<()> {
    let app = name.map(|name| call.app(name)).transpose()?;
    let domain = domain.as_ref().map(|Domain(domain)| domain.as_str());
    let removed = call.platform.store.remove_own_certificates(app.map(|app| app.id), domain)?;
    if removed == 0 {
        let whose = name.map_or_else(|| "the server".to_owned(), ToString::to_string);
        return Err(Failure::new(format!("{whose} was given no such certificate"), "see `certs`"));
    }
    call.platform.tls.refresh()?;
    call.console.print(&format!("-----> Removed {removed}\n")).await;
    Ok(())
}

async fn retry(call: &mut Call<'_>, name: &AppName, domain: Option<Domain>) -> Result<()> {
    let app = call.app(name)?;
    let mut asked = Vec::new();
    for host in hosts(call, &app, domain.as_ref().map(|Domain(domain)| domain))? {
        let retried = call.platform.tls.retry(&host).map_err(|soon| {
            let remedy = format!("authorities allow few tries an hour: it may be asked from {} on", time(soon.until));
            Failure::new(format!("{host}: {soon}"), remedy)
        });
        if retried? {
            asked.push(host.as_str().to_owned());
        }
    }
    if asked.is_empty() {
        return Err(Failure::new("nothing was refused", format!("see `certs {name}`")));
    }
    call.console.print(&format!("-----> Asking for {}: see `certs {name}`\n", asked.join(", "))).await;
    Ok(())
}

async fn authority(call: &mut Call<'_>) -> Result<()> {
    let certificate = call.platform.tls.authority()?;
    call.console.print(&certificate).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_for_what_it_covers() {
        let authority = router::Authority::new().unwrap();
        let issued = authority.issue(&["*.b.test".to_owned(), "a.test".to_owned()]).unwrap();
        let certificate = read_bundle(&(issued.chain + &issued.key)).unwrap();
        let hosts = ["x.b.test", "a.test", "c.test"].map(|name| HostName::new(name).unwrap());
        assert_eq!(check(&certificate, Some(&hosts), false).unwrap(), ["x.b.test", "a.test"]);
        let refused = |hosts: &[HostName], all| check(&certificate, Some(hosts), all).unwrap_err().message;
        assert_eq!(refused(&hosts, true), "the certificate is not for `c.test`");
        assert_eq!(refused(&hosts[2..], false), "the certificate is for none of the app's domains");
        let words = words(&certificate, &hosts);
        assert_eq!(words.last().unwrap(), "it is not for c.test");
        assert!(words[0].contains("without those that have signed it"), "{words:?}");
    }
}
