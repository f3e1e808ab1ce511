//! `poetry.lock`, read without poetry.
//!
//! From version 2.1 of the format on each package says to which groups it belongs and where. Before, that follows from walking
//! from what `pyproject.toml` asks for along what each package needs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::super::marker::Machine;
use super::super::requirements::normalise;
use super::super::specifier::{Specifier, Version};
use super::lock::{Locked, digest, git};
use super::{ProjectError, pyproject, text};

/// The lock, as far as it counts here.
#[derive(Debug, Deserialize)]
struct Lock {
    #[serde(default)]
    package: Vec<Package>,
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Metadata {
    content_hash: String,
    /// Where hashes stood up to version 1.1 of the format.
    files: BTreeMap<String, Vec<File>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Package {
    name: String,
    version: String,
    #[serde(default)]
    optional: bool,
    #[serde(default)]
    python_versions: String,
    groups: Option<Vec<String>>,
    markers: Option<Value>,
    #[serde(default)]
    files: Vec<File>,
    #[serde(default)]
    dependencies: BTreeMap<String, Value>,
    #[serde(default)]
    extras: BTreeMap<String, Vec<String>>,
    source: Option<Source>,
    #[serde(default)]
    develop: bool,
}

#[derive(Debug, Deserialize)]
struct File {
    hash: String,
}

#[derive(Debug, Deserialize)]
struct Source {
    #[serde(rename = "type")]
    kind: String,
    url: String,
    reference: Option<String>,
    resolved_reference: Option<String>,
    subdirectory: Option<String>,
}

const FILE: &str = "poetry.lock";

/// The main group's packages for `machine`, if `pyproject.toml` still says what it said when the lock was made.
pub(super) fn read(app: &Path, machine: &Machine) -> Result<Locked, ProjectError> {
    let missing = ProjectError::NoManifest { lock: FILE, manifest: pyproject::FILE };
    let table = pyproject::table(app, pyproject::FILE)?.ok_or(missing)?;
    translate(&text(app, FILE)?.unwrap_or_default(), &table, machine)
}

fn translate(lock: &str, pyproject: &toml::Table, machine: &Machine) -> Result<Locked, ProjectError> {
    let by_tool = lock.lines().next().and_then(|line| line.split_once("Poetry ")).map(|(_, rest)| rest.to_owned());
    let lock: Lock =
        toml::from_str(lock).map_err(|error| ProjectError::Malformed { file: FILE, reason: error.to_string() })?;
    let mut locked = Locked::default();
    if !is_fresh(&lock.metadata.content_hash, pyproject) {
        let newer =
            by_tool.is_some_and(|version| version.split('.').next().is_some_and(|major| !matches!(major, "1" | "2")));
        if !newer {
            return Err(ProjectError::Stale { lock: FILE, manifest: pyproject::FILE });
        }
        locked.notes.push("poetry.lock may be out of date: a newer Poetry wrote it than is known here".to_owned());
    }
    let has_groups = lock.package.iter().any(|package| package.groups.is_some());
    let chosen = if has_groups { by_groups(&lock, machine) } else { by_walking(&lock, pyproject, machine) };
    for package in chosen {
        add(package, &lock.metadata, &mut locked);
    }
    Ok(locked)
}

fn by_groups<'a>(lock: &'a Lock, machine: &Machine) -> Vec<&'a Package> {
    let is_main = |package: &&Package| package.groups.iter().flatten().any(|group| group == "main");
    let fits = |package: &&Package| match &package.markers {
        Some(Value::String(marker)) => machine.fits(marker),
        Some(Value::Object(by_group)) => by_group.get("main").and_then(Value::as_str).is_none_or(|m| machine.fits(m)),
        // An optional package without a marker belongs to an extra.
        _ => !package.optional,
    };
    lock.package.iter().filter(is_main).filter(fits).collect()
}

/// An edge: a package's name, which of its versions will do, and the extras that are asked of it.
struct Need {
    name: String,
    specifier: Option<Specifier>,
    extras: BTreeSet<String>,
}

fn by_walking<'a>(lock: &'a Lock, pyproject: &toml::Table, machine: &Machine) -> Vec<&'a Package> {
    let mut open = asked_for(pyproject, machine);
    let mut extras: BTreeMap<usize, BTreeSet<String>> = BTreeMap::new();
    while let Some(need) = open.pop() {
        let Some((at, package)) = find(lock, &need, machine) else { continue };
        let known = extras.get(&at);
        if known.is_some_and(|known| known.is_superset(&need.extras)) {
            continue;
        }
        let mut all = known.cloned().unwrap_or_default();
        all.extend(need.extras);
        open.extend(needs(package, &all, machine));
        extras.insert(at, all);
    }
    extras.keys().filter_map(|at| lock.package.get(*at)).collect()
}

fn find<'a>(lock: &'a Lock, need: &Need, machine: &Machine) -> Option<(usize, &'a Package)> {
    let named = lock.package.iter().enumerate().filter(|(_, package)| normalise(&package.name) == need.name);
    let mut fitting: Vec<_> = named.filter(|(_, package)| machine.has_python(&package.python_versions)).collect();
    if fitting.len() > 1 {
        let accepts = |package: &Package| match (&need.specifier, Version::parse(&package.version)) {
            (Some(specifier), Some(version)) => specifier.accepts(&version),
            _ => true,
        };
        fitting.retain(|(_, package)| accepts(package));
    }
    fitting.pop()
}

/// What `[tool.poetry.dependencies]` asks for.
fn asked_for(pyproject: &toml::Table, machine: &Machine) -> Vec<Need> {
    let table = pyproject.get("tool").and_then(|tool| tool.get("poetry")?.get("dependencies")?.as_table());
    let entries = table.into_iter().flatten().filter(|(name, _)| *name != "python");
    entries.flat_map(|(name, value)| edges(name, &to_json(value), machine, false)).collect()
}

/// What a package needs, with these extras of it.
fn needs(package: &Package, extras: &BTreeSet<String>, machine: &Machine) -> Vec<Need> {
    let wanted = |name: &str| {
        let lists = package.extras.iter().filter(|(extra, _)| extras.contains(&normalise(extra)));
        lists.flat_map(|(_, list)| list).any(|text| normalise(first_word(text)) == normalise(name))
    };
    package.dependencies.iter().flat_map(|(name, value)| edges(name, value, machine, wanted(name))).collect()
}

fn first_word(text: &str) -> &str {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || "._-".contains(c))).next().unwrap_or_default()
}

/// A dependency is a specifier, a table, or a list of these for different machines.
fn edges(name: &str, value: &Value, machine: &Machine, even_optional: bool) -> Vec<Need> {
    let values = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
    values.iter().filter_map(|value| edge(name, value, machine, even_optional)).collect()
}

fn edge(name: &str, value: &Value, machine: &Machine, even_optional: bool) -> Option<Need> {
    let text = |key: &str| value.get(key).and_then(Value::as_str);
    let optional = value.get("optional").and_then(Value::as_bool).unwrap_or(false);
    let applies = text("markers").is_none_or(|marker| machine.fits(marker_without_extra(marker)))
        && text("python").is_none_or(|python| machine.has_python(python))
        && text("platform").is_none_or(|platform| platform == "linux");
    let extras = value.get("extras").and_then(Value::as_array).into_iter().flatten();
    (applies && (!optional || even_optional)).then(|| Need {
        name: normalise(name),
        specifier: value.as_str().or(text("version")).and_then(Specifier::parse),
        extras: extras.filter_map(Value::as_str).map(normalise).collect(),
    })
}

/// Whether an extra is asked for is seen from the lists of extras.
fn marker_without_extra(marker: &str) -> &str {
    let marker = marker.split(" and extra ==").next().unwrap_or(marker);
    if marker.starts_with("extra ==") { "" } else { marker }
}

fn add(package: &Package, metadata: &Metadata, locked: &mut Locked) {
    let name = &package.name;
    let Some(source) = &package.source else { return add_pinned(package, metadata, locked) };
    match source.kind.as_str() {
        "git" => {
            let revision = source.resolved_reference.as_ref().or(source.reference.as_ref());
            let revision = revision.map_or("HEAD", String::as_str);
            locked.add(&git(name, &source.url, revision, source.subdirectory.as_deref()), []);
        }
        "url" => locked.add(&format!("{name} @ {}", source.url), hashes(package, metadata)),
        "directory" => locked.add_local(&source.url, package.develop),
        "file" => locked.add_local(&source.url, false),
        _ => {
            locked.add_index(&with_credentials(&source.url, source.reference.as_deref().unwrap_or_default(), |name| {
                std::env::var(name).ok()
            }));
            add_pinned(package, metadata, locked);
        }
    }
}

fn add_pinned(package: &Package, metadata: &Metadata, locked: &mut Locked) {
    locked.add(&format!("{}=={}", package.name, package.version), hashes(package, metadata));
}

fn hashes<'a>(package: &'a Package, metadata: &'a Metadata) -> impl Iterator<Item = &'a str> {
    let elsewhere = metadata.files.get(&package.name).into_iter().flatten();
    package.files.iter().chain(elsewhere).map(|file| file.hash.as_str())
}

/// poetry takes an index's user and password from `POETRY_HTTP_BASIC_<NAME>_USERNAME` and `…_PASSWORD`.
fn with_credentials(url: &str, index: &str, env: impl Fn(&str) -> Option<String>) -> String {
    let name = index.to_ascii_uppercase().replace(['-', '.'], "_");
    let user = env(&format!("POETRY_HTTP_BASIC_{name}_USERNAME"));
    let password = env(&format!("POETRY_HTTP_BASIC_{name}_PASSWORD")).unwrap_or_default();
    match (user, url.split_once("://")) {
        (Some(user), Some((scheme, rest))) if !rest.contains('@') => format!("{scheme}://{user}:{password}@{rest}"),
        _ => url.to_owned(),
    }
}

/// What counts of `[tool.poetry]`, first what every version of poetry counts.
const TOOL: [&str; 5] = ["dependencies", "source", "extras", "dev-dependencies", "group"];

/// Whether the lock was made for what `pyproject.toml` says. What counts for it changed with poetry's versions.
fn is_fresh(content_hash: &str, pyproject: &toml::Table) -> bool {
    let table = |key: &str| pyproject.get(key).map(to_json).unwrap_or_default();
    let tool = table("tool").get("poetry").cloned().unwrap_or_default();
    let mut alone = select(&tool, &TOOL[..4], true);
    alone.extend(tool.get("group").map(|group| ("group".to_owned(), group.clone())));
    let project = select(&table("project"), &["requires-python", "dependencies", "optional-dependencies"], false);
    let mut standard = json!({ "tool": { "poetry": select(&tool, &TOOL, false) } });
    if !project.is_empty() {
        standard["project"] = Value::Object(project);
    }
    let mut with_groups = standard.clone();
    with_groups["dependency-groups"] = table("dependency-groups");
    let candidates = [Value::Object(alone), standard, with_groups];
    candidates.iter().any(|content| digest(content, ", ", ": ") == content_hash)
}

/// These keys of a table; those that it lacks as null, or not at all.
fn select(table: &Value, keys: &[&str], with_missing: bool) -> Map<String, Value> {
    let entries = keys.iter().map(|key| ((*key).to_owned(), table.get(key).cloned()));
    entries.filter_map(|(key, value)| Some((key, value.or(with_missing.then_some(Value::Null))?))).collect()
}

fn to_json(value: &toml::Value) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn content_hashes_of_several_versions() {
        let cases = [
            // Poetry 1.8.5
            (
                "[tool.poetry.dependencies]\npython = '^3.9'\nflask = '^3.0'\ncolorama = {version='*', markers=\"sys_platform == 'win32'\"}\n\
                 numpy = [{version='<2.1', python='<3.10'}, {version='>=2.1', python='>=3.10'}]\npsycopg2-binary = {version='*', optional=true}\n\
                 requests = {version='*', extras=['socks']}\n[tool.poetry.extras]\npg = ['psycopg2-binary']\n\
                 [tool.poetry.group.dev.dependencies]\npytest = '*'\n[[tool.poetry.source]]\nname = 'mirror'\n\
                 url = 'https://example.org/simple/'\npriority = 'primary'\n",
                "18a7cc31dbe3a52378a57599dba1c4830ef0a826d6b97967298d90c80737b615",
            ),
            // Poetry 2.5.1
            (
                "[project]\nname = 'shop'\nversion = '1.0'\nrequires-python = '>=3.9'\ndependencies = ['flask>=3,<4']\n\
                 [dependency-groups]\ndev = ['pytest']\n",
                "169e000dd643303c47e9669aff48a137376bd6ce2fc981d2bc35ec937dfa21a9",
            ),
        ];
        for (pyproject, hash) in cases {
            let mut pyproject: toml::Table = pyproject.parse().unwrap();
            assert!(is_fresh(hash, &pyproject), "{hash}");
            pyproject.insert("tool".to_owned(), toml::toml! { poetry = { dependencies = { click = "*" } } }.into());
            assert!(!is_fresh(hash, &pyproject), "{hash}");
        }
    }

    #[test]
    fn an_older_lock_is_walked() {
        let pyproject: toml::Table = "[tool.poetry.dependencies]\npython = '^3.9'\nweb = {version='*', extras=['fast']}\nwin = {version='*', markers=\"sys_platform == 'win32'\"}\n\
            two = [{version='<2', python='<3.10'}, {version='>=2', python='>=3.10'}]\nspare = {version='*', optional=true}\n"
            .parse()
            .unwrap();
        let package = |name: &str, version: &str, more: &str| {
            format!(
                "[[package]]\nname = '{name}'\nversion = '{version}'\noptional = false\npython-versions = '>=3.9'\nfiles = [{{file='f', hash='sha256:0'}}]\n{more}\n"
            )
        };
        let lock = [
            package("Web", "1", "[package.dependencies]\ndeep = '>=1'\nspeed = {version='*', optional=true, markers=\"extra == 'fast'\"}\nslow = {version='*', optional=true}\n[package.extras]\nfast = ['speed (>=1)']\n"),
            package("deep", "2", "[package.dependencies]\nweb = '*'\n"),
            package("speed", "3", ""),
            package("slow", "3", ""),
            package("two", "1.9", ""),
            package("two", "2.1", ""),
            package("win", "1", ""),
            package("spare", "1", ""),
            package("pytest", "8", ""),
        ]
        .concat();
        let lock: Lock = toml::from_str(&lock).unwrap();
        let machine = Machine::with_python("3.11.7");
        let chosen: Vec<_> =
            by_walking(&lock, &pyproject, &machine).iter().map(|p| format!("{} {}", p.name, p.version)).collect();
        assert_eq!(chosen, ["Web 1", "deep 2", "speed 3", "two 2.1"]);
    }

    #[test]
    fn the_indexes_credentials_are_poetrys() {
        let env = |name: &str| match name {
            "POETRY_HTTP_BASIC_MY_INDEX_USERNAME" => Some("user".to_owned()),
            "POETRY_HTTP_BASIC_MY_INDEX_PASSWORD" => Some("secret".to_owned()),
            _ => None,
        };
        assert_eq!(with_credentials("https://h/simple", "my-index", env), "https://user:secret@h/simple");
        assert_eq!(with_credentials("https://h/simple", "other", env), "https://h/simple");
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in "\\PC*", name in "[a-z@:/.{}$ ]{0,12}", groups in "(groups = \\['main'\\]\n|markers = 'x'\n|\\[package.source\\]\ntype = 'git'\nurl = 'a@b:c'\n|\\[package.dependencies\\]\na = '\\^'\n)?") {
            let machine = Machine::with_python("3.11.7");
            let lock = format!("[[package]]\nname = '{name}'\nversion = '{name}'\n{groups}");
            for text in [&text, &lock] {
                let _ = translate(text, &toml::Table::new(), &machine);
                if let Ok(lock) = toml::from_str::<Lock>(text) {
                    by_groups(&lock, &machine);
                    let pyproject = format!("[tool.poetry.dependencies]\n\"{name}\" = '*'\n").parse().unwrap_or_default();
                    for package in by_walking(&lock, &pyproject, &machine) {
                        add(package, &lock.metadata, &mut Locked::default());
                    }
                }
            }
        }
    }
}
