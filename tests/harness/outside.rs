//! A small internet for one story: the story's thread, and all that it starts, is a host in a network of its own, beyond
//! which there is one other machine.

use std::fs;
use std::io;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;

use nix::sched::{CloneFlags, unshare};
use nix::unistd::{geteuid, gettid};

use super::skipped::skipped;
use super::tool::tool;

/// The other machine's addresses, on "the internet" and in a private network. On all of them it serves its directory on port 80.
pub const INTERNET: &str = "203.0.113.7";
pub const PRIVATE: &str = "10.9.0.2";
/// The host's own, besides loopback.
pub const HOST: &str = "198.51.100.1";
const GATEWAY: &str = "198.51.100.2";

/// Serves the directory, and the git repositories below its `git/` with git's own program.
const SERVER: &str = "\
import http.server, os, subprocess
class Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        self.git() if self.path.startswith('/git/') else super().do_GET()
    def do_POST(self):
        self.git()
    def git(self):
        path, _, query = self.path.partition('?')
        asked = dict(PATH_INFO=path, QUERY_STRING=query, REQUEST_METHOD=self.command)
        asked.update(CONTENT_TYPE=self.headers.get('Content-Type', ''), GIT_PROJECT_ROOT=os.getcwd(), GIT_HTTP_EXPORT_ALL='1')
        body = self.rfile.read(int(self.headers.get('Content-Length') or 0))
        done = subprocess.run(['git', 'http-backend'], input=body, stdout=subprocess.PIPE, env={**os.environ, **asked})
        head, _, body = done.stdout.partition(b'\\r\\n\\r\\n')
        headers = dict(line.split(': ', 1) for line in head.decode().splitlines())
        self.send_response(int(headers.pop('Status', '200').split()[0]))
        for header in headers.items():
            self.send_header(*header)
        self.end_headers()
        self.wfile.write(body)
http.server.ThreadingHTTPServer(('', 80), Handler).serve_forever()
";

/// The other machine, and the directory that it serves.
pub struct Outside {
    server: Child,
    pub directory: tempfile::TempDir,
}

/// Tells a story in such a network, on a thread of its own. Where that cannot be made it is not told, and why is printed.
pub fn with_outside(story: impl FnOnce(&Outside) + Send + 'static) {
    if !geteuid().is_root() {
        return skipped("only root can make a network");
    }
    // From there the package index could not be reached.
    let _found = tool("uv", "uv");
    let told = thread::spawn(move || match enter() {
        Ok(outside) => story(&outside),
        Err(error) => skipped(&format!("no network of its own: {error}")),
    });
    if let Err(panic) = told.join() {
        std::panic::resume_unwind(panic);
    }
}

fn enter() -> io::Result<Outside> {
    let directory = tempfile::Builder::new().prefix("ao-").tempdir()?;
    unshare(CloneFlags::CLONE_NEWNET)?;
    ip("link set lo up")?;
    let (tell, told) = channel();
    let (go, may_go) = channel::<()>();
    let path = directory.path().to_owned();
    let other = thread::spawn(move || {
        let _told = tell.send(unshare(CloneFlags::CLONE_NEWNET).map(|()| gettid()));
        may_go.recv().map_err(io::Error::other)?;
        be_outside(&path)
    });
    let thread = told.recv().map_err(io::Error::other)??;
    ip(&format!("link add host0 type veth peer name out0 netns {thread}"))?;
    for address in [HOST, "10.9.0.1"] {
        ip(&format!("address add {address}/24 dev host0"))?;
    }
    ip("link set host0 up")?;
    ip(&format!("route add default via {GATEWAY}"))?;
    go.send(()).map_err(io::Error::other)?;
    let server = other.join().map_err(|_| io::Error::other("the other machine"))??;
    Ok(Outside { server, directory })
}

fn be_outside(directory: &std::path::Path) -> io::Result<Child> {
    ip("link set lo up")?;
    ip("link set out0 up")?;
    for address in [format!("{GATEWAY}/24"), format!("{PRIVATE}/24"), format!("{INTERNET}/32")] {
        ip(&format!("address add {address} dev out0"))?;
    }
    fs::write(directory.join("greeting"), "hello")?;
    let mut server = Command::new("python3");
    server.args(["-c", SERVER]).current_dir(directory);
    server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
}

fn ip(arguments: &str) -> io::Result<()> {
    let done = Command::new("ip").args(arguments.split(' ')).output()?;
    let error = || io::Error::other(format!("ip {arguments}: {}", String::from_utf8_lossy(&done.stderr).trim()));
    done.status.success().then_some(()).ok_or_else(error)
}

impl Drop for Outside {
    fn drop(&mut self) {
        let _gone = self.server.kill();
        let _reaped = self.server.wait();
    }
}
