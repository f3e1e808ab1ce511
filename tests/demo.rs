//! `airstrip demo`: what a stranger types first.

use std::process::Command;
use std::time::Duration;

use crate::harness::{processes_that_mention, run};

#[test]
fn the_demo_ends_with_0_and_leaves_nothing() {
    let scratch = tempfile::Builder::new().prefix("demo-").tempdir().unwrap();
    let mark = scratch.path().file_name().unwrap().to_string_lossy().into_owned();
    // As root, apps have users of their own: they must get through.
    std::fs::set_permissions(scratch.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    // What tools of the machine keep in their user's home is their own affair.
    let (temporary, home) = (scratch.path().join("t"), scratch.path().join("h"));
    for directory in [&temporary, &home] {
        std::fs::create_dir(directory).unwrap();
    }
    let mut demo = Command::new(env!("CARGO_BIN_EXE_airstrip"));
    demo.args(["demo", "--exit"]).env("TMPDIR", &temporary).env("HOME", &home);
    let reply = run(&mut demo, b"", Duration::from_secs(300)).ok();
    let said = reply.out() + &reply.err();
    for expected in ["-----> ", "=====> hello v1 is live in", "http://hello.localhost:", "Hello"] {
        assert!(said.contains(expected), "{expected:?} should be shown: {reply}");
    }
    assert_eq!(processes_that_mention(&mark), []);
    let left: Vec<_> = std::fs::read_dir(&temporary).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, Vec::<std::ffi::OsString>::new(), "{reply}");
}
