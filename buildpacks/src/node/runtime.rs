//! The Node.js that an app is built with and runs in.
//!
//! A platform that knows it says so in `BP_NODE`, `BP_NODE_VERSION` and `BP_NODE_ABI`, and no node is started. Otherwise the `node` on the
//! `PATH` is asked.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::package::Package;
use super::range;

/// A Node.js.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Runtime {
    /// Its program, not a link to it.
    pub(super) program: PathBuf,
    /// `20.11.1`.
    pub(super) version: String,
    /// What compiled packages are compiled for: `115-x64`.
    pub(super) abi: String,
}

/// There is none that will do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RuntimeError {
    /// Nothing on the `PATH`.
    #[error("no node on the PATH")]
    Missing,
    /// It does not run.
    #[error("{program} does not run: {reason}")]
    Broken {
        /// Which.
        program: String,
        /// Its last words.
        reason: String,
    },
    /// Not of the version asked for.
    #[error("Node.js {wish} is not available, only {available}")]
    OtherVersion {
        /// What the app asks for.
        wish: String,
        /// What is there.
        available: String,
    },
    /// `engines.node` is no range.
    #[error("engines.node of package.json: {0:?} is no version")]
    Nonsense(String),
}

const QUESTION: &str =
    "console.log([process.execPath, process.versions.node, process.versions.modules + '-' + process.arch].join('\\n'))";

impl Runtime {
    /// The one that is there, if the app accepts it.
    pub(super) fn find(package: &Package) -> Result<Self, RuntimeError> {
        let runtime = Self::available()?;
        let Some(wish) = package.engine("node") else { return Ok(runtime) };
        let version = range::version(&runtime.version).unwrap_or_default();
        match range::accepts(wish, version) {
            Some(true) => Ok(runtime),
            Some(false) => Err(RuntimeError::OtherVersion { wish: wish.to_owned(), available: runtime.version }),
            None => Err(RuntimeError::Nonsense(wish.to_owned())),
        }
    }

    fn available() -> Result<Self, RuntimeError> {
        let given = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        if let (Some(program), Some(version), Some(abi)) =
            (given("BP_NODE"), given("BP_NODE_VERSION"), given("BP_NODE_ABI"))
        {
            return Ok(Self { program: program.into(), version, abi });
        }
        Self::ask(Path::new(&given("BP_NODE").unwrap_or_else(|| "node".to_owned())))
    }

    /// Runs in `/`, so that a version manager's shim is not told by the app what to be.
    fn ask(program: &Path) -> Result<Self, RuntimeError> {
        let broken = |reason: String| RuntimeError::Broken { program: program.display().to_string(), reason };
        let output = Command::new(program)
            .args(["-e", QUESTION])
            .current_dir("/")
            .env_remove("NODE_OPTIONS")
            .stdin(Stdio::null())
            .output()
            .map_err(|error| match error.kind() {
                std::io::ErrorKind::NotFound => RuntimeError::Missing,
                _ => broken(error.to_string()),
            })?;
        let text = String::from_utf8_lossy(&output.stdout);
        let [program, version, abi] = text.lines().collect::<Vec<_>>()[..] else {
            let errors = String::from_utf8_lossy(&output.stderr);
            return Err(broken(errors.trim().lines().last().unwrap_or("it prints nothing").to_owned()));
        };
        Ok(Self { program: program.into(), version: version.to_owned(), abi: abi.to_owned() })
    }

    /// The line that a build prints.
    pub(super) fn describe(&self, package: &Package) -> String {
        let wish = package.engine("node").map_or(String::new(), |wish| format!(" (package.json asks for {wish})"));
        format!("Using Node.js {}{wish}", self.version)
    }

    /// Where its headers are, which compiling packages needs.
    pub(super) fn prefix_with_headers(&self) -> Option<&Path> {
        self.program.parent()?.parent().filter(|prefix| prefix.join("include/node/node.h").exists())
    }
}
