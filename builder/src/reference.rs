//! How users name buildpacks, and how what they named is found.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::blocking::Cancel;
use crate::buildpack::{is_id, is_version};
use crate::directory::Directory;
use crate::order::{Entry, Group, Order};
use crate::{Buildpack, tree};

/// A buildpack, as somebody has named it. Kept as the text that it is read from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Reference {
    /// One that the server has: `ID` or `ID@VERSION`.
    Known(Entry),
    /// A directory of the app, `./DIRECTORY`, kept without the `./`.
    Directory(String),
    /// Written out where it is named.
    Script(Script),
}

/// A buildpack that always passes and builds by a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// Its id.
    pub id: String,
    /// Its version.
    pub version: String,
    /// Its Buildpack API.
    pub api: String,
    /// What runs the script.
    pub shell: String,
    /// The script.
    pub text: String,
}

/// A name that no buildpack has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidReference {
    /// It is somewhere else.
    #[error(
        "{0} would have to be fetched: install it (ssh airstrip@HOST buildpacks:install URL, or a tar of it on standard input), or put it into the app's repository"
    )]
    Elsewhere(String),
    /// It is nothing of the kind.
    #[error("{0:?} names no buildpack: expected ID, ID@VERSION (X.Y.Z) or ./DIRECTORY of the app")]
    Nonsense(String),
}

impl FromStr for Reference {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(directory) = text.strip_prefix("./") {
            return directory_of_app(directory).ok_or_else(|| InvalidReference::Nonsense(text.into()));
        }
        let name = ["urn:cnb:builder:", "from=builder:"].iter().find_map(|prefix| text.strip_prefix(prefix));
        let name = name.unwrap_or(text);
        if name.contains(':') {
            return Err(InvalidReference::Elsewhere(text.into()));
        }
        let (id, version) = name.split_once('@').map_or((name, None), |(id, version)| (id, Some(version)));
        if !is_id(id) || !version.is_none_or(is_version) {
            return Err(InvalidReference::Nonsense(text.into()));
        }
        Ok(Self::Known(Entry { id: id.into(), version: version.map(Into::into), ..Entry::default() }))
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(entry) => entry.fmt(f),
            Self::Directory(directory) => write!(f, "./{directory}"),
            Self::Script(script) => f.write_str(&script.id),
        }
    }
}

impl TryFrom<String> for Reference {
    type Error = InvalidReference;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Reference> for String {
    fn from(reference: Reference) -> Self {
        reference.to_string()
    }
}

fn directory_of_app(text: &str) -> Option<Reference> {
    let text = text.trim_end_matches('/');
    let fine = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.chars().any(char::is_control);
    text.split('/').all(fine).then(|| Reference::Directory(text.into()))
}

/// What somebody chose instead of the built-in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice {
    /// Instead of the built-in order; empty: that.
    pub group: Vec<Reference>,
    /// Before the buildpacks of every group.
    pub before: Vec<Reference>,
    /// After them.
    pub after: Vec<Reference>,
}

/// An order with all that it names.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// In which order to try.
    pub order: Order,
    /// All that there are, those of the app last.
    pub buildpacks: Vec<Buildpack>,
}

/// A choice that cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum ChoiceError {
    /// A directory of the app is no buildpack.
    #[error("{named}: {reason}")]
    NoBuildpack {
        /// As it was named.
        named: String,
        /// What is wrong.
        reason: String,
    },
    /// Reading or writing failed.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: String,
        /// The operating system's answer.
        source: io::Error,
    },
}

impl Choice {
    /// Just this group.
    pub fn of_group(group: Vec<Reference>) -> Self {
        Self { group, ..Self::default() }
    }

    /// Whether there is anything in it.
    pub fn is_empty(&self) -> bool {
        self.group.is_empty() && self.before.is_empty() && self.after.is_empty()
    }

    /// Finds what the choice names. Buildpacks of the app are copied out of `source` to the new directory `aside`: a
    /// build must not change those that come after it, nor put links in their place.
    pub fn select(
        &self,
        built_in: &Order,
        known: Vec<Buildpack>,
        source: &Path,
        aside: &Path,
    ) -> Result<Selection, ChoiceError> {
        let mut finder = Finder { source, aside, found: known, copies: 0 };
        let [before, group, after] = [&self.before, &self.group, &self.after].map(|references| finder.find(references));
        let (before, group, after) = (before?, group?, after?);
        let groups = if group.is_empty() { built_in.0.clone() } else { vec![Group { group }] };
        let around = |Group { group }| Group { group: [before.clone(), group, after.clone()].concat() };
        Ok(Selection { order: Order(groups.into_iter().map(around).collect()), buildpacks: finder.found })
    }
}

struct Finder<'a> {
    source: &'a Path,
    aside: &'a Path,
    found: Vec<Buildpack>,
    copies: usize,
}

impl Finder<'_> {
    fn find(&mut self, references: &[Reference]) -> Result<Vec<Entry>, ChoiceError> {
        references.iter().map(|reference| self.find_one(reference)).collect()
    }

    fn find_one(&mut self, reference: &Reference) -> Result<Entry, ChoiceError> {
        let directory = match reference {
            Reference::Known(entry) => return Ok(entry.clone()),
            Reference::Directory(directory) => self.place().and_then(|place| copy(self.source, directory, place)),
            Reference::Script(script) => self.place().and_then(|place| script.write(place)),
        };
        let directory =
            directory.map_err(|source| ChoiceError::Io { doing: format!("reading {reference}"), source })?;
        let opened = Buildpack::open(&directory)
            .map_err(|error| ChoiceError::NoBuildpack { named: reference.to_string(), reason: error.reason })?;
        let entry = Entry::of(&opened);
        self.found.push(opened);
        Ok(entry)
    }

    /// A new place for a buildpack.
    fn place(&mut self) -> io::Result<PathBuf> {
        fs::create_dir_all(self.aside)?;
        self.copies += 1;
        Ok(self.aside.join(self.copies.to_string()))
    }
}

/// Copies a directory of the app without following links, neither on the way to it nor in it.
fn copy(source: &Path, directory: &str, to: PathBuf) -> io::Result<PathBuf> {
    let mut opened = Directory::open(source)?;
    for part in directory.split('/') {
        opened = opened.directory(part.as_bytes())?;
    }
    drop(opened);
    tree::copy(&source.join(directory), &to, None, &Cancel::default())?;
    Ok(to)
}

impl Script {
    fn write(&self, to: PathBuf) -> io::Result<PathBuf> {
        let descriptor =
            format!("api = {:?}\n[buildpack]\nid = {:?}\nversion = {:?}\n", self.api, self.id, self.version);
        fs::create_dir_all(to.join("bin"))?;
        fs::write(to.join("buildpack.toml"), descriptor)?;
        for (program, script) in
            [("detect", "#!/bin/sh\n".to_owned()), ("build", format!("#!{}\n{}\n", self.shell, self.text))]
        {
            let path = to.join("bin").join(program);
            fs::write(&path, script)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        }
        Ok(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names() {
        let shown = |text: &str| match text.parse::<Reference>() {
            Ok(reference) => {
                format!("{reference} {}", if matches!(reference, Reference::Known(_)) { "known" } else { "here" })
            }
            Err(error) => error.to_string(),
        };
        assert_eq!(shown("heroku/procfile"), "heroku/procfile known");
        assert_eq!(shown("heroku/procfile@4.2.1"), "heroku/procfile@4.2.1 known");
        assert_eq!(shown("urn:cnb:builder:a/b@1.0.0"), "a/b@1.0.0 known");
        assert_eq!(shown("from=builder:a"), "a known");
        assert_eq!(shown("./buildpacks/mine/"), "./buildpacks/mine here");
        insta::assert_snapshot!(shown("https://github.com/heroku/x.git"), @"https://github.com/heroku/x.git would have to be fetched: install it (ssh airstrip@HOST buildpacks:install URL, or a tar of it on standard input), or put it into the app's repository");
        insta::assert_snapshot!(shown("docker://a"), @"docker://a would have to be fetched: install it (ssh airstrip@HOST buildpacks:install URL, or a tar of it on standard input), or put it into the app's repository");
        for nonsense in ["", ".", "./", "./..", "./a/../b", "./a//b", "a@", "a@1", "../a", "/a", "a b", "./a\n"] {
            assert!(matches!(nonsense.parse::<Reference>(), Err(InvalidReference::Nonsense(_))), "{nonsense:?}");
        }
    }

    fn app() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("code/packs/mine/bin")).unwrap();
        let at = |below: &str| root.path().join("code/packs/mine").join(below);
        fs::write(at("buildpack.toml"), "api='0.10'\n[buildpack]\nid='mine'\nversion='1.0.0'").unwrap();
        fs::write(at("bin/detect"), "").unwrap();
        fs::write(at("bin/build"), "").unwrap();
        root
    }

    fn selected(root: &Path, choice: &Choice) -> String {
        let built_in =
            Order(["a", "b"].map(|id| Group { group: vec![Entry { id: id.into(), ..Entry::default() }] }).into());
        let aside = tempfile::tempdir_in(root).unwrap();
        let selected = choice.select(&built_in, Vec::new(), &root.join("code"), aside.path());
        let Ok(selected) = selected else { return selected.unwrap_err().to_string() };
        let groups = selected
            .order
            .0
            .iter()
            .map(|group| group.group.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
        groups.collect::<Vec<_>>().join(" / ")
    }

    #[test]
    fn choices() {
        let root = app();
        let references = |text: &str| text.split(' ').map(|name| name.parse().unwrap()).collect::<Vec<Reference>>();
        let group = |text: &str| selected(root.path(), &Choice::of_group(references(text)));
        assert_eq!(group("x ./packs/mine y@1.0.0"), "x mine@1.0.0 y@1.0.0");
        let around = Choice { before: references("x"), after: references("y"), ..Choice::default() };
        assert_eq!(selected(root.path(), &around), "x a y / x b y");
        assert_eq!(selected(root.path(), &Choice::default()), "a / b");
        std::os::unix::fs::symlink("/etc", root.path().join("code/link")).unwrap();
        insta::assert_snapshot!(group("./link/ssl"), @"reading ./link/ssl: Not a directory (os error 20)");
        insta::assert_snapshot!(group("./none"), @"reading ./none: No such file or directory (os error 2)");
        insta::assert_snapshot!(group("./packs"), @"./packs: has no buildpack.toml");
    }

    #[test]
    fn scripts() {
        let root = app();
        let script = Script {
            id: "my/script".into(),
            version: "0.0.0".into(),
            api: "0.10".into(),
            shell: "/bin/bash -e".into(),
            text: "echo built".into(),
        };
        let build = fs::read_to_string(script.write(root.path().join("script")).unwrap().join("bin/build")).unwrap();
        assert_eq!(build, "#!/bin/bash -e\necho built\n");
        let choice = Choice::of_group(vec![Reference::Script(script)]);
        assert_eq!(selected(root.path(), &choice), "my/script@0.0.0");
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read(text in r"(\./)?[a-z./@:]{0,12}(@[0-9]\.[0-9]\.[0-9])?") {
            if let Ok(reference) = text.parse::<Reference>() {
                prop_assert_eq!(reference.to_string().parse::<Reference>(), Ok(reference));
            }
        }
    }
}
