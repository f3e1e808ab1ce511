//! The ruby buildpack: an app's `Gemfile.lock` becomes a layer of gems, its `config.ru` a web process.
//!
//! Bundler installs. While the lock file and Ruby are the same, the gems stay as they are. Rails' assets are compiled if there is something
//! that compiles them.

mod diagnosis;
mod gems;
mod interpreter;
mod web;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use libcnb::build::{BuildContext, BuildResult};
use libcnb::data::layer_name;
use libcnb::detect::{DetectContext, DetectResult};
use libcnb::generic::{GenericMetadata, GenericPlatform};
use libcnb::layer::UncachedLayerDefinition;
use libcnb::layer_env::{LayerEnv, ModificationBehavior, Scope};

use crate::output;
use crate::program::{self, ToolError, run_tool};
use gems::{Gems, environment};
use interpreter::Interpreter;
use web::Lock;

/// Its `buildpack.toml`.
pub(crate) const DESCRIPTOR: &str = concat!(
    "api = \"0.10\"\n\n[buildpack]\nid = \"airstrip/ruby\"\nversion = \"",
    env!("CARGO_PKG_VERSION"),
    "\"\nname = \"Ruby\"\n\n[[stacks]]\nid = \"*\"\n\n[[targets]]\nos = \"linux\"\n"
);

/// See the module.
pub(crate) struct RubyBuildpack;

impl libcnb::Buildpack for RubyBuildpack {
    type Platform = GenericPlatform;
    type Metadata = GenericMetadata;
    type Error = ToolError;

    fn detect(&self, context: DetectContext<Self>) -> libcnb::Result<DetectResult, ToolError> {
        program::detect(&context, "Gemfile")
    }

    fn build(&self, context: BuildContext<Self>) -> libcnb::Result<BuildResult, ToolError> {
        output::step("Ruby app detected");
        let app = &context.app_dir;
        let ruby = Interpreter::find()?;
        output::step(&format!("Using Ruby {}", ruby.version));
        let lock = Lock::read(app)?;
        let cache = program::cache(&context)?;
        let compiles_assets = lock.compiles_assets(app);
        let gems = Gems { context: &context, ruby: &ruby, cache: &cache, needed_by_build: compiles_assets };
        let gems = gems.provide()?;
        if compiles_assets {
            precompile(app, &gems, &cache, &ruby)?;
        }
        provide_environment(&context, &ruby, &gems)?;
        program::built(web::process(app, &lock))
    }

    fn on_error(&self, error: libcnb::Error<ToolError>) {
        program::tell(error, diagnosis::known);
    }
}

/// Has the app make its style sheets and scripts. It has no configuration then, so it gets a secret that is none.
fn precompile(app: &Path, gems: &Path, cache: &Path, ruby: &Interpreter) -> Result<(), ToolError> {
    output::step("Compiling assets using 'bundle exec rake assets:precompile'");
    let mut command = Command::new("bundle");
    command.args(["exec", "rake", "assets:precompile"]).current_dir(app).envs(environment(gems, ruby));
    command.env("BUNDLE_USER_HOME", cache.join("bundle"));
    command.envs([("SECRET_KEY_BASE", "for-this-build-only"), ("SECRET_KEY_BASE_DUMMY", "1")]);
    run_tool(&mut command, &mut |_| false)
}

/// A layer with what running apps find in their environment, and with Ruby itself if it is not part of the system.
fn provide_environment(
    context: &BuildContext<RubyBuildpack>,
    ruby: &Interpreter,
    gems: &Path,
) -> libcnb::Result<(), ToolError> {
    let definition = UncachedLayerDefinition { build: false, launch: true };
    let layer = context.uncached_layer(layer_name!("ruby"), definition)?;
    if !["/usr/bin", "/usr/local/bin", "/bin"].iter().any(|system| ruby.programs == Path::new(system)) {
        let placed = fs::create_dir(layer.path().join("bin")).and_then(|()| {
            let mut names =
                ["ruby", "bundle", "gem", "irb", "rake"].iter().filter(|name| ruby.programs.join(name).exists());
            names.try_for_each(|name| symlink(ruby.programs.join(name), layer.path().join("bin").join(name)))
        });
        placed.map_err(ToolError::io("placing Ruby"))?;
    }
    let mut env = LayerEnv::new();
    for (name, value) in environment(gems, ruby) {
        env.insert(Scope::Launch, ModificationBehavior::Default, name, value);
    }
    layer.write_env(env)
}
