//! What happens when the daemon is killed.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use engine::{Engine, EngineError, Exit, Process};

use crate::holder::Holder;
use crate::world::{SIZE, World, alive, cases, command, id, spec_in, until, with_command_line};

cases![
    instances_and_their_logs_survive_the_daemon,
    one_offs_die_with_the_daemon,
    an_instance_whose_first_process_is_killed,
];

/// What the daemon of a case starts.
pub(crate) async fn begin(engine: Arc<dyn Engine>, dir: &Path, what: &str) -> Vec<Process> {
    let counting = "i=0; while ! [ -e /tmp/go ]; do echo line $i; i=$((i+1)); sleep 0.01; done; echo end $i; exit 13";
    let stubborn = "trap '' TERM HUP; sleep 86470 & sleep 86470; sleep 86470";
    let detached = "trap '' TERM HUP; setsid sleep 86470 & sleep 86470; sleep 86470";
    let mut held = Vec::new();
    if what == "attach" {
        held.push(engine.attach(&id("b"), &spec_in(dir, detached), None).await.unwrap());
        held.push(engine.attach(&id("c"), &spec_in(dir, detached), Some(SIZE)).await.unwrap());
    } else {
        engine.launch(&id("a"), &spec_in(dir, counting), "kept").await.unwrap();
    }
    if what == "exec" {
        held.push(engine.exec(&id("a"), &command(stubborn), None).await.unwrap());
        held.push(engine.exec(&id("a"), &command(stubborn), Some(SIZE)).await.unwrap());
    }
    held
}

/// No line is lost or written twice, while there is no daemon and when there is one again.
async fn instances_and_their_logs_survive_the_daemon(world: Arc<World>) {
    Holder::start(&world, "launch").kill();
    let seen = world.texts().len();
    until(|| world.texts().len() > seen + 20).await;
    let listed = world.engine.list().await.unwrap();
    assert_eq!((listed.len(), listed[0].labels.as_str(), listed[0].exit), (1, "kept", None));
    assert!(alive(listed[0].pid.unwrap()));
    // It may be killed by the end that it brings about.
    world.exec(&id("a"), "touch /tmp/go").await;
    assert_eq!(world.engine.wait(&id("a")).await.unwrap(), Exit::Status(13));
    let texts = world.texts();
    let lines = texts.len() - 1;
    let expected: Vec<String> = (0..lines).map(|number| format!("line {number}")).collect();
    assert_eq!((&texts[..lines], texts[lines].as_str()), (&expected[..], format!("end {lines}").as_str()));
}

async fn one_offs_die_with_the_daemon(world: Arc<World>) {
    for what in ["attach", "exec"] {
        let holder = Holder::start(&world, what);
        until(|| with_command_line("sleep 86470").len() >= 4).await;
        holder.kill();
        until(|| with_command_line("sleep 86470").is_empty()).await;
    }
    assert_eq!(world.engine.list().await.unwrap().len(), 1, "the instance goes on");
    // What is left on the disk the next daemon removes.
    while world.left().iter().any(|name| name.starts_with(".one-off")) {
        world.reopened().await;
    }
}

async fn an_instance_whose_first_process_is_killed(world: Arc<World>) {
    let id = world.launch("a", "trap '' TERM; setsid sleep 86471 & sleep 86471 & while :; do sleep 86471; done").await;
    // The shell, whose command line holds the words, too.
    until(|| with_command_line("sleep 86471").len() >= 4).await;
    let first = world.engine.list().await.unwrap()[0].pid.unwrap();
    let waiting = world.engine.wait(&id);
    let pid = nix::unistd::Pid::from_raw(i32::try_from(first).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    let exit = waiting.await.unwrap();
    assert!(matches!(exit, Exit::Lost | Exit::Signal(9)), "{exit:?}");
    assert_eq!(with_command_line("sleep 86471"), Vec::<u32>::new(), "gone when wait returns");
    assert_eq!(world.engine.list().await.unwrap()[0].exit, Some(exit));
    assert_eq!(world.engine.stop(&id, Duration::ZERO).await.unwrap(), exit);
    assert!(matches!(world.engine.exec(&id, &command("true"), None).await, Err(EngineError::NotRunning(_))));
}
