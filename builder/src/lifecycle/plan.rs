//! The build plan: what buildpacks of a group provide and require of each other.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// No more combinations of alternatives than this are tried.
const MOST_TRIALS: usize = 10_000;

/// What a detect writes to its plan file.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct PlanFile {
    #[serde(default)]
    provides: Vec<Provision>,
    #[serde(default)]
    requires: Vec<Requirement>,
    #[serde(default)]
    or: Vec<Alternative>,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct Alternative {
    #[serde(default)]
    provides: Vec<Provision>,
    #[serde(default)]
    requires: Vec<Requirement>,
}

#[derive(Debug, Clone, Deserialize)]
struct Provision {
    name: String,
}

/// An entry of the plan that a buildpack's build reads.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub(super) struct Requirement {
    pub(super) name: String,
    #[serde(default, skip_serializing_if = "toml::Table::is_empty")]
    pub(super) metadata: toml::Table,
}

/// A buildpack of a group that has passed detection.
#[derive(Debug, Clone)]
pub(super) struct Passed {
    pub(super) optional: bool,
    pub(super) plan: PlanFile,
}

/// Which buildpacks of the group take part (by index), and what each is to provide.
/// None if no combination of alternatives satisfies all that is required and uses all that is provided.
///
/// Combinations are tried with the first buildpack's alternatives varying slowest. An optional buildpack that
/// requires or provides in vain is left out. What several buildpacks provide goes to the first of them.
pub(super) fn resolve(group: &[Passed]) -> Option<Vec<(usize, Vec<Requirement>)>> {
    let alternatives: Vec<Vec<Alternative>> = group.iter().map(|passed| passed.plan.alternatives()).collect();
    let count = alternatives.iter().try_fold(1_usize, |count, options| count.checked_mul(options.len()))?;
    (0..count.min(MOST_TRIALS)).find_map(|trial| {
        let mut rest = trial;
        let mut chosen: Vec<_> = alternatives
            .iter()
            .enumerate()
            .rev()
            .map(|(index, options)| {
                let option = &options[rest % options.len()];
                rest /= options.len();
                (index, option)
            })
            .collect();
        chosen.reverse();
        satisfy(group, chosen)
    })
}

impl PlanFile {
    fn alternatives(&self) -> Vec<Alternative> {
        let first = Alternative { provides: self.provides.clone(), requires: self.requires.clone() };
        std::iter::once(first).chain(self.or.iter().cloned()).collect()
    }
}

fn satisfy(group: &[Passed], mut chosen: Vec<(usize, &Alternative)>) -> Option<Vec<(usize, Vec<Requirement>)>> {
    while let Some(index) = first_in_vain(&chosen) {
        if !group[index].optional {
            return None;
        }
        chosen.retain(|(other, _)| *other != index);
    }
    if chosen.is_empty() {
        return None;
    }
    Some(chosen.iter().map(|(index, _)| (*index, entries(*index, &chosen))).collect())
}

/// A buildpack that requires what none up to it provides, or provides what none from it on requires.
fn first_in_vain(chosen: &[(usize, &Alternative)]) -> Option<usize> {
    let mut unused: BTreeMap<&str, usize> = BTreeMap::new();
    let mut provided: BTreeSet<&str> = BTreeSet::new();
    for (index, option) in chosen {
        for provision in &option.provides {
            unused.entry(&provision.name).or_insert(*index);
            provided.insert(&provision.name);
        }
        for requirement in &option.requires {
            unused.remove(requirement.name.as_str());
            if !provided.contains(requirement.name.as_str()) {
                return Some(*index);
            }
        }
    }
    unused.into_values().min()
}

fn entries(index: usize, chosen: &[(usize, &Alternative)]) -> Vec<Requirement> {
    let provides = |option: &Alternative, name: &str| option.provides.iter().any(|provision| provision.name == name);
    let first_to_provide =
        |name: &str| chosen.iter().find(|(_, option)| provides(option, name)).map(|(index, _)| *index);
    let required = chosen.iter().flat_map(|(_, option)| &option.requires);
    required.filter(|requirement| first_to_provide(&requirement.name) == Some(index)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `NAME[?]: PLAN` for each buildpack, with `p x` for provides, `r x` for requires, `|` for `[[or]]`.
    fn resolved(group: &[&str]) -> String {
        let passed: Vec<_> = group.iter().map(|text| passed(text)).collect();
        let Some(plans) = resolve(&passed) else { return "fails".into() };
        let shown = plans.iter().map(|(index, entries)| {
            let names: Vec<_> = entries.iter().map(|entry| entry.name.as_str()).collect();
            format!("{}[{}]", group[*index].split(['?', ':']).next().unwrap(), names.join(","))
        });
        shown.collect::<Vec<_>>().join(" ")
    }

    fn passed(text: &str) -> Passed {
        let (name, plan) = text.split_once(':').unwrap();
        let mut options = plan.split('|').map(|option| {
            let words: Vec<_> = option.split_whitespace().collect();
            let of = |kind| words.chunks(2).filter(move |pair| pair[0] == kind).map(|pair| pair[1].to_owned());
            Alternative {
                provides: of("p").map(|name| Provision { name }).collect(),
                requires: of("r").map(|name| Requirement { name, metadata: toml::Table::new() }).collect(),
            }
        });
        let first = options.next().unwrap();
        let plan = PlanFile { provides: first.provides, requires: first.requires, or: options.collect() };
        Passed { optional: name.ends_with('?'), plan }
    }

    /// After the cases of the reference lifecycle's `detector_test.go`.
    #[test]
    fn resolution() {
        let cases: &[(&[&str], &str)] = &[
            (&["a:"], "a[]"),
            (&["a: p x r x"], "a[x]"),
            (&["a: p x"], "fails"),
            (&["a: r x"], "fails"),
            (&["a: r x | p x r x"], "a[x]"),
            (&["a: p x", "b: r x"], "a[x] b[]"),
            (&["a: r x", "b: p x"], "fails"),
            (&["a: p x", "b: p x r x", "c: r x"], "a[x,x] b[] c[]"),
            (&["a: p x", "b?: p y", "c: r x"], "a[x] c[]"),
            (&["a: p x", "b?: r y", "c: r x"], "a[x] c[]"),
            (&["a?: p x", "b?: r y"], "fails"),
            (&["a: p x", "b?: r x r y"], "fails"),
            (&["a: p x | p y", "b: r y"], "a[y] b[]"),
            (&["a: p x | p y", "b: r y | r x"], "a[x] b[]"),
            (&["a: p x r x", "b: p x"], "fails"),
        ];
        for (group, expected) in cases {
            assert_eq!(resolved(group), *expected, "{group:?}");
        }
    }

    #[test]
    fn reads_tolerantly() {
        let text = "[[provides]]\nname='x'\nelse=1\n[[requires]]\nname='x'\n[requires.metadata]\nv='1'\n[[or]]\n[[or.provides]]\nname='y'";
        let plan: PlanFile = toml::from_str(text).unwrap();
        assert_eq!(plan.alternatives().len(), 2);
        assert_eq!(plan.requires[0].metadata["v"].as_str(), Some("1"));
    }
}
