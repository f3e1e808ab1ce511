//! `pebble`, the test authority of those who made ACME, with a name server that leads every name to this machine.

mod programs;

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command};

use programs::Ports;

use super::authority::Authority;
use super::reply::run;
use super::server::Server;
use super::skipped::skipped;
use super::waiting::{PATIENCE, wait_until};

/// Where it will listen. Servers are told before it is started.
pub struct Pebble {
    authority: Authority,
    ports: Ports,
    processes: Vec<Child>,
}

impl Pebble {
    /// None, with the reason printed, if it is not installed.
    pub fn find() -> Option<Self> {
        if ["pebble", "pebble-challtestsrv"].iter().any(|name| Command::new(name).arg("-h").output().is_err()) {
            skipped("`pebble` is not installed (Debian: apt-get install pebble)");
            return None;
        }
        let pebble = Self { authority: Authority::new(), ports: Ports::free(), processes: Vec::new() };
        let own = pebble.authority.issue(&["localhost"]);
        fs::write(pebble.authority.path("api.pem"), own.chain).unwrap();
        fs::write(pebble.authority.path("api.key"), own.key).unwrap();
        Some(pebble)
    }

    /// What `serve` is to be told of it.
    pub fn settings(&self) -> Vec<String> {
        let directory = self.ports.directory();
        let root = self.authority.certificate().display().to_string();
        ["--acme-directory", &directory, "--acme-root", &root, "--acme-email", "owner@apps.test"]
            .map(str::to_owned)
            .into()
    }

    /// Starts it: it looks for answers at the addresses of `server`, and what it issues is valid for so many seconds.
    pub fn start(&mut self, server: &Server, validity: u64) {
        let answers = (server.http.0.port(), super::https::Https::of(server, &self.root()).address.port());
        let path = |name: &str| self.authority.path(name);
        let settings = self.ports.settings(&path("api.pem"), &path("api.key"), answers, validity);
        let file = path("pebble.json");
        fs::write(&file, settings).unwrap();
        self.processes.push(self.ports.name_server().spawn().unwrap());
        self.processes.push(self.ports.pebble(&file).spawn().unwrap());
        let address = SocketAddr::from(([127, 0, 0, 1], self.ports.management));
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
        let url = format!("http://127.0.0.1:{}/{what}", self.ports.control);
        let mut curl = Command::new("curl");
        curl.args(["-qsSf", "--noproxy", "*", "-d", &format!(r#"{{"host": "{name}"}}"#), &url]);
        run(&mut curl, b"", PATIENCE).ok();
    }

    fn ask(&self, path: &str) -> String {
        let url = format!("https://localhost:{}{path}", self.ports.management);
        let mut curl = Command::new("curl");
        curl.args(["-qsSf", "--noproxy", "*", "--cacert"]).arg(self.authority.certificate()).arg(url);
        run(&mut curl, b"", PATIENCE).ok().out()
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
