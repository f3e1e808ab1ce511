//! Commands about apps.

use crate::commands::arguments::Form;
use crate::names::AppName;

/// Commands about apps.
#[derive(Debug, clap::Subcommand)]
pub(in crate::commands) enum Apps {
    /// List the apps
    #[command(name = "apps", visible_alias = "apps:list")]
    List(#[command(flatten)] Form),
    /// Make an app (a first push does that too)
    #[command(name = "apps:create")]
    Create { app: AppName },
    /// Remove an app and everything of it, its data too
    #[command(name = "apps:destroy")]
    Destroy {
        app: AppName,
        /// The app's name once more
        #[arg(long, value_name = "APP")]
        confirm: Option<AppName>,
        /// Without asking for the name once more
        #[arg(long)]
        force: bool,
    },
    /// Give an app another name, and with it another address
    #[command(name = "apps:rename")]
    Rename {
        app: AppName,
        #[arg(value_name = "NEW")]
        to: AppName,
    },
    /// Show what is known about an app
    #[command(name = "apps:info")]
    Info {
        app: AppName,
        #[command(flatten)]
        form: Form,
    },
    /// Show where an app answers
    Url { app: AppName },
    /// Print Host blocks for ~/.ssh/config, so that `ssh APP` works
    #[command(name = "ssh-config")]
    SshConfig,
}
