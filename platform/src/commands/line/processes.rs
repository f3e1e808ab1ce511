//! Commands about what runs.

use crate::commands::arguments::{Form, Query, Scale, SleepSetting};
use crate::names::{AppName, Selector};

/// Commands about what runs.
#[derive(Debug, clap::Subcommand)]
pub(in crate::commands) enum Processes {
    /// List an app's instances
    #[command(name = "ps")]
    List {
        app: AppName,
        #[command(flatten)]
        form: Form,
    },
    /// Change how many instances run; without TYPE=N show it
    #[command(name = "ps:scale")]
    Scale {
        app: AppName,
        #[arg(value_name = "TYPE=N")]
        wanted: Vec<Scale>,
        #[command(flatten)]
        form: Form,
    },
    /// Replace instances by new ones of the same release
    #[command(name = "ps:restart", visible_alias = "restart")]
    Restart {
        app: AppName,
        /// `web`, or `web.2`
        #[arg(value_name = "PROCESS")]
        which: Option<Selector>,
    },
    /// End an app's instances
    #[command(name = "ps:stop")]
    Stop { app: AppName },
    /// Start what ps:stop ended
    #[command(name = "ps:start")]
    Start { app: AppName },
    /// Let an app sleep after a time without requests, until the next: after=TIME or off; without show it
    #[command(name = "ps:sleep")]
    Sleep {
        app: AppName,
        /// after=30m: its web instances are then frozen, and stopped after as long again
        #[arg(value_name = "after=TIME|off")]
        setting: Option<SleepSetting>,
        #[command(flatten)]
        form: Form,
    },
    /// Build and release the tip of the deploy branch anew
    #[command(name = "ps:rebuild")]
    Rebuild { app: AppName },
    /// End every instance, then the server; its next start launches the apps again
    #[command(name = "stop-all")]
    StopAll,
    /// Show an app's log
    Logs {
        app: AppName,
        #[command(flatten)]
        query: Query,
    },
}
