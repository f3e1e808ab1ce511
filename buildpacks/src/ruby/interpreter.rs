//! The Ruby that an app is built with and runs in: the `ruby` on the `PATH`.

use std::path::PathBuf;
use std::process::Command;

use crate::program::ToolError;

/// A Ruby with its Bundler.
#[derive(Debug)]
pub(super) struct Interpreter {
    /// `3.1.2`.
    pub(super) version: String,
    /// What compiled gems are compiled for: `3.1.0 x86_64-linux-gnu`.
    pub(super) abi: String,
    /// Where its programs are.
    pub(super) programs: PathBuf,
    /// Bundler's version.
    pub(super) bundler: String,
}

const QUESTION: &str = "c = RbConfig::CONFIG; puts RUBY_VERSION, c['ruby_version'] + ' ' + c['arch'], c['bindir']";

impl Interpreter {
    /// Both are needed.
    pub(super) fn find() -> Result<Self, ToolError> {
        let install = "apt-get install ruby ruby-bundler";
        let missing = |program| ToolError::Missing { program, language: "Ruby", install };
        let said = |program: &str, arguments: &[&str]| {
            let output = Command::new(program).args(arguments).current_dir("/").output().ok()?;
            output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
        };
        let answer = said("ruby", &["-e", QUESTION]).ok_or(missing("ruby"))?;
        let [version, abi, programs] = answer.lines().collect::<Vec<_>>()[..] else { return Err(missing("ruby")) };
        let bundler = said("bundle", &["--version"]).ok_or(missing("bundle"))?;
        let bundler = bundler.split_whitespace().last().unwrap_or_default().to_owned();
        Ok(Self { version: version.to_owned(), abi: abi.to_owned(), programs: programs.into(), bundler })
    }
}
