//! An app's data, out and in.

use std::sync::Arc;

use gitd::{Channel, Ended};

use super::{Call, Console};
use crate::failure::Result;
use crate::names::AppName;
use crate::platform::Platform;

pub(super) async fn export(platform: &Arc<Platform>, name: &AppName, channel: Channel) -> Ended {
    let console = Console::new(channel);
    if let Err(failure) = console.check_no_terminal() {
        return console.end(Err(failure)).await;
    }
    let (_notice, notices) = console.output();
    let start = async { platform.export_data(&platform.app(name)?).await };
    console.hand_over(notices, start).await
}

pub(super) async fn import(call: &mut Call<'_>, name: &AppName) -> Result<()> {
    let archive = call.console.take_stdin()?;
    let app = call.app(name)?;
    let (output, text) = call.console.output();
    call.console.during(text, call.platform.import_data(&app, archive, &output)).await?;
    call.console.print(&format!("-----> Replaced the data of {name}\n")).await;
    Ok(())
}
