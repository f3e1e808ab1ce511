//! What an app's build is made with: its buildpacks, variables, and what is kept of builds before.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use builder::project::{Project, ProjectError};
use builder::reference::{Choice, ChoiceError, Selection};
use builder::{Buildpack, Image, Order};

use crate::failure::{Failure, Result};
use crate::instance::{ENV, owner};
use crate::limits::{Limits, Resource};
use crate::platform::Platform;
use crate::release;
use crate::store::App;
use crate::toolchain::BuildTools;

/// The layer that is shown as the virtualenv.
const ENV_LAYER: &str = "/layers/airstrip_python/env";
/// The part of a build's directory that is the lifecycle's own space.
pub const SCRATCH: &str = "scratch";
/// What is `/tmp` inside.
pub const TMP: &str = "tmp";
/// Copies of the app's own buildpacks.
pub const BUILDPACKS: &str = "buildpacks";

/// Which buildpacks an app's tree is tried with, and who says so.
#[derive(Debug)]
pub struct Buildpacks {
    /// The order, and all that it names.
    pub selection: Selection,
    /// Who chose it; None: nobody, it is the built-in one.
    pub chosen_by: Option<Chooser>,
    /// Variables of the build: those that the tree asks for, and those that are set for the app's builds.
    pub env: Vec<(String, String)>,
}

/// Who chose an app's buildpacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chooser {
    /// `buildpacks:add`.
    Setting,
    /// The tree's `project.toml`.
    Project,
}

/// All of a build but the tree's own content.
pub struct Recipe {
    /// What of this machine takes part.
    pub tools: BuildTools,
    buildpacks: Buildpacks,
    parts: Parts,
    cache: PathBuf,
    store: PathBuf,
    shared: PathBuf,
    built_in: Vec<Buildpack>,
    build_config: Option<PathBuf>,
    previous: Option<Image>,
    previous_sbom: Option<PathBuf>,
    owner: Option<u32>,
    limits: Limits,
    clean: bool,
    symlinks: Vec<(PathBuf, PathBuf)>,
}

struct Parts {
    code: PathBuf,
    scratch: PathBuf,
    sbom: PathBuf,
}

impl Platform {
    /// What the tree that was laid out in a build's directory is to be tried with. What its `project.toml` excludes is removed.
    pub fn buildpacks_for(&self, app: &App, directory: &Path) -> Result<Buildpacks> {
        let code = release::code(directory);
        let project = Project::read(&code).map_err(misread)?.unwrap_or_default();
        project.prune(&code).map_err(misread)?;
        let (choice, chosen_by) = match (app.buildpacks.is_empty(), project.choice.is_empty()) {
            (false, _) => (Choice::of_group(app.buildpacks.clone()), Some(Chooser::Setting)),
            (true, false) => (project.choice, Some(Chooser::Project)),
            (true, true) => (Choice::default(), None),
        };
        // Nobody is to wait for a look at all that is installed who needs none of it.
        let known = if chosen_by.is_some() { self.known_buildpacks()? } else { self.buildpacks.clone() };
        let built_in = Order::of_alternatives(&self.buildpacks);
        let selection = choice.select(&built_in, known, &code, &directory.join(BUILDPACKS)).map_err(unfollowed)?;
        Ok(Buildpacks { selection, chosen_by, env: self.variables(app, project.env)? })
    }

    /// What is set for an app's builds counts before what its tree says.
    fn variables(&self, app: &App, tree: Vec<(String, String)>) -> Result<Vec<(String, String)>> {
        let set = self.store.build_config(app.id)?.into_iter().map(|(key, value)| (String::from(key), value));
        let merged: BTreeMap<_, _> = tree.into_iter().chain(set).collect();
        Ok(merged.into_iter().collect())
    }

    /// Every buildpack that is installed, the built-in ones too.
    pub fn known_buildpacks(&self) -> Result<Vec<Buildpack>> {
        let root = self.home.buildpacks();
        let failed = |e: std::io::Error| Failure::io(root.display(), &e);
        let mut known = Vec::new();
        for id in visible(&root).map_err(failed)? {
            for version in visible(&id).map_err(failed)? {
                match Buildpack::open(&version) {
                    Ok(buildpack) => known.push(buildpack),
                    Err(error) => tracing::warn!(%error, "passed over"),
                }
            }
        }
        Ok(known)
    }

    /// Gathers what a build in this directory needs.
    pub fn recipe(
        &self,
        app: &App,
        directory: &Path,
        buildpacks: Buildpacks,
        tools: BuildTools,
        clean: bool,
    ) -> Recipe {
        let previous = self.current(app).ok();
        Recipe {
            buildpacks,
            tools,
            parts: Parts {
                code: release::code(directory),
                scratch: directory.join(SCRATCH),
                sbom: directory.join(release::SBOM),
            },
            cache: self.home.app(&app.name).cache(),
            store: self.home.layers(),
            shared: self.home.shared(),
            built_in: self.buildpacks.clone(),
            build_config: Some(self.home.build_config()).filter(|directory| directory.is_dir()),
            previous_sbom: previous.as_ref().and_then(|release| Some(release.code.parent()?.join(release::SBOM))),
            previous: previous.map(|release| release.manifest.image),
            owner: owner(app.id),
            limits: app.terms.limits.of_builds(),
            clean,
            symlinks: vec![(ENV.into(), ENV_LAYER.into())],
        }
    }
}

impl Recipe {
    /// As the builder wants it.
    pub fn request(&self) -> builder::Request<'_> {
        let shared =
            builder::Shared { buildpacks: &self.built_in, directory: &self.shared, owner: crate::instance::nobodys() };
        builder::Request {
            source: &self.parts.code,
            scratch: &self.parts.scratch,
            cache: &self.cache,
            store: &self.store,
            previous: self.previous.as_ref(),
            order: &self.buildpacks.selection.order,
            buildpacks: &self.buildpacks.selection.buildpacks,
            chosen: self.buildpacks.chosen_by.is_some(),
            sbom: &self.parts.sbom,
            previous_sbom: self.previous_sbom.as_deref(),
            owner: self.owner,
            tools: &self.tools.binds,
            env: &self.tools.env,
            platform_env: &self.buildpacks.env,
            build_config: self.build_config.as_deref(),
            symlinks: &self.symlinks,
            shared: Some(shared).filter(|_| !self.clean),
            clean: self.clean,
            detect_timeout: self.limits.time(Resource::DetectTime),
            build_timeout: self.limits.time(Resource::Time),
        }
    }

    /// What builds may reach besides public addresses.
    pub fn own_addresses(&self) -> Vec<std::net::SocketAddr> {
        self.tools.own_addresses.clone()
    }
}

impl Buildpacks {
    /// Who chose which, for people.
    pub fn described(&self) -> Option<String> {
        let by = match self.chosen_by? {
            Chooser::Setting => "of this app's setting",
            Chooser::Project => "of project.toml",
        };
        let group =
            |group: &builder::order::Group| group.group.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let groups: Vec<_> = self.selection.order.0.iter().map(group).collect();
        Some(format!("Buildpacks {by}: {}", groups.join("; or ")))
    }
}

/// Directories in a directory, sorted, but for those whose names begin with a dot.
fn visible(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() && !entry.file_name().to_string_lossy().starts_with('.') {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

fn misread(error: ProjectError) -> Failure {
    match error {
        ProjectError::Io(source) => Failure::io("project.toml", &source),
        wrong @ ProjectError::Wrong { .. } => Failure::new(wrong.to_string(), "correct it, commit, and push again"),
    }
}

fn unfollowed(error: ChoiceError) -> Failure {
    match error {
        ChoiceError::Io { doing, source } => Failure::io(doing, &source),
        ChoiceError::NoBuildpack { .. } => {
            Failure::new(error.to_string(), "a buildpack has buildpack.toml, bin/detect and bin/build")
        }
    }
}
