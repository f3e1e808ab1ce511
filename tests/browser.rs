//! A page in a real browser, Chromium, through deploys.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{App, Https, Live, PATIENCE, Server, run, skipped, wait_until};

const LIMIT: Duration = Duration::from_secs(120);
/// Server-sent events are a request in flight: they are cut so long after the switch.
const CUT: Duration = Duration::from_secs(30);

/// Chromium, with a home of its own, in which it trusts the server's own authority. None, with the reason printed, where it is not installed.
fn chromium(server: &Server) -> Option<Command> {
    for (program, package) in [("chromium", "chromium"), ("certutil", "libnss3-tools")] {
        if !Path::new("/usr/bin").join(program).exists() {
            skipped(&format!("{package} is not installed"));
            return None;
        }
    }
    let home = server.home().with_file_name("browser");
    let database = home.join(".pki/nssdb");
    std::fs::create_dir_all(&database).unwrap();
    let database = format!("sql:{}", database.display());
    Https::of_development(server);
    let authority = server.home().with_file_name("ca.pem");
    let certutil = |arguments: &[&str]| {
        run(Command::new("certutil").args(["-d", &database]).args(arguments), b"", LIMIT).ok();
    };
    certutil(&["-N", "--empty-password"]);
    certutil(&["-A", "-n", "development", "-t", "C,,", "-i", authority.to_str().unwrap()]);
    let temporary = home.join("tmp");
    std::fs::create_dir(&temporary).unwrap();
    let mut chromium = Command::new("/usr/bin/chromium");
    chromium
        .env("HOME", &home)
        .env("TMPDIR", temporary)
        .env("XDG_CONFIG_HOME", home.join("config"))
        .env("XDG_CACHE_HOME", home.join("cache"));
    chromium.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-proxy-server"]);
    chromium.args(["--disable-component-update", "--disable-background-networking", "--no-first-run"]);
    // Else it loads the page and ends.
    chromium.arg("--remote-debugging-port=0").arg(format!("--user-data-dir={}", home.join("profile").display()));
    chromium.arg("--host-resolver-rules=MAP blog.localhost 127.0.0.1");
    Some(chromium)
}

/// What the page says that it has seen.
fn report(server: &Server) -> Value {
    server.http.get("blog.localhost", "/report").ok().json()
}

/// The page's WebSocket lives on for the time that is set, its events come again from where they were: neither leaves anything out.
fn misses_nothing(server: &Server, url: &str, opening: &str) {
    let Some(mut chromium) = chromium(server) else { return };
    let app = App::copy_of(server.client(), "blog", "tests/apps/live");
    server.client().airstrip("apps:create blog").ok();
    server.client().airstrip("http:set blog drain=5s access-log=json").ok();
    app.push().ok();
    let _browser = Live::start(chromium.arg(url));
    wait_until("both are open", LIMIT, || {
        let report = report(server);
        ["events", "socket"].iter().all(|way| report[way]["last"].as_u64() > Some(50))
    });
    app.push_file("message", "two").ok();
    let before = report(server)["socket"]["last"].as_u64();
    wait_until("the old one goes on", PATIENCE, || report(server)["socket"]["last"].as_u64() > before);
    wait_until("both are with the new one", CUT + PATIENCE, || {
        let report = report(server);
        ["events", "socket"].iter().all(|way| report[way]["versions"] == json!(["one", "two"]))
    });
    let report = report(server);
    for way in ["events", "socket"] {
        assert_eq!(report[way]["wrong"], json!([]), "{report}");
    }
    assert_eq!(report["socket"]["closed"], json!([[1001, true]]), "{report}");
    let log = server.client().airstrip("logs blog -p router -n 5000").ok().out();
    let sockets: Vec<&str> = log.lines().filter(|line| line.contains("/numbers")).collect();
    assert!(!sockets.is_empty() && sockets.iter().all(|line| line.contains(opening)), "{sockets:?} {log}");
}

#[test]
fn a_page_misses_nothing_in_a_deploy() {
    let server = Server::start_with(&["--https", "127.0.0.1:0"]);
    misses_nothing(&server, &format!("http://blog.localhost:{}/", server.http.0.port()), "GET");
}

/// In HTTP/2, its WebSocket too (RFC 8441): it opens no connection of its own for that.
#[test]
fn a_page_misses_nothing_in_a_deploy_over_tls() {
    let server = Server::start_with(&["--https", "127.0.0.1:0"]);
    let https = Https::of_development(&server);
    misses_nothing(&server, &format!("https://blog.localhost:{}/", https.address.port()), "CONNECT");
}
