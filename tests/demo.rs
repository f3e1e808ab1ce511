//! `airstrip demo`: what a stranger types first.

use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::{Live, PATIENCE, processes_that_mention, run, wait_until};

/// A first demo may fetch what it installs.
const LIMIT: Duration = Duration::from_secs(300);

/// Where a demo keeps what it makes, apart from other demos.
struct Scratch(tempfile::TempDir);

impl Scratch {
    fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("demo-").tempdir().unwrap();
        // As root, apps have users of their own: they must get through.
        std::fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        // What tools of the machine keep in their user's home is their own affair.
        for name in ["t", "h"] {
            std::fs::create_dir(directory.path().join(name)).unwrap();
        }
        Self(directory)
    }

    fn demo(&self) -> Command {
        let mut demo = Command::new(env!("CARGO_BIN_EXE_airstrip"));
        demo.arg("demo").env("TMPDIR", self.0.path().join("t")).env("HOME", self.0.path().join("h"));
        demo
    }

    #[track_caller]
    fn assert_nothing_is_left(&self) {
        let mark = self.0.path().file_name().unwrap().to_string_lossy().into_owned();
        assert_eq!(processes_that_mention(&mark), []);
        let left = std::fs::read_dir(self.0.path().join("t")).unwrap().map(|entry| entry.unwrap().file_name());
        assert_eq!(left.collect::<Vec<_>>(), Vec::<std::ffi::OsString>::new());
    }
}

#[test]
fn the_demo_ends_with_0_and_leaves_nothing() {
    let scratch = Scratch::new();
    let reply = run(scratch.demo().arg("--exit"), b"", LIMIT).ok();
    let said = reply.out() + &reply.err();
    for expected in ["-----> ", "=====> hello v1 is live in", "http://hello.localhost:", "Hello"] {
        assert!(said.contains(expected), "{expected:?} should be shown: {reply}");
    }
    scratch.assert_nothing_is_left();
}

/// A key press. Whether the demo has ended.
fn press(demo: &mut Live, signal: Signal) -> bool {
    demo.signal(signal);
    std::thread::sleep(Duration::from_millis(1));
    !demo.runs()
}

/// A terminal that is closed, and somebody who keeps pressing Ctrl-C.
#[test]
fn the_demo_leaves_nothing_however_it_is_ended() {
    for signal in [Signal::SIGINT, Signal::SIGHUP, Signal::SIGTERM] {
        let scratch = Scratch::new();
        let mut demo = Live::start(&mut scratch.demo());
        demo.wait_for("Ctrl-C ends the demo", LIMIT);
        // An instance may take 30 s to stop.
        wait_until("the demo's end", LIMIT, || (0..20).any(|_| press(&mut demo, signal)));
        demo.finish(PATIENCE).ok();
        scratch.assert_nothing_is_left();
    }
}
