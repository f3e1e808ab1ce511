//! Process types: those of the buildpacks' `launch.toml`, then the Procfile's over them.

use std::io;
use std::path::Path;

use super::BuildError;
use super::files::{Command, LaunchFile, ProcessEntry};
use super::run::Built;
use super::workplace::app_directory;
use crate::directory::Directory;
use crate::procfile::{self, ProcfileError};
use crate::target::is_for_us;
use crate::{Buildpack, Output, ProcessType};

/// Longest Procfile.
const LONGEST: u64 = 1024 * 1024;
/// The process type that requests are for.
const WEB: &str = "web";

/// The tree's Procfile; no process types if there is none. A link is not followed.
pub(super) fn read_procfile(source: &Path) -> Result<Vec<ProcessType>, BuildError> {
    let read = Directory::open(source).and_then(|source| source.read(b"Procfile", LONGEST));
    match read {
        Ok(Some(text)) => Ok(procfile::parse(&text)?),
        Ok(None) => Ok(Vec::new()),
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData) => {
            Err(ProcfileError { line: 1, reason: format!("the file {error}; expected a text file") }.into())
        }
        Err(error) => Err(BuildError::io("reading Procfile")(error)),
    }
}

/// All process types of the app, told to the user as Heroku does.
pub(super) async fn discover(
    source: &Path,
    built: &[Built],
    output: &dyn Output,
) -> Result<Vec<ProcessType>, BuildError> {
    let declared = read_procfile(source)?;
    let mut defaults = merge(built.iter().flat_map(|built| &built.processes).map(|declared| declared.process.clone()));
    if declared.is_empty() {
        add_web(&mut defaults, default_type(built));
    }
    let told = describe(&declared, &defaults) + &left_out(built);
    output.write(told.as_bytes()).await;
    Ok(merge(defaults.into_iter().chain(declared)))
}

/// A process type as a buildpack has declared it.
#[derive(Debug, Clone)]
pub(super) struct Declared {
    pub(super) process: ProcessType,
    /// Whether it is what runs if nobody says what.
    pub(super) default: bool,
}

/// The process types of a buildpack's `launch.toml`; and the names of those that are legal, but not here.
pub(super) fn of_launch_file(
    buildpack: &Buildpack,
    launch: LaunchFile,
) -> Result<(Vec<Declared>, Vec<String>), BuildError> {
    let malformed = |reason: String| BuildError::malformed(&buildpack.id, "launch.toml", reason);
    let (mut processes, mut left_out) = (Vec::new(), Vec::new());
    for entry in launch.processes.into_iter().filter(|entry| is_for_us(&entry.exec_env)) {
        if is_legal(&entry.name) && !procfile::is_name(&entry.name) {
            left_out.push(entry.name);
            continue;
        }
        let default = entry.default;
        let process = process(buildpack.api_minor(), entry).map_err(malformed)?;
        processes.push(Declared { process, default });
    }
    Ok((processes, left_out))
}

/// What the specification allows as the name of a process type, within bounds.
fn is_legal(name: &str) -> bool {
    (1..=200).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
}

/// The last that says so is the default, unless it is then declared anew without saying so.
fn default_type(built: &[Built]) -> Option<&str> {
    built.iter().flat_map(|built| &built.processes).fold(None, |default, declared| {
        let name = declared.process.name.as_str();
        if declared.default { Some(name) } else { default.filter(|earlier| *earlier != name) }
    })
}

/// Where nobody names a web process, the default process is it.
fn add_web(processes: &mut Vec<ProcessType>, default: Option<&str>) {
    if processes.iter().all(|process| process.name != WEB)
        && let Some(process) = processes.iter().find(|process| Some(process.name.as_str()) == default)
    {
        processes.push(ProcessType { name: WEB.into(), ..process.clone() });
    }
}

fn describe(declared: &[ProcessType], defaults: &[ProcessType]) -> String {
    let is_declared = |name: &str| declared.iter().any(|process| process.name == name);
    let own: Vec<_> = declared.iter().map(|process| process.name.as_str()).collect();
    let default: Vec<_> =
        defaults.iter().map(|process| process.name.as_str()).filter(|name| !is_declared(name)).collect();
    let own = if own.is_empty() { "(none)".to_owned() } else { own.join(", ") };
    let text = format!("-----> Discovering process types\n       Procfile declares types -> {own}\n");
    if default.is_empty() {
        return text;
    }
    format!("{text}       Default types for buildpack -> {}\n", default.join(", "))
}

/// What of the buildpacks' process types cannot be had here.
fn left_out(built: &[Built]) -> String {
    let of = |built: &Built, name: &str| {
        let id = &built.buildpack.id;
        format!(" !     {name} of {id} is left out: process types have 1 to 30 letters, digits, - and _\n")
    };
    built.iter().flat_map(|built| built.left_out.iter().map(|name| of(built, name))).collect()
}

/// The last definition of a name wins and takes the place of the first.
fn merge(processes: impl Iterator<Item = ProcessType>) -> Vec<ProcessType> {
    let mut merged: Vec<ProcessType> = Vec::new();
    for process in processes {
        match merged.iter_mut().find(|earlier| earlier.name == process.name) {
            Some(earlier) => *earlier = process,
            None => merged.push(process),
        }
    }
    merged
}

fn process(api_minor: u32, entry: ProcessEntry) -> Result<ProcessType, String> {
    let ProcessEntry { name, command, args, direct, working_dir, .. } = entry;
    let direct = direct || api_minor >= 9;
    let working_dir = working_dir.filter(|_| api_minor >= 8);
    if !procfile::is_name(&name) {
        return Err(format!("{name:?} cannot name a process type (1 to 30 letters, digits, - and _)"));
    }
    let argv = match command {
        Command::Argv(mut argv) if api_minor >= 9 => {
            argv.extend(args);
            argv
        }
        // Before 0.9 a command was one line, for a shell unless it was `direct`.
        Command::Line(line) if api_minor < 9 && !direct => by_bash(line, args),
        Command::Line(program) if api_minor < 9 => std::iter::once(program).chain(args).collect(),
        Command::Argv(_) | Command::Line(_) => {
            return Err(format!(
                "the command of {name} has the wrong type: a list since Buildpack API 0.9, a text before"
            ));
        }
    };
    if argv.first().is_none_or(String::is_empty) || argv.iter().any(|word| word.contains('\0')) {
        return Err(format!("{name} has no command, or one with a NUL byte"));
    }
    let command = shown(&argv);
    Ok(ProcessType { name, argv: in_directory(working_dir, argv), command, direct })
}

/// A line as it is; with arguments, all words are expanded as in double quotes, as the reference lifecycle does.
fn by_bash(line: String, arguments: Vec<String>) -> Vec<String> {
    if arguments.is_empty() {
        return ["bash", "-c", &line].map(str::to_owned).into();
    }
    let words = (0..=arguments.len()).map(|n| format!(r#""$(eval echo \"${{{n}}}\")""#));
    let script = format!("exec {}", words.collect::<Vec<_>>().join(" "));
    ["bash".to_owned(), "-c".to_owned(), script, line].into_iter().chain(arguments).collect()
}

/// The line of `sh -c LINE`, otherwise the words, quoted where a shell would need it.
fn shown(argv: &[String]) -> String {
    if let [shell, flag, line] = argv
        && matches!(shell.as_str(), "sh" | "bash" | "/bin/sh" | "/bin/bash")
        && flag == "-c"
    {
        return line.clone();
    }
    argv.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_=+./:@%,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Processes start in the app's directory; a shell inside changes to another.
fn in_directory(directory: Option<String>, argv: Vec<String>) -> Vec<String> {
    match directory.filter(|directory| !directory.is_empty() && directory != "." && directory != app_directory()) {
        Some(directory) => {
            let change = ["sh", "-c", r#"cd -- "$0" && exec "$@""#, &directory].map(str::to_owned);
            change.into_iter().chain(argv).collect()
        }
        None => argv,
    }
}
