//! The node buildpack: an app's dependencies become its `node_modules`, its `scripts.start` a web process.
//!
//! npm, yarn or pnpm installs, whichever the lock file belongs to. While that and Node.js are the same, the dependencies stay as they
//! are, and neither node nor a package manager is started (but for an app's build script).

mod diagnosis;
mod errors;
mod manager;
mod modules;
mod package;
mod range;
mod runtime;
mod start;
mod tools;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use libcnb::build::{BuildContext, BuildResult, BuildResultBuilder};
use libcnb::data::build_plan::BuildPlanBuilder;
use libcnb::data::launch::{LaunchBuilder, Process, ProcessBuilder};
use libcnb::data::{layer_name, process_type};
use libcnb::detect::{DetectContext, DetectResult, DetectResultBuilder};
use libcnb::generic::{GenericMetadata, GenericPlatform};
use libcnb::layer::UncachedLayerDefinition;
use libcnb::layer_env::{LayerEnv, ModificationBehavior, Scope};

use crate::{output, static_site};
use errors::NodeError;
use manager::Manager;
use modules::Modules;
use package::Package;
use runtime::Runtime;
use tools::Tools;

/// Its `buildpack.toml`.
pub(crate) const DESCRIPTOR: &str = concat!(
    "api = \"0.10\"\n\n[buildpack]\nid = \"airstrip/node\"\nversion = \"",
    env!("CARGO_PKG_VERSION"),
    "\"\nname = \"Node.js\"\n\n[[stacks]]\nid = \"*\"\n\n[[targets]]\nos = \"linux\"\n"
);

/// See the module.
pub(crate) struct NodeBuildpack;

impl libcnb::Buildpack for NodeBuildpack {
    type Platform = GenericPlatform;
    type Metadata = GenericMetadata;
    type Error = NodeError;

    fn detect(&self, context: DetectContext<Self>) -> libcnb::Result<DetectResult, NodeError> {
        if context.app_dir.join("package.json").is_file() {
            DetectResultBuilder::pass().build_plan(BuildPlanBuilder::new().build()).build()
        } else {
            DetectResultBuilder::fail().build()
        }
    }

    fn build(&self, context: BuildContext<Self>) -> libcnb::Result<BuildResult, NodeError> {
        output::step("Node.js app detected");
        let app = &context.app_dir;
        let package = Package::read(app).map_err(NodeError::from)?;
        let runtime = Runtime::find(&package).map_err(NodeError::from)?;
        output::step(&runtime.describe(&package));
        let manager = Manager::choose(app, &package).map_err(NodeError::from)?;
        let start = start::command(&package, app);
        let manager_at_launch = start.as_ref().is_some_and(|start| start.contains(manager.program()));
        let tools = Tools::new(&context, &runtime, &manager)?;
        Modules { context: &context, package: &package, runtime: &runtime, tools, manager_at_launch }.provide()?;
        provide_environment(&context, &runtime)?;
        let mut launch = LaunchBuilder::new();
        launch.processes(match start {
            Some(start) => Some(web(&start, &package)),
            None => built_site(&context)?,
        });
        BuildResultBuilder::new().launch(launch.build()).build()
    }

    fn on_error(&self, error: libcnb::Error<NodeError>) {
        match error {
            libcnb::Error::BuildpackError(error) => output::error(&errors::describe(&error)),
            other => output::error(&[other.to_string()]),
        }
    }
}

impl From<NodeError> for libcnb::Error<NodeError> {
    fn from(error: NodeError) -> Self {
        Self::BuildpackError(error)
    }
}

/// The `web` process; says what it is.
fn web(command: &str, package: &Package) -> Process {
    let source = if package.script("start").is_some() { "scripts.start of package.json" } else { "server.js" };
    output::step(&format!("Serving by {source}"));
    output::detail(&format!("web: {command}"));
    ProcessBuilder::new(process_type!("web"), ["sh", "-c"]).arg(command).default(true).build()
}

/// The `web` process of an app that is a site once it is built, and does not say how to serve it.
fn built_site(context: &BuildContext<NodeBuildpack>) -> Result<Option<Process>, NodeError> {
    let root = static_site::built_root(&context.app_dir);
    Ok(root.map(|root| static_site::process(context, &root)).transpose()?)
}

/// A layer with what running apps find in their environment, and with Node.js itself if it is not part of the system.
fn provide_environment(context: &BuildContext<NodeBuildpack>, runtime: &Runtime) -> libcnb::Result<(), NodeError> {
    let definition = UncachedLayerDefinition { build: false, launch: true };
    let layer = context.uncached_layer(layer_name!("node"), definition)?;
    if let Some(bin) = runtime.program.parent().filter(|bin| !is_of_the_system(bin)) {
        let own = layer.path().join("bin");
        let placed = fs::create_dir(&own).and_then(|()| {
            let mut programs = ["node", "npm", "npx"].iter().filter(|name| bin.join(name).exists());
            programs.try_for_each(|name| symlink(bin.join(name), own.join(name)))
        });
        placed.map_err(NodeError::io("placing Node.js"))?;
    }
    let mut env = LayerEnv::new();
    env.insert(Scope::Launch, ModificationBehavior::Default, "NODE_ENV", "production");
    env.insert(Scope::Launch, ModificationBehavior::Prepend, "PATH", context.app_dir.join("node_modules/.bin"));
    env.insert(Scope::Launch, ModificationBehavior::Delimiter, "PATH", ":");
    layer.write_env(env)
}

fn is_of_the_system(bin: &Path) -> bool {
    ["/usr/bin", "/usr/local/bin", "/bin"].iter().any(|system| bin == Path::new(system))
}
