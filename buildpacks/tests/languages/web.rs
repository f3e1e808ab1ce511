//! A web process, started as a launcher starts it, and requests to it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use crate::platform::Platform;

/// Runs until it is dropped.
pub(crate) struct Web {
    child: Child,
    address: String,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Web {
    /// Starts the `web` process of a build's `launch.toml`, which must say where it listens.
    pub(crate) fn start(platform: &Platform) -> Self {
        let launch: toml::Table =
            std::fs::read_to_string(platform.path("layers/launch.toml")).unwrap().parse().unwrap();
        let command = launch["processes"][0]["command"].as_array().unwrap();
        let words: Vec<_> = command.iter().map(|word| word.as_str().unwrap()).collect();
        let mut child = Command::new(words[0])
            .args(&words[1..])
            .current_dir(platform.path("app"))
            .env("PORT", "0")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().rsplit(' ').next().unwrap().to_owned();
        Self { child, address }
    }

    /// Sends a request as it is, and reads until the connection is closed.
    pub(crate) fn raw(&self, request: &str) -> Answer {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        Answer { head: head.replace('\r', ""), body: body.to_owned() }
    }

    /// `GET PATH` with these headers.
    pub(crate) fn get(&self, path: &str, headers: &[&str]) -> Answer {
        self.request("GET", path, headers)
    }

    pub(crate) fn request(&self, method: &str, path: &str, headers: &[&str]) -> Answer {
        let headers = headers.iter().fold(String::new(), |text, header| text + header + "\r\n");
        self.raw(&format!("{method} {path} HTTP/1.1\r\nHost: site\r\nConnection: close\r\n{headers}\r\n"))
    }

    /// Tells it to end, and waits. Its exit status.
    pub(crate) fn end(mut self) -> Option<i32> {
        let id = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGTERM).unwrap();
        self.child.wait().unwrap().code()
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Answer {
    /// `200 OK`.
    pub(crate) fn status(&self) -> &str {
        self.head.lines().next().unwrap().split_once(' ').unwrap().1
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let named = |line: &&str| line.split_once(':').is_some_and(|(known, _)| known.eq_ignore_ascii_case(name));
        Some(self.head.lines().skip(1).find(named)?.split_once(':')?.1.trim())
    }
}
