//! `pyproject.toml`: what `[project]` needs, and which Python.

use std::path::Path;

use super::super::requirements::{Entry, Requirements};
use super::{ProjectError, text};

/// The file.
pub(super) const FILE: &str = "pyproject.toml";

/// A TOML file of the app; none if there is no such file.
pub(in super::super) fn table(app: &Path, file: &'static str) -> Result<Option<toml::Table>, ProjectError> {
    let Some(text) = text(app, file)? else { return Ok(None) };
    let malformed = |error: toml::de::Error| ProjectError::Malformed { file, reason: error.to_string() };
    text.trim_start_matches('\u{feff}').parse().map(Some).map_err(malformed)
}

/// What `[project]` needs; none if there is no such table (the file then only configures tools).
pub(super) fn dependencies(app: &Path) -> Result<Option<Vec<String>>, ProjectError> {
    let Some(table) = table(app, FILE)? else { return Ok(None) };
    let Some(project) = table.get("project") else { return Ok(None) };
    let list = project.get("dependencies").and_then(toml::Value::as_array);
    Ok(Some(list.into_iter().flatten().filter_map(toml::Value::as_str).map(str::to_owned).collect()))
}

/// Whether the dependencies are written down in poetry's own way.
pub(super) fn is_poetrys(app: &Path) -> Result<bool, ProjectError> {
    let table = table(app, FILE)?;
    Ok(table.is_some_and(|table| table.get("tool").and_then(|tool| tool.get("poetry")?.get("dependencies")).is_some()))
}

/// The Python that the project says it runs with.
pub(in super::super) fn requires_python(table: &toml::Table) -> Option<&str> {
    let standard = table.get("project").and_then(|project| project.get("requires-python"));
    let poetry = || table.get("tool")?.get("poetry")?.get("dependencies")?.get("python");
    standard.or_else(poetry)?.as_str()
}

/// As the only place where dependencies are written down.
pub(super) fn read(app: &Path) -> Result<Requirements, ProjectError> {
    let entries = dependencies(app)?.unwrap_or_default().iter().map(|text| Entry::parse(text)).collect();
    let bytes = text(app, FILE)?.unwrap_or_default().into_bytes();
    Ok(Requirements { entries, files: vec![(FILE.into(), bytes)], ..Requirements::default() })
}
