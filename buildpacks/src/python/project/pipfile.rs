//! `Pipfile.lock`, read without pipenv.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::super::marker::Machine;
use super::lock::{Locked, digest, git};
use super::{ProjectError, pyproject, text};

/// The lock, as far as it counts here.
#[derive(Debug, Deserialize)]
struct Lock {
    #[serde(rename = "_meta", default)]
    meta: Meta,
    #[serde(default)]
    default: BTreeMap<String, Package>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Meta {
    hash: BTreeMap<String, String>,
    sources: Vec<Source>,
}

#[derive(Debug, Deserialize)]
struct Source {
    #[serde(default)]
    name: String,
    url: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Package {
    version: Option<String>,
    hashes: Vec<String>,
    markers: Option<String>,
    extras: Vec<String>,
    git: Option<String>,
    #[serde(rename = "ref")]
    reference: Option<String>,
    subdirectory: Option<String>,
    path: Option<String>,
    file: Option<String>,
    editable: bool,
}

const FILE: &str = "Pipfile.lock";
const MANIFEST: &str = "Pipfile";

/// pipenv's name for the package index that everybody uses: the server's own setting stands for it.
const USUAL: &str = "pypi";

/// The default group's packages for `machine`, if the `Pipfile`, where there is one, still says what it said.
pub(super) fn read(app: &Path, machine: &Machine) -> Result<Locked, ProjectError> {
    translate(&text(app, FILE)?.unwrap_or_default(), pyproject::table(app, MANIFEST)?.as_ref(), machine)
}

fn translate(lock: &str, pipfile: Option<&toml::Table>, machine: &Machine) -> Result<Locked, ProjectError> {
    let lock: Lock = serde_json::from_str(lock)
        .map_err(|error| ProjectError::Malformed { file: FILE, reason: error.to_string() })?;
    if let (Some(pipfile), Some(hash)) = (pipfile, lock.meta.hash.get("sha256"))
        && !digests(pipfile, &lock.meta).contains(hash)
    {
        return Err(ProjectError::Stale { lock: FILE, manifest: MANIFEST });
    }
    let mut locked = Locked::default();
    for source in lock.meta.sources.iter().filter(|source| source.name != USUAL) {
        locked.add_index(&expanded(&source.url, |name| std::env::var(name).ok()));
    }
    let fits = |package: &&Package| package.markers.as_ref().is_none_or(|marker| machine.fits(marker));
    for (name, package) in lock.default.iter().filter(|(_, package)| fits(package)) {
        add(name, package, &mut locked);
    }
    Ok(locked)
}

fn add(name: &str, package: &Package, locked: &mut Locked) {
    let extras = if package.extras.is_empty() { String::new() } else { format!("[{}]", package.extras.join(",")) };
    let name = format!("{name}{extras}");
    let hashes = package.hashes.iter().map(String::as_str);
    if let Some(url) = &package.git {
        let reference = package.reference.as_deref().unwrap_or("HEAD");
        locked.add(&git(&name, url, reference, package.subdirectory.as_deref()), []);
    } else if let Some(path) = &package.path {
        locked.add_local(path, package.editable);
    } else if let Some(url) = &package.file {
        locked.add(&format!("{name} @ {url}"), hashes);
    } else {
        // Without one, pipenv was told that any version will do.
        let version = package.version.as_deref().filter(|version| *version != "*").unwrap_or_default();
        locked.add(&format!("{name}{version}"), hashes);
    }
}

/// `${NAME}` and `$NAME` in an index's address come from the environment of the build.
fn expanded(url: &str, env: impl Fn(&str) -> Option<String>) -> String {
    let mut text = String::new();
    let mut rest = url;
    while let Some((before, after)) = rest.split_once('$') {
        text.push_str(before);
        let braced = after.strip_prefix('{').and_then(|after| after.split_once('}'));
        let end = after.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(after.len());
        let (name, after) = braced.unwrap_or(after.split_at(end));
        text.push_str(&env(name).unwrap_or_default());
        rest = after;
    }
    text + rest
}

/// What pipenv would write into the lock. A `Pipfile` without a source means the usual one, which the lock names.
fn digests(pipfile: &toml::Table, meta: &Meta) -> Vec<String> {
    let section = |name: &str| pipfile.get(name).and_then(|value| serde_json::to_value(value).ok());
    let usual = meta.sources.iter().map(|source| json!({"name": source.name, "url": source.url, "verify_ssl": true}));
    let sources = section("source").unwrap_or_else(|| usual.collect());
    let mut content = Map::new();
    let requires = section("requires").unwrap_or_else(|| json!({}));
    content.insert("_meta".to_owned(), json!({"sources": sources, "requires": requires}));
    for (name, key) in [("packages", "default"), ("dev-packages", "develop")] {
        content.insert(key.to_owned(), section(name).unwrap_or_else(|| json!({})));
    }
    let plain = Value::Object(content.clone());
    let known =
        ["source", "packages", "dev-packages", "requires", "scripts", "pipfile", "pipenv", "default", "develop"];
    let others = pipfile.keys().filter(|name| !known.contains(&name.as_str()));
    content.extend(others.filter_map(|name| Some((name.clone(), section(name)?))));
    [plain, Value::Object(content)].iter().map(|content| digest(content, ",", ":")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LOCK: &str = r#"{"_meta": {"hash": {"sha256": "HASH"}, "sources": [{"name": "pypi", "url": "https://i/simple", "verify_ssl": true},
        {"name": "own", "url": "https://$USER:${PASSWORD}@own/simple", "verify_ssl": true}]},
        "default": {"flask": {"version": "==3.0", "hashes": ["sha256:00", "sha256:11"], "extras": ["async"]},
            "win": {"version": "==1", "markers": "sys_platform == 'win32'"},
            "tool": {"git": "https://h/tool.git", "ref": "c0ffee"}, "lib": {"path": "./lib", "editable": true},
            "any": {"version": "*"}},
        "develop": {"pytest": {"version": "==8"}}}"#;

    #[test]
    fn a_lock_becomes_requirements() {
        let locked = translate(LOCK, None, &Machine::with_python("3.11.7")).unwrap();
        assert_eq!(locked.hashed, ["flask[async]==3.0 --hash=sha256:00 --hash=sha256:11"]);
        assert_eq!(locked.plain, ["any", "-e ./lib", "tool @ git+https://h/tool.git@c0ffee"]);
        assert_eq!(locked.indexes, ["--extra-index-url https://:@own/simple"]);
    }

    #[test]
    fn a_stale_lock_is_seen() {
        let pipfile: toml::Table = "[packages]\nflask = '*'\n".parse().unwrap();
        let error = translate(LOCK, Some(&pipfile), &Machine::with_python("3.11.7")).unwrap_err();
        assert_eq!(error.to_string(), "Pipfile.lock is older than Pipfile");
    }

    #[test]
    fn pipenvs_own_digest() {
        let pipfile: toml::Table = "[[source]]\nurl = 'https://example.org/simple'\nverify_ssl = true\nname = 'pypi'\n[packages]\n\
            flask = '>=3'\nitsdangerous = {version='*', markers=\"python_version > '3.5'\"}\n[dev-packages]\npytest = '*'\n\
            [requires]\npython_version = '3.11'\n"
            .parse()
            .unwrap();
        let digests = digests(&pipfile, &Meta::default());
        assert!(
            digests.contains(&"0aed13fa2f096bb11a15dec6c8fa85138f23a4d0d573050d54581abd65011f4a".to_owned()),
            "{digests:?}"
        );
    }

    #[test]
    fn variables_are_replaced() {
        let env = |name: &str| (name == "A").then(|| "x".to_owned());
        for (url, expected) in [("h$A/${A}y", "hx/xy"), ("$", ""), ("${A", "{A"), ("$B-", "-")] {
            assert_eq!(expanded(url, env), expected, "{url}");
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in "\\PC*", name in "[a-z@:/.{}$ ]{0,12}", key in "git|path|file|version|markers") {
            let machine = Machine::with_python("3.11.7");
            let lock = format!(r#"{{"_meta": {{"sources": [{{"url": "{name}"}}]}}, "default": {{"a": {{"{key}": "{name}"}}}}}}"#);
            for text in [&text, &lock] {
                let _ = translate(text, Some(&toml::Table::new()), &machine);
            }
        }
    }
}
