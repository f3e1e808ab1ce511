//! Commands about configuration.

use crate::commands::arguments::{Assignment, Form};
use crate::commands::config::Scope;
use crate::names::{AppName, ConfigKey};

/// Commands about configuration.
#[derive(Debug, clap::Subcommand)]
pub(in crate::commands) enum Configuration {
    /// Show an app's configuration
    #[command(name = "config")]
    List {
        app: AppName,
        #[command(flatten)]
        scope: Scope,
        #[command(flatten)]
        form: Form,
    },
    /// Show one value
    #[command(name = "config:get")]
    Get {
        app: AppName,
        key: ConfigKey,
        #[command(flatten)]
        scope: Scope,
    },
    /// Set variables; `-` reads a dotenv file from standard input
    #[command(name = "config:set")]
    Set {
        app: AppName,
        #[arg(required = true, value_name = "KEY=VALUE")]
        assignments: Vec<Assignment>,
        #[command(flatten)]
        scope: Scope,
        /// Keep it for the next release
        #[arg(long)]
        no_restart: bool,
    },
    /// Remove variables
    #[command(name = "config:unset")]
    Unset {
        app: AppName,
        #[arg(required = true, value_name = "KEY")]
        keys: Vec<ConfigKey>,
        #[command(flatten)]
        scope: Scope,
        /// Keep it for the next release
        #[arg(long)]
        no_restart: bool,
    },
}
