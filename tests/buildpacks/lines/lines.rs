//! A buildpack as others write them with libcnb: each line `TYPE: COMMAND` of the app's file `lines` is a process type, started by bash.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the user of a buildpack is told so")]

use std::fmt;

use libcnb::build::{BuildContext, BuildResult, BuildResultBuilder};
use libcnb::data::launch::{LaunchBuilder, ProcessBuilder, ProcessTypeError};
use libcnb::detect::{DetectContext, DetectResult, DetectResultBuilder};
use libcnb::generic::{GenericMetadata, GenericPlatform};
use libcnb::{Buildpack, Error, buildpack_main};

const FILE: &str = "lines";

struct Lines;

#[derive(Debug)]
enum LinesError {
    Read(std::io::Error),
    NoColon(usize),
    Type(usize, ProcessTypeError),
}

impl Buildpack for Lines {
    type Platform = GenericPlatform;
    type Metadata = GenericMetadata;
    type Error = LinesError;

    fn detect(&self, context: DetectContext<Self>) -> libcnb::Result<DetectResult, LinesError> {
        if context.app_dir.join(FILE).is_file() {
            DetectResultBuilder::pass().build()
        } else {
            DetectResultBuilder::fail().build()
        }
    }

    fn build(&self, context: BuildContext<Self>) -> libcnb::Result<BuildResult, LinesError> {
        let text = std::fs::read_to_string(context.app_dir.join(FILE)).map_err(LinesError::Read)?;
        let mut launch = LaunchBuilder::new();
        for (number, line) in text.lines().enumerate() {
            let (name, command) = line.split_once(':').ok_or(LinesError::NoColon(number + 1))?;
            let name = name.parse().map_err(|error| LinesError::Type(number + 1, error))?;
            let mut process = ProcessBuilder::new(name, ["bash", "-c", command.trim()]);
            launch.process(process.default(number == 0).build());
        }
        println!("[Lines of {}]", context.target.os);
        BuildResultBuilder::new().launch(launch.build()).build()
    }

    fn on_error(&self, error: Error<LinesError>) {
        match error {
            Error::BuildpackError(error) => eprintln!("[Error: {error}]"),
            other => eprintln!("[Error: {other}]"),
        }
    }
}

impl fmt::Display for LinesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(error) => write!(f, "{FILE}: {error}"),
            Self::NoColon(line) => write!(f, "line {line} has no colon"),
            Self::Type(line, error) => write!(f, "line {line}: {error}"),
        }
    }
}

impl From<LinesError> for Error<LinesError> {
    fn from(error: LinesError) -> Self {
        Self::BuildpackError(error)
    }
}

buildpack_main!(Lines);
