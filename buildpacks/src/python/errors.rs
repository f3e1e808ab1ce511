//! What users read when a build fails: a title, the cause, what to do, and below that the tool's own last words.

use std::io;

use super::diagnosis::failed;
use super::environment::EnvironmentError;
use super::installer::InstallError;
use super::interpreter::InterpreterError;
use super::project::ProjectError;
use super::static_files::StaticError;
use crate::message::{Message, disk_full, message};

/// Why a build failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PythonError {
    /// The tree.
    #[error(transparent)]
    Project(#[from] ProjectError),
    /// The interpreter.
    #[error(transparent)]
    Interpreter(#[from] InterpreterError),
    /// Django's static files.
    #[error(transparent)]
    Static(#[from] StaticError),
    /// The environment.
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
}

/// The lines to print.
pub(super) fn describe(error: &PythonError) -> Vec<String> {
    let message = match error {
        PythonError::Project(error) => project(error),
        PythonError::Interpreter(error) => interpreter(error),
        PythonError::Static(StaticError::Io(error)) => file("running manage.py", error),
        PythonError::Static(StaticError::Failed { log }) => static_files(log),
        PythonError::Environment(EnvironmentError::Install(error)) => install(error),
        PythonError::Environment(EnvironmentError::Io { doing, source }) => file(doing, source),
        PythonError::Environment(error @ (EnvironmentError::Elsewhere { .. } | EnvironmentError::NotShared)) => {
            message(
                "The platform contradicts itself",
                error.to_string(),
                &["Report this to whoever runs the platform."],
            )
        }
    };
    message.lines()
}

fn project(error: &ProjectError) -> Message {
    match error {
        ProjectError::TwoLocks(first, second) => message(
            "Two lock files",
            format!("The app has both {first} and {second}, which belong to different tools."),
            &["Delete the one that is not kept up to date."],
        ),
        ProjectError::Unsupported(file) => message(
            format!("{file} without a lock"),
            format!("The app has {file}, but neither a lock file of its tool nor a requirements.txt."),
            &[
                if *file == "Pipfile" {
                    "Lock it, and commit the lock: pipenv lock"
                } else {
                    "Lock it, and commit the lock: poetry lock"
                },
                "Write a requirements.txt and commit it.",
            ],
        ),
        ProjectError::NoManifest { lock, manifest } => message(
            format!("{lock} without {manifest}"),
            format!("{lock} does not say which of its packages the app asks for: that stands in {manifest}."),
            &["Commit it, too."],
        ),
        ProjectError::Stale { lock, manifest } => message(
            format!("{lock} is out of date"),
            format!("{manifest} was changed since {lock} was written."),
            &[match *lock {
                "Pipfile.lock" => "Run pipenv lock, commit Pipfile.lock, and push again.",
                _ => "Run poetry lock, commit poetry.lock, and push again.",
            }],
        ),
        ProjectError::Malformed { file, reason } => {
            message(format!("{file} cannot be read"), reason, &["Correct the file."])
        }
        ProjectError::Version(error) => message(
            "Unknown Python version",
            format!("{}: {:?} is no Python version.", error.file, error.text),
            &["Write a version such as 3.12, or delete the file to use the server's Python."],
        ),
        ProjectError::Io { file: name, source } => file(&format!("reading {name}"), source),
    }
}

fn interpreter(error: &InterpreterError) -> Message {
    match error {
        InterpreterError::Missing => message(
            "No Python on the server",
            "There is no python3 on the server's PATH.",
            &["Install Python on the server, for example: apt-get install python3"],
        ),
        InterpreterError::Broken { program, reason } => message(
            "Python does not run",
            format!("{program}: {reason}"),
            &["Repair the server's Python, or start the platform with another python3 first on its PATH."],
        ),
        InterpreterError::OtherVersion { wish, available } => Message {
            remedies: vec![
                match wish.file {
                    "pyproject.toml" => {
                        format!("Loosen what {} asks for, if the app runs with what is there.", wish.file)
                    }
                    file => format!("Ask for a version that is there: write {} into {file}.", minor(available)),
                },
                match wish.file {
                    file @ (".python-version" | "runtime.txt") => format!("Delete {file} to use the server's Python."),
                    _ => "Write a version that is there into .python-version, which comes first.".to_owned(),
                },
                format!("Install Python {wish} on the server."),
            ],
            ..message(
                format!("Python {wish} is not available"),
                format!("{} asks for Python {wish}. Available on this server: {available}.", wish.file),
                &[],
            )
        },
    }
}

/// Django's last line names the fault; for what comes from the configuration it is a missing variable.
fn static_files(log: &[String]) -> Message {
    let last = log.iter().rev().find(|line| !line.is_empty()).map_or("it says nothing", String::as_str);
    let module = last.split_once("No module named ").map(|(_, name)| name.trim_matches('\''));
    let remedy = match module {
        Some(name) => format!("Add the package that brings {name} to the requirements."),
        None => "If a variable is missing, set it for builds: an app's own configuration is not there in a build."
            .to_owned(),
    };
    Message {
        remedies: vec![remedy, "Set DISABLE_COLLECTSTATIC=1 for builds, if the app needs no static files.".to_owned()],
        log: log.to_vec(),
        ..message("The static files cannot be collected", last, &[])
    }
}

/// `3.11` of `3.11.7, 3.13`.
fn minor(version: &str) -> String {
    version.split(',').next().unwrap_or(version).split('.').take(2).collect::<Vec<_>>().join(".")
}

fn file(doing: &str, error: &io::Error) -> Message {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => disk_full(),
        _ => message("The build cannot go on", format!("{doing}: {error}"), &[]),
    }
}

fn install(error: &InstallError) -> Message {
    match error {
        InstallError::NoInstaller => message(
            "Nothing to install packages with",
            "Neither uv nor pip is available for the server's Python.",
            &["Install uv on the server.", "Install pip on the server, for example: apt-get install python3-pip"],
        ),
        InstallError::NeedsUv(file) => message(
            "uv is missing",
            format!("{file} can be installed by uv only, which is not available on the server."),
            &["Install uv on the server.", "Write a requirements.txt and commit it."],
        ),
        InstallError::Io { doing, source } => file(doing, source),
        InstallError::Failed { command, log, near } => {
            Message { log: log.clone(), ..failed(log, near).unwrap_or_else(|| unknown(command)) }
        }
    }
}

fn unknown(command: &str) -> Message {
    message(
        "Installing the dependencies failed",
        format!("'{command}' failed; its own words are below."),
        &["Correct the requirements.", "Try the same command in an empty environment of your own."],
    )
}
