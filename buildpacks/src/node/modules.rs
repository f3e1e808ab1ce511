//! The app's `node_modules`.
//!
//! Usually a launch layer to which `node_modules` in the app's directory is a link: made by the package manager in the layer, kept while the
//! lock file is the same, shared by all releases and apps with the same. An app with a build script has a second layer, with the
//! development dependencies, that only its builds see; what that script changes in it goes into the launch layer.
//!
//! Apps whose dependencies point into their own tree, or whose own scripts are part of installing, have their `node_modules` in the
//! app's directory, made anew by each build (see [`Package::in_place`]).

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use libcnb::build::BuildContext;
use libcnb::data::layer_name;
use libcnb::layer::{
    CachedLayerDefinition, InvalidMetadataAction, LayerState, RestoredLayerAction, UncachedLayerDefinition,
};

use super::NodeBuildpack;
use super::errors::NodeError;
use super::manager::Task;
use super::package::Package;
use super::runtime::Runtime;
use super::tools::{Tools, remove_notes};
use crate::files::{self, Fingerprint};
use crate::launch_layer::{Metadata, keep, previous_key};
use crate::output;

/// What is in the key and how the layer is laid out. To be raised when either changes.
const FORMAT: &str = "airstrip node modules 1";
const MODULES: &str = "node_modules";
/// The launch layer's name.
const LAYER: &str = "modules";
/// Where bundlers keep what makes their next run faster.
const CACHES: [&str; 3] = [".cache", ".vite", ".vite-temp"];

/// The dependencies that a build is to provide.
pub(super) struct Modules<'a> {
    pub(super) context: &'a BuildContext<NodeBuildpack>,
    pub(super) package: &'a Package,
    pub(super) runtime: &'a Runtime,
    pub(super) tools: Tools<'a>,
    /// Whether the running app wants the package manager.
    pub(super) manager_at_launch: bool,
}

impl Modules<'_> {
    /// Installs, and runs the app's build scripts.
    pub(super) fn provide(mut self) -> libcnb::Result<(), NodeError> {
        self.clear()?;
        if !self.package.has_dependencies() {
            output::step("Nothing to install: package.json has no dependencies");
            return if self.build_script().is_some() || self.manager_at_launch { self.in_place(false) } else { Ok(()) };
        }
        if self.tools.manager.lock.is_none() {
            output::step(
                "Warning: no lock file, so each build may get other versions; run npm install and commit package-lock.json",
            );
        }
        if let Some(why) = self.package.in_place().or_else(|| self.tools.manager.in_place(&self.app())) {
            output::step(&format!("Installing into the app's directory: {why}"));
            return self.in_place(true);
        }
        let key = self.key().map_err(NodeError::io("reading what decides about the dependencies"))?;
        if self.build_script().is_some() { self.with_build(&key) } else { self.without_build(&key) }
    }

    fn app(&self) -> PathBuf {
        self.context.app_dir.clone()
    }

    /// Committed dependencies are of another machine.
    fn clear(&self) -> Result<(), NodeError> {
        let modules = self.app().join(MODULES);
        let Ok(found) = fs::symlink_metadata(&modules) else { return Ok(()) };
        output::step(
            "Warning: node_modules is part of what was pushed, and not used; remove it: git rm -r --cached node_modules",
        );
        let removed = if found.is_dir() { fs::remove_dir_all(&modules) } else { fs::remove_file(&modules) };
        removed.map_err(NodeError::io("removing node_modules"))
    }

    /// As on Heroku: a script of its own for there, else `build`.
    fn build_script(&self) -> Option<&'static str> {
        ["heroku-postbuild", "build"].into_iter().find(|name| self.package.script(name).is_some())
    }

    fn script_if_present(&self, name: &str) -> Result<(), NodeError> {
        self.package.script(name).map_or(Ok(()), |_| self.tools.script(name))
    }

    fn in_place(&mut self, install: bool) -> libcnb::Result<(), NodeError> {
        self.tools.have_manager(self.manager_at_launch)?;
        self.script_if_present("heroku-prebuild")?;
        if install {
            self.tools.task(Task::All, &self.app())?;
        }
        self.build_script().map_or(Ok(()), |name| self.tools.script(name))?;
        if install && self.package.has_dev_dependencies() {
            self.tools.task(Task::Prune, &self.app())?;
        }
        Ok(self.script_if_present("heroku-cleanup")?)
    }

    fn without_build(&mut self, key: &str) -> libcnb::Result<(), NodeError> {
        let kept = self.keep_if(key)?;
        if !kept || self.manager_at_launch {
            self.tools.have_manager(self.manager_at_launch)?;
        }
        if !kept {
            let definition = UncachedLayerDefinition { build: false, launch: true };
            let layer = self.context.uncached_layer(layer_name!("modules"), definition)?;
            self.install(Task::Production, &layer.path())?;
            finish(&layer.path())?;
            layer.write_metadata(Metadata { key: key.to_owned() })?;
        }
        Ok(self.link(LAYER)?)
    }

    fn with_build(&mut self, key: &str) -> libcnb::Result<(), NodeError> {
        self.tools.have_manager(self.manager_at_launch)?;
        self.script_if_present("heroku-prebuild")?;
        let development = self.context.cached_layer(
            layer_name!("development"),
            CachedLayerDefinition {
                build: false,
                launch: false,
                invalid_metadata_action: &|_| InvalidMetadataAction::DeleteLayer,
                restored_layer_action: &|metadata: &Metadata, _| {
                    if metadata.key == key { RestoredLayerAction::KeepLayer } else { RestoredLayerAction::DeleteLayer }
                },
            },
        )?;
        if matches!(development.state, LayerState::Restored { .. }) {
            output::step("Using the node_modules of the last build: its dependencies are unchanged");
        } else {
            self.install(Task::All, &development.path())?;
        }
        let changed = self.build(&development.path())?;
        // What a script has changed is not what the key names.
        let key = if changed { "" } else { key };
        development.write_metadata(Metadata { key: key.to_owned() })?;
        if changed || !self.keep_if(key)? {
            let definition = UncachedLayerDefinition { build: false, launch: true };
            let layer = self.context.uncached_layer(layer_name!("modules"), definition)?;
            self.prune(&development.path(), &layer.path())?;
            layer.write_metadata(Metadata { key: key.to_owned() })?;
        }
        self.link(LAYER)?;
        Ok(self.script_if_present("heroku-cleanup")?)
    }

    /// Runs the build script over the development dependencies. Whether it changed them.
    fn build(&self, development: &Path) -> Result<bool, NodeError> {
        let modules = development.join(MODULES);
        let state = || {
            let mut print = Fingerprint::default();
            print.add_times(&modules, &CACHES).map(|()| print.finish()).map_err(NodeError::io("reading node_modules"))
        };
        let before = state()?;
        self.link("development")?;
        self.build_script().map_or(Ok(()), |name| self.tools.script(name))?;
        fs::remove_file(self.app().join(MODULES)).map_err(NodeError::io("removing the link node_modules"))?;
        Ok(state()? != before)
    }

    /// Copies what builds use into the launch layer, without what only they use.
    fn prune(&self, development: &Path, layer: &Path) -> Result<(), NodeError> {
        let copied = files::copy(&development.join(MODULES), &layer.join(MODULES), &CACHES);
        copied.map_err(NodeError::io("copying node_modules"))?;
        if self.package.has_dev_dependencies() {
            self.beside_settings(layer, || self.tools.task(Task::Prune, layer))?;
        }
        finish(layer)
    }

    /// Uses the launch layer of the release before if it is what this key names.
    fn keep_if(&self, key: &str) -> Result<bool, NodeError> {
        let layers = &self.context.layers_dir;
        if previous_key(layers, LAYER).as_deref() != Some(key) {
            return Ok(false);
        }
        output::step("Using the node_modules of the previous release: its dependencies are unchanged");
        keep(layers, LAYER, key).map_err(NodeError::io("writing the layer's metadata"))?;
        Ok(true)
    }

    fn install(&self, task: Task, layer: &Path) -> Result<(), NodeError> {
        self.beside_settings(layer, || self.tools.task(task, layer))?;
        make(layer)
    }

    /// Runs with the files in a layer that the package manager reads.
    fn beside_settings(&self, layer: &Path, run: impl FnOnce() -> Result<(), NodeError>) -> Result<(), NodeError> {
        let manager = self.tools.manager;
        let names = ["package.json"].into_iter().chain(manager.lock).chain(manager.settings().iter().copied());
        let there: Vec<_> = names.filter(|name| self.app().join(name).is_file()).collect();
        for name in &there {
            let copied = fs::copy(self.app().join(name), layer.join(name));
            copied.map_err(NodeError::io(format!("copying {name}")))?;
        }
        run()?;
        // npm writes a lock file if there was none.
        for name in there.into_iter().chain(["package-lock.json", "yarn.lock", "pnpm-lock.yaml"]) {
            match fs::remove_file(layer.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(NodeError::io(format!("removing {name}"))(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn link(&self, layer: &str) -> Result<(), NodeError> {
        let target = self.context.layers_dir.join(layer).join(MODULES);
        symlink(target, self.app().join(MODULES)).map_err(NodeError::io("linking node_modules"))
    }

    /// Names all that the dependencies' content depends on.
    fn key(&self) -> io::Result<String> {
        let mut print = Fingerprint::default();
        let target = &self.context.target;
        let manager = self.tools.manager;
        print.add(FORMAT);
        print.add(format!("{:?} {manager:?} {}", self.runtime, self.context.layers_dir.display()));
        print.add(format!("{} {} {}", target.arch, target.distro_name, target.distro_version));
        print.add(self.package.resolution());
        print.add(self.build_script().map_or("production", |_| "all"));
        for file in manager.lock.iter().chain(manager.settings()) {
            let path = self.app().join(file);
            print.add(file);
            print.add(if path.is_file() { fs::read(path)? } else { Vec::new() });
        }
        Ok(print.finish())
    }
}

/// A package manager that has nothing to put into it makes none.
fn make(layer: &Path) -> Result<(), NodeError> {
    fs::create_dir_all(layer.join(MODULES)).map_err(NodeError::io("making node_modules"))
}

fn finish(layer: &Path) -> Result<(), NodeError> {
    remove_notes(&layer.join(MODULES));
    make(layer)
}
