//! Shells on a terminal.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::process::Stdio;

use nix::pty::{Winsize, openpty};
use tokio::process::Command;
use tokio::time::timeout;

use crate::harness::{Conversation, PATIENCE, World};

/// Sets the size of a terminal from outside, as its window does.
async fn resize(terminal: &OwnedFd, rows: &str, columns: &str) {
    let terminal = Stdio::from(terminal.try_clone().unwrap());
    let done = Command::new("stty").args(["rows", rows, "cols", columns]).stdin(terminal).status().await.unwrap();
    assert!(done.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shell_knows_the_window_and_its_changes() {
    let world = World::new().await;
    let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
    let pty = openpty(&size, None).unwrap();
    let ssh = world.ssh();
    // ssh learns of a new size only from its controlling terminal.
    let mut command = Command::new("setsid");
    command.args(["--ctty", "--wait", "ssh", "-tt"]).args(ssh.as_std().get_args());
    command.env("TERM", "xterm-test").env("LC_TEST", "passed").kill_on_drop(true);
    command.stdin(Stdio::from(pty.slave.try_clone().unwrap()));
    let mut client = Conversation::start(&mut command);
    client.stdout_until("term=xterm-test 80x24").await;
    resize(&pty.slave, "50", "132").await;
    client.stdout_until("changed 132x50").await;
    let mut master = File::from(pty.master);
    master.write_all(b"\x03").unwrap();
    client.stdout_until("input [3]").await;
    let status = timeout(PATIENCE, client.process.wait()).await.unwrap().unwrap();
    assert_eq!(status.code(), Some(130));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shell_without_terminal_and_the_variables_that_pass() {
    let world = World::new().await;
    let mut command = world.ssh();
    command.args(["-o", "SendEnv=LC_* PATH SECRET", "env"]).env("LC_TEST", "passed").env("SECRET", "x");
    let mut client = Conversation::start(&mut command);
    client.stdout_until("LC_TEST=passed").await;
    client.stdout_until("end").await;
    assert!(client.succeeds().await);

    let mut client = Conversation::start(world.ssh().stdin(Stdio::piped()));
    client.stdout_until("no terminal").await;
    assert!(client.succeeds().await);
    world.stop().await;
}
