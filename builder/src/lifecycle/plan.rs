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
#[serde(from = "WrittenRequirement")]
pub(super) struct Requirement {
    pub(super) name: String,
    #[serde(skip_serializing_if = "toml::Table::is_empty")]
    pub(super) metadata: toml::Table,
}

/// As a detect writes it.
#[derive(Deserialize)]
struct WrittenRequirement {
    name: String,
    /// The old place of `metadata.version`.
    version: Option<toml::Value>,
    #[serde(default)]
    metadata: toml::Table,
}

impl From<WrittenRequirement> for Requirement {
    fn from(WrittenRequirement { name, version, mut metadata }: WrittenRequirement) -> Self {
        if let Some(version) = version {
            metadata.entry("version").or_insert(version);
        }
        Self { name, metadata }
    }
}

/// A buildpack of a group that has passed detection.
#[derive(Debug, Clone)]
pub(super) struct Passed {
    pub(super) optional: bool,
    pub(super) plan: PlanFile,
}

/// A group whose plan works out.
#[derive(Debug)]
pub(super) struct Resolved {
    /// Who takes part, by index into the group.
    pub(super) members: Vec<usize>,
    pub(super) plan: Plan,
}

/// What members are still to provide for each other.
#[derive(Debug, Default)]
pub(super) struct Plan(Vec<PlanEntry>);

/// All that is required under one name.
#[derive(Debug)]
struct PlanEntry {
    /// Positions among the members.
    providers: Vec<usize>,
    requires: Vec<Requirement>,
}

/// Why a group cannot build, as a member's index and its fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unresolved {
    pub(super) index: usize,
    pub(super) fault: String,
}

/// Finds a combination of alternatives that satisfies all that is required and uses all that is provided;
/// if there is none, the fault of the first.
///
/// Combinations are tried with the first buildpack's alternatives varying slowest. An optional buildpack that
/// requires or provides in vain is left out.
pub(super) fn resolve(group: &[Passed]) -> Result<Resolved, Option<Unresolved>> {
    let alternatives: Vec<Vec<Alternative>> = group.iter().map(|passed| passed.plan.alternatives()).collect();
    let count = alternatives.iter().try_fold(1_usize, |count, options| count.checked_mul(options.len()));
    let mut first_fault = None;
    for trial in 0..count.unwrap_or(usize::MAX).min(MOST_TRIALS) {
        match satisfy(group, choice(&alternatives, trial)) {
            Ok(resolved) => return Ok(resolved),
            Err(fault) => first_fault = first_fault.or(fault),
        }
    }
    Err(first_fault)
}

impl Plan {
    /// What the member at `position` finds in its plan.
    pub(super) fn of(&self, position: usize) -> Vec<Requirement> {
        self.offered(position).flat_map(|entry| entry.requires.iter().cloned()).collect()
    }

    /// Takes out what the member has provided: all that it was offered but for `unmet`, which is left to others.
    /// The error is a name that it was not offered.
    pub(super) fn met(&mut self, position: usize, unmet: &[String]) -> Result<(), String> {
        let was_offered = |name: &&String| self.offered(position).any(|entry| entry.name() == name.as_str());
        if let Some(odd) = unmet.iter().find(|name| !was_offered(name)) {
            return Err(odd.clone());
        }
        self.0.retain(|entry| !entry.providers.contains(&position) || unmet.iter().any(|name| name == entry.name()));
        Ok(())
    }

    fn offered(&self, position: usize) -> impl Iterator<Item = &PlanEntry> {
        self.0.iter().filter(move |entry| entry.providers.contains(&position))
    }
}

impl PlanEntry {
    fn name(&self) -> &str {
        self.requires.first().map_or("", |requirement| &requirement.name)
    }
}

impl PlanFile {
    fn alternatives(&self) -> Vec<Alternative> {
        let first = Alternative { provides: self.provides.clone(), requires: self.requires.clone() };
        std::iter::once(first).chain(self.or.iter().cloned()).collect()
    }
}

/// One of each buildpack's alternatives; `trial` counts through all combinations.
fn choice(alternatives: &[Vec<Alternative>], trial: usize) -> Vec<(usize, &Alternative)> {
    let mut rest = trial;
    let mut chosen = Vec::with_capacity(alternatives.len());
    for (index, options) in alternatives.iter().enumerate().rev() {
        chosen.push((index, &options[rest % options.len()]));
        rest /= options.len();
    }
    chosen.reverse();
    chosen
}

/// The error is none if nobody is left.
fn satisfy(group: &[Passed], mut chosen: Vec<(usize, &Alternative)>) -> Result<Resolved, Option<Unresolved>> {
    let mut fault = None;
    while let Some(unresolved) = first_in_vain(&chosen) {
        let index = unresolved.index;
        fault = fault.or(Some(unresolved));
        if !group[index].optional {
            return Err(fault);
        }
        chosen.retain(|(other, _)| *other != index);
    }
    if chosen.is_empty() {
        return Err(fault);
    }
    Ok(Resolved { members: chosen.iter().map(|(index, _)| *index).collect(), plan: plan(&chosen) })
}

/// A buildpack that requires what none up to it provides, or provides what none from it on requires.
fn first_in_vain(chosen: &[(usize, &Alternative)]) -> Option<Unresolved> {
    let mut unused: BTreeMap<&str, usize> = BTreeMap::new();
    let mut provided: BTreeSet<&str> = BTreeSet::new();
    for (index, option) in chosen {
        for provision in &option.provides {
            unused.entry(&provision.name).or_insert(*index);
            provided.insert(&provision.name);
        }
        for Requirement { name, .. } in &option.requires {
            unused.remove(name.as_str());
            if !provided.contains(name.as_str()) {
                let fault = format!("requires {name:?}, which neither it nor one before it provides");
                return Some(Unresolved { index: *index, fault });
            }
        }
    }
    let (name, index) = unused.into_iter().min_by_key(|(_, index)| *index)?;
    Some(Unresolved { index, fault: format!("provides {name:?}, which neither it nor one after it requires") })
}

/// Entries in the order in which their names are first required.
fn plan(chosen: &[(usize, &Alternative)]) -> Plan {
    let mut entries: Vec<PlanEntry> = Vec::new();
    for requirement in chosen.iter().flat_map(|(_, option)| &option.requires) {
        if let Some(entry) = entries.iter_mut().find(|entry| entry.name() == requirement.name) {
            entry.requires.push(requirement.clone());
            continue;
        }
        let providers = providers(&requirement.name, chosen);
        entries.push(PlanEntry { providers, requires: vec![requirement.clone()] });
    }
    Plan(entries)
}

/// The positions of those that provide `name`.
fn providers(name: &str, chosen: &[(usize, &Alternative)]) -> Vec<usize> {
    let is_one = |option: &Alternative| option.provides.iter().any(|provision| provision.name == name);
    chosen.iter().enumerate().filter(|(_, (_, option))| is_one(option)).map(|(position, _)| position).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `NAME[?]: PLAN` for each buildpack, with `p x` for provides, `r x` for requires, `|` for `[[or]]`, `u x` for what its
    /// build leaves unmet.
    fn resolved(group: &[&str]) -> String {
        let passed: Vec<_> = group.iter().map(|text| passed(text)).collect();
        let mut resolved = match resolve(&passed) {
            Ok(resolved) => resolved,
            Err(fault) => {
                return fault.map_or("nobody".into(), |fault| format!("{}: {}", name(group[fault.index]), fault.fault));
            }
        };
        let mut shown = Vec::new();
        for (position, index) in resolved.members.iter().enumerate() {
            let names: Vec<_> = resolved.plan.of(position).into_iter().map(|entry| entry.name).collect();
            shown.push(format!("{}[{}]", name(group[*index]), names.join(",")));
            let words: Vec<_> = group[*index].split_whitespace().collect();
            let unmet: Vec<_> = words.windows(2).filter(|pair| pair[0] == "u").map(|pair| pair[1].to_owned()).collect();
            if let Err(odd) = resolved.plan.met(position, &unmet) {
                shown.push(format!("{odd} was not offered"));
            }
        }
        shown.join(" ")
    }

    fn name(text: &str) -> &str {
        text.split(['?', ':']).next().unwrap()
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
            (&["a: p x"], r#"a: provides "x", which neither it nor one after it requires"#),
            (&["a: r x"], r#"a: requires "x", which neither it nor one before it provides"#),
            (&["a: r x | p x r x"], "a[x]"),
            (&["a: p x", "b: r x"], "a[x] b[]"),
            (&["a: r x", "b: p x"], r#"a: requires "x", which neither it nor one before it provides"#),
            (&["a: p x", "b: p x r x", "c: r x"], "a[x,x] b[] c[]"),
            (&["a: p x u x", "b: p x r x", "c: r x"], "a[x,x] b[x,x] c[]"),
            (&["a: p x p y u y", "b: p x p y r x r y", "c: r x"], "a[x,x,y] b[y] c[]"),
            (&["a: p x u x", "b: r x"], "a[x] b[]"),
            (&["a: p x u z", "b: r x"], "a[x] z was not offered b[]"),
            (&["a: p x", "b?: p y", "c: r x"], "a[x] c[]"),
            (&["a: p x", "b?: r y", "c: r x"], "a[x] c[]"),
            (&["a?: p x", "b?: r y"], r#"b: requires "y", which neither it nor one before it provides"#),
            (&["a: p x", "b?: r x r y"], r#"b: requires "y", which neither it nor one before it provides"#),
            (&["a: p x | p y", "b: r y"], "a[y] b[]"),
            (&["a: p x | p y", "b: r y | r x"], "a[x] b[]"),
            (&["a: p x r x", "b: p x"], r#"b: provides "x", which neither it nor one after it requires"#),
            (&[], "nobody"),
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
        let old: PlanFile = toml::from_str("[[requires]]\nname='x'\nversion='3'").unwrap();
        assert_eq!(old.requires[0].metadata["version"].as_str(), Some("3"));
    }
}
