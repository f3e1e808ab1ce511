//! What every step of a build shares: the directories below `scratch`, where they appear inside, and the environment.
//!
//! | below `scratch` | inside | |
//! |---|---|---|
//! | `platform/env/NAME` | `/platform` | the user's build-scoped variables |
//! | `plan-N/plan.toml` | `/cnb/plan` | the plan that a detect writes, or a build reads |
//! | `layers/ID/` | `/layers/ID` | what a buildpack makes; `ID` with `_` for `/` |

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::restore::KEPT;
use super::{BuildError, Request};
use crate::directory::{self, Directory};
use crate::environment::{self, Environment};
use crate::order::Candidate;
use crate::target::Machine;
use crate::{Bind, Buildpack, EnvChange, Step};

const APP: &str = "/home/app/code";
const LAYERS: &str = "/layers";
const PLATFORM: &str = "/platform";
const PLAN: &str = "/cnb/plan";

/// The directories of one build and how steps see them.
pub(super) struct Workplace<'a> {
    pub(super) request: &'a Request<'a>,
    pub(super) machine: Machine,
    build_config: Vec<EnvChange>,
    plans: AtomicUsize,
}

/// A directory with a `plan.toml`, for one step.
pub(super) struct Plan(PathBuf);

impl<'a> Workplace<'a> {
    /// Makes what is common to all steps.
    pub(super) fn prepare(request: &'a Request<'a>) -> Result<Self, BuildError> {
        let made = write_platform(request);
        made.map_err(BuildError::io(format!("preparing {}", request.scratch.display())))?;
        let build_config = read_build_config(request.build_config)?;
        Ok(Self { request, machine: Machine::this(), build_config, plans: AtomicUsize::new(0) })
    }

    /// The flat groups to try.
    pub(super) fn groups(&self) -> Result<Vec<Vec<Candidate<'a>>>, BuildError> {
        Ok(self.request.order.expand(self.request.buildpacks)?)
    }

    /// Where a buildpack's layers are on the host.
    pub(super) fn layers(&self, buildpack: &Buildpack) -> PathBuf {
        self.request.scratch.join("layers").join(buildpack.directory_name())
    }

    /// Makes a `plan.toml` with this content.
    pub(super) fn plan(&self, content: &str) -> Result<Plan, BuildError> {
        let path = self.request.scratch.join(format!("plan-{}", self.plans.fetch_add(1, Ordering::Relaxed)));
        let owner = self.request.owner;
        let made = make_directory(&path, owner).and_then(|plan| write_file(&plan, b"plan.toml", content, 0o644, owner));
        made.map_err(BuildError::io(format!("writing {}", path.display())))?;
        Ok(Plan(path))
    }

    /// `bin/detect <platform> <plan>` in the app's directory, which cannot be changed.
    pub(super) fn detect_step(&self, buildpack: &Buildpack, plan: &Plan) -> Step {
        let mut env = self.environment(buildpack);
        env.set("CNB_BUILD_PLAN_PATH", format!("{PLAN}/plan.toml"));
        let arguments = [PLATFORM.into(), format!("{PLAN}/plan.toml")];
        let mut step = self.step("detect", buildpack, &arguments, env);
        step.binds.push(bind(self.request.source, APP, false));
        step.binds.push(bind(&plan.0, PLAN, true));
        step
    }

    /// `bin/build <layers> <platform> <plan>` in the app's directory. `earlier` are those whose layers it may read.
    pub(super) fn build_step(
        &self,
        buildpack: &Buildpack,
        plan: &Plan,
        mut env: Environment,
        earlier: &[&Buildpack],
    ) -> Step {
        let own = layers_target(buildpack);
        env.set("CNB_LAYERS_DIR", own.clone());
        env.set("CNB_BP_PLAN_PATH", format!("{PLAN}/plan.toml"));
        env.set("AIRSTRIP_KEPT", KEPT);
        let arguments = [own.clone(), PLATFORM.into(), format!("{PLAN}/plan.toml")];
        let mut step = self.step("build", buildpack, &arguments, env);
        step.binds.push(bind(self.request.source, APP, true));
        step.binds.push(bind(&plan.0, PLAN, false));
        for other in earlier {
            step.binds.push(bind(&self.layers(other), &layers_target(other), false));
        }
        step.binds.push(bind(&self.layers(buildpack), &own, true));
        step.network = true;
        step
    }

    /// The same apart from the app: with another directory for layers, another `/platform`, and the app read-only. See [`super::shared`].
    pub(super) fn step_apart(&self, buildpack: &Buildpack, plan: &Plan, platform: &Path, layers: &Path) -> Step {
        let own = layers_target(buildpack);
        let mut env = self.environment_with(buildpack, &[]);
        env.set("CNB_LAYERS_DIR", own.clone());
        env.set("CNB_BP_PLAN_PATH", format!("{PLAN}/plan.toml"));
        let arguments = [own.clone(), PLATFORM.into(), format!("{PLAN}/plan.toml")];
        let mut step = self.step("build", buildpack, &arguments, env);
        step.binds.retain(|bind| bind.target != Path::new(PLATFORM));
        step.binds.push(bind(platform, PLATFORM, false));
        step.binds.push(bind(self.request.source, APP, false));
        step.binds.push(bind(&plan.0, PLAN, false));
        step.binds.push(bind(layers, &own, true));
        step.network = true;
        step
    }

    /// What a buildpack's programs find before other buildpacks' changes: the operator's, the user's, the specification's.
    pub(super) fn environment(&self, buildpack: &Buildpack) -> Environment {
        self.environment_with(buildpack, self.request.platform_env)
    }

    fn environment_with(&self, buildpack: &Buildpack, platform_env: &[(String, String)]) -> Environment {
        let mut env = Environment::new(self.request.env.iter().cloned());
        for (name, value) in platform_env.iter().filter(|_| !buildpack.clear_env) {
            if environment::is_search_path(name) {
                env.apply(&environment::in_front(name, value));
            } else {
                env.set(name, value.clone());
            }
        }
        for change in &self.build_config {
            env.apply(change);
        }
        for (name, value) in self.machine.variables(buildpack.api_minor()) {
            env.set(name, value);
        }
        env.set("CNB_BUILDPACK_DIR", buildpack.target());
        env.set("CNB_PLATFORM_DIR", PLATFORM);
        env
    }

    fn step(&self, phase: &str, buildpack: &Buildpack, arguments: &[String], env: Environment) -> Step {
        let mut argv = vec![format!("{}/bin/{phase}", buildpack.target())];
        argv.extend_from_slice(arguments);
        let mut binds = self.request.tools.to_vec();
        binds.push(bind(&buildpack.directory, &buildpack.target(), false));
        binds.push(bind(&self.request.scratch.join("platform"), PLATFORM, false));
        Step {
            name: format!("{phase} {}", buildpack.id),
            argv,
            env: env.into_pairs(),
            cwd: APP.into(),
            binds,
            symlinks: self.request.symlinks.to_vec(),
            network: false,
            owner: None,
        }
    }
}

impl Plan {
    /// The directory that it is in.
    pub(super) fn open(&self) -> Result<Directory, BuildError> {
        Directory::open(&self.0).map_err(BuildError::io(format!("opening {}", self.0.display())))
    }
}

/// Where a buildpack's layers are inside.
pub(super) fn layers_target(buildpack: &Buildpack) -> String {
    format!("{LAYERS}/{}", buildpack.directory_name())
}

/// The directory of the app inside.
pub(crate) fn app_directory() -> &'static str {
    APP
}

/// Makes a directory and gives it to `owner`.
pub(super) fn make_directory(path: &Path, owner: Option<u32>) -> io::Result<Directory> {
    fs::create_dir(path)?;
    let made = Directory::open(path)?;
    owner.map_or(Ok(()), |owner| directory::give(&made, owner))?;
    Ok(made)
}

/// Makes a file and gives it to `owner`.
pub(super) fn write_file(
    parent: &Directory,
    name: &[u8],
    content: &str,
    mode: u32,
    owner: Option<u32>,
) -> io::Result<()> {
    let mut file = parent.create(name, mode)?;
    file.write_all(content.as_bytes())?;
    owner.map_or(Ok(()), |owner| directory::give(&file, owner))
}

fn read_build_config(directory: Option<&Path>) -> Result<Vec<EnvChange>, BuildError> {
    let Some(directory) = directory else { return Ok(Vec::new()) };
    let read = Directory::open(directory).and_then(|directory| environment::of_files(&directory, "env"));
    read.map_err(BuildError::io(format!("reading {}", directory.display())))
}

fn bind(source: &Path, target: &str, writable: bool) -> Bind {
    Bind { source: source.to_owned(), target: target.into(), writable }
}

fn write_platform(request: &Request<'_>) -> io::Result<()> {
    fs::create_dir(request.scratch.join("layers"))?;
    let platform = request.scratch.join("platform");
    make_directory(&platform, request.owner)?;
    let variables = make_directory(&platform.join("env"), request.owner)?;
    for (name, value) in request.platform_env {
        if !environment::is_variable(name) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{name:?} cannot name a variable")));
        }
        // They may be secret: for the build's user alone.
        write_file(&variables, name.as_bytes(), value, 0o600, request.owner)?;
    }
    Ok(())
}
