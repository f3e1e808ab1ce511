//! Which instances a change starts and which it ends: a function of what runs and what is wanted.

use crate::change::Renew;
use crate::names::{Process, ProcessType};

/// Which places get a new instance, and which lose the one they have.
#[derive(Debug, PartialEq, Eq)]
pub struct Plan {
    /// These get a new instance.
    pub start: Vec<Process>,
    /// These lose the one they have.
    pub retire: Vec<Process>,
}

impl Plan {
    /// The plan for a change from `current` to `wanted`.
    pub fn new(current: &[Process], wanted: &[(ProcessType, u32)], renew: &Renew) -> Self {
        let wanted: Vec<Process> = wanted.iter().flat_map(places).collect();
        let start =
            wanted.iter().filter(|process| !current.contains(process) || renew.covers(process)).cloned().collect();
        let retire =
            current.iter().filter(|process| !wanted.contains(process) || renew.covers(process)).cloned().collect();
        Self { start, retire }
    }
}

/// `web` 2 -> `web.1`, `web.2`.
pub fn places((kind, count): &(ProcessType, u32)) -> impl Iterator<Item = Process> + use<> {
    let kind = kind.clone();
    (1..=*count).map(move |number| Process { kind: kind.clone(), number })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(current: &[&str], wanted: &[(&str, u32)], renew: &Renew) -> (Vec<String>, Vec<String>) {
        let current: Vec<Process> = current.iter().map(|text| text.parse().unwrap()).collect();
        let wanted: Vec<_> = wanted.iter().map(|(kind, count)| (kind.parse().unwrap(), *count)).collect();
        let plan = Plan::new(&current, &wanted, renew);
        let text = |processes: Vec<Process>| processes.iter().map(ToString::to_string).collect();
        (text(plan.start), text(plan.retire))
    }

    /// What runs, what is wanted, what is renewed; then what is started and what is retired.
    type Case = (
        &'static [&'static str],
        &'static [(&'static str, u32)],
        Renew,
        &'static [&'static str],
        &'static [&'static str],
    );

    #[test]
    fn plans() {
        let strings = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let only = |text: &str| Renew::Only(text.parse().unwrap());
        let cases: [Case; 6] = [
            (&[], &[("web", 2)], Renew::Nothing, &["web.1", "web.2"], &[]),
            (&["web.1"], &[("web", 2)], Renew::Nothing, &["web.2"], &[]),
            (&["web.1", "web.2"], &[("web", 1)], Renew::Nothing, &[], &["web.2"]),
            (&["web.1"], &[("web", 1)], Renew::All, &["web.1"], &["web.1"]),
            (&["web.1", "web.2"], &[("web", 2)], only("web.2"), &["web.2"], &["web.2"]),
            (
                &["web.1", "old.1"],
                &[("web", 1), ("worker", 1)],
                Renew::All,
                &["web.1", "worker.1"],
                &["web.1", "old.1"],
            ),
        ];
        for (current, wanted, renew, start, retire) in cases {
            assert_eq!(plan(current, wanted, &renew), (strings(start), strings(retire)));
        }
    }
}
