//! Runs the package manager and the app's scripts.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use libcnb::build::BuildContext;
use libcnb::data::layer_name;
use libcnb::layer::{CachedLayerDefinition, InvalidMetadataAction, LayerState, RestoredLayerAction};

use super::NodeBuildpack;
use super::errors::NodeError;
use super::manager::{Manager, Task};
use super::runtime::Runtime;
use crate::command::{End, run};
use crate::launch_layer::Metadata;
use crate::output;

/// The most lines of a program's output that are kept for an explanation.
const KEPT: usize = 500;

/// What a build starts programs with.
pub(super) struct Tools<'a> {
    context: &'a BuildContext<NodeBuildpack>,
    runtime: &'a Runtime,
    pub(super) manager: &'a Manager,
    /// This app's own, which nobody else writes to.
    cache: PathBuf,
    /// Where the package manager is, if the machine has none.
    fetched: Option<PathBuf>,
}

impl<'a> Tools<'a> {
    /// With the cache of the build before. Starts nothing.
    pub(super) fn new(
        context: &'a BuildContext<NodeBuildpack>,
        runtime: &'a Runtime,
        manager: &'a Manager,
    ) -> libcnb::Result<Self, NodeError> {
        let cache = context.cached_layer(
            layer_name!("cache"),
            CachedLayerDefinition {
                build: false,
                launch: false,
                invalid_metadata_action: &|_| InvalidMetadataAction::DeleteLayer,
                restored_layer_action: &|_: &libcnb::generic::GenericMetadata, _| RestoredLayerAction::KeepLayer,
            },
        )?;
        Ok(Self { context, runtime, manager, cache: cache.path(), fetched: None })
    }

    /// Sees to it that the package manager is there: one that the machine lacks comes from the package registry, into a layer of its own.
    /// With `launch` the running app finds it, too.
    pub(super) fn have_manager(&mut self, launch: bool) -> libcnb::Result<(), NodeError> {
        let Some(package) = self.manager.to_fetch() else { return Ok(()) };
        let layer = self.context.cached_layer(
            layer_name!("manager"),
            CachedLayerDefinition {
                build: false,
                launch,
                invalid_metadata_action: &|_| InvalidMetadataAction::DeleteLayer,
                restored_layer_action: &|metadata: &Metadata, _| {
                    if metadata.key == package {
                        RestoredLayerAction::KeepLayer
                    } else {
                        RestoredLayerAction::DeleteLayer
                    }
                },
            },
        )?;
        self.fetched = Some(layer.path().join("node_modules/.bin"));
        if matches!(layer.state, LayerState::Restored { .. }) {
            return Ok(());
        }
        output::step(&format!("Fetching {package}"));
        let arguments = ["install", "--no-save", "--no-package-lock", "--loglevel=error", "--prefix=.", &package];
        self.run("npm", &arguments, &layer.path(), None)?;
        let link = std::os::unix::fs::symlink("node_modules/.bin", layer.path().join("bin"));
        link.map_err(NodeError::io("placing the package manager"))?;
        layer.write_metadata(Metadata { key: package })
    }

    /// Has the package manager do something in a directory.
    pub(super) fn task(&self, task: Task, directory: &Path) -> Result<(), NodeError> {
        let arguments = self.manager.arguments(task);
        let shown = format!("{} {}", self.manager.program(), arguments.join(" "));
        let doing = if task == Task::Prune { "Removing development dependencies" } else { "Installing dependencies" };
        output::step(&format!("{doing} using '{shown}'"));
        self.run(self.manager.program(), &arguments, directory, None)
    }

    /// Runs a script of `package.json` as the package manager does.
    pub(super) fn script(&self, name: &str) -> Result<(), NodeError> {
        let program = self.manager.program();
        output::step(&format!("Running '{program} run {name}'"));
        self.run(program, &["run", name], &self.context.app_dir, Some("production"))
    }

    fn run(&self, program: &str, arguments: &[&str], directory: &Path, mode: Option<&str>) -> Result<(), NodeError> {
        let shown = format!("{program} {}", arguments.join(" "));
        let mut command = Command::new(program);
        command.args(arguments).current_dir(directory).env("PATH", self.path());
        self.manager.configure(&mut command, &self.cache);
        // It would have the package managers leave out what builds need.
        command.env_remove("NODE_ENV");
        command.envs(mode.map(|mode| ("NODE_ENV", mode)));
        command.envs(self.runtime.prefix_with_headers().map(|prefix| ("npm_config_nodedir", prefix)));
        let mut log = Vec::new();
        let ended = run(&mut command, None, &mut |line| {
            // npm does not know what it hands on to the compiler of packages.
            if line.is_empty() || line.contains("Unknown env config \"nodedir\"") {
                return;
            }
            output::detail(line);
            log.drain(..log.len().saturating_sub(KEPT));
            log.push(line.to_owned());
        });
        match ended.map_err(NodeError::io(format!("starting {program}")))? {
            End::Exited(status) if status.success() => Ok(()),
            _ => Err(NodeError::Failed { command: shown, script: mode.is_some(), log }),
        }
    }

    /// Where the scripts' programs are looked for.
    fn path(&self) -> OsString {
        let given = env::var_os("PATH").unwrap_or_default();
        let own = self.fetched.clone().into_iter().chain(self.runtime.program.parent().map(Path::to_owned));
        env::join_paths(own.chain(env::split_paths(&given))).unwrap_or(given)
    }
}

/// What package managers note for themselves, with times and names that would tell equal directories apart.
pub(super) fn remove_notes(modules: &Path) {
    let notes =
        [".package-lock.json", ".modules.yaml", ".yarn-integrity", ".yarn-state.yml", ".pnpm-workspace-state.json"];
    for note in notes.iter().chain(&[".pnpm-workspace-state-v1.json"]) {
        // Whichever manager it was, the others' are not there.
        let _ = fs::remove_file(modules.join(note));
    }
}
