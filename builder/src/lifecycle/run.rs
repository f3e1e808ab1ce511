//! `bin/build` of every buildpack of the group, and what they left.

use tokio::time::timeout;

use super::BuildError;
use super::detect::Detected;
use super::files::{self, BuildFile, LaunchFile, LayerFile, StoreFile, Types};
use super::plan::Requirement;
use super::processes::{self, Declared};
use super::restore::Restored;
use super::shared;
use super::workplace::{Workplace, layers_target};
use crate::directory::Directory;
use crate::environment::{self, BUILD_ROOTS};
use crate::{Buildpack, EnvChange, Output, Sandbox, StepExit};

/// What a buildpack's build has left.
pub(super) struct Built {
    pub(super) buildpack: Buildpack,
    /// Those with a type, sorted by name.
    pub(super) layers: Vec<BuiltLayer>,
    pub(super) processes: Vec<Declared>,
    /// Process types whose names are none here.
    pub(super) left_out: Vec<String>,
    /// Whether it wrote a bill of materials of the old form, which is not kept.
    has_old_bom: bool,
    pub(super) store: Option<StoreFile>,
    /// What of its plan it leaves to others.
    unmet: Vec<String>,
}

/// A layer as its buildpack described it.
#[derive(Debug, Clone)]
pub(super) struct BuiltLayer {
    pub(super) name: String,
    pub(super) types: Types,
    pub(super) metadata: toml::Table,
    pub(super) has_directory: bool,
}

/// Runs the builds, each with the changes to the environment of those before.
pub(super) async fn build(
    workplace: &Workplace<'_>,
    detected: Detected<'_>,
    restored: &mut Restored,
    sandbox: &dyn Sandbox,
    output: &dyn Output,
) -> Result<Vec<Built>, BuildError> {
    let limit = workplace.request.build_timeout;
    let built = timeout(limit, build_in_order(workplace, detected, restored, sandbox, output)).await;
    built.unwrap_or(Err(BuildError::TimedOut { phase: "build", limit }))
}

/// How a step ended, for people.
pub(super) fn ending(exit: StepExit) -> String {
    match exit {
        StepExit::Status(status) => format!("exited with status {status}"),
        StepExit::Signal(9) => "was killed (signal 9; did it run out of memory?)".into(),
        StepExit::Signal(signal) => format!("was killed by signal {signal}"),
    }
}

async fn build_in_order(
    workplace: &Workplace<'_>,
    detected: Detected<'_>,
    restored: &mut Restored,
    sandbox: &dyn Sandbox,
    output: &dyn Output,
) -> Result<Vec<Built>, BuildError> {
    let Detected { members, plan: mut group_plan } = detected;
    let mut done: Vec<Built> = Vec::new();
    let mut changes = Vec::new();
    for (position, buildpack) in members.into_iter().enumerate() {
        let plan = workplace.plan(&plan_text(&group_plan.of(position))?)?;
        let mut env = workplace.environment(buildpack);
        for change in &changes {
            env.apply(change);
        }
        let earlier: Vec<_> = done.iter().map(|built| &built.buildpack).collect();
        let step = workplace.build_step(buildpack, &plan, env, &earlier);
        match shared::run(workplace, buildpack, step, restored, sandbox, output).await? {
            StepExit::Status(0) => {}
            other => return Err(BuildError::Failed { buildpack: buildpack.id.clone(), how: ending(other) }),
        }
        let built = read_results(workplace, buildpack)?;
        if built.has_old_bom {
            output.write(about_old_bom(buildpack).as_bytes()).await;
        }
        let odd = |name: String| {
            BuildError::malformed(&buildpack.id, "build.toml", format!("unmet {name:?} is not in its plan"))
        };
        group_plan.met(position, &built.unmet).map_err(odd)?;
        changes.extend(build_environment(workplace, &built)?);
        done.push(built);
    }
    Ok(done)
}

fn about_old_bom(buildpack: &Buildpack) -> String {
    format!(
        " !     [[bom]] of {} is left out: since Buildpack API 0.7 bills of material are files, such as LAYER.sbom.cdx.json\n",
        buildpack.id
    )
}

fn plan_text(entries: &[Requirement]) -> Result<String, BuildError> {
    #[derive(serde::Serialize)]
    struct BuildpackPlan<'a> {
        entries: &'a [Requirement],
    }
    toml::to_string(&BuildpackPlan { entries })
        .map_err(|error| BuildError::io("writing the buildpack plan")(std::io::Error::other(error)))
}

fn read_results(workplace: &Workplace<'_>, buildpack: &Buildpack) -> Result<Built, BuildError> {
    let layers = open_layers(workplace, buildpack)?;
    let launch = files::read::<LaunchFile>(&layers, &buildpack.id, "launch.toml")?.unwrap_or_default();
    let BuildFile { unmet, bom } = files::read(&layers, &buildpack.id, "build.toml")?.unwrap_or_default();
    let has_old_bom = bom.is_some() || launch.bom.is_some();
    let (processes, left_out) = processes::of_launch_file(buildpack, launch)?;
    Ok(Built {
        buildpack: buildpack.clone(),
        layers: read_layers(&layers, &buildpack.id)?,
        processes,
        left_out,
        has_old_bom,
        store: files::read(&layers, &buildpack.id, "store.toml")?,
        unmet: unmet.into_iter().map(|entry| entry.name).collect(),
    })
}

fn read_layers(directory: &Directory, buildpack: &str) -> Result<Vec<BuiltLayer>, BuildError> {
    let mut layers = Vec::new();
    for name in files::layer_names(directory, buildpack)? {
        let file = files::read::<LayerFile>(directory, buildpack, &format!("{name}.toml"))?.unwrap_or_default();
        if !file.types.any() {
            continue;
        }
        let has_directory = files::has_directory(directory, buildpack, &name)?;
        if !has_directory && !file.types.launch_only() {
            let reason = "the layer is for build or cache, but has no directory";
            return Err(BuildError::malformed(buildpack, format!("{name}.toml"), reason));
        }
        layers.push(BuiltLayer { name, types: file.types, metadata: file.metadata, has_directory });
    }
    Ok(layers)
}

/// What the buildpack's layers with `build = true` change for the buildpacks after it: first all roots, then all files.
fn build_environment(workplace: &Workplace<'_>, built: &Built) -> Result<Vec<EnvChange>, BuildError> {
    let id = &built.buildpack.id;
    let directory = open_layers(workplace, &built.buildpack)?;
    let (mut roots, mut others) = (Vec::new(), Vec::new());
    for layer in built.layers.iter().filter(|layer| layer.types.build) {
        let on_reading = |error| files::on_reading(id, &layer.name, error);
        let opened = directory.directory(layer.name.as_bytes()).map_err(on_reading)?;
        let target = format!("{}/{}", layers_target(&built.buildpack), layer.name);
        roots.extend(environment::of_roots(&opened, &target, BUILD_ROOTS).map_err(on_reading)?);
        others.extend(environment::of_files(&opened, "env").map_err(on_reading)?);
        others.extend(environment::of_files(&opened, "env.build").map_err(on_reading)?);
    }
    roots.append(&mut others);
    Ok(roots)
}

fn open_layers(workplace: &Workplace<'_>, buildpack: &Buildpack) -> Result<Directory, BuildError> {
    let path = workplace.layers(buildpack);
    Directory::open(&path).map_err(BuildError::io(format!("opening {}", path.display())))
}
