//! Installs a project's dependencies into an environment: with uv if it is there, else with the interpreter's own pip.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::index::IndexSettings;
use super::interpreter::{Interpreter, on_path};
use super::project::{Project, Source};
use super::resolve;
use crate::command::{End, Limit, run};
use crate::output;

/// 1980-01-01T00:00:01Z, which zip files can express, too.
const EPOCH: &str = "315532801";

/// What is to be installed, and with what.
#[derive(Debug)]
pub(super) struct Installer<'a> {
    pub(super) project: &'a Project,
    /// A package besides what the project asks for.
    pub(super) extra: Option<&'static str>,
    pub(super) index: IndexSettings,
    /// Whether the user knows already what is being installed.
    pub(super) is_said: bool,
    /// None: pip.
    uv: Option<PathBuf>,
}

/// Where it is to be installed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target<'a> {
    /// The interpreter that the environment is made for.
    pub(super) interpreter: &'a Interpreter,
    /// The environment, by its path inside.
    pub(super) environment: &'a Path,
    /// A directory that later builds of the app find again.
    pub(super) cache: &'a Path,
    /// A directory for this build only.
    pub(super) scratch: &'a Path,
    /// Whether nothing may run but the installer: wheels alone then.
    pub(super) wheels_alone: bool,
}

/// A file of requirements, and how it is to be read.
#[derive(Debug)]
pub(super) struct List {
    pub(super) file: PathBuf,
    pub(super) options: &'static [&'static str],
}

/// Of a lock nothing is missing, and each file's hash is known.
const HASHED: &[&str] = &["--no-deps", "--require-hashes"];

/// Nothing is installed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InstallError {
    /// Neither uv nor pip.
    #[error("neither uv nor pip is there")]
    NoInstaller,
    /// What only uv can read.
    #[error("{0} needs uv")]
    NeedsUv(&'static str),
    /// The installer said no.
    #[error("{command} failed")]
    Failed {
        /// The command, for people.
        command: String,
        /// What it printed, progress left out.
        log: Vec<String>,
        /// Versions that exist beside one that does not.
        near: Vec<String>,
    },
    /// It could not be run, or files not be read or written.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: String,
        /// The operating system's answer.
        source: io::Error,
    },
}

impl InstallError {
    pub(super) fn failed(command: &str, log: Vec<String>) -> Self {
        Self::Failed { command: command.to_owned(), log, near: Vec::new() }
    }
}

impl<'a> Installer<'a> {
    /// Prefers uv.
    pub(super) fn find(project: &'a Project, extra: Option<&'static str>, interpreter: &Interpreter) -> Self {
        Self { project, extra, index: IndexSettings::read(&interpreter.program), is_said: false, uv: on_path("uv") }
    }

    /// What of it decides about the result. uv is known by its program's size and time: to ask it would cost more than all the rest.
    pub(super) fn identity(&self) -> String {
        let uv = self.uv.as_ref().and_then(|uv| uv.metadata().ok());
        let tool = uv.map_or_else(|| "pip".to_owned(), |file| format!("uv {} {}", file.size(), file.mtime()));
        format!("{tool} {:?} {:?} {:?} {:?}", self.project.source, self.extra, self.index, settings())
    }

    /// Whether uv installs; else pip does.
    pub(super) fn has_uv(&self) -> bool {
        self.uv.is_some()
    }

    /// Whether there is anything to install.
    pub(super) fn has_work(&self) -> bool {
        self.project.source != Source::Nothing || self.extra.is_some()
    }

    /// Installs everything.
    pub(super) fn install(&self, target: &Target<'_>) -> Result<(), InstallError> {
        if let Some(bundle) = &self.project.bundle {
            output::step(&format!("Using the wheels in {}/ and no package index", bundle.name));
        }
        match &self.uv {
            Some(uv) => {
                self.announce("uv pip install");
                resolve::install(self, uv, target)
            }
            None if self.project.source == Source::UvLock => Err(InstallError::NeedsUv("uv.lock")),
            None => {
                let pip = pip(target.interpreter)?;
                self.announce("pip install");
                self.install_with_pip(&pip, target)
            }
        }
    }

    fn install_with_pip(&self, pip: &Path, target: &Target<'_>) -> Result<(), InstallError> {
        let run = |arguments: &[&OsStr]| {
            let mut command = self.pip_install(pip, target);
            command.args(self.index_arguments()).arg("--no-compile").args(arguments);
            checked(&mut command, None, "pip install")
        };
        for list in self.lists(target)? {
            let mut arguments = vec![OsStr::new("-r"), list.file.as_os_str()];
            arguments.extend(list.options.iter().map(OsStr::new));
            run(&arguments)?;
        }
        if let Some(arguments) = self.package_arguments() {
            run(&arguments.iter().map(OsString::as_os_str).collect::<Vec<_>>())?;
        }
        self.extra.map_or(Ok(()), |extra| run(&[OsStr::new(extra)]))
    }

    /// Not again, if an attempt to share has said it.
    fn announce(&self, command: &str) {
        if !self.is_said {
            self.announce_once(command);
        }
    }

    /// What is done in the words of a user's own command (a lock is in fact translated, and what that gives installed).
    fn announce_once(&self, command: &str) {
        let using = |arguments: &[&str]| {
            let words = [command].into_iter().chain(arguments.iter().copied()).chain(self.extra);
            words.collect::<Vec<_>>().join(" ")
        };
        let command = match self.project.source {
            Source::UvLock => "uv sync --locked --no-default-groups".to_owned(),
            Source::Requirements => using(&["-r", "requirements.txt"]),
            Source::Pyproject => using(&["-r", "pyproject.toml"]),
            Source::Setup => using(&["."]),
            Source::PoetryLock | Source::PipfileLock => {
                return output::step(&format!(
                    "Installing dependencies from {} using '{command}'",
                    self.project.file()
                ));
            }
            Source::Nothing => using(&[]),
        };
        output::step(&format!("Installing dependencies using '{command}'"));
    }

    /// What to install, as files of requirements, one after the other.
    pub(super) fn lists(&self, target: &Target<'_>) -> Result<Vec<List>, InstallError> {
        let scratch = |name: &str, text: String, options: &'static [&'static str]| {
            let file = target.scratch.join(name);
            write(&file, &text).map(|()| List { file, options })
        };
        let project = self.project;
        if let Some(locked) = &project.locked {
            let lists = [
                (!locked.hashed.is_empty()).then(|| scratch("locked.txt", locked.hashed_file(), HASHED)),
                (!locked.plain.is_empty()).then(|| scratch("sources.txt", locked.plain_file(), &["--no-deps"])),
            ];
            return lists.into_iter().flatten().collect();
        }
        let list = match project.source {
            Source::Requirements => List { file: "requirements.txt".into(), options: &[] },
            // pip does not read it.
            Source::Pyproject if self.uv.is_none() => {
                let texts: Vec<_> = project.requirements.entries.iter().map(|entry| entry.text.clone()).collect();
                scratch("pyproject.txt", texts.join("\n"), &[])?
            }
            Source::Pyproject => List { file: "pyproject.toml".into(), options: &[] },
            _ => return Ok(Vec::new()),
        };
        Ok(vec![list])
    }

    /// How the project itself is installed. What it needs has been installed by then, if anything else says what that is.
    pub(super) fn package_arguments(&self) -> Option<Vec<OsString>> {
        let package = self.project.package.as_ref()?;
        let no_dependencies = (self.project.source != Source::Setup).then_some("--no-deps");
        let editable = package.editable.then_some("--editable");
        let options = no_dependencies.into_iter().chain(editable).map(OsString::from);
        Some(options.chain([self.project.directory.clone().into_os_string()]).collect())
    }

    /// Where packages may come from, as arguments that uv and pip share.
    pub(super) fn index_arguments(&self) -> Vec<OsString> {
        let bundle = self.project.bundle.as_ref().map(|bundle| self.project.directory.join(bundle.name));
        let no_index = (bundle.is_some() || self.index.no_index()).then(|| OsString::from("--no-index"));
        let links = bundle.into_iter().flat_map(|bundle| [OsString::from("--find-links"), bundle.into_os_string()]);
        no_index.into_iter().chain(links).collect()
    }

    /// uv, told all that does not depend on what it is to do. The operator's settings come first.
    pub(super) fn uv_command(&self, uv: &Path, target: &Target<'_>) -> Command {
        let mut command = self.command(uv);
        let defaults = [
            ("UV_PYTHON_DOWNLOADS", "never"),
            // A hard link would let a change of one environment reach the next through the cache.
            ("UV_LINK_MODE", "copy"),
            // As pip: the best version of all indexes, not of the first that has the name.
            ("UV_INDEX_STRATEGY", "unsafe-best-match"),
        ];
        for (name, value) in defaults.into_iter().filter(|(name, _)| std::env::var_os(name).is_none()) {
            command.env(name, value);
        }
        command.envs(self.index.variables()).env("UV_CACHE_DIR", target.cache.join("uv"));
        if target.wheels_alone {
            command.env("UV_NO_BUILD", "1").env("UV_COMPILE_BYTECODE", "0");
        }
        command.env("UV_NO_PROGRESS", "1").env("NO_COLOR", "1");
        command
    }

    /// `pip install` of the interpreter's pip, run by the environment's Python: that is what it installs for.
    ///
    /// pip also sees the packages that it lies among, those of the host. None of them counts as installed, and none takes part in
    /// building another: that is done apart, with what the other asks for.
    pub(super) fn pip_install(&self, pip: &Path, target: &Target<'_>) -> Command {
        let mut command = self.command(&target.environment.join("bin/python"));
        command.arg(pip).args(["install", "--ignore-installed", "--use-pep517"]);
        command.env("PIP_CACHE_DIR", target.cache.join("pip"));
        command.envs([("PIP_DISABLE_PIP_VERSION_CHECK", "1"), ("PIP_NO_INPUT", "1"), ("PIP_PROGRESS_BAR", "off")]);
        command.envs([("PIP_NO_COLOR", "1"), ("PYTHONDONTWRITEBYTECODE", "1")]);
        command
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.project.directory);
        // Whatever would write the time of the build into its result writes this instead.
        command.env("SOURCE_DATE_EPOCH", EPOCH);
        for variable in ["PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"] {
            command.env_remove(variable);
        }
        command
    }
}

/// What the environment tells uv, in order, as far as it may decide about the result.
fn settings() -> Vec<(String, String)> {
    let vars =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let mut settings: Vec<_> = vars.filter(|(name, _)| name.starts_with("UV_") && !name.ends_with("_DIR")).collect();
    settings.sort();
    settings
}

/// The directory of the interpreter's pip, which can be run as a program: so any pip installs into an environment that has none.
pub(super) fn pip(interpreter: &Interpreter) -> Result<PathBuf, InstallError> {
    let question = "import os, pip; print(os.path.dirname(pip.__file__))";
    let output =
        Command::new(&interpreter.program).args(["-I", "-c", question]).stdin(Stdio::null()).output().map_err(
            |source| InstallError::Io { doing: format!("running {}", interpreter.program.display()), source },
        )?;
    let path = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    if output.status.success() && path.is_dir() { Ok(path) } else { Err(InstallError::NoInstaller) }
}

/// Runs a command that must succeed, showing its progress.
pub(super) fn checked(command: &mut Command, limit: Option<Limit>, name: &str) -> Result<(), InstallError> {
    match attempt(command, limit, name)? {
        Attempt::Done => Ok(()),
        Attempt::Failed(log) => Err(InstallError::failed(name, log)),
        Attempt::TimedOut => Err(InstallError::failed(name, vec!["timed out".to_owned()])),
    }
}

/// How a command ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    /// It did it.
    Done,
    /// It failed, and said this.
    Failed(Vec<String>),
    /// Its time was over.
    TimedOut,
}

/// Runs a command, showing its progress and keeping (the end of) everything else that it says.
pub(super) fn attempt(command: &mut Command, limit: Option<Limit>, name: &str) -> Result<Attempt, InstallError> {
    const KEPT: usize = 200;
    let mut log = Vec::new();
    let end = run(command, limit, &mut |line| {
        let line = without_passwords(line);
        if is_progress(&line) {
            output::detail(line.trim_start());
        } else if !is_noise(&line) {
            if log.len() == KEPT {
                log.remove(KEPT / 2);
            }
            log.push(line);
        }
    })
    .map_err(|source| InstallError::Io { doing: format!("running {name}"), source })?;
    Ok(match end {
        End::Exited(status) if status.success() => Attempt::Done,
        End::Exited(_) => Attempt::Failed(log),
        End::TimedOut => Attempt::TimedOut,
    })
}

fn is_noise(line: &str) -> bool {
    ["Using Python ", "Looking in ", "Processing ", "Requirement already "].iter().any(|start| line.starts_with(start))
}

fn is_progress(line: &str) -> bool {
    let starts = ["Resolved ", "Prepared ", "Installed ", "Downloading ", "Building ", "Built ", "Collecting "];
    starts.iter().any(|start| line.trim_start().starts_with(start))
        || [" + ", " - ", " ~ ", "Successfully installed "].iter().any(|start| line.starts_with(start))
}

/// Hides what stands before the `@` of a URL.
pub(super) fn without_passwords(line: &str) -> String {
    let mut shown = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("://") {
        shown.push_str(before);
        shown.push_str("://");
        let host = after.split(|c: char| c == '/' || c.is_whitespace()).next().unwrap_or_default();
        rest = host.rfind('@').map_or(after, |at| {
            shown.push_str("****");
            &after[at..]
        });
    }
    shown + rest
}

/// Writes a file for an installer to read.
pub(super) fn write(path: &Path, text: &str) -> Result<(), InstallError> {
    fs::write(path, text).map_err(|source| InstallError::Io { doing: format!("writing {}", path.display()), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn passwords_are_hidden() {
        let cases = [
            ("fetch https://u:p@h/x and http://t@h2", "fetch https://****@h/x and http://****@h2"),
            ("https://h/a@b", "https://h/a@b"),
            ("flask @ https://h", "flask @ https://h"),
        ];
        for (line, shown) in cases {
            assert_eq!(without_passwords(line), shown);
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(line in "\\PC*") {
            without_passwords(&line);
            is_progress(&line);
        }
    }
}
