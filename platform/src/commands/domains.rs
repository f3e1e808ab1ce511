//! The host names at which an app answers.

use router::HostName;

use super::Call;
use super::arguments::Form;
use crate::access::Need;
use crate::failure::{Failure, Result};
use crate::listing::Listing;
use crate::names::AppName;
use crate::store::App;

pub(super) async fn list(call: &mut Call<'_>, name: &AppName, form: Form) -> Result<()> {
    let app = call.app(name)?;
    let own = format!("{name}.{}", call.platform.address.domain);
    let mut listing = Listing::new(format!("{name} domains"), ["domain", "added"], "");
    listing.row([own.into(), false.into()]);
    for domain in call.platform.store.domains(app.id)? {
        listing.row([domain.into(), true.into()]);
    }
    call.console.print(&listing.render(form.json)).await;
    Ok(())
}

pub(super) async fn add(call: &mut Call<'_>, name: &AppName, domains: Vec<String>) -> Result<()> {
    let app = call.app(name)?;
    let domains = parsed(&domains)?;
    few_enough(call, &app, &domains)?;
    for domain in &domains {
        free_for(call, domain, name)?;
    }
    call.platform.store.add_domains(app.id, &domains)?;
    call.platform.route_of(app.id);
    tell(call, "Added", &domains).await;
    Ok(())
}

pub(super) async fn remove(call: &mut Call<'_>, name: &AppName, domains: Vec<String>) -> Result<()> {
    let app = call.app(name)?;
    let domains = parsed(&domains)?;
    if let Some(missing) = call.platform.store.remove_domains(app.id, &domains)? {
        return Err(Failure::new(format!("{name} has no added domain {missing}"), format!("see `domains {name}`")));
    }
    call.platform.route_of(app.id);
    tell(call, "Removed", &domains).await;
    Ok(())
}

async fn tell(call: &mut Call<'_>, done: &str, domains: &[String]) {
    call.console.print(&format!("-----> {done} {}\n", domains.join(", "))).await;
}

fn parsed(domains: &[String]) -> Result<Vec<String>> {
    let parse = |domain: &String| match HostName::new(domain) {
        Ok(name) => Ok(name.as_str().to_owned()),
        Err(error) => Err(Failure::new(
            error.to_string(),
            "a domain is a host name without scheme, port or path, such as www.example.org",
        )),
    };
    domains.iter().map(parse).collect()
}

/// Most domains that the holder of a key for one app may add: each costs the patience of authorities that certify names,
/// and that is all apps'.
const MOST: usize = 50;

fn few_enough(call: &Call<'_>, app: &App, new: &[String]) -> Result<()> {
    let known = call.platform.store.domains(app.id)?;
    let count = known.len() + new.iter().filter(|domain| !known.contains(domain)).count();
    if count <= MOST || call.actor.check(Need::Admin, None).is_ok() {
        return Ok(());
    }
    let remedy = "ask somebody whose key is admin of everything (see `keys`)";
    Err(Failure::new(format!("a key for one app can give it {MOST} domains at most"), remedy))
}

/// Refuses a name that is another app's. Below the server's own domain every name is, or may become, an app's:
/// there only an admin of everything may add one that no app has.
fn free_for(call: &Call<'_>, domain: &str, name: &AppName) -> Result<()> {
    let store = &call.platform.store;
    let suffix = format!(".{}", call.platform.address.domain);
    let namesake = domain.strip_suffix(&suffix).and_then(|label| label.parse::<AppName>().ok());
    let own = namesake.filter(|app| app != name).map(|app| store.app(&app)).transpose()?.flatten();
    let owner = store.domain_owner(domain)?.or(own.map(|app| app.name)).filter(|owner| owner != name);
    if let Some(owner) = owner {
        let owner = if call.actor.sees(&owner) { format!("the app {owner}") } else { "another app".into() };
        return Err(Failure::plain(format!("{domain} belongs to {owner}")));
    }
    let servers_own = domain.ends_with(&suffix) || domain == call.platform.address.domain.as_str();
    if servers_own { call.actor.check(Need::Admin, None) } else { Ok(()) }
}
