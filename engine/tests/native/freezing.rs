//! Instances that are stopped for a while.

use std::sync::Arc;
use std::time::Duration;

use engine::native::Native;
use engine::{Engine, EngineError, Exit};

use crate::limits::lacks;
use crate::world::{World, command, id, stories};

stories![
    a_frozen_instance_stands_still,
    a_frozen_instance_can_be_stopped,
    a_frozen_instance_can_be_killed,
    a_later_daemon_thaws,
    what_cannot_be_frozen,
];

/// Long enough for a loop that turns every few milliseconds to be noticed.
const WHILE: Duration = Duration::from_millis(200);
const COUNTS: &str = "trap 'exit 12' TERM; while :; do echo turn; sleep 0.005; done";

async fn a_frozen_instance_stands_still(world: Arc<World>) {
    if lacks(&world, |abilities| abilities.freeze) {
        return;
    }
    let id = world.launch("a", COUNTS).await;
    world.logged("turn").await;
    for _ in 0..2 {
        world.engine.freeze(&id).await.unwrap();
        world.engine.freeze(&id).await.unwrap();
        // What it wrote before may still be on its way into the log.
        tokio::time::sleep(WHILE).await;
        let before = world.log().len();
        tokio::time::sleep(WHILE).await;
        assert_eq!(world.log().len(), before);
        let refused = world.engine.exec(&id, &command("true"), None).await.unwrap_err();
        assert!(refused.to_string().contains("frozen"), "{refused}");
        assert!(world.engine.list().await.unwrap()[0].pid.is_some());
        world.engine.thaw(&id).await.unwrap();
        world.engine.thaw(&id).await.unwrap();
        crate::world::until(|| world.log().len() > before).await;
        assert_eq!(world.exec(&id, "exit 7").await.exit, Exit::Status(7));
    }
}

async fn a_frozen_instance_can_be_stopped(world: Arc<World>) {
    if lacks(&world, |abilities| abilities.freeze) {
        return;
    }
    let id = world.launch("a", COUNTS).await;
    world.logged("turn").await;
    world.engine.freeze(&id).await.unwrap();
    assert_eq!(world.engine.stop(&id, Duration::from_secs(20)).await.unwrap(), Exit::Status(12));
}

async fn a_frozen_instance_can_be_killed(world: Arc<World>) {
    if lacks(&world, |abilities| abilities.freeze) {
        return;
    }
    let id = world.launch("a", "trap '' TERM; echo ready; while :; do sleep 0.01; done").await;
    world.logged("ready").await;
    world.engine.freeze(&id).await.unwrap();
    assert_eq!(world.engine.stop(&id, Duration::ZERO).await.unwrap(), Exit::Signal(9));
}

async fn a_later_daemon_thaws(world: Arc<World>) {
    if lacks(&world, |abilities| abilities.freeze) {
        return;
    }
    let id = world.launch("a", COUNTS).await;
    world.engine.freeze(&id).await.unwrap();
    let later = Native::new(world.path("run")).unwrap();
    later.thaw(&id).await.unwrap();
    let before = world.log().len();
    crate::world::until(|| world.log().len() > before).await;
    later.freeze(&id).await.unwrap();
    drop(later);
    world.engine.thaw(&id).await.unwrap();
    assert_eq!(world.exec(&id, "exit 7").await.exit, Exit::Status(7));
}

async fn what_cannot_be_frozen(world: Arc<World>) {
    let able = world.engine.abilities().freeze.is_ok();
    let unknown = world.engine.freeze(&id("nobody")).await.unwrap_err();
    assert!(matches!(unknown, EngineError::Unknown(_)) == able, "{unknown}");
    let id = world.launch("a", "exit 0").await;
    world.engine.wait(&id).await.unwrap();
    let ended = world.engine.freeze(&id).await.unwrap_err();
    assert!(matches!(ended, EngineError::NotRunning(_)) == able, "{ended}");
    assert!(matches!(world.engine.thaw(&id).await, Err(EngineError::NotRunning(_))));
    if !able {
        assert!(matches!(ended, EngineError::Unsupported(_)), "{ended}");
    }
}
