//! What happens when the daemon or a shim is killed. Every order of deaths is in `deaths`.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use engine::native::Native;
use engine::{Engine, EngineError, Exit, Process, Spec};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::holder;
use crate::world::{SIZE, World, cases, children, command, direct_children, id, spec_in, until, with_command_line};

cases![
    a_killed_shim_takes_its_instance_along,
    a_killed_joining_process_leaves_nothing,
    leftovers_of_a_cut_launch_are_swept,
    a_record_of_another_boot,
];

/// What the daemon of a case starts.
pub(crate) async fn begin(engine: Arc<dyn Engine>, dir: &Path, what: &str) -> Vec<Process> {
    match what {
        "keep launching" => keep_launching(&*engine, dir).await,
        "keep attaching" => keep_attaching(&*engine, dir, None).await,
        "keep joining" => keep_attaching(&*engine, dir, Some(id("a"))).await,
        _ => engine.launch(&id("a"), &silent(dir, "while :; do sleep 0.01; done"), "kept").await.unwrap(),
    }
    Vec::new()
}

/// To be killed at any moment of it.
async fn keep_launching(engine: &dyn Engine, dir: &Path) {
    holder::say();
    for number in 0.. {
        engine.launch(&id(&format!("a.{number}")), &silent(dir, "exec sleep 86435"), "").await.unwrap();
    }
}

/// In sandboxes of their own, or in that of an instance.
async fn keep_attaching(engine: &dyn Engine, dir: &Path, joined: Option<engine::InstanceId>) {
    let (spec, mut held) = (silent(dir, "exec sleep 86436"), Vec::new());
    if let Some(id) = &joined {
        engine.launch(id, &spec, "").await.unwrap();
    }
    holder::say();
    loop {
        held.push(match &joined {
            None => engine.attach(&id("b"), &spec, None).await.unwrap(),
            Some(id) => engine.exec(id, &spec.command, Some(SIZE)).await.unwrap(),
        });
    }
}

fn silent(dir: &Path, script: &str) -> Spec {
    Spec { log: None, ..spec_in(dir, script) }
}

async fn a_killed_shim_takes_its_instance_along(world: Arc<World>) {
    let id = world.launch("a", "trap '' TERM; setsid sleep 86431 & sleep 86431 & while :; do sleep 86431; done").await;
    // The shell, whose command line holds the words, too.
    until(|| with_command_line("sleep 86431").len() >= 4).await;
    let first = world.engine.list().await.unwrap()[0].pid.unwrap();
    let shim = children(std::process::id()).into_iter().find(|pid| children(*pid).contains(&first)).unwrap();
    let waiting = world.engine.wait(&id);
    kill(Pid::from_raw(i32::try_from(shim).unwrap()), Signal::SIGKILL).unwrap();
    assert_eq!(waiting.await.unwrap(), Exit::Lost);
    assert_eq!(with_command_line("sleep 86431"), Vec::<u32>::new(), "gone when wait returns");
    assert_eq!(world.engine.list().await.unwrap()[0].exit, Some(Exit::Lost));
    assert_eq!(world.engine.stop(&id, Duration::ZERO).await.unwrap(), Exit::Lost);
    assert!(matches!(world.engine.exec(&id, &command("true"), None).await, Err(EngineError::NotRunning(_))));
}

async fn a_killed_joining_process_leaves_nothing(world: Arc<World>) {
    let id = world.launch("a", "exec sleep 86432").await;
    let process =
        world.engine.exec(&id, &command("trap '' TERM HUP; sleep 86433; sleep 86433"), Some(SIZE)).await.unwrap();
    until(|| with_command_line("sleep 86433").len() >= 2).await;
    let own = direct_children(std::process::id());
    let helper = with_command_line("airstrip-join").into_iter().find(|pid| own.contains(pid)).unwrap();
    kill(Pid::from_raw(i32::try_from(helper).unwrap()), Signal::SIGKILL).unwrap();
    assert_eq!(process.control.wait().await.unwrap(), Exit::Lost);
    until(|| with_command_line("sleep 86433").is_empty()).await;
    let stopped = tokio::time::timeout(Duration::from_secs(10), world.engine.stop(&id, Duration::from_secs(5)));
    assert_eq!(stopped.await.expect("stop hangs").unwrap(), Exit::Signal(15));
}

async fn leftovers_of_a_cut_launch_are_swept(world: Arc<World>) {
    std::fs::create_dir(world.path("run/half")).unwrap();
    std::fs::write(world.path("run/half/instance.json.new"), "{").unwrap();
    assert_eq!(world.engine.list().await.unwrap(), []);
    let again = Native::new(world.path("run")).unwrap();
    assert!(!world.path("run/half").exists());
    assert_eq!(again.list().await.unwrap(), []);
}

/// After a reboot the pid may belong to anyone; nobody must be killed for it.
async fn a_record_of_another_boot(world: Arc<World>) {
    let mut bystander = Command::new("sleep").arg("86434").spawn().unwrap();
    std::fs::create_dir(world.path("run/old")).unwrap();
    let record = format!(
        r#"{{"labels":"old","started_at_ms":5,"pid":{},"pid_started":1,"boot":"5a5ec2ea-0000-4000-8000-000000000000"}}"#,
        bystander.id()
    );
    std::fs::write(world.path("run/old/instance.json"), record).unwrap();
    let listed = world.engine.list().await.unwrap();
    assert_eq!((listed[0].labels.as_str(), listed[0].exit, listed[0].pid), ("old", Some(Exit::Lost), None));
    assert_eq!(world.engine.stop(&id("old"), Duration::ZERO).await.unwrap(), Exit::Lost);
    assert!(bystander.try_wait().unwrap().is_none(), "it still runs");
    bystander.kill().unwrap();
    bystander.wait().unwrap();
}
