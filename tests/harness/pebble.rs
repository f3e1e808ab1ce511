//! `pebble`, the test authority of those who made ACME, with a name server that leads every name to this machine.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use super::authority::Authority;
use super::reply::run;
use super::server::Server;
use super::skipped::skipped;
use super::waiting::{PATIENCE, wait_until};

/// Where it will listen. Servers are told before it is started.
pub struct Pebble {
    authority: Authority,
    api: u16,
    management: u16,
    names: u16,
    /// Where the name server is told what to answer.
    control: u16,
    processes: Vec<Child>,
}

impl Pebble {
    /// None, with the reason printed, if it is not installed.
    pub fn find() -> Option<Self> {
        if ["pebble", "pebble-challtestsrv"].iter().any(|name| Command::new(name).arg("-h").output().is_err()) {
            skipped("`pebble` is not installed (Debian: apt-get install pebble)");
            return None;
        }
        let [api, management, names, control] = [(); 4].map(|()| free_port());
        let pebble = Self { authority: Authority::new(), api, management, names, control, processes: Vec::new() };
        let own = pebble.authority.issue(&["localhost"]);
        fs::write(pebble.authority.path("api.pem"), own.chain).unwrap();
        fs::write(pebble.authority.path("api.key"), own.key).unwrap();
        Some(pebble)
    }

    /// What `serve` is to be told of it.
    pub fn settings(&self) -> Vec<String> {
        let directory = format!("https://localhost:{}/dir", self.api);
        let root = self.authority.certificate().display().to_string();
        ["--acme-directory", &directory, "--acme-root", &root, "--acme-email", "owner@apps.test"]
            .map(str::to_owned)
            .into()
    }

    /// Starts it: it looks for answers at the addresses of `server`, and what it issues is valid for so many seconds.
    pub fn start(&mut self, server: &Server, validity: u64) {
        let (http, https) = (server.http.0.port(), super::https::Https::of(server, &self.root()).address.port());
        let path = |name: &str| self.authority.path(name).display().to_string();
        let settings = format!(
            r#"{{"pebble": {{"listenAddress": "127.0.0.1:{}", "managementListenAddress": "127.0.0.1:{}", "certificate": "{}",
            "privateKey": "{}", "httpPort": {http}, "tlsPort": {https}, "certificateValidityPeriod": {validity}}}}}"#,
            self.api,
            self.management,
            path("api.pem"),
            path("api.key")
        );
        fs::write(self.authority.path("pebble.json"), settings).unwrap();
        let names = format!("127.0.0.1:{}", self.names);
        let control = format!("127.0.0.1:{}", self.control);
        let mut name_server = Command::new("pebble-challtestsrv");
        name_server.args([
            "-defaultIPv4",
            "127.0.0.1",
            "-defaultIPv6",
            "",
            "-http01",
            "",
            "-https01",
            "",
            "-tlsalpn01",
            "",
        ]);
        self.spawn(name_server.args(["-dns01", &names, "-management", &control]));
        let mut pebble = Command::new("pebble");
        let config = self.authority.path("pebble.json").display().to_string();
        self.spawn(pebble.args(["-config", &config, "-dnsserver", &names, "-strict"]));
        let address = SocketAddr::from(([127, 0, 0, 1], self.management));
        wait_until("pebble listens", PATIENCE, || TcpStream::connect(address).is_ok());
        fs::write(self.root(), self.ask("/roots/0")).unwrap();
    }

    /// The file with the certificate that clients trust, once it was started.
    pub fn root(&self) -> PathBuf {
        self.authority.path("root.pem")
    }

    /// From now on the name leads nowhere, or here again.
    pub fn lose(&self, name: &str, lost: bool) {
        let what = if lost { "set-servfail" } else { "clear-servfail" };
        let url = format!("http://127.0.0.1:{}/{what}", self.control);
        let mut curl = Command::new("curl");
        curl.args(["-qsSf", "--noproxy", "*", "-d", &format!(r#"{{"host": "{name}"}}"#), &url]);
        run(&mut curl, b"", PATIENCE).ok();
    }

    fn ask(&self, path: &str) -> String {
        let url = format!("https://localhost:{}{path}", self.management);
        let mut curl = Command::new("curl");
        curl.args(["-qsSf", "--noproxy", "*", "--cacert"]).arg(self.authority.certificate()).arg(url);
        run(&mut curl, b"", PATIENCE).ok().out()
    }

    fn spawn(&mut self, command: &mut Command) {
        command.env("PEBBLE_VA_NOSLEEP", "1").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.processes.push(command.spawn().unwrap());
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        for process in &mut self.processes {
            let _gone = process.kill();
            let _reaped = process.wait();
        }
    }
}

/// A port on which nobody listens. It is none of those that the kernel hands out: whoever listens on any port, in another
/// story, would get it before it is used.
fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = std::process::id().wrapping_mul(64).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = 20_000 + u16::try_from(number % 12_000).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
