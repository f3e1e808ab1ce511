//! `project.toml`: what an app says of its own build (specification: `project-descriptor.md`, schema 0.1 and 0.2).
//!
//! Read are the buildpacks (`[[io.buildpacks.group]]`, `pre` and `post`), the files (`include`, `exclude`) and the build's
//! variables, also from the older tables below `[build]`. All else is for others, and passed over.

mod files;

use std::io;
use std::path::Path;

use serde::Deserialize;
use toml::Spanned;

use self::files::Files;
use crate::directory::Directory;
use crate::environment::is_variable;
use crate::reference::{Choice, Reference, Script};
use crate::target::is_for_us;

/// Name of the file.
const FILE: &str = "project.toml";
/// Longest file that is read.
const LONGEST: u64 = 1024 * 1024;

/// What of the file concerns a build.
#[derive(Debug, Clone, Default)]
pub struct Project {
    /// Which buildpacks, if it says.
    pub choice: Choice,
    /// Variables of the build.
    pub env: Vec<(String, String)>,
    files: Files,
}

/// A file that cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum ProjectError {
    /// What it says is wrong.
    #[error("{FILE}: line {line}: {reason}")]
    Wrong {
        /// Counted from 1.
        line: usize,
        /// What, and what is expected.
        reason: String,
    },
    /// Reading it, or removing the files that it excludes, failed.
    #[error("{FILE}: {0}")]
    Io(#[from] io::Error),
}

impl Project {
    /// Reads the file of a tree that is not trusted. None if there is none.
    pub fn read(source: &Path) -> Result<Option<Self>, ProjectError> {
        let bytes = match Directory::open(source)?.read(FILE.as_bytes(), LONGEST) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Ok(None),
            Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData) => {
                return Err(wrong(1, format!("the file {error}; expected a text file")));
            }
            Err(error) => return Err(error.into()),
        };
        let text = std::str::from_utf8(&bytes).map_err(|_| wrong(1, "the file is not UTF-8 text"))?;
        parse(text).map(Some)
    }

    /// Removes from the tree what takes no part in the build.
    pub fn prune(&self, source: &Path) -> Result<(), ProjectError> {
        Ok(self.files.prune(source)?)
    }
}

fn wrong(line: usize, reason: impl Into<String>) -> ProjectError {
    ProjectError::Wrong { line, reason: reason.into() }
}

fn parse(text: &str) -> Result<Project, ProjectError> {
    let line = |at: usize| text.get(..at).unwrap_or_default().matches('\n').count() + 1;
    let fault = |error: &toml::de::Error| wrong(line(error.span().unwrap_or_default().start), error.message());
    let file: File = toml::from_str(text).map_err(|error| fault(&error))?;
    file.into_project().map_err(|Mistake { at, reason }| wrong(line(at), reason))
}

/// A mistake at a byte of the text.
struct Mistake {
    at: usize,
    reason: String,
}

impl Mistake {
    fn new<T>(at: &Spanned<T>, reason: impl Into<String>) -> Self {
        Self { at: at.span().start, reason: reason.into() }
    }
}

#[derive(Deserialize)]
struct File {
    #[serde(default, rename = "_")]
    header: Header,
    #[serde(default)]
    io: Io,
    #[serde(default)]
    build: OldBuild,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Header {
    schema_version: Option<Spanned<String>>,
}

#[derive(Default, Deserialize)]
struct Io {
    #[serde(default)]
    buildpacks: Buildpacks,
}

#[derive(Default, Deserialize)]
struct Buildpacks {
    include: Option<Spanned<Vec<String>>>,
    exclude: Option<Spanned<Vec<String>>>,
    #[serde(default)]
    group: Vec<Spanned<Member>>,
    #[serde(default)]
    pre: Members,
    #[serde(default)]
    post: Members,
    #[serde(default)]
    build: Build,
}

#[derive(Default, Deserialize)]
struct Members {
    #[serde(default)]
    group: Vec<Spanned<Member>>,
}

#[derive(Default, Deserialize)]
struct Build {
    #[serde(default)]
    env: Vec<Variable>,
}

/// `[build]` of schema 0.1.
#[derive(Default, Deserialize)]
struct OldBuild {
    include: Option<Spanned<Vec<String>>>,
    exclude: Option<Spanned<Vec<String>>>,
    #[serde(default)]
    buildpacks: Vec<Spanned<Member>>,
    #[serde(default)]
    env: Vec<Variable>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Member {
    id: Option<Spanned<String>>,
    version: Option<Spanned<String>>,
    uri: Option<Spanned<String>>,
    script: Option<Spanned<InlineScript>>,
    #[serde(default)]
    exec_env: Vec<String>,
}

#[derive(Deserialize)]
struct InlineScript {
    api: String,
    inline: String,
    shell: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Variable {
    name: Spanned<String>,
    value: String,
    #[serde(default)]
    exec_env: Vec<String>,
}

impl File {
    fn into_project(self) -> Result<Project, Mistake> {
        if let Some(version) = self.header.schema_version.filter(|version| !version.get_ref().starts_with("0.")) {
            return Err(Mistake::new(&version, "schema-version is neither 0.1 nor 0.2"));
        }
        let (new, old) = (self.io.buildpacks, self.build);
        let group = if new.group.is_empty() { old.buildpacks } else { new.group };
        let choice = Choice {
            group: references(group)?,
            before: references(new.pre.group)?,
            after: references(new.post.group)?,
        };
        let env = if new.build.env.is_empty() { old.env } else { new.build.env };
        let files = files(new.include.or(old.include), new.exclude.or(old.exclude))?;
        Ok(Project { choice, env: variables(env)?, files })
    }
}

fn files(include: Option<Spanned<Vec<String>>>, exclude: Option<Spanned<Vec<String>>>) -> Result<Files, Mistake> {
    match (include, exclude) {
        (Some(_), Some(exclude)) => Err(Mistake::new(&exclude, "include and exclude cannot both be given")),
        (Some(include), None) => Ok(Files::new(include.get_ref(), true)),
        (None, Some(exclude)) => Ok(Files::new(exclude.get_ref(), false)),
        (None, None) => Ok(Files::default()),
    }
}

fn variables(entries: Vec<Variable>) -> Result<Vec<(String, String)>, Mistake> {
    let ours = entries.into_iter().filter(|entry| is_for_us(&entry.exec_env));
    let checked = |Variable { name, value, .. }| {
        if is_variable(name.get_ref()) && !value.contains('\0') {
            return Ok((name.into_inner(), value));
        }
        Err(Mistake::new(&name, format!("{:?} cannot be set", name.get_ref())))
    };
    ours.map(checked).collect()
}

fn references(members: Vec<Spanned<Member>>) -> Result<Vec<Reference>, Mistake> {
    members.into_iter().filter(|member| is_for_us(&member.get_ref().exec_env)).map(reference).collect()
}

fn reference(member: Spanned<Member>) -> Result<Reference, Mistake> {
    let nothing = Mistake::new(&member, "a buildpack has neither id nor uri nor script");
    let Member { id, version, uri, script, .. } = member.into_inner();
    if let Some(script) = script {
        return inline(id, version, script);
    }
    if let Some(uri) = uri {
        return local(&uri);
    }
    let id = id.ok_or(nothing)?;
    let name = match &version {
        Some(version) => format!("{}@{}", id.get_ref(), version.get_ref()),
        None => id.get_ref().clone(),
    };
    name.parse().map_err(|error: crate::reference::InvalidReference| Mistake::new(&id, error.to_string()))
}

/// A relative path need not begin with a dot here.
fn local(uri: &Spanned<String>) -> Result<Reference, Mistake> {
    let text = uri.get_ref();
    let is_path = !text.starts_with('/') && !text.contains([':', '@']);
    let named = if is_path && !text.starts_with("./") { format!("./{text}") } else { text.clone() };
    named.parse().map_err(|error: crate::reference::InvalidReference| Mistake::new(uri, error.to_string()))
}

fn inline(
    id: Option<Spanned<String>>,
    version: Option<Spanned<String>>,
    script: Spanned<InlineScript>,
) -> Result<Reference, Mistake> {
    let Some(id) = id else { return Err(Mistake::new(&script, "a buildpack with a script needs an id")) };
    let InlineScript { api, inline, shell } = script.into_inner();
    Ok(Reference::Script(Script {
        id: id.into_inner(),
        version: version.map_or_else(|| "0.0.0".into(), Spanned::into_inner),
        api,
        shell: shell.unwrap_or_else(|| "/bin/sh".into()),
        text: inline,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(text: &str) -> String {
        match parse(text) {
            Ok(Project { choice, env, .. }) => {
                let names =
                    |references: &[Reference]| references.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
                let env: Vec<_> = env.iter().map(|(name, value)| format!("{name}={value}")).collect();
                format!(
                    "[{}] [{}] [{}] {}",
                    names(&choice.before),
                    names(&choice.group),
                    names(&choice.after),
                    env.join(" ")
                )
            }
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn schema_0_2() {
        let text = r#"
            [_]
            schema-version = "0.2"
            id = "io.example.app"
            [_.metadata]
            pipeline = "x"
            [io.buildpacks]
            builder = "cnbs/sample-builder"
            exclude = ["*.md"]
            [[io.buildpacks.group]]
            id = "a/b"
            version = "1.0.0"
            [[io.buildpacks.group]]
            uri = "packs/mine"
            [[io.buildpacks.group]]
            uri = "./packs/other"
            [[io.buildpacks.group]]
            id = "my/script"
              [io.buildpacks.group.script]
              api = "0.10"
              inline = "echo"
            [[io.buildpacks.group]]
            id = "tests/only"
            exec-env = ["test"]
            [[io.buildpacks.build.env]]
            name = "A"
            value = "1"
            [[io.buildpacks.pre.group]]
            id = "first"
            [[io.buildpacks.post.group]]
            id = "last"
            [com.example]
            else = true
        "#;
        insta::assert_snapshot!(shown(text), @"[first] [a/b@1.0.0 ./packs/mine ./packs/other my/script] [last] A=1");
        assert_eq!(shown(""), "[] [] [] ");
    }

    #[test]
    fn schema_0_1() {
        let text = "[project]\nid='x'\n[build]\nexclude=['*.md']\n[[build.buildpacks]]\nid='a'\n[[build.env]]\nname='A'\nvalue='1'";
        insta::assert_snapshot!(shown(text), @"[] [a] [] A=1");
    }

    #[test]
    fn mistakes_have_their_line() {
        insta::assert_snapshot!(shown("\n[_]\nschema-version='2.0'"), @"project.toml: line 3: schema-version is neither 0.1 nor 0.2");
        insta::assert_snapshot!(shown("[io.buildpacks]\ninclude=['a']\nexclude=['b']"), @"project.toml: line 3: include and exclude cannot both be given");
        insta::assert_snapshot!(shown("[[io.buildpacks.group]]\nid='a'\nversion='1'"), @r#"project.toml: line 2: "a@1" names no buildpack: expected ID, ID@VERSION (X.Y.Z) or ./DIRECTORY of the app"#);
        insta::assert_snapshot!(shown("[[io.buildpacks.group]]\n\nuri='docker://x/y'"), @r"project.toml: line 3: docker://x/y would have to be fetched: install it (ssh airstrip@HOST buildpacks:install URL, or a tar of it on standard input), or put it into the app's repository");
        insta::assert_snapshot!(shown("[[io.buildpacks.group]]\nuri='../x'"), @r#"project.toml: line 2: "./../x" names no buildpack: expected ID, ID@VERSION (X.Y.Z) or ./DIRECTORY of the app"#);
        insta::assert_snapshot!(shown("[[io.buildpacks.group]]\nid='a'\n[[io.buildpacks.group]]\nversion='1.0.0'"), @"project.toml: line 3: a buildpack has neither id nor uri nor script");
        insta::assert_snapshot!(shown("[[io.buildpacks.build.env]]\nvalue='1'\nname='A=B'"), @r#"project.toml: line 3: "A=B" cannot be set"#);
        insta::assert_snapshot!(shown("[io.buildpacks]\nexclude='*.md'"), @r#"project.toml: line 2: invalid type: string "*.md", expected a sequence"#);
        insta::assert_snapshot!(shown("[io.buildpacks\n"), @"project.toml: line 1: unclosed table, expected `]`");
    }

    #[test]
    fn the_file_is_not_followed() {
        let root = tempfile::tempdir().unwrap();
        assert!(Project::read(root.path()).unwrap().is_none());
        std::os::unix::fs::symlink("/etc/os-release", root.path().join(FILE)).unwrap();
        insta::assert_snapshot!(Project::read(root.path()).unwrap_err(), @"project.toml: line 1: the file is not a regular file; expected a text file");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in r#"((\[\[?(_|io|io\.buildpacks|io\.buildpacks\.group|build|build\.env)\]\]?|(id|uri|version|name|value|exclude|include|script|schema-version) = ("\PC{0,8}"|1|\["a"\]|\{\}))\n){0,10}"#) {
            let _read = parse(&text);
        }
    }
}
