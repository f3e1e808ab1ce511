//! The program's own command line: `serve`, `demo`, and every command that the daemon of a home carries out.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Parser, Subcommand};

use crate::failure::Failure;
use crate::handover::Predecessor;
use crate::settings::{Flags, Settings, home};
use crate::{control, demo, home, server};

/// A self-hosted push-to-deploy platform in one binary.
#[derive(Debug, Parser)]
#[command(name = "airstrip", version, disable_help_subcommand = true, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    action: Action,
    /// Home directory of the server [default: /var/lib/airstrip as root, else `$XDG_DATA_HOME/airstrip`]
    #[arg(long, env = "AIRSTRIP_HOME", value_name = "DIR", global = true)]
    home: Option<PathBuf>,
}

const AFTER_HELP: &str = "Every other command goes to the running server: `airstrip help` lists them.";

#[derive(Debug, Subcommand)]
enum Action {
    /// Run the server
    Serve(Box<Serve>),
    /// Show the main job: a server in a temporary home, a real git push, the page
    Demo(Demo),
    /// A command for the running server
    #[command(external_subcommand)]
    Command(Vec<OsString>),
}

#[derive(Debug, Args)]
struct Serve {
    #[command(flatten)]
    flags: Flags,
    /// Form of the log on standard error
    #[arg(long, value_enum, default_value = "text", value_name = "FORMAT")]
    log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Args)]
struct Demo {
    /// End after the first request, with status 0 if all went well
    #[arg(long)]
    exit: bool,
}

/// Runs the program.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _shown = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&Failure::io("starting", &error)),
    };
    let result = runtime.block_on(run(cli));
    // Reading standard input blocks a thread that cannot be woken; it must not keep the program from ending.
    runtime.shutdown_background();
    match result {
        Ok(status) => ExitCode::from(status),
        Err(failure) => fail(&failure),
    }
}

async fn run(cli: Cli) -> Result<u8, Failure> {
    match cli.action {
        Action::Serve(serve) => {
            log_to_stderr(serve.log_format);
            serve_in_turn(cli.home, serve.flags).await.map(|()| 0)
        }
        Action::Demo(how) => demo::run(how.exit).await.map(|()| 0),
        Action::Command(words) => {
            let home = home(cli.home).map_err(|e| Failure::plain(e.to_string()))?;
            let words: Vec<String> = words.into_iter().map(|word| word.to_string_lossy().into_owned()).collect();
            let status = control::call(&home::control_socket(&home), words.clone()).await?;
            if status == 0 && words.first().is_some_and(|word| word == "stop-all") {
                home::wait_until_free(&home).await?;
            }
            Ok(status)
        }
    }
}

/// Serves; if that fails, whoever started this server to be replaced by it is told.
async fn serve_in_turn(home: Option<PathBuf>, flags: Flags) -> Result<(), Failure> {
    let predecessor = Predecessor::find().map_err(|e| Failure::io("taking over from the running server", &e))?;
    let predecessor = predecessor.map(Arc::new);
    let served = async {
        let settings = Settings::resolve(home, flags).map_err(|e| Failure::plain(e.to_string()))?;
        server::serve(settings, predecessor.clone()).await
    };
    let served = served.await;
    if let (Some(predecessor), Err(failure)) = (predecessor, &served) {
        predecessor.failed(failure);
    }
    served
}

fn log_to_stderr(format: LogFormat) {
    use std::io::IsTerminal;
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours);
    match format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
}

#[expect(clippy::print_stderr, reason = "the program's last words")]
fn fail(failure: &Failure) -> ExitCode {
    for line in failure.lines() {
        eprintln!("{line}");
    }
    ExitCode::FAILURE
}
