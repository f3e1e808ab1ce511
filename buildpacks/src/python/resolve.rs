//! The versions that pip would choose, at uv's speed.
//!
//! uv decides in an order of its own: of two unpinned requirements that do not fit at their newest it may keep the one and go back to
//! the very first release of the other (`python-dateutil`, `boto3`: boto3 0.0.3). So its answer counts only if each requirement got
//! the version that it would have got alone: then nothing was given up. That is seen without the index, which was asked just now.
//!
//! Otherwise uv is told to keep to these newest versions. Where they conflict, the requirement that others depend on gives way, for
//! that is what they say about it; if none does, the one that depends. Whatever is not settled in a few seconds is left to pip.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::diagnosis::missing_version;
use super::installer::{Attempt, InstallError, Installer, List, Target, attempt, checked, pip, write};
use super::project::{Project, Source};
use super::requirements::normalise;
use crate::command::Limit;
use crate::output;

/// For uv's own answer, which comes soon if it is a good one: at worst this is lost, less what later attempts find in the cache.
/// What is installed afterwards may take its time.
const FIRST: Limit = Limit { time: Duration::from_millis(1500), until: Some("Resolved ") };
/// For each attempt to keep to the newest versions.
const RESOLVING: Limit = Limit { time: Duration::from_secs(20), until: Some("Resolved ") };

/// Versions to keep to, by name.
type Versions = BTreeMap<String, String>;

/// Installs with `uv`.
pub(super) fn install(installer: &Installer<'_>, uv: &Path, target: &Target<'_>) -> Result<(), InstallError> {
    let uv = Uv { installer, program: uv, target };
    if target.wheels_alone {
        // Nothing may be asked of the environment's Python any more once something is installed: it would run what packages bring.
        return if is_unhashed(installer) { uv.install_what_is_pinned() } else { install_all(&uv) };
    }
    install_all(&uv).map_err(|error| uv.with_versions_near(error))
}

fn install_all(uv: &Uv<'_>) -> Result<(), InstallError> {
    let Uv { installer, target, .. } = uv;
    let (project, requirements) = (installer.project, &installer.project.requirements);
    let mut lists = installer.lists(target)?;
    let extra = target.scratch.join("extra.txt");
    write(&extra, installer.extra.unwrap_or_default())?;
    // What the buildpack adds has no hash, and no wheel in an app's bundle: then it is installed apart.
    let bundled = project.bundle.as_ref().zip(installer.extra).is_none_or(|(bundle, extra)| bundle.has(extra));
    let together = bundled && project.locked.is_none() && project.source != Source::UvLock && !requirements.is_hashed();
    if project.source == Source::UvLock {
        lists.push(uv.exported()?);
    }
    if together {
        uv.install_together(&lists, &extra)?;
    } else {
        lists.iter().try_for_each(|list| uv.install_list(list))?;
    }
    if let Some(arguments) = installer.package_arguments() {
        checked(uv.command("install", true).args(arguments), None, "uv pip install")?;
    }
    if !together && installer.extra.is_some() {
        checked(uv.command("install", bundled).arg("-r").arg(&extra), None, "uv pip install")?;
    }
    Ok(())
}

/// Whether a file of requirements has to be followed to know all that they need.
fn is_unhashed(installer: &Installer<'_>) -> bool {
    let Project { source, requirements, .. } = installer.project;
    *source == Source::Requirements && !requirements.is_hashed()
}

struct Uv<'a> {
    installer: &'a Installer<'a>,
    program: &'a Path,
    target: &'a Target<'a>,
}

impl Uv<'_> {
    /// Unpinned requirements are chosen so that the newest go together.
    fn install_together(&self, lists: &[List], extra: &Path) -> Result<(), InstallError> {
        let mut arguments: Vec<&Path> = lists.iter().map(|list| list.file.as_path()).collect();
        arguments.extend(self.installer.extra.map(|_| extra));
        let open = self.installer.project.requirements.open() + usize::from(self.installer.extra.is_some());
        match (arguments.len(), open) {
            (0, _) => Ok(()),
            // Of a single one nothing is sacrificed for another.
            (_, 0 | 1) => checked(&mut self.pip_install(&arguments), None, "uv pip install"),
            _ => self.install_newest(&arguments),
        }
    }

    /// Installs the requirements if all that they need in turn is pinned, too.
    fn install_what_is_pinned(&self) -> Result<(), InstallError> {
        let resolved = self.target.scratch.join("resolved.txt");
        let lists = self.installer.lists(self.target)?;
        let files = || lists.iter().map(|list| &list.file);
        let mut command = self.command("compile", true);
        command.args(["--quiet", "--no-header", "--no-annotate", "--output-file"]).arg(&resolved).args(files());
        checked(&mut command, None, "uv pip compile")?;
        let pinned = self.installer.project.requirements.pinned_names();
        if let Some((open, _)) = read_pins(&resolved)?.iter().find(|(name, _)| !pinned.contains(name.as_str())) {
            return Err(failed(vec![format!("{open} is not pinned")]));
        }
        let files: Vec<&Path> = files().map(PathBuf::as_path).collect();
        checked(self.pip_install(&files).arg("--no-deps"), None, "uv pip install")
    }

    fn install_list(&self, list: &List) -> Result<(), InstallError> {
        let mut command = self.pip_install(&[&list.file]);
        command.args(list.options);
        // As pip does, every file must have a hash as soon as one has.
        let all = self.installer.project.source == Source::Requirements;
        command.args((all && self.installer.project.requirements.is_hashed()).then_some("--require-hashes"));
        checked(&mut command, None, "uv pip install")
    }

    /// uv's lock as a file of requirements.
    fn exported(&self) -> Result<List, InstallError> {
        let file = self.target.scratch.join("exported.txt");
        checked(&mut self.export(&file), None, "uv export")?;
        Ok(List { file, options: &["--no-deps"] })
    }

    /// See the module.
    fn install_newest(&self, arguments: &[&Path]) -> Result<(), InstallError> {
        let known = match self.install_with(arguments, &Versions::new(), Some(FIRST))? {
            Attempt::Done => {
                let newest = self.newest(arguments, true).ok();
                if newest.as_ref().is_some_and(|newest| self.are_installed(newest)) {
                    return Ok(());
                }
                newest
            }
            Attempt::Failed(log) if is_final(&log) => return Err(failed(log)),
            // On its way back through old releases it may have met one that cannot be built.
            Attempt::Failed(_) | Attempt::TimedOut => None,
        };
        output::detail("Looking for the newest versions that go together");
        let newest = known.map_or_else(|| self.newest(arguments, false), Ok)?;
        self.install_keeping(arguments, newest)
    }

    /// Keeps to `versions` as far as they go together.
    fn install_keeping(&self, arguments: &[&Path], mut versions: Versions) -> Result<(), InstallError> {
        let pinned = self.installer.project.requirements.pinned_names();
        versions.retain(|name, _| !pinned.contains(name.as_str()));
        loop {
            match self.install_with(arguments, &versions, Some(RESOLVING))? {
                Attempt::Done => return Ok(()),
                Attempt::TimedOut => return self.install_as_pip_would(arguments, &versions),
                Attempt::Failed(log) => {
                    let yielding = yielding(&log, &versions);
                    if yielding.is_empty() {
                        return Err(failed(log));
                    }
                    versions.retain(|name, _| !yielding.contains(name));
                }
            }
        }
    }

    /// The newest version of each requirement, whatever it needs; `offline`: by what uv has read before.
    fn newest(&self, arguments: &[&Path], offline: bool) -> Result<Versions, InstallError> {
        let file = self.target.scratch.join("newest.txt");
        let mut command = self.command("compile", true);
        command.args(["--no-deps", "--quiet", "--no-header", "--no-annotate", "--output-file"]).arg(&file);
        command.args(offline.then_some("--offline")).args(arguments);
        checked(&mut command, None, "uv pip install")?;
        read_pins(&file)
    }

    /// A version that does not exist is missed less with those beside it at hand.
    fn with_versions_near(&self, error: InstallError) -> InstallError {
        let InstallError::Failed { command, log, .. } = error else { return error };
        let text = log.join(" ").split_whitespace().collect::<Vec<_>>().join(" ");
        let near = missing_version(&text).and_then(|wanted| wanted.split_once("==")).map(|(name, version)| {
            let asked = [("<", "highest"), (">", "lowest"), (">=0,!=", "highest")];
            let found = asked.map(|(sign, order)| self.one(&format!("{name}{sign}{version}\n"), order));
            let mut found: Vec<_> = found.into_iter().flatten().collect();
            found.dedup();
            found
        });
        InstallError::Failed { command, log, near: near.unwrap_or_default() }
    }

    /// The version that a requirement comes to, by what uv has read before.
    fn one(&self, requirement: &str, order: &str) -> Option<String> {
        let (asked, found) = (self.target.scratch.join("near.in"), self.target.scratch.join("near.txt"));
        write(&asked, requirement).ok()?;
        let mut command = self.command("compile", true);
        command.args(["--no-deps", "--quiet", "--no-header", "--no-annotate", "--offline", "--resolution", order]);
        command.arg("--output-file").arg(&found).arg(&asked);
        match attempt(&mut command, Some(RESOLVING), "uv pip compile").ok()? {
            Attempt::Done => pins(&std::fs::read_to_string(&found).ok()?).into_values().next(),
            Attempt::Failed(_) | Attempt::TimedOut => None,
        }
    }

    fn are_installed(&self, versions: &Versions) -> bool {
        let python = format!("lib/python{}", self.target.interpreter.minor());
        let packages = self.target.environment.join(python).join("site-packages");
        let entries = std::fs::read_dir(packages).into_iter().flatten().flatten();
        let there: Versions = entries.filter_map(|entry| distribution(entry.file_name().to_str()?)).collect();
        versions.iter().all(|(name, version)| there.get(name) == Some(version))
    }

    fn install_with(
        &self,
        arguments: &[&Path],
        versions: &Versions,
        limit: Option<Limit>,
    ) -> Result<Attempt, InstallError> {
        let mut command = self.pip_install(arguments);
        // What an attempt before has installed is no reason to choose it, or to leave it there.
        command.args(["--upgrade", "--exact"]);
        if !versions.is_empty() {
            let constraints = self.target.scratch.join("constraints.txt");
            let lines = versions.iter().map(|(name, version)| format!("{name}=={version}\n"));
            write(&constraints, &lines.collect::<String>())?;
            command.arg("--constraint").arg(constraints);
        }
        attempt(&mut command, limit, "uv pip install")
    }

    /// Without a pip, uv may take all the time that it needs.
    fn install_as_pip_would(&self, arguments: &[&Path], versions: &Versions) -> Result<(), InstallError> {
        output::detail("The requirements are hard to fit together; this can take minutes. Pin versions to avoid it.");
        let versions = match self.lock_of_pip(arguments) {
            Ok(lock) => lock,
            Err(InstallError::NoInstaller) => versions.clone(),
            Err(error) => return Err(error),
        };
        match self.install_with(arguments, &versions, None)? {
            Attempt::Done => Ok(()),
            Attempt::Failed(log) => Err(failed(log)),
            Attempt::TimedOut => Err(failed(Vec::new())),
        }
    }

    /// What pip would install.
    fn lock_of_pip(&self, arguments: &[&Path]) -> Result<Versions, InstallError> {
        if self.installer.project.source == Source::Pyproject {
            return Err(InstallError::NoInstaller);
        }
        let report = self.target.scratch.join("report.json");
        let mut command = self.installer.pip_install(&pip(self.target.interpreter)?, self.target);
        command.args(self.installer.index_arguments()).args(["--dry-run", "--report"]).arg(&report);
        for file in arguments {
            command.arg("-r").arg(file);
        }
        checked(&mut command, None, "pip install --dry-run")?;
        let text = std::fs::read(&report)
            .map_err(|source| InstallError::Io { doing: format!("reading {}", report.display()), source })?;
        Ok(reported(&text))
    }

    fn pip_install(&self, files: &[&Path]) -> Command {
        let mut command = self.command("install", true);
        for file in files {
            command.arg("-r").arg(file);
        }
        command
    }

    /// `bundled`: from the app's own wheels only, if it has any.
    fn command(&self, verb: &str, bundled: bool) -> Command {
        let mut command = self.installer.uv_command(self.program, self.target);
        command.args(["pip", verb, "--python"]).arg(self.target.environment.join("bin/python"));
        if bundled {
            command.args(self.installer.index_arguments());
        } else {
            command.args(self.installer.index.no_index().then_some("--no-index"));
        }
        command
    }

    /// The lock as a requirements file, without the project itself.
    fn export(&self, file: &Path) -> Command {
        let mut command = self.installer.uv_command(self.program, self.target);
        command.args(["export", "--quiet", "--no-default-groups", "--no-emit-project", "--no-header"]);
        // Without an index uv cannot check the lock.
        command.arg(if self.installer.project.bundle.is_some() { "--frozen" } else { "--locked" });
        command.args(["--format", "requirements.txt", "--output-file"]).arg(file);
        command.arg("--python").arg(&self.target.interpreter.program);
        command.args(self.installer.index.no_index().then_some("--no-index"));
        command
    }
}

fn failed(log: Vec<String>) -> InstallError {
    InstallError::failed("uv pip install", log)
}

/// Whether other versions would change nothing: there is no answer at all, or no index.
fn is_final(log: &[String]) -> bool {
    log.iter().any(|line| line.contains("No solution found") || line.contains("Failed to fetch"))
}

/// The package whose metadata directory has this name, and its version.
fn distribution(directory: &str) -> Option<(String, String)> {
    let (name, version) = directory.strip_suffix(".dist-info")?.split_once('-')?;
    Some((normalise(name), version.to_owned()))
}

fn read_pins(file: &Path) -> Result<Versions, InstallError> {
    let text = std::fs::read_to_string(file);
    text.map(|text| pins(&text))
        .map_err(|source| InstallError::Io { doing: format!("reading {}", file.display()), source })
}

/// The lines `name==version`; URLs and paths have no version to keep to.
fn pins(text: &str) -> Versions {
    let pairs = text.lines().filter_map(|line| line.split(';').next()?.trim().split_once("=="));
    let plain = pairs.map(|(name, version)| (name.split('[').next().unwrap_or(name), version));
    plain.map(|(name, version)| (normalise(name), version.trim().to_owned())).collect()
}

/// pip's installation report (its version 1).
fn reported(json: &[u8]) -> Versions {
    let report: serde_json::Value = serde_json::from_slice(json).unwrap_or_default();
    let packages = report.get("install").and_then(|list| list.as_array()).into_iter().flatten();
    let texts = packages.filter_map(|package| {
        let metadata = package.get("metadata")?;
        Some((normalise(metadata.get("name")?.as_str()?), metadata.get("version")?.as_str()?.to_owned()))
    });
    texts.collect()
}

/// Which versions to give up after a conflict: of those that another package depends on, else of those that depend on another.
fn yielding(log: &[String], versions: &Versions) -> BTreeSet<String> {
    let text = log.join(" ");
    let words: Vec<String> = text.split_whitespace().map(package).collect();
    let around = |offset: usize| {
        let depends = |words: &&[String]| (words[1] == "depends" || words[1] == "depend") && words[2] == "on";
        let sentences = words.windows(4).filter(depends);
        sentences.map(|words| words[offset].clone()).filter(|name| versions.contains_key(name)).collect::<BTreeSet<_>>()
    };
    let depended_on = around(3);
    if depended_on.is_empty() { around(0) } else { depended_on }
}

/// The name in `name>=1.0,<2`.
fn package(word: &str) -> String {
    let end = word.find(|c: char| !(c.is_ascii_alphanumeric() || "._-".contains(c))).unwrap_or(word.len());
    normalise(&word[..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn versions(names: &[&str]) -> Versions {
        names.iter().map(|name| ((*name).to_owned(), "1".to_owned())).collect()
    }

    #[test]
    fn the_one_that_others_depend_on_gives_way() {
        let log = [
            "error: No solution found when resolving dependencies",
            "  cause: Because botocore>=1.44.5 depends on python-dateutil>=2.1,<3.0.0 and boto3>=1.44.5 depends on",
            "         botocore>=1.44.5, we can conclude that boto3>=1.44.5 depends on python-dateutil>=2.1,<3.0.0.",
            "         And because you require python-dateutil==4.0.0 and boto3==1.44.5, we can conclude that …",
        ]
        .map(str::to_owned);
        let cases: [(&[&str], &[&str]); 4] = [
            (&["python-dateutil", "boto3", "flask"], &["python-dateutil"]),
            (&["boto3", "flask"], &["boto3"]),
            (&["flask"], &[]),
            (&[], &[]),
        ];
        for (names, gone) in cases {
            let expected: BTreeSet<String> = gone.iter().map(|name| (*name).to_owned()).collect();
            assert_eq!(yielding(&log, &versions(names)), expected, "{names:?}");
        }
    }

    #[test]
    fn pins_are_read() {
        let text = "flask==3.1\nPsycopg[binary]==3.2 ; python_version > '3'\n-e .\npkg @ file:///x\n";
        let expected = [("flask", "3.1"), ("psycopg", "3.2")].map(|(n, v)| (n.to_owned(), v.to_owned()));
        assert_eq!(pins(text), Versions::from(expected));
    }

    #[test]
    fn what_is_installed_is_read() {
        let expected = ("charset-normalizer".to_owned(), "3.5.2".to_owned());
        assert_eq!(distribution("charset_normalizer-3.5.2.dist-info"), Some(expected));
        assert_eq!(distribution("flask"), None);
    }

    #[test]
    fn pips_report_is_read() {
        let json =
            br#"{"version": "1", "install": [{"metadata": {"name": "Flask_X", "version": "3"}}, {"metadata": 1}]}"#;
        assert_eq!(reported(json), Versions::from([("flask-x".to_owned(), "3".to_owned())]));
        assert_eq!(reported(b"nonsense"), Versions::new());
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in "\\PC*", bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            yielding(std::slice::from_ref(&text), &versions(&["a"]));
            pins(&text);
            reported(&bytes);
            distribution(&text);
        }
    }
}
