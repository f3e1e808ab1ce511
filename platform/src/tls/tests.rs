use router::Authority;
use tempfile::TempDir;

use super::*;

const APP: AppId = AppId(1);
const OTHER: AppId = AppId(2);

fn host(name: &str) -> HostName {
    HostName::new(name).unwrap()
}

fn tls(settings: &str) -> (Tls, TempDir) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), settings).unwrap();
    let flags = crate::settings::Flags { config: Some(file.path().to_owned()), ..crate::settings::Flags::default() };
    let settings = Settings::resolve(Some("/nowhere".into()), flags).unwrap();
    let home = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::open(&home.path().join("db")).unwrap());
    (Tls::new(&settings, store).unwrap(), home)
}

fn give(tls: &Tls, app: Option<AppId>, domain: Option<&str>, names: &[&str]) {
    let authority = Authority::new().unwrap();
    let issued = authority.issue(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
    let own = Own {
        app,
        domain: domain.map(host),
        certificate: Arc::new(own::read(&(issued.chain.clone() + &issued.key)).unwrap()),
    };
    let mut state = tls.state();
    state.own.push(own);
    tls.show(&mut state);
}

#[test]
fn names_have_a_certificate_of_the_servers_own_authority_where_no_other_is_asked() {
    let (tls, _home) = tls("https = \"127.0.0.1:0\"");
    let told = tls.serve(APP, &[host("blog.localhost"), host("www.example.org")], true);
    assert_eq!(told, [Some(Source::Local); 2]);
    assert!(tls.covers(&host("blog.localhost")) && !tls.covers(&host("other.localhost")));
    let issuer = tls.certificates().of(&host("blog.localhost")).unwrap().issuer().to_owned();
    assert_eq!(issuer, "airstrip development authority");
    assert_eq!(tls.authority().unwrap(), tls.authority().unwrap());
    tls.forget(APP);
    assert!(!tls.covers(&host("blog.localhost")));
}

#[test]
fn nothing_is_shown_without_https() {
    let (tls, _home) = tls("");
    assert_eq!(tls.serve(APP, &[host("blog.localhost")], true), [None]);
    assert_eq!(tls.report(APP)[0].state, "off");
}

#[test]
fn an_authority_is_asked_for_names_of_apps_that_were_deployed() {
    let (tls, _home) = tls("https = \"127.0.0.1:0\"\ndomain = \"apps.example.org\"");
    let hosts = [host("blog.apps.example.org"), host("blog.localhost")];
    assert_eq!(tls.serve(APP, &hosts, false), [None, Some(Source::Local)]);
    assert!(tls.acme.as_ref().unwrap().states().is_empty());
    tls.serve(APP, &hosts, true);
    assert_eq!(tls.acme.as_ref().unwrap().states().keys().collect::<Vec<_>>(), [&hosts[0]]);
    let report = tls.report(APP);
    assert_eq!((report[0].state, report[0].source), ("waiting", Source::Acme));
    assert_eq!((report[1].state, report[1].source), ("valid", Source::Local));
    assert!(!tls.retry(&hosts[0]).unwrap());
}

#[test]
fn what_was_given_for_an_app_is_no_other_apps() {
    let (tls, _home) = tls("https = \"127.0.0.1:0\"\ndomain = \"apps.example.org\"");
    let (blog, shop) = ([host("blog.apps.example.org")], [host("shop.apps.example.org")]);
    tls.serve(APP, &blog, true);
    tls.serve(OTHER, &shop, true);
    give(&tls, Some(APP), None, &["*.apps.example.org"]);
    assert_eq!(tls.outdated(), [APP]);
    assert_eq!(tls.serve(APP, &blog, true), [Some(Source::Own)]);
    assert_eq!(tls.serve(OTHER, &shop, true), [None]);
    assert!(tls.outdated().is_empty());
    give(&tls, None, None, &["*.apps.example.org"]);
    assert_eq!(tls.serve(APP, &blog, true), [Some(Source::Own)]);
    assert_eq!(tls.serve(OTHER, &shop, true), [Some(Source::Server)]);
    assert!(tls.acme.as_ref().unwrap().states().is_empty());
}

#[test]
fn the_certificate_of_one_name_is_preferred() {
    let (tls, _home) = tls("https = \"127.0.0.1:0\"");
    let (one, two) = (host("one.test"), host("two.test"));
    give(&tls, Some(APP), None, &["one.test", "two.test"]);
    give(&tls, Some(APP), Some("two.test"), &["two.test", "one.test"]);
    tls.serve(APP, &[one.clone(), two.clone()], true);
    let first = |name: &HostName| tls.certificates().of(name).unwrap().names()[0].clone();
    assert_eq!([first(&one), first(&two)], ["one.test", "two.test"]);
}
