//! Commands that take the channel as it is, and not line by line.

use crate::names::{AppName, Process};

/// Commands that take the channel as it is, and not line by line.
#[derive(Debug, clap::Subcommand)]
pub(in crate::commands) enum Attached {
    /// Run a command in a new instance of its own
    Run {
        app: AppName,
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Open a shell in a running instance
    Enter { app: AppName, process: Option<Process> },
    /// Write a tar of the app's data/ to standard output
    #[command(name = "data:export")]
    ExportData { app: AppName },
}
