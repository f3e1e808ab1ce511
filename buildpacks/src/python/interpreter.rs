//! The Python that an environment is made for.
//!
//! A platform that knows it says so in `BP_PYTHON`, `BP_PYTHON_VERSION` and `BP_PYTHON_SOABI`, and no interpreter is started. Otherwise
//! `python3` is asked where it really is: what the `PATH` leads to may be a shim or an environment of its own.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::version::Wish;

/// Asked once per build at most, with neither site packages nor the user's environment.
const QUESTION: &str = "import os, sys, sysconfig
print(os.path.realpath(getattr(sys, '_base_executable', None) or sys.executable))
print('.'.join(map(str, sys.version_info[:3])))
print(sysconfig.get_config_var('SOABI') or sys.implementation.cache_tag)";

/// A real interpreter (no shim, no link, no environment's).
#[derive(Debug, Clone, PartialEq, Eq)]
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

impl Interpreter {
    /// The default interpreter; another one of the `PATH` if the app asks for another version.
    pub(super) fn find(wish: Option<&Wish>) -> Result<Self, InterpreterError> {
        let default = Self::default_one()?;
        let Some(wish) = wish.filter(|wish| !wish.accepts(&default.version)) else { return Ok(default) };
        let other = wish.program().and_then(|name| on_path(&name)).and_then(|program| Self::ask(&program).ok());
        match other {
            Some(other) if wish.accepts(&other.version) => Ok(other),
            _ => Err(InterpreterError::OtherVersion { wish: wish.clone(), available: default.version }),
        }
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
    pub(super) fn describe(&self, wish: Option<&Wish>) -> String {
        match wish {
            None => format!("Using Python {}", self.version),
            Some(wish) if wish.is_exactly(&self.version) => {
                format!("Using Python {} specified in {}", self.version, wish.file)
            }
            Some(wish) => format!("Using Python {} ({} asks for {wish})", self.version, wish.file),
        }
    }
}

/// The first executable of that name on the `PATH`.
pub(super) fn on_path(name: &str) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let is_program = |path: &PathBuf| path.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0);
    env::split_paths(&env::var_os("PATH")?).map(|directory| directory.join(name)).find(is_program)
}
