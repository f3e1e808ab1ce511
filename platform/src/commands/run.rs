//! Programs inside an app, the user's terminal or pipes connected to them.

use std::sync::Arc;

use gitd::{Channel, Ended};

use super::Console;
use crate::inside::{Program, client_terminal};
use crate::names::{AppName, Process};
use crate::platform::Platform;

pub(super) async fn one_off(platform: &Arc<Platform>, name: &AppName, words: Vec<String>, channel: Channel) -> Ended {
    let (env, size) = client_terminal(&channel);
    let console = Console::new(channel);
    let (_notice, notices) = console.output();
    let start = async { platform.one_off(&platform.app(name)?, words, &env, size).await };
    console.hand_over(notices, start).await
}

pub(super) async fn enter(
    platform: &Arc<Platform>,
    name: &AppName,
    place: Option<&Process>,
    channel: Channel,
) -> Ended {
    let (env, size) = client_terminal(&channel);
    let console = Console::new(channel);
    let (notice, notices) = console.output();
    let start = async { platform.enter(&platform.app(name)?, place, Program::Shell, &env, size, &notice).await };
    console.hand_over(notices, start).await
}
