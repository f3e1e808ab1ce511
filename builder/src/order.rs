//! In which order buildpacks are tried: groups, of which the first that passes builds.
//!
//! A group may name composites: buildpacks that are an order of others. Expansion replaces each by its groups, depth first,
//! so that what is left are flat groups of components.

use serde::Deserialize;

use crate::Buildpack;
use crate::buildpack::parse_version;
use crate::target::is_for_us;

/// More flat groups than this are refused: nested alternatives multiply.
const MOST_GROUPS: usize = 1000;
/// A composite that is deeper is taken for one that holds itself.
const DEEPEST: usize = 100;

/// Groups in the order in which they are tried.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Order(pub Vec<Group>);

/// Buildpacks that build together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Group {
    /// In the order in which they build.
    #[serde(default)]
    pub group: Vec<Entry>,
}

/// One buildpack of a group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Entry {
    /// Which.
    pub id: String,
    /// Which of its versions; none: the highest there is.
    #[serde(default)]
    pub version: Option<String>,
    /// Whether the group can do without it.
    #[serde(default)]
    pub optional: bool,
    /// For which execution environments; none: for all.
    #[serde(default)]
    pub exec_env: Vec<String>,
}

/// An order that cannot be tried.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// It names a buildpack that is not there.
    #[error("there is no buildpack {wanted}{}", in_composite(.within.as_deref()))]
    Unknown {
        /// Its id, and its version if one was asked for.
        wanted: String,
        /// The composite that names it.
        within: Option<String>,
    },
    /// Composites hold each other, or very many alternatives.
    #[error("buildpack {composite} holds itself, or too many alternatives")]
    Endless {
        /// One of those concerned.
        composite: String,
    },
}

fn in_composite(within: Option<&str>) -> String {
    within.map(|id| format!(", which {id} is composed of")).unwrap_or_default()
}

/// A component of a flat group.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate<'a> {
    pub(crate) buildpack: &'a Buildpack,
    pub(crate) optional: bool,
}

impl Order {
    /// Every buildpack a group of its own, the first that passes builds.
    pub fn of_alternatives<'a>(buildpacks: impl IntoIterator<Item = &'a Buildpack>) -> Self {
        Self(buildpacks.into_iter().map(|buildpack| Group { group: vec![Entry::of(buildpack)] }).collect())
    }

    /// One group.
    pub fn of_group(group: Vec<Entry>) -> Self {
        Self(vec![Group { group }])
    }

    /// The flat groups that it stands for, in order. Composites are looked up in `known`.
    pub(crate) fn expand<'a>(&'a self, known: &'a [Buildpack]) -> Result<Vec<Vec<Candidate<'a>>>, OrderError> {
        let mut expansion = Expansion { known, groups: Vec::new() };
        expansion.order((self, None), &[], &[], 0)?;
        Ok(expansion.groups)
    }
}

impl Entry {
    /// Exactly this one.
    pub fn of(buildpack: &Buildpack) -> Self {
        Self { id: buildpack.id.clone(), version: Some(buildpack.version.clone()), ..Self::default() }
    }

    /// The buildpack that it means.
    pub fn find<'a>(&self, known: &'a [Buildpack]) -> Option<&'a Buildpack> {
        let fits = |buildpack: &&Buildpack| {
            buildpack.id == self.id && self.version.as_ref().is_none_or(|version| *version == buildpack.version)
        };
        known.iter().filter(fits).max_by_key(|buildpack| parse_version(&buildpack.version))
    }
}

impl std::fmt::Display for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.version {
            Some(version) => write!(f, "{}@{version}", self.id),
            None => f.write_str(&self.id),
        }
    }
}

struct Expansion<'a> {
    known: &'a [Buildpack],
    groups: Vec<Vec<Candidate<'a>>>,
}

/// An entry, and the composite that names it.
type Named<'a> = (&'a Entry, Option<&'a Buildpack>);

impl<'a> Expansion<'a> {
    /// Each group of an order, followed by `next`.
    fn order(
        &mut self,
        (order, within): (&'a Order, Option<&'a Buildpack>),
        done: &[Candidate<'a>],
        next: &[Named<'a>],
        depth: usize,
    ) -> Result<(), OrderError> {
        for group in &order.0 {
            let own = group.group.iter().map(|entry| (entry, within));
            let entries: Vec<_> = own.chain(next.iter().copied()).collect();
            self.group(&entries, done.to_vec(), depth)?;
        }
        Ok(())
    }

    fn group(&mut self, entries: &[Named<'a>], mut done: Vec<Candidate<'a>>, depth: usize) -> Result<(), OrderError> {
        for (index, named) in entries.iter().enumerate() {
            let (entry, _) = named;
            if !is_for_us(&entry.exec_env) || done.iter().any(|earlier| earlier.buildpack.id == entry.id) {
                continue;
            }
            let found = self.find(*named)?;
            if found.is_composite() {
                if depth == DEEPEST || self.groups.len() >= MOST_GROUPS {
                    return Err(OrderError::Endless { composite: found.id.clone() });
                }
                let next = &entries[index + 1..];
                self.order((&found.order, Some(found)), &done, next, depth + 1)?;
                return if entry.optional { self.group(next, done, depth + 1) } else { Ok(()) };
            }
            done.push(Candidate { buildpack: found, optional: entry.optional });
        }
        self.groups.push(done);
        Ok(())
    }

    fn find(&self, (entry, within): Named<'a>) -> Result<&'a Buildpack, OrderError> {
        let within = within.map(|composite| composite.id.clone());
        entry.find(self.known).ok_or_else(|| OrderError::Unknown { wanted: entry.to_string(), within })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `NAME`, or `NAME = ORDER` for a composite; an order's groups are parted by `/`, `?` marks what is optional.
    fn expanded(known: &[&str], order: &str) -> String {
        let known: Vec<_> = known.iter().map(|text| buildpack(text)).collect();
        let order = self::order(order);
        let groups = match order.expand(&known) {
            Ok(groups) => groups,
            Err(error) => return error.to_string(),
        };
        let shown = groups.iter().map(|group| {
            let members = group.iter().map(|member| {
                format!(
                    "{}@{}{}",
                    member.buildpack.id,
                    &member.buildpack.version[..1],
                    ["", "?"][usize::from(member.optional)]
                )
            });
            members.collect::<Vec<_>>().join(" ")
        });
        shown.collect::<Vec<_>>().join(" / ")
    }

    fn buildpack(text: &str) -> Buildpack {
        let (name, order) = text.split_once(" = ").unwrap_or((text, ""));
        let entry = entry(name);
        let version = entry.version.unwrap_or_else(|| "1.0.0".into());
        let order = if order.is_empty() { Order::default() } else { self::order(order) };
        Buildpack { id: entry.id, version, order, ..Buildpack::default() }
    }

    fn order(text: &str) -> Order {
        let groups = text.split(" / ").map(|group| Group { group: group.split_whitespace().map(entry).collect() });
        Order(groups.collect())
    }

    fn entry(text: &str) -> Entry {
        let (name, optional) = text.strip_suffix('?').map_or((text, false), |name| (name, true));
        let (id, version) = name.split_once('@').map_or((name, None), |(id, version)| (id, Some(version)));
        let version = version.map(|version| format!("{version}.0.0"));
        Entry { id: id.into(), version, optional, exec_env: Vec::new() }
    }

    /// After the reference lifecycle's `detector_test.go`: expansion depth first, an id that is in the group already is
    /// left out, an optional composite may vanish.
    #[test]
    fn expansion() {
        let known = [
            "a",
            "b",
            "c",
            "d",
            "e = a@1 b@1",
            "f = a b / c d",
            "g = b? f@1 / d",
            "v@1",
            "v@2",
            "h = h",
            "i = nowhere",
        ];
        let cases = [
            ("a", "a@1"),
            ("a b?", "a@1 b@1?"),
            ("a / b", "a@1 / b@1"),
            ("e", "a@1 b@1"),
            ("e c", "a@1 b@1 c@1"),
            ("f", "a@1 b@1 / c@1 d@1"),
            ("f e?", "a@1 b@1 / a@1 b@1 / c@1 d@1 a@1 b@1 / c@1 d@1"),
            ("f? d", "a@1 b@1 d@1 / c@1 d@1 / d@1"),
            ("g", "b@1? a@1 / b@1? c@1 d@1 / d@1"),
            ("b g", "b@1 a@1 / b@1 c@1 d@1 / b@1 d@1"),
            ("a a@1", "a@1"),
            ("v", "v@2"),
            ("v@1", "v@1"),
            ("v@1 v@2", "v@1"),
            ("v@3", "there is no buildpack v@3.0.0"),
            ("a none", "there is no buildpack none"),
            ("i", "there is no buildpack nowhere, which i is composed of"),
            ("h", "buildpack h holds itself, or too many alternatives"),
        ];
        for (order, expected) in cases {
            assert_eq!(expanded(&known, order), expected, "{order}");
        }
    }

    #[test]
    fn alternatives_that_multiply_are_bounded() {
        let many = "x = a / b / c / d / a / b / c / d / a / b";
        let nested: Vec<String> =
            (1..=4).map(|n| format!("y{n} = {}", ["x a", "x b", "x c", "x d"].join(" / "))).collect();
        let mut known = vec!["a", "b", "c", "d", many];
        known.extend(nested.iter().map(String::as_str));
        assert!(expanded(&known, "y1 y2 y3 y4 x").ends_with("holds itself, or too many alternatives"));
    }

    #[test]
    fn what_is_for_other_environments_is_left_out() {
        let entry = |id: &str, exec_env: &[&str]| Entry {
            id: id.into(),
            exec_env: exec_env.iter().map(|name| (*name).to_owned()).collect(),
            ..Entry::default()
        };
        let known = ["a", "b", "c", "d"].map(buildpack);
        let order = Order::of_group(vec![
            entry("a", &["test"]),
            entry("b", &["test", "production"]),
            entry("c", &[]),
            entry("d", &["all"]),
        ]);
        let ids: Vec<_> = order.expand(&known).unwrap()[0].iter().map(|member| member.buildpack.id.as_str()).collect();
        assert_eq!(ids, ["b", "c", "d"]);
    }

    proptest! {
        /// Whatever names what, expansion ends, and no group has an id twice.
        #[test]
        fn any_order_expands_or_is_refused(orders in proptest::collection::vec("[a-e][?]?( [a-e][?]?){0,3}( / [a-e]){0,2}|", 5), order in "[a-e]( [a-e][?]?){0,3}") {
            let known: Vec<_> = ["a", "b", "c", "d", "e"].iter().zip(&orders).map(|(name, order)| {
                if order.is_empty() { buildpack(name) } else { buildpack(&format!("{name} = {order}")) }
            }).collect();
            if let Ok(groups) = self::order(&order).expand(&known) {
                for group in groups {
                    let ids: std::collections::BTreeSet<_> = group.iter().map(|member| &member.buildpack.id).collect();
                    prop_assert_eq!(ids.len(), group.len());
                }
            }
        }
    }
}
