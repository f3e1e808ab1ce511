//! The result of a build: plain data that can be kept with a release.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::Digest;

/// Layers, process types and environment of a built tree. (The code itself stays in the directory it was built in.)
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// What to mount, read-only.
    pub layers: Vec<Layer>,
    /// What can be run. Names are unique.
    pub processes: Vec<ProcessType>,
    /// Changes to make to a process's environment, in order.
    pub env: Vec<EnvChange>,
    /// What to do inside before a process starts, in order. Mostly nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub preparations: Vec<Preparation>,
    /// Ids and versions of the buildpacks that took part, `airstrip/python@0.1.0`.
    pub buildpacks: Vec<String>,
}

/// A directory in the content-addressed store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// Which buildpack made it.
    pub buildpack: String,
    /// Its name there.
    pub name: String,
    /// Its name in the store: hash of its content.
    pub digest: Digest,
    /// Where it must appear inside.
    pub target: PathBuf,
    /// What its buildpack noted about it, as TOML, if a later build may reuse it without having its directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<String>,
}

/// Something that can be run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessType {
    /// `web`, `worker`, `release`, …: letters, digits, `-`, `_`, at most 30.
    pub name: String,
    /// Program and arguments, as to be executed (`sh -c LINE` for a line of a Procfile).
    pub argv: Vec<String>,
    /// For people: the line as written.
    pub command: String,
    /// Whether it wants no shell in front of it, and so no profile scripts.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub direct: bool,
}

/// One change to the environment (CNB specification, "Environment Variable Modification Rules").
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvChange {
    /// Variable.
    pub name: String,
    /// What to do to it.
    pub action: EnvAction,
    /// With what.
    pub value: String,
    /// Only for this process type, if given.
    pub process: Option<String>,
}

/// What to do to a variable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum EnvAction {
    /// Set it.
    Override,
    /// Set it if it is not set.
    Default,
    /// Put the value before what is there, with this delimiter between.
    Prepend(String),
    /// Put the value behind what is there, with this delimiter between.
    Append(String),
}

/// Something to run or to read, inside, before a process starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preparation {
    /// What to do with it.
    pub kind: PreparationKind,
    /// Where it is, inside.
    pub path: PathBuf,
    /// Only for this process type, if given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
}

/// What to do with a preparation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PreparationKind {
    /// `exec.d`: a program that writes variables as TOML to its descriptor 3.
    Program,
    /// `profile.d`, `.profile`: a script that bash reads. Not for processes that are `direct`.
    Script,
}
