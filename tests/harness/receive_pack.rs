//! A git client that does what the real one would never do: it speaks receive-pack's protocol by hand.

use std::io::Write;
use std::process::{Child, Stdio};

use super::app::App;
use super::client::Client;
use super::reply::{Reply, run};
use super::waiting::PATIENCE;

/// Sends `bytes` to receive-pack of an app and gives what came back.
pub fn send(client: &Client, app: &str, bytes: &[u8]) -> Reply {
    run(&mut client.ssh_command("airstrip", &[&format!("git-receive-pack '/{app}'")]), bytes, PATIENCE)
}

/// The command to move `main` from where it is to the head of `app`, and the end of commands.
pub fn move_main(app: &App) -> Vec<u8> {
    let old = app.branch_on_server("main").unwrap_or_else(|| "0".repeat(40));
    let text = format!("{old} {} refs/heads/main\0report-status side-band-64k agent=story\n", app.head());
    let mut bytes = format!("{:04x}{text}", text.len() + 4).into_bytes();
    bytes.extend(b"0000");
    bytes
}

/// Everything that the head of `app` needs, as one pack.
pub fn pack(client: &Client, app: &App) -> Vec<u8> {
    let mut objects = client.git_command(&app.directory, &["pack-objects", "--revs", "--stdout", "-q"]);
    run(&mut objects, b"HEAD\n", PATIENCE).ok().stdout
}

/// A push that has sent a part of its pack and then waits. Killed when dropped.
pub struct HalfPush(Child);

impl HalfPush {
    /// Sends `bytes` and keeps the connection open.
    pub fn start(client: &Client, app: &str, bytes: Vec<u8>) -> Self {
        let mut command = client.ssh_command("airstrip", &[&format!("git-receive-pack '/{app}'")]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut pipe = child.stdin.take().unwrap();
        std::thread::spawn(move || {
            let _cut = pipe.write_all(&bytes).and_then(|()| pipe.flush());
            // Held open: the server is to wait for the rest.
            std::thread::park_timeout(PATIENCE * 4);
        });
        Self(child)
    }
}

impl Drop for HalfPush {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}
