//! What happens when the daemon or a shim is killed. Every order of deaths is in `deaths`.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;

use engine::native::Native;
use engine::{Engine, EngineError, Exit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::world::{SIZE, World, children, command, direct_children, id, stories, until, with_command_line};

stories![
    a_killed_shim_takes_its_instance_along,
    a_killed_joining_process_leaves_nothing,
    leftovers_of_a_cut_launch_are_swept,
    a_record_of_another_boot,
];

/// The word that makes this binary a daemon for a test: it starts something, says so, and waits to be killed.
pub(crate) const HOLDER: &str = "hold";

/// `hold RUN_DIR WHAT`
pub(crate) fn hold(words: &[String]) -> ExitCode {
    let [run_dir, what] = words else { return ExitCode::FAILURE };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let engine = Native::new(PathBuf::from(run_dir)).unwrap();
        match what.as_str() {
            "keep launching" => keep_launching(&engine).await,
            "keep attaching" => keep_attaching(&engine, None).await,
            "keep joining" => keep_attaching(&engine, Some(id("a"))).await,
            _ => engine.launch(&id("a"), &spec("while :; do sleep 0.01; done"), "kept").await.unwrap(),
        }
        println!("holding");
        std::future::pending::<ExitCode>().await
    })
}

/// To be killed at any moment of it.
async fn keep_launching(engine: &Native) {
    println!("holding");
    for number in 0.. {
        engine.launch(&id(&format!("a.{number}")), &spec("exec sleep 86435"), "").await.unwrap();
    }
}

/// In sandboxes of their own, or in that of an instance.
async fn keep_attaching(engine: &Native, joined: Option<engine::InstanceId>) {
    let (spec, mut held) = (spec("exec sleep 86436"), Vec::new());
    if let Some(id) = &joined {
        engine.launch(id, &spec, "").await.unwrap();
    }
    println!("holding");
    loop {
        held.push(match &joined {
            None => engine.attach(&id("b"), &spec, None).await.unwrap(),
            Some(id) => engine.exec(id, &spec.command, Some(SIZE)).await.unwrap(),
        });
    }
}

fn spec(script: &str) -> engine::Spec {
    engine::Spec {
        hostname: "blog".to_owned(),
        host_uid: crate::world::HOST_UID,
        mounts: Vec::new(),
        symlinks: Vec::new(),
        command: command(script),
        log: None,
        limits: engine::Limits::default(),
        egress: engine::Egress::default(),
        egress_exceptions: Vec::new(),
        internal: None,
    }
}

/// A daemon of a story's own, to be killed.
pub(crate) struct Holder(Child);

impl Holder {
    pub(crate) fn start(world: &World, what: &str) -> Self {
        let mut command = Command::new("/proc/self/exe");
        let mut child = command.arg(HOLDER).arg(world.path("run")).arg(what).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "holding\n");
        Self(child)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// As a crash or the kernel's memory shortage would.
    pub(crate) fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
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
