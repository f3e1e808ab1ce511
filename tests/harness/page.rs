//! Requests through the router, made with the real `curl`.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use super::reply::run;

/// The router of a server.
#[derive(Clone, Copy)]
pub struct Http(pub SocketAddr);

/// An answer.
#[derive(Debug)]
pub struct Page {
    pub status: u16,
    pub body: String,
}

impl Http {
    /// GET. A connection that fails is an answer with status 0.
    pub fn get(&self, host: &str, path: &str) -> Page {
        self.ask(host, path, &[])
    }

    /// A request with more of curl's own arguments.
    pub fn ask(&self, host: &str, path: &str, arguments: &[&str]) -> Page {
        let port = self.0.port();
        let mut curl = Command::new("curl");
        curl.args(["-qsS", "-i", "--max-time", "300", "--noproxy", "*"]);
        curl.arg("--resolve").arg(format!("{host}:{port}:{}", self.0.ip()));
        curl.args(arguments).arg(format!("http://{host}:{port}{path}"));
        Page::parse(&run(&mut curl, b"", Duration::from_secs(310)).out())
    }
}

impl Page {
    fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let status = head.split(' ').nth(1).and_then(|number| number.parse().ok()).unwrap_or(0);
        if status == 100 {
            return Self::parse(body);
        }
        Self { status, body: body.to_owned() }
    }

    /// It is a 200, or the story fails.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.status, 200, "{self:?}");
        self
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("not JSON ({error}): {self:?}"))
    }
}
