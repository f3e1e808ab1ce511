//! Commands about limits.

use crate::commands::arguments::Form;
use crate::commands::resources::{ClearWord, LimitWord};
use crate::names::AppName;

/// Commands about limits.
#[derive(Debug, clap::Subcommand)]
pub(in crate::commands) enum Resources {
    /// Show how much of the machine each instance may use
    #[command(name = "resource")]
    List {
        app: AppName,
        #[command(flatten)]
        form: Form,
    },
    /// Limit what each instance may use: memory, cpu, pids, files, tmp, code, log; what all share: data
    #[command(name = "resource:limit")]
    Limit {
        app: AppName,
        /// PROC: a process type, `run` for one-offs, `build` for builds; without it whatever runs.
        /// memory=512M, cpu=1.5 (processors), pids=256 (processes and threads), files=65536 (open at once),
        /// tmp=256M (in /tmp and the home), code=256M (written over the code), log=5M (each of two files),
        /// data=1G (in data/, which all of an app share: without PROC); memory, cpu, pids and data may be `none`.
        /// Builds only: time=15m, detect-time=60s (for finding out what builds it), disk=10G and inodes=1000000 (code, layers
        /// and /tmp together), log=16M (what one prints)
        #[arg(required = true, value_name = "[PROC] K=V")]
        words: Vec<LimitWord>,
    },
    /// Take limits back: all that were set, or those named
    #[command(name = "resource:limit-clear")]
    Clear {
        app: AppName,
        /// Names as for resource:limit; PROC first for those of one process type
        #[arg(value_name = "KEY")]
        words: Vec<ClearWord>,
    },
}
