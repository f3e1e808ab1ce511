//! HTTPS: certificates of the server's own authority, of the owner, and of an authority that is asked.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use serde_json::Value;

use crate::harness::{App, Authority, Https, PATIENCE, Pebble, Server, wait_until};

/// How long the test authority, and who asks it, may take: both wait between their looks.
const ISSUING: Duration = Duration::from_secs(60);

const HTTPS: [&str; 2] = ["--https", "127.0.0.1:0"];

/// With the app `blog`.
fn with_https() -> Server {
    let server = Server::start_with(&HTTPS);
    App::probe(server.client(), "blog").push().ok();
    server
}

/// What `certs` says of a name of `blog`.
fn state(server: &Server, domain: &str) -> Value {
    let listed = server.client().airstrip("certs blog --json").ok().json();
    let found = listed.as_array().unwrap().iter().find(|one| one["domain"] == domain).cloned();
    found.unwrap_or_else(|| panic!("no {domain} in {listed}"))
}

/// Where a visitor without TLS is sent; empty if nowhere.
fn redirected(server: &Server, path: &str) -> String {
    let page = server.http.ask("blog.localhost", path, &["-o", "/dev/null", "-w", "\r\n\r\n%{redirect_url}"]);
    page.body.trim().to_owned()
}

#[test]
fn in_development_an_authority_of_the_servers_own_is_enough() {
    let server = Server::start_with(&HTTPS);
    let push = App::probe(server.client(), "blog").push().ok();
    let https = Https::of_development(&server);
    let url = format!("https://blog.localhost:{}", https.address.port());
    assert_eq!(push.remote.last().unwrap().trim(), url);
    assert_eq!(server.client().airstrip("url blog").ok().line(), url);
    assert_eq!(server.client().airstrip("apps --json").ok().json()[0]["url"], url.as_str());
    let ready = format!(" http={} https={} home=", server.http.0, https.address);
    assert!(server.ready_line.contains(&ready), "{}", server.ready_line);
    let headers: Value = serde_json::from_str(&https.get("blog.localhost", "/headers").ok().out()).unwrap();
    assert_eq!(headers["x-forwarded-proto"], "https");
    for (flag, version) in [("--http2", "2"), ("--http1.1", "1.1")] {
        let reply = https.ask("blog.localhost", "/", &[flag, "-o", "/dev/null", "-w", "%{http_version}"]).ok();
        assert_eq!(reply.out(), version);
    }
    assert!(!https.is_trusted("other.localhost"), "there is no such app");
    assert!(!Https::of(&server, &Authority::new().certificate()).is_trusted("blog.localhost"));
    let state = state(&server, "blog.localhost");
    assert_eq!((&state["state"], &state["source"]), (&"valid".into(), &"local".into()));
    server.client().airstrip("domains:add blog www.example.org").ok();
    https.get("www.example.org", "/").ok();
}

#[test]
fn private_keys_are_nobody_elses() {
    let server = with_https();
    let authority = Authority::new().issue(&["blog.localhost"]);
    server.client().ssh_with("airstrip", &["certs:add blog"], &authority.bundle()).ok();
    Https::of_development(&server);
    for entry in std::fs::read_dir(server.home()).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        if name.starts_with("airstrip.db") {
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{name}");
        }
    }
    let shown = server.client().airstrip("certs --json").ok().out() + &server.client().airstrip("certs:ca").ok().out();
    for text in [shown, server.log()] {
        assert!(!text.contains("PRIVATE KEY"), "{text}");
    }
}

#[test]
fn visitors_without_tls_are_sent_to_it_when_that_is_set() {
    let server = with_https();
    let https = Https::of_development(&server);
    let set = |settings: &str| server.client().airstrip(&format!("http:set blog {settings}")).ok();
    assert_eq!(redirected(&server, "/a?b=c"), "", "nobody trusts the certificate who was not told to");
    set("https=redirect hsts=365d");
    assert_eq!(redirected(&server, "/a?b=c"), format!("https://blog.localhost:{}/a?b=c", https.address.port()));
    assert_eq!(redirected(&server, "/.well-known/acme-challenge/of-the-app"), "");
    let head = https.ask("blog.localhost", "/", &["-I"]).ok().out().to_lowercase();
    assert!(head.contains("strict-transport-security: max-age=31536000\r\n"), "{head}");
    set("https=both hsts=off");
    server.http.get("blog.localhost", "/").ok();
    let head = https.ask("blog.localhost", "/", &["-I"]).ok().out().to_lowercase();
    assert!(!head.contains("strict-transport-security"), "{head}");
    let shown = server.client().airstrip("http blog --json").ok().json();
    assert_eq!((&shown["https"], &shown["hsts"]), (&"both".into(), &Value::Null));
    server.client().airstrip("http:set blog hsts=forever").fails(2, &["hsts=forever", "365d"]);
}

#[test]
fn an_owners_certificate_is_checked_and_served() {
    let server = with_https();
    let client = server.client();
    App::probe(client, "shop").push().ok();
    client.airstrip("domains:add blog www.example.org example.net").ok();
    let authority = Authority::new();
    let https = Https::of(&server, &authority.certificate());
    let wildcard = authority.issue(&["*.example.org", "blog.localhost", "shop.localhost"]);
    let other = authority.issue(&["elsewhere.example.org"]);
    let add = |line: &str, bundle: &[u8]| client.ssh_with("airstrip", &[line], bundle);
    add("certs:add blog", &[other.chain.as_bytes(), wildcard.key.as_bytes()].concat()).fails(1, &["does not belong"]);
    add("certs:add blog", wildcard.chain.as_bytes()).fails(1, &["private key", "fullchain.pem"]);
    add("certs:add blog", b"nothing").fails(1, &["no certificate"]);
    add("certs:add blog", &other.bundle()).fails(1, &["none of the app's domains", "elsewhere.example.org"]);
    add("certs:add blog example.net", &wildcard.bundle()).fails(1, &["not for `example.net`"]);
    add("certs:add blog nowhere.org", &wildcard.bundle()).fails(1, &["no domain nowhere.org", "domains:add"]);
    assert!(!https.is_trusted("www.example.org"));
    let said = add("certs:add blog", &wildcard.bundle()).ok().out();
    assert!(said.contains("blog.localhost, www.example.org") && said.contains("not for example.net"), "{said}");
    assert!(https.is_trusted("www.example.org") && https.is_trusted("blog.localhost"));
    assert!(!https.is_trusted("example.net") && !https.is_trusted("shop.localhost"), "it is for the app's names alone");
    assert_eq!(state(&server, "blog.localhost")["source"], "own");
    assert_eq!(state(&server, "example.net")["source"], "local");
    wait_until("visitors are sent to HTTPS", PATIENCE, || {
        redirected(&server, "/").starts_with("https://blog.localhost")
    });
    let owner = server.client_with_key("owner", &["--app", "blog", "--role", "admin"]);
    let many: Vec<String> = (0..50).map(|number| format!("{number}.example.com")).collect();
    owner.airstrip(&format!("domains:add blog {}", many.join(" "))).fails(1, &["50 domains"]);
    owner.ssh_with("airstrip", &["certs:add"], &wildcard.bundle()).fails(1, &["may not"]);
    owner.ssh_with("airstrip", &["certs:add shop"], &wildcard.bundle()).fails(1, &["shop does not exist"]);
    add("certs:add", &wildcard.bundle()).ok();
    assert!(https.is_trusted("shop.localhost"));
    client.airstrip("certs:remove blog").ok();
    assert_eq!(state(&server, "www.example.org")["source"], "server");
    client.airstrip("certs:remove").ok();
    client.airstrip("certs:remove").fails(1, &["was given no such certificate"]);
    assert!(!https.is_trusted("shop.localhost") && !https.is_trusted("www.example.org"));
    wait_until("visitors are served as they come", PATIENCE, || redirected(&server, "/").is_empty());
}

#[test]
fn upgrades_and_restarts_keep_https() {
    let mut server = with_https();
    let https = Https::of_development(&server);
    let load = https.load("blog.localhost", "/instance", 2);
    for _ in 0..2 {
        let goal = load.served() + 60;
        wait_until("visitors are served", PATIENCE, || load.served() > goal);
        server.upgrade().ok();
    }
    let goal = load.served() + 60;
    wait_until("visitors are served", PATIENCE, || load.served() > goal);
    println!("{} requests during two upgrades", load.served());
    assert_eq!(load.stop(), Vec::<String>::new());
    assert!(server.client().airstrip("url blog").ok().line().starts_with("https://"));
    server.stop_all().ok();
    server.start_again();
    let ca = std::fs::read_to_string(server.home().with_file_name("ca.pem")).unwrap();
    assert_eq!(server.client().airstrip("certs:ca").ok().out(), ca);
    let again = Https::of(&server, &server.home().with_file_name("ca.pem"));
    wait_until("the app serves", PATIENCE, || again.get("blog.localhost", "/").out() == "one");
}

#[test]
fn without_https_nothing_is_different() {
    let server = Server::start();
    let push = App::probe(server.client(), "blog").push().ok();
    assert!(push.remote.last().unwrap().contains("http://blog.localhost"));
    assert!(!server.ready_line.contains("https="));
    let said = server.client().airstrip("certs blog").ok().out();
    assert!(said.contains("off") && said.contains("--https"), "{said}");
    server.client().airstrip("certs:retry blog").fails(1, &["nothing was refused"]);
}

#[test]
fn an_authority_is_asked_at_the_first_need_and_again_before_the_end() {
    let Some(mut pebble) = Pebble::find() else { return };
    let settings = pebble.settings();
    let arguments: Vec<&str> = ["--domain", "apps.test"].into_iter().chain(HTTPS).collect();
    let arguments: Vec<&str> = arguments.into_iter().chain(settings.iter().map(String::as_str)).collect();
    let mut server = Server::start_with(&arguments);
    // A third of it is left when the next one is asked for.
    pebble.start(&server, 45);
    server.client().airstrip("apps:create blog").ok();
    assert_eq!(state(&server, "blog.apps.test")["state"], "waiting", "nothing is asked for what does not serve");
    App::probe(server.client(), "blog").push().ok();
    let valid = |server: &Server, domain: &str| state(server, domain)["state"] == "valid";
    wait_until("there is a certificate", ISSUING, || valid(&server, "blog.apps.test"));
    let https = Https::of(&server, &pebble.root());
    assert_eq!(https.get("blog.apps.test", "/").ok().out(), "one");
    assert!(server.client().airstrip("url blog").ok().line().starts_with("https://blog.apps.test:"));
    let first = state(&server, "blog.apps.test");
    assert_eq!(first["source"], "acme");
    assert!(first["issuer"].as_str().unwrap().contains("Pebble"), "{first}");

    let load = https.load("blog.apps.test", "/", 1);
    pebble.lose("lost.test", true);
    server.client().airstrip("domains:add blog lost.test").ok();
    wait_until("that is refused", ISSUING, || state(&server, "lost.test")["state"] == "failed");
    let failed = state(&server, "lost.test");
    assert!(failed["failure"].as_str().unwrap().contains("the name leads here"), "{failed}");
    assert!(failed["next_at"].as_str().unwrap() > failed["failed_at"].as_str().unwrap(), "{failed}");
    server.upgrade().ok();
    assert_eq!(state(&server, "lost.test"), failed, "the next one does not ask earlier");
    pebble.lose("lost.test", false);
    server.client().airstrip("certs:retry blog lost.test").ok();
    wait_until("that is issued", ISSUING, || valid(&server, "lost.test"));
    https.get("lost.test", "/").ok();
    wait_until("the first is renewed", ISSUING, || {
        let now = state(&server, "blog.apps.test");
        now["state"] == "valid" && now["issued_at"] != first["issued_at"]
    });
    assert_eq!(load.stop(), Vec::<String>::new());
}
