//! The same thing measured many times.

use std::fmt;
use std::time::Duration;

/// At least one figure, in ascending order.
pub(crate) struct Times {
    unit: &'static str,
    figures: Vec<f64>,
}

impl Times {
    pub(crate) fn milliseconds(times: &[Duration]) -> Self {
        Self::new("ms", times.iter().map(|time| time.as_secs_f64() * 1e3).collect())
    }

    pub(crate) fn microseconds(times: &[Duration]) -> Self {
        Self::new("µs", times.iter().map(|time| time.as_secs_f64() * 1e6).collect())
    }

    pub(crate) fn new(unit: &'static str, mut figures: Vec<f64>) -> Self {
        figures.sort_by(f64::total_cmp);
        assert!(!figures.is_empty(), "nothing was measured");
        Self { unit, figures }
    }

    pub(crate) fn median(&self) -> f64 {
        self.at(50)
    }

    fn at(&self, percent: usize) -> f64 {
        self.figures[(self.figures.len() - 1) * percent / 100]
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, count) = (self.unit, self.figures.len());
        write!(
            f,
            "median {:.2} {unit} of {count}, 10 % below {:.2}, 90 % below {:.2}",
            self.median(),
            self.at(10),
            self.at(90)
        )
    }
}
