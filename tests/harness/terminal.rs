//! Somebody at a terminal: a program on a pseudo-terminal, typed at and read.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, ttyname};

use super::reply::{described, run, wait};
use super::waiting::PATIENCE;

/// A program on a terminal of 24 by 80. Killed when dropped.
pub struct Terminal {
    child: Child,
    keyboard: File,
    /// Kept open so that its size can be changed, and so that reading goes on until the program's end is known.
    screen: OwnedFd,
    shown: Receiver<Vec<u8>>,
    seen: String,
    what: String,
}

impl Terminal {
    /// Starts `command` on a terminal of its own.
    pub fn start(command: &mut Command) -> Self {
        let what = described(command);
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(Some(&size), None).unwrap();
        let copy = || pty.slave.try_clone().unwrap();
        command.env("TERM", "xterm").stdin(copy()).stdout(copy()).stderr(copy());
        let child = command.spawn().unwrap_or_else(|error| panic!("{what}: {error}"));
        let keyboard = File::from(pty.master);
        let shown = read_on(keyboard.try_clone().unwrap());
        Self { child, keyboard, screen: pty.slave, shown, seen: String::new(), what }
    }

    /// Types `line` and Enter.
    pub fn enter(&mut self, line: &str) {
        self.press(&format!("{line}\r"));
    }

    /// Types as it stands; `\x03` is Ctrl-C.
    pub fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until `text` is shown; what was shown up to there is forgotten and given.
    #[track_caller]
    pub fn expect(&mut self, text: &str) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.seen.find(text) {
                let rest = self.seen.split_off(at + text.len());
                return std::mem::replace(&mut self.seen, rest);
            }
            let more = self.shown.recv_timeout(end.saturating_duration_since(Instant::now()));
            let Ok(more) = more else { panic!("{text:?} was not shown by `{}`; shown was:\n{}", self.what, self.seen) };
            self.seen.push_str(&String::from_utf8_lossy(&more));
        }
    }

    /// Changes the window's size, as a window manager does.
    pub fn resize(&mut self, rows: u16, columns: u16) {
        let name = ttyname(&self.screen).unwrap();
        let (rows, columns) = (rows.to_string(), columns.to_string());
        let mut stty = Command::new("stty");
        run(stty.arg("-F").arg(name).args(["rows", &rows, "cols", &columns]), b"", PATIENCE).ok();
        // The program does not have this as its controlling terminal, so the kernel does not tell it.
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), Signal::SIGWINCH).unwrap();
    }

    /// Waits for the program's end and gives its status.
    pub fn status(mut self, limit: Duration) -> i32 {
        wait(&mut self.child, &self.what, limit).code().unwrap_or(-1)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn read_on(mut screen: File) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = screen.read(&mut bytes) {
            if sender.send(bytes[..count].to_vec()).is_err() {
                return;
            }
        }
    });
    receiver
}
