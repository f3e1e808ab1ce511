//! What buildpacks have in common whose language has one tool that builds: a file by which apps are known, how failures are told, and for
//! compiled languages a layer that the programs go to, and the one that is the web process.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use libcnb::build::{BuildContext, BuildResult, BuildResultBuilder};
use libcnb::data::build_plan::BuildPlanBuilder;
use libcnb::data::launch::{LaunchBuilder, Process, ProcessBuilder};
use libcnb::data::{layer_name, process_type};
use libcnb::detect::{DetectContext, DetectResult, DetectResultBuilder};
use libcnb::generic::GenericMetadata;
use libcnb::layer::{CachedLayerDefinition, InvalidMetadataAction, RestoredLayerAction, UncachedLayerDefinition};

use crate::command::{End, run};
use crate::message::{Message, disk_full, message};
use crate::output;

/// Why a build failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ToolError {
    /// The machine does not have the tool.
    #[error("no {program} on the PATH")]
    Missing {
        /// Its name.
        program: &'static str,
        /// The language's.
        language: &'static str,
        /// How it can be had.
        install: &'static str,
    },
    /// It failed.
    #[error("{command} failed")]
    Failed {
        /// As a user would write it.
        command: String,
        /// What it printed.
        log: Vec<String>,
    },
    /// Reading or writing failed.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: String,
        /// The operating system's answer.
        source: io::Error,
    },
}

impl ToolError {
    /// Says what was being done.
    pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source }
    }

    /// The lines to print. `known` recognises what the tool says.
    fn describe(&self, known: impl FnOnce(&str) -> Option<Message>) -> Vec<String> {
        let message = match self {
            Self::Missing { program, language, install } => message(
                format!("No {language} on the server"),
                format!("There is no {program} on the server's PATH."),
                &[&format!("Install {language} on the server, for example: {install}")],
            ),
            Self::Failed { command, log } => {
                let unknown = || {
                    let cause = format!("'{command}' failed; its own words are below.");
                    message("The build failed", cause, &["Try the same command in a fresh clone of the repository."])
                };
                let full = |text: &str| text.contains("No space left on device").then(disk_full);
                let text = log.join("\n");
                Message { log: log.clone(), ..full(&text).or_else(|| known(&text)).unwrap_or_else(unknown) }
            }
            Self::Io { source, .. }
                if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) =>
            {
                disk_full()
            }
            Self::Io { doing, source } => message("The build cannot go on", format!("{doing}: {source}"), &[]),
        };
        message.lines()
    }
}

/// Runs a tool to its end. What `show` does not take is shown to the user.
pub(crate) fn run_tool(command: &mut Command, take: &mut dyn FnMut(&str) -> bool) -> Result<(), ToolError> {
    let words = std::iter::once(command.get_program()).chain(command.get_args()).map(|word| word.to_string_lossy());
    let shown = words.collect::<Vec<_>>().join(" ");
    let mut log = Vec::new();
    let ended = run(command, None, &mut |line| {
        if !take(line) && !line.is_empty() {
            output::detail(line);
            log.push(line.to_owned());
        }
    });
    match ended.map_err(ToolError::io(format!("starting {shown}")))? {
        End::Exited(status) if status.success() => Ok(()),
        _ => Err(ToolError::Failed { command: shown, log }),
    }
}

/// Takes apps that have `file` at their root.
pub(crate) fn detect<B>(context: &DetectContext<B>, file: &str) -> libcnb::Result<DetectResult, B::Error>
where
    B: libcnb::Buildpack,
{
    if context.app_dir.join(file).is_file() {
        DetectResultBuilder::pass().build_plan(BuildPlanBuilder::new().build()).build()
    } else {
        DetectResultBuilder::fail().build()
    }
}

/// A build that has made this web process, or none.
pub(crate) fn built(web: Option<Process>) -> libcnb::Result<BuildResult, ToolError> {
    let mut launch = LaunchBuilder::new();
    launch.processes(web);
    BuildResultBuilder::new().launch(launch.build()).build()
}

/// Tells why a build failed. `known` recognises what the tool says.
pub(crate) fn tell(error: libcnb::Error<ToolError>, known: impl FnOnce(&str) -> Option<Message>) {
    match error {
        libcnb::Error::BuildpackError(error) => output::error(&error.describe(known)),
        other => output::error(&[other.to_string()]),
    }
}

/// A directory of this app's own that the next build finds again.
pub(crate) fn cache<B>(context: &BuildContext<B>) -> libcnb::Result<PathBuf, B::Error>
where
    B: libcnb::Buildpack,
{
    let layer = context.cached_layer(
        layer_name!("cache"),
        CachedLayerDefinition {
            build: false,
            launch: false,
            invalid_metadata_action: &|_| InvalidMetadataAction::DeleteLayer,
            restored_layer_action: &|_: &GenericMetadata, _| RestoredLayerAction::KeepLayer,
        },
    )?;
    Ok(layer.path())
}

/// A layer for programs, which running apps find on their `PATH`. Returns where they go.
pub(crate) fn layer<B>(context: &BuildContext<B>) -> libcnb::Result<PathBuf, B::Error>
where
    B: libcnb::Buildpack<Error = ToolError>,
{
    let definition = UncachedLayerDefinition { build: false, launch: true };
    let bin = context.uncached_layer(layer_name!("programs"), definition)?.path().join("bin");
    fs::create_dir_all(&bin).map_err(ToolError::io("making the programs' layer"))?;
    Ok(bin)
}

/// The `web` process, if the app does not say itself what that is: the program that is called so or as the app, or the only one.
pub(crate) fn web(app: &Path, programs: &[String], main: Option<&str>) -> Option<Process> {
    let is_web = |line: &str| line.split_once(':').is_some_and(|(name, _)| name.trim() == "web");
    if fs::read_to_string(app.join("Procfile")).is_ok_and(|text| text.lines().any(is_web)) {
        return None;
    }
    let called = |name: &str| programs.iter().find(|program| *program == name);
    let only = if let [only] = programs { Some(only) } else { None };
    let Some(program) = called("web").or(main.and_then(called)).or(only) else {
        output::step("No web process: which of the programs it is, a Procfile can say, such as: web: NAME");
        return None;
    };
    output::step(&format!("Serving by the program {program}"));
    Some(ProcessBuilder::new(process_type!("web"), [program.as_str()]).default(true).build())
}

impl From<ToolError> for libcnb::Error<ToolError> {
    fn from(error: ToolError) -> Self {
        Self::BuildpackError(error)
    }
}
