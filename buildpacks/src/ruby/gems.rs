//! The app's gems: a launch layer that stays as it is while its key does.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use libcnb::build::BuildContext;
use libcnb::data::layer_name;
use libcnb::layer::{
    CachedLayerDefinition, InvalidMetadataAction, LayerState, RestoredLayerAction, UncachedLayerDefinition,
};

use super::RubyBuildpack;
use super::interpreter::Interpreter;
use crate::files::Fingerprint;
use crate::launch_layer::{Metadata, keep, previous_key};
use crate::output;
use crate::program::{ToolError, run_tool};

/// What is in the key and how the layer is laid out. To be raised when either changes.
const FORMAT: &str = "airstrip ruby gems 1";
const LAYER: &str = "gems";

/// The gems that a build is to provide.
pub(super) struct Gems<'a> {
    pub(super) context: &'a BuildContext<RubyBuildpack>,
    pub(super) ruby: &'a Interpreter,
    pub(super) cache: &'a Path,
    /// Whether the build itself uses them. Then the layer's directory must be there, unchanged or not.
    pub(super) needed_by_build: bool,
}

impl Gems<'_> {
    /// Installs them unless they are there. Returns where they are.
    pub(super) fn provide(&self) -> libcnb::Result<PathBuf, ToolError> {
        let key = self.key().map_err(ToolError::io("reading Gemfile.lock"))?;
        let layers = &self.context.layers_dir;
        if self.needed_by_build {
            return self.provide_for_build(&key);
        }
        if previous_key(layers, LAYER).as_ref() == Some(&key) {
            output::step("Using the gems of the previous release: Gemfile.lock is unchanged");
            keep(layers, LAYER, &key).map_err(ToolError::io("writing the layer's metadata"))?;
            return Ok(layers.join(LAYER));
        }
        let definition = UncachedLayerDefinition { build: false, launch: true };
        let layer = self.context.uncached_layer(layer_name!("gems"), definition)?;
        self.install(&layer.path())?;
        layer.write_metadata(Metadata { key })?;
        Ok(layer.path())
    }

    fn provide_for_build(&self, key: &str) -> libcnb::Result<PathBuf, ToolError> {
        let layer = self.context.cached_layer(
            layer_name!("gems"),
            CachedLayerDefinition {
                build: false,
                launch: true,
                invalid_metadata_action: &|_| InvalidMetadataAction::DeleteLayer,
                restored_layer_action: &|metadata: &Metadata, _| {
                    if metadata.key == key { RestoredLayerAction::KeepLayer } else { RestoredLayerAction::DeleteLayer }
                },
            },
        )?;
        if matches!(layer.state, LayerState::Restored { .. }) {
            output::step("Using the gems of the last build: Gemfile.lock is unchanged");
        } else {
            self.install(&layer.path())?;
            layer.write_metadata(Metadata { key: key.to_owned() })?;
        }
        Ok(layer.path())
    }

    fn install(&self, layer: &Path) -> Result<(), ToolError> {
        let app = &self.context.app_dir;
        // Gems that the app brings are not asked of anybody.
        let local = app.join("vendor/cache").is_dir().then_some("--local");
        output::step(&format!("Installing gems using 'bundle install{}'", local.map_or("", |_| " --local")));
        let mut command = Command::new("bundle");
        command.arg("install").args(local).current_dir(app).envs(environment(layer, self.ruby));
        command.env("BUNDLE_USER_HOME", self.cache.join("bundle"));
        run_tool(&mut command, &mut |_| false)?;
        remove_downloads(layer).map_err(ToolError::io("removing downloaded gems"))
    }

    /// Names all that the gems' content depends on.
    fn key(&self) -> io::Result<String> {
        let app = &self.context.app_dir;
        let target = &self.context.target;
        let mut print = Fingerprint::default();
        print.add(FORMAT);
        let Interpreter { version, abi, bundler, .. } = self.ruby;
        print.add(format!("{version} {abi} {bundler} {}", self.context.layers_dir.display()));
        print.add(format!("{} {} {} {}", target.arch, target.distro_name, target.distro_version, self.needed_by_build));
        for file in ["Gemfile", "Gemfile.lock"] {
            print.add(fs::read(app.join(file))?);
        }
        Ok(print.finish())
    }
}

/// What Bundler is told, in builds and in the running app.
pub(super) fn environment(gems: &Path, ruby: &Interpreter) -> Vec<(&'static str, String)> {
    vec![
        ("BUNDLE_PATH", gems.display().to_string()),
        ("BUNDLE_FROZEN", "true".to_owned()),
        ("BUNDLE_WITHOUT", "development:test".to_owned()),
        ("BUNDLE_SILENCE_ROOT_WARNING", "true".to_owned()),
        // It would fetch the version that wrote the lock file.
        ("BUNDLER_VERSION", ruby.bundler.clone()),
        ("RACK_ENV", "production".to_owned()),
        ("RAILS_ENV", "production".to_owned()),
        ("RAILS_LOG_TO_STDOUT", "true".to_owned()),
        ("RAILS_SERVE_STATIC_FILES", "true".to_owned()),
        ("MALLOC_ARENA_MAX", "2".to_owned()),
    ]
}

/// `ruby/3.1.0/cache`: the archives that the gems were unpacked from.
fn remove_downloads(layer: &Path) -> io::Result<()> {
    let Ok(versions) = fs::read_dir(layer.join("ruby")) else { return Ok(()) };
    for version in versions {
        let cache = version?.path().join("cache");
        if cache.is_dir() {
            fs::remove_dir_all(cache)?;
        }
    }
    Ok(())
}
