//! Requests through the router.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};

use crate::harness::{App, Http, Load, PATIENCE, Server, wait_until};

#[test]
fn an_app_learns_who_asked_and_cannot_be_lied_to() {
    let server = Server::start();
    App::probe(server.client(), "blog").push().ok();
    let lies =
        ["-H", "X-Forwarded-For: 6.6.6.6", "-H", "X-Forwarded-Proto: https", "-H", "X-Forwarded-Host: evil.example"];
    let headers = server.http.ask("blog.localhost", "/headers", &lies).ok().json();
    assert_eq!(headers["x-forwarded-for"], "127.0.0.1");
    assert_eq!(headers["x-forwarded-proto"], "http");
    let host = format!("blog.localhost:{}", server.http.0.port());
    assert_eq!(headers["host"], host.as_str());
    assert!(headers["x-forwarded-host"].as_str().unwrap().starts_with("blog.localhost"));
}

#[test]
fn every_error_page_says_which_error_it_is() {
    let server = Server::start();
    let client = server.client();
    let page = server.http.get("nothing.localhost", "/");
    assert_eq!(page.status, 404, "{page:?}");
    client.airstrip("apps:create blog").ok();
    let page = server.http.get("blog.localhost", "/");
    assert_eq!(page.status, 503, "{page:?}");
    let app = App::probe(client, "blog");
    app.push().ok();
    let page = server.http.get("blog.localhost", "/exit?status=1");
    assert_eq!(page.status, 502, "{page:?}");
    wait_until("the app is started again", PATIENCE, || server.http.get("blog.localhost", "/").status == 200);
    client.airstrip("ps:stop blog").ok();
    let page = server.http.get("blog.localhost", "/");
    assert_eq!(page.status, 503);
    assert!(page.body.contains("stopped"), "{page:?}");
    client.airstrip("ps:start blog").ok();
    server.http.get("blog.localhost", "/").ok();
}

#[test]
fn websocket_frames_come_back() {
    let server = Server::start();
    App::probe(server.client(), "blog").push().ok();
    let mut socket = open_websocket(server.http);
    for text in ["hello", "again"] {
        echo(&mut socket, text);
    }
}

/// A WebSocket to the app `blog`.
pub fn open_websocket(http: Http) -> TcpStream {
    let mut socket = TcpStream::connect(http.0).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(
        socket,
        "GET /socket HTTP/1.1\r\nHost: blog.localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    .unwrap();
    let head = read_head(&mut socket);
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    // The answer to the key above, from RFC 6455.
    assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
    socket
}

/// The app gives back what is sent.
pub fn echo(socket: &mut TcpStream, text: &str) {
    let mask = [1, 2, 3, 4];
    let masked = text.bytes().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask);
    let frame: Vec<u8> =
        [0x81, 0x80 | u8::try_from(text.len()).unwrap()].into_iter().chain(mask).chain(masked).collect();
    socket.write_all(&frame).unwrap();
    let mut echo = vec![0; 2 + text.len()];
    socket.read_exact(&mut echo).unwrap();
    assert_eq!(&echo[2..], text.as_bytes());
}

fn read_head(socket: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        socket.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

#[test]
fn a_large_upload_passes_in_flat_memory() {
    let server = Server::start();
    App::probe(server.client(), "blog").push().ok();
    let megabytes: u64 = std::env::var("AIRSTRIP_TEST_POST_MB").map_or(64, |size| size.parse().unwrap());
    let upload = server.client().key().with_file_name("upload");
    File::create(&upload).unwrap().set_len(megabytes << 20).unwrap();
    server.http.ask("blog.localhost", "/", &["-d", "small"]).ok();
    let before = server.peak_memory();
    let arguments = ["-X", "POST", "-T", upload.to_str().unwrap()];
    let answer = server.http.ask("blog.localhost", "/", &arguments).ok().json();
    assert_eq!(answer["length"], megabytes << 20);
    let grown = server.peak_memory() - before;
    assert!(grown < 16 << 20, "the daemon grew by {} MiB for an upload of {megabytes} MiB", grown >> 20);
}

#[test]
fn a_restart_under_load_loses_no_request() {
    no_request_is_lost(&Server::start());
}

pub fn no_request_is_lost(server: &Server) {
    let client = server.client();
    let app = App::probe(client, "blog");
    app.push().ok();
    let load = Load::start(server.http, "blog.localhost", "/instance", 8);
    load.goes_on();
    client.airstrip("restart blog").ok();
    load.goes_on();
    client.airstrip("ps:scale blog web=2").ok();
    load.goes_on();
    client.airstrip("config:set blog A=1").ok();
    load.goes_on();
    app.push_file("message", "two").ok();
    load.goes_on();
    client.airstrip("ps:scale blog web=1").ok();
    load.goes_on();
    let tally = load.stop();
    assert_eq!(tally.failures, Vec::<String>::new(), "{} were served", tally.served);
    assert!(tally.bodies.len() >= 5, "several instances answered: {:?}", tally.bodies);
}

#[test]
fn a_request_in_flight_ends_before_its_instance_does() {
    let server = Server::start();
    let client = server.client();
    App::probe(client, "blog").push().ok();
    let old = server.http.get("blog.localhost", "/instance").ok().body;
    let answer = std::thread::scope(|scope| {
        let slow = scope.spawn(|| server.http.get("blog.localhost", "/slow?seconds=3"));
        wait_until("the request is in the app", PATIENCE, || {
            server.http.get("blog.localhost", "/sleepers").body == "1"
        });
        client.airstrip("restart blog").ok();
        slow.join().unwrap()
    });
    assert_eq!(answer.ok().body, old);
    assert_ne!(server.http.get("blog.localhost", "/instance").ok().body, old);
}

#[test]
fn added_domains_lead_to_the_app() {
    let server = Server::start();
    let client = server.client();
    App::probe(client, "blog").push().ok();
    client.airstrip("domains:add blog www.example.com example.com").ok();
    for host in ["www.example.com", "example.com", "WWW.Example.COM"] {
        assert_eq!(server.http.get(host, "/").ok().body, "one", "{host}");
    }
    assert!(client.airstrip("domains blog").ok().out().contains("www.example.com"));
    client.airstrip("apps:create other").ok();
    client.airstrip("domains:add other example.com").fails(1, &[" !     ", "example.com"]);
    client.airstrip("domains:remove blog example.com").ok();
    assert_eq!(server.http.get("example.com", "/").status, 404);
    assert_eq!(server.http.get("www.example.com", "/").ok().body, "one");
    client.airstrip("domains:add blog not_a/domain").fails(1, &[" !     "]);
}

#[test]
fn the_domain_of_the_server_is_the_apps_domain() {
    let server = Server::start_with(&["--domain", "apps.example.org"]);
    let push = App::probe(server.client(), "blog").push().ok();
    assert!(
        push.reply.err().contains(&format!("http://blog.apps.example.org:{}", server.http.0.port())),
        "{}",
        push.reply
    );
    assert_eq!(server.http.get("blog.apps.example.org", "/").ok().body, "one");
    let url = server.client().airstrip("url blog").ok().line();
    assert_eq!(url, format!("http://blog.apps.example.org:{}", server.http.0.port()));
}

#[test]
fn requests_are_logged_when_that_is_wanted() {
    let server = Server::start();
    App::probe(server.client(), "blog").push().ok();
    let client = server.client();
    let logged = || client.airstrip("logs blog -p router -n 1000").ok().out();
    assert_eq!(server.http.get("blog.localhost", "/before").status, 404);
    client.airstrip("http:set blog access-log=json").ok();
    assert_eq!(client.airstrip("http blog --json").ok().json()["access_log"], "json");
    server.http.ask("blog.localhost", "/as-json?secret=1", &["-H", "X-Request-Id: abc-123"]);
    wait_until("the request is in the log", PATIENCE, || logged().contains("/as-json"));
    let line = logged().lines().last().unwrap().to_owned();
    let (source, entry) = line.split_once("]: ").unwrap();
    assert!(source.ends_with("Z airstrip[router"), "{line}");
    let entry: serde_json::Value = serde_json::from_str(entry).unwrap();
    assert_eq!((&entry["path"], &entry["status"]), (&"/as-json".into(), &404.into()), "{line}");
    assert_eq!((&entry["instance"], &entry["request_id"]), (&"web.1".into(), &"abc-123".into()), "{line}");
    client.airstrip("http:set blog access-log=common").ok();
    server.http.get("blog.localhost", "/as-text");
    wait_until("the request is in the log", PATIENCE, || logged().contains("\"GET /as-text HTTP/1.1\" 404 "));
    client.airstrip("http:set blog access-log=off").ok();
    server.http.get("blog.localhost", "/after");
    let all = client.airstrip("logs blog -n 1000").ok().out();
    assert!(all.contains("/as-json") && all.contains("/as-text"), "{all}");
    assert!(!logged().contains("/before") && !logged().contains("/after") && !logged().contains("secret"), "{all}");
    client.airstrip("http:set blog access-log=xml").fails(2, &["access-log is json, common or off"]);
}

#[test]
fn metrics_are_sent_to_statsd_and_graphite() {
    let sockets = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    let [statsd, graphite] = sockets.each_ref().map(|socket| socket.local_addr().unwrap().to_string());
    let server = Server::start_with(&["--statsd", &statsd, "--graphite", &graphite]);
    App::probe(server.client(), "blog").push().ok();
    server.http.ask("blog.localhost", "/", &["--data", "12345"]).ok();
    let wanted = ["airstrip.http_request_bytes_total.blog:5|c\n", "airstrip.http_request_bytes_total.blog 5 "];
    for (socket, wanted) in sockets.iter().zip(wanted) {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut datagram = [0; 2000];
        let found = (0..1000).any(|_| {
            let length = socket.recv(&mut datagram).unwrap();
            String::from_utf8_lossy(&datagram[..length]).contains(wanted)
        });
        assert!(found, "{wanted}");
    }
}

#[test]
fn requests_are_held_to_what_is_set() {
    let server = Server::start();
    let client = server.client();
    App::probe(client, "blog").push().ok();
    client.airstrip("http:set blog body=1K sticky=on").ok();
    let post = |body: &str| server.http.ask("blog.localhost", "/", &["-d", body]).status;
    assert_eq!((post("short"), post(&"long ".repeat(1000))), (200, 413));
    let page = server.http.ask("blog.localhost", "/", &["-w", "%header{set-cookie}"]).ok();
    assert!(page.body.contains("HttpOnly"), "{}", page.body);
    client.airstrip("http:set blog rate=1").ok();
    let answers: Vec<_> = (0..20).map(|_| server.http.get("blog.localhost", "/").status).collect();
    assert!(answers.contains(&200) && answers.contains(&429), "{answers:?}");
    client.airstrip("http:set blog rate=off body=off sticky=off in-flight=1").ok();
    std::thread::scope(|scope| {
        let status = |path| server.http.get("blog.localhost", path).status;
        scope.spawn(move || wait_until("one is served", PATIENCE, || status("/slow?seconds=2") == 200));
        wait_until("one is too many", PATIENCE, || status("/") == 503);
    });
    let shown = client.airstrip("http blog --json").ok().json();
    assert_eq!(
        (&shown["in_flight"], &shown["rate"], &shown["wait"]),
        (&1.into(), &serde_json::Value::Null, &10.into())
    );
}

#[test]
fn a_trusted_proxy_says_who_the_client_is() {
    let told = |server: &Server| {
        App::probe(server.client(), "blog").push().ok();
        let said = ["-H", "X-Forwarded-For: 192.0.2.7", "-H", "X-Forwarded-Proto: https"];
        let headers = server.http.ask("blog.localhost", "/headers", &said).ok().json();
        ["x-forwarded-for", "x-forwarded-proto"].map(|name| headers[name].as_str().unwrap().to_owned())
    };
    assert_eq!(told(&Server::start()), ["127.0.0.1", "http"]);
    assert_eq!(told(&Server::start_with(&["--trusted-proxies", "127.0.0.0/8"])), ["192.0.2.7", "https"]);
}

#[test]
fn while_an_app_starts_anew_its_requests_wait() {
    let server = Server::start();
    let client = server.client();
    App::probe(client, "blog").push().ok();
    client.airstrip("http:set blog wait=1m").ok();
    let old = server.http.get("blog.localhost", "/instance").ok().body;
    server.http.get("blog.localhost", "/exit?status=1");
    assert_ne!(server.http.get("blog.localhost", "/instance").ok().body, old);
    let load = Load::start(server.http, "blog.localhost", "/instance", 4);
    load.goes_on();
    let pid = client.airstrip("ps blog --json").ok().json()[0]["pid"].as_i64().unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid.try_into().unwrap()), nix::sys::signal::Signal::SIGKILL)
        .unwrap();
    load.goes_on();
    assert_eq!(load.stop().failures, Vec::<String>::new());
}

#[test]
fn metrics_are_there_for_prometheus() {
    let server = Server::start_with(&["--metrics", "127.0.0.1:0"]);
    App::probe(server.client(), "blog").push().ok();
    server.http.get("blog.localhost", "/").ok();
    let (_, address) = server.ready_line.split_once(" metrics=").unwrap_or_else(|| panic!("{}", server.ready_line));
    let metrics = Http(address.split(' ').next().unwrap().parse().unwrap());
    let count = || {
        let text = metrics.get("localhost", "/metrics").ok().body;
        let line =
            text.lines().find(|line| line.starts_with("airstrip_http_requests_total{app=\"blog\",class=\"2xx\"} "));
        line.unwrap_or_else(|| panic!("{text}")).rsplit(' ').next().unwrap().parse::<u64>().unwrap()
    };
    let before = count();
    assert!(before > 0);
    server.http.get("blog.localhost", "/").ok();
    assert_eq!(count(), before + 1);
    let text = metrics.get("localhost", "/metrics").ok().body;
    assert!(text.contains("airstrip_instance_state{app=\"blog\",process=\"web.1\",state=\"up\"} 1\n"), "{text}");
    assert!(text.contains("airstrip_http_request_duration_seconds_bucket{app=\"blog\",le=\"+Inf\"} "), "{text}");
    assert_eq!(metrics.get("localhost", "/").status, 404);
}
