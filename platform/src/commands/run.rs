//! Programs inside an app, the user's terminal or pipes connected to them.

use std::sync::Arc;

use super::line::Attached;
use gitd::{Channel, Ended};

use super::Console;
use crate::inside::{Program, client_terminal};
use crate::names::{AppName, Process};
use crate::platform::Platform;

/// Carries out a command that takes the channel as it is.
pub(super) async fn attached(platform: &Arc<Platform>, command: Attached, channel: Channel) -> Ended {
    match command {
        Attached::Run { app, command } => one_off(platform, &app, command, channel).await,
        Attached::Enter { app, process } => enter(platform, &app, process.as_ref(), channel).await,
        Attached::ExportData { app } => super::data::export(platform, &app, channel).await,
    }
}

async fn one_off(platform: &Arc<Platform>, name: &AppName, words: Vec<String>, channel: Channel) -> Ended {
    let (env, size) = client_terminal(&channel);
    let console = Console::new(channel);
    let (_notice, notices) = console.output();
    let start = async { platform.one_off(&platform.app(name)?, words, &env, size).await };
    console.hand_over(notices, start).await
}

async fn enter(platform: &Arc<Platform>, name: &AppName, place: Option<&Process>, channel: Channel) -> Ended {
    let (env, size) = client_terminal(&channel);
    let console = Console::new(channel);
    let (notice, notices) = console.output();
    let start = async { platform.enter(&platform.app(name)?, place, Program::Shell, &env, size, &notice).await };
    console.hand_over(notices, start).await
}
