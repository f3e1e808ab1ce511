//! Times of the same thing done many times.

use std::fmt;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// At least one, in ascending order.
pub struct Times(Vec<Duration>);

impl Times {
    pub fn new(mut times: Vec<Duration>) -> Self {
        times.sort();
        assert!(!times.is_empty(), "nothing was measured");
        Self(times)
    }

    /// In milliseconds.
    pub fn median(&self) -> f64 {
        self.at(50)
    }

    fn at(&self, percent: usize) -> f64 {
        milliseconds(self.0[(self.0.len() - 1) * percent / 100])
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        write!(f, "median {:.1} ms of {count}, fastest {:.1}, 90 % below {:.1}", self.median(), self.at(0), self.at(90))
    }
}

pub fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// Runs `command`, which must succeed, to its end.
pub fn timed(command: &mut Command) -> (Duration, Output) {
    let begin = Instant::now();
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let took = begin.elapsed();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    (took, output)
}
