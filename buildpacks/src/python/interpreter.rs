//! The Python that an environment is made for.
//!
//! A platform that knows it says so in `BP_PYTHON`, `BP_PYTHON_VERSION` and `BP_PYTHON_SOABI`, and no interpreter is started. Otherwise
//! `python3` is asked where it really is: what the `PATH` leads to may be a shim or an environment of its own. Other interpreters
//! (`BP_PYTHONS`, programs named like `python3.12` with `:` between them; else those on the `PATH`) are asked only if the default
//! will not do, and not again in later builds.

use std::env;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use super::version::Wish;

/// Asked once per build at most, with neither site packages nor the user's environment.
const QUESTION: &str = "import os, sys, sysconfig
print(os.path.realpath(getattr(sys, '_base_executable', None) or sys.executable))
print('.'.join(map(str, sys.version_info[:3])))
print(sysconfig.get_config_var('SOABI') or sys.implementation.cache_tag)";

/// A real interpreter (no shim, no link, no environment's).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Interpreter {
    /// Its program.
    pub(super) program: PathBuf,
    /// `3.11.7`.
    pub(super) version: String,
    /// `cpython-311-x86_64-linux-gnu`: implementation, version, machine and C library.
    pub(super) soabi: String,
}

/// There is none that will do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InterpreterError {
    /// Nothing on the `PATH`.
    #[error("no python3 on the PATH")]
    Missing,
    /// It does not run.
    #[error("{program} does not run: {reason}")]
    Broken {
        /// Which.
        program: String,
        /// Its last words.
        reason: String,
    },
    /// None of the version asked for.
    #[error("Python {wish} is not available, only {available}")]
    OtherVersion {
        /// What the app asks for.
        wish: Wish,
        /// What is there.
        available: String,
    },
}

/// What a build leaves for the next one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Remembered {
    /// The interpreter that was used.
    pub(super) interpreter: Interpreter,
    /// The size and time of its program.
    stamp: String,
}

impl Remembered {
    pub(super) fn new(interpreter: &Interpreter) -> Self {
        Self { interpreter: interpreter.clone(), stamp: stamp(&interpreter.program) }
    }
}

fn stamp(program: &Path) -> String {
    program.metadata().map(|file| format!("{} {}", file.size(), file.mtime())).unwrap_or_default()
}

impl Interpreter {
    /// The default interpreter; another one if the app asks for another version, or the previous release had one.
    pub(super) fn find(wish: Option<&Wish>, previous: Option<&Remembered>) -> Result<Self, InterpreterError> {
        let default = Self::default_one()?;
        let accepts = |version: &str| wish.is_none_or(|wish| wish.accepts(version));
        let same_minor = |one: &Self, other: &Self| one.minor() == other.minor();
        if let Some(previous) = previous.filter(|previous| accepts(&previous.interpreter.version))
            && !same_minor(&previous.interpreter, &default)
        {
            let program = format!("python{}", previous.interpreter.minor());
            let kept = others()
                .filter(|other| other.ends_with(&program))
                .find_map(|other| Self::recall(&other, Some(previous)));
            if let Some(kept) = kept.filter(|kept| same_minor(kept, &previous.interpreter)) {
                return Ok(kept);
            }
        }
        let Some(wish) = wish.filter(|wish| !wish.accepts(&default.version)) else { return Ok(default) };
        let other = sorted(others().filter(|other| name_of(other).is_some_and(|name| wish.may_be(name))))
            .into_iter()
            .find_map(|program| Self::recall(&program, previous).filter(|other| wish.accepts(&other.version)));
        other.ok_or_else(|| InterpreterError::OtherVersion { wish: wish.clone(), available: available(&default) })
    }

    /// Asks a program, unless the build before has and it is still the same.
    fn recall(program: &Path, previous: Option<&Remembered>) -> Option<Self> {
        let program = program.canonicalize().ok()?;
        let known = previous.filter(|known| known.interpreter.program == program && known.stamp == stamp(&program));
        known.map(|known| known.interpreter.clone()).or_else(|| Self::ask(&program).ok())
    }

    fn default_one() -> Result<Self, InterpreterError> {
        let given = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        let program = given("BP_PYTHON").map(PathBuf::from);
        if let (Some(program), Some(version), Some(soabi)) =
            (&program, given("BP_PYTHON_VERSION"), given("BP_PYTHON_SOABI"))
        {
            return Ok(Self { program: program.clone(), version, soabi });
        }
        Self::ask(&program.or_else(|| on_path("python3")).ok_or(InterpreterError::Missing)?)
    }

    /// Runs in `/`, so that a shim is not told by the app's `.python-version` what to be.
    fn ask(program: &Path) -> Result<Self, InterpreterError> {
        let broken = |reason: String| InterpreterError::Broken { program: program.display().to_string(), reason };
        let output = Command::new(program)
            .args(["-I", "-S", "-c", QUESTION])
            .current_dir("/")
            .stdin(Stdio::null())
            .output()
            .map_err(|error| broken(error.to_string()))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let [program, version, soabi] = text.lines().collect::<Vec<_>>()[..] else {
            let errors = String::from_utf8_lossy(&output.stderr);
            return Err(broken(errors.trim().lines().last().unwrap_or("it prints nothing").to_owned()));
        };
        Ok(Self { program: program.into(), version: version.to_owned(), soabi: soabi.to_owned() })
    }

    /// `3.11`.
    pub(super) fn minor(&self) -> String {
        self.version.split('.').take(2).collect::<Vec<_>>().join(".")
    }

    /// The line that a build prints.
    pub(super) fn describe(&self, wish: Option<&Wish>, previous: Option<&Remembered>) -> String {
        let version = &self.version;
        let before = previous.map(|previous| previous.interpreter.minor());
        match wish {
            Some(wish) if wish.is_exactly(version) => format!("Using Python {version} specified in {}", wish.file),
            Some(wish) => format!("Using Python {version} ({} asks for {wish})", wish.file),
            None if before.as_ref().is_some_and(|before| *before != self.minor()) => {
                format!("Using Python {version} (the previous release had {})", before.unwrap_or_default())
            }
            None => format!("Using Python {version}"),
        }
    }

    /// What to do where the previous release decided, and not the server or the app.
    pub(super) fn advice(&self, wish: Option<&Wish>, previous: Option<&Remembered>) -> Option<String> {
        previous.filter(|previous| wish.is_none() && previous.interpreter.minor() == self.minor())?;
        let default = Self::default_one().ok().filter(|default| default.minor() != self.minor())?;
        let (mine, new) = (self.minor(), default.minor());
        Some(format!(
            "As in the previous release; the server's is now {new}. Write {mine} or {new} into .python-version."
        ))
    }
}

/// Programs like `python3.12`, newest first.
fn sorted(programs: impl Iterator<Item = PathBuf>) -> Vec<PathBuf> {
    let mut programs: Vec<_> = programs.collect();
    programs.sort_by_key(|program| std::cmp::Reverse(name_of(program).and_then(minor_of)));
    programs
}

/// What is there besides the default, by name alone: nothing is started.
fn available(default: &Interpreter) -> String {
    let mut minors: Vec<_> = others().filter_map(|other| minor_of(name_of(&other)?)).collect();
    minors.sort_unstable_by(|one, other| other.cmp(one));
    minors.dedup();
    let texts = minors.iter().map(|minor| format!("3.{minor}")).filter(|text| *text != default.minor());
    [default.version.clone()].into_iter().chain(texts).collect::<Vec<_>>().join(", ")
}

/// Other interpreters than the default one.
fn others() -> impl Iterator<Item = PathBuf> {
    let given = env::var_os("BP_PYTHONS").filter(|list| !list.is_empty());
    let listed: Vec<_> = given.iter().flat_map(env::split_paths).collect();
    let path = env::var_os("PATH").filter(|_| given.is_none()).unwrap_or_default();
    let on_path: Vec<_> = env::split_paths(&path).flat_map(|directory| pythons_in(&directory)).collect();
    listed.into_iter().chain(on_path)
}

fn pythons_in(directory: &Path) -> Vec<PathBuf> {
    let entries = directory.read_dir().into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| name_of(path).and_then(minor_of).is_some()).collect()
}

fn name_of(program: &Path) -> Option<&str> {
    program.file_name()?.to_str()
}

/// 12 of `python3.12`. What is older than 3.8 no installer knows any more.
fn minor_of(name: &str) -> Option<u32> {
    let minor: u32 = name.strip_prefix("python3.")?.parse().ok()?;
    (minor >= 8).then_some(minor)
}

/// The first executable of that name on the `PATH`.
pub(super) fn on_path(name: &str) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let is_program = |path: &PathBuf| path.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0);
    env::split_paths(&env::var_os("PATH")?).map(|directory| directory.join(name)).find(is_program)
}
