//! Starts that fail, and what a start leaves on the disk.

use std::fs;
use std::sync::Arc;

use engine::MountKind::ReadOnly;
use engine::{Exit, Spec};

use crate::world::{World, cases, command, id, mount, output};

cases![a_setup_that_fails_names_its_step, records_hold_no_secrets, one_offs_are_not_on_disk];

async fn a_setup_that_fails_names_its_step(world: Arc<World>) {
    let spec = || world.spec("true");
    let mut no_directory = spec();
    no_directory.command.cwd = "/no/such".into();
    let no_source = Spec { mounts: vec![mount("/no/such", "/x", ReadOnly)], ..spec() };
    let (outer, inner) = (world.owned_dir("outer"), world.owned_dir("inner"));
    let mounts = vec![mount(&outer, "/x", ReadOnly), mount(&inner, "/x/missing", ReadOnly)];
    let no_target = Spec { mounts, ..spec() };
    let (mut no_log, log) = (spec(), world.path("missing/log"));
    no_log.log.as_mut().unwrap().path.clone_from(&log);
    let cases = [
        (no_directory, "chdir(/no/such): No such file or directory".to_owned()),
        (no_source, "open_tree(/no/such): No such file or directory".to_owned()),
        (no_target, "mkdir(/x/missing): Read-only file system".to_owned()),
        (no_log, format!("open {}: No such file or directory", log.display())),
    ];
    for (spec, reason) in cases {
        let error = world.engine.launch(&id("a"), &spec, "").await.unwrap_err();
        assert_eq!(error.to_string(), format!("sandbox of a: {reason}"));
    }
    assert_eq!(world.engine.list().await.unwrap(), []);
}

async fn records_hold_no_secrets(world: Arc<World>) {
    let id = world.launch("a", "exec sleep 86422").await;
    let process = world.engine.exec(&id, &command("exec sleep 86423"), None).await.unwrap();
    let kept = fs::read_to_string(world.path("run/a/instance.json")).unwrap();
    assert!(!kept.contains("s3cret"), "{kept}");
    drop(process);
}

async fn one_offs_are_not_on_disk(world: Arc<World>) {
    let process = world.engine.attach(&id("a"), &world.spec("sleep 0.1"), None).await.unwrap();
    assert_eq!(fs::read_dir(world.path("run")).unwrap().count(), 0);
    assert_eq!(output(process).await.exit, Exit::Status(0));
}
