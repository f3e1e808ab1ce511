//! Requests over TLS, made with the real `curl`, by clients that trust one authority alone.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::reply::{Reply, run};
use super::server::Server;

const LIMIT: Duration = Duration::from_secs(100);
/// Requests of one visitor over one connection.
const VISIT: usize = 20;

/// HTTPS of a server, as somebody sees it who trusts the authority whose certificate is in a file.
#[derive(Clone)]
pub struct Https {
    pub address: SocketAddr,
    authority: PathBuf,
}

impl Https {
    /// Where the server says that it is, to those who trust `authority`.
    pub fn of(server: &Server, authority: &Path) -> Self {
        let word = server.ready_line.split(' ').find_map(|word| word.strip_prefix("https="));
        let address = word.unwrap_or_else(|| panic!("no https= in {:?}", server.ready_line)).parse().unwrap();
        Self { address, authority: authority.to_owned() }
    }

    /// The same, to those who trust the server's own authority.
    pub fn of_development(server: &Server) -> Self {
        let authority = server.home().with_file_name("ca.pem");
        std::fs::write(&authority, server.client().airstrip("certs:ca").ok().out()).unwrap();
        Self::of(server, &authority)
    }

    /// GET; what curl leaves.
    pub fn get(&self, host: &str, path: &str) -> Reply {
        self.ask(host, path, &[])
    }

    /// A request with more of curl's own arguments.
    pub fn ask(&self, host: &str, path: &str, arguments: &[&str]) -> Reply {
        run(self.curl(host).args(arguments).arg(self.url(host, path)), b"", LIMIT)
    }

    /// Whether a name is shown with a certificate that such a client takes.
    pub fn is_trusted(&self, host: &str) -> bool {
        let reply = self.ask(host, "/", &["-o", "/dev/null"]);
        // 60: the certificate was not taken.
        assert!(matches!(reply.status, 0 | 60), "{reply}");
        reply.status == 0
    }

    /// Some visitors, each of whom comes again and again, for some requests over one connection.
    pub fn load(&self, host: &'static str, path: &'static str, count: usize) -> HttpsLoad {
        let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let visitor = |_| {
            let (https, stop, served) = (self.clone(), stop.clone(), served.clone());
            std::thread::spawn(move || https.visit(host, path, &stop, &served))
        };
        HttpsLoad { visitors: (0..count).map(visitor).collect(), stop, served }
    }

    fn visit(&self, host: &str, path: &str, stop: &AtomicBool, served: &AtomicUsize) -> Vec<String> {
        let mut failures = Vec::new();
        while !stop.load(Ordering::Relaxed) && failures.len() < 10 {
            let url = self.url(host, path);
            let mut curl = self.curl(host);
            let reply = run(curl.args(["-f", "-w", "\n%{http_code}\n"]).args(vec![url; VISIT]), b"", LIMIT);
            let answered = reply.out().lines().filter(|line| *line == "200").count();
            served.fetch_add(answered, Ordering::Relaxed);
            if reply.status != 0 || answered != VISIT {
                failures.push(reply.to_string());
            }
        }
        failures
    }

    fn url(&self, host: &str, path: &str) -> String {
        format!("https://{host}:{}{path}", self.address.port())
    }

    fn curl(&self, host: &str) -> Command {
        let mut curl = Command::new("curl");
        curl.args(["-qsS", "--max-time", "90", "--noproxy", "*"]).arg("--cacert").arg(&self.authority);
        curl.arg("--resolve").arg(format!("{host}:{}:{}", self.address.port(), self.address.ip()));
        curl
    }
}

/// Visitors under way.
pub struct HttpsLoad {
    stop: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
    visitors: Vec<JoinHandle<Vec<String>>>,
}

impl HttpsLoad {
    /// Requests served until now.
    pub fn served(&self) -> usize {
        self.served.load(Ordering::Relaxed)
    }

    /// Sends them home; gives what failed.
    pub fn stop(mut self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.visitors.drain(..).flat_map(|visitor| visitor.join().unwrap()).collect()
    }
}

impl Drop for HttpsLoad {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for visitor in self.visitors.drain(..) {
            let _failed_too = visitor.join();
        }
    }
}
