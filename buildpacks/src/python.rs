//! The python buildpack: an app's requirements become a virtual environment, its WSGI or ASGI module a web process.
//!
//! The environment is a launch layer of which later builds get the metadata alone. While its key is the same the layer stays as
//! it is, and neither python nor an installer is started.

mod bytecode;
mod command;
mod diagnosis;
mod environment;
mod errors;
mod index;
mod installer;
mod interpreter;
mod project;
mod reproducible;
mod requirements;
mod resolve;
mod server;
mod version;
mod web;

use libcnb::build::{BuildContext, BuildResult, BuildResultBuilder};
use libcnb::data::build_plan::BuildPlanBuilder;
use libcnb::data::launch::LaunchBuilder;
use libcnb::detect::{DetectContext, DetectResult, DetectResultBuilder};
use libcnb::generic::{GenericMetadata, GenericPlatform};

use crate::output;
use environment::Environment;
use errors::PythonError;
use installer::Installer;
use interpreter::Interpreter;
use project::Project;
use server::Server;

/// Its `buildpack.toml`.
pub(crate) const DESCRIPTOR: &str = concat!(
    "api = \"0.10\"\n\n[buildpack]\nid = \"airstrip/python\"\nversion = \"",
    env!("CARGO_PKG_VERSION"),
    "\"\nname = \"Python\"\n\n[[stacks]]\nid = \"*\"\n\n[[targets]]\nos = \"linux\"\n"
);

/// See the module.
pub(crate) struct PythonBuildpack;

impl libcnb::Buildpack for PythonBuildpack {
    type Platform = GenericPlatform;
    type Metadata = GenericMetadata;
    type Error = PythonError;

    fn detect(&self, context: DetectContext<Self>) -> libcnb::Result<DetectResult, PythonError> {
        if Project::is_python(&context.app_dir) {
            DetectResultBuilder::pass().build_plan(BuildPlanBuilder::new().build()).build()
        } else {
            DetectResultBuilder::fail().build()
        }
    }

    fn build(&self, context: BuildContext<Self>) -> libcnb::Result<BuildResult, PythonError> {
        output::step("Python app detected");
        let project = Project::read(&context.app_dir).map_err(PythonError::from)?;
        if let Some(warning) = &project.warning {
            output::step(&format!("Warning: {warning}"));
        }
        let interpreter = Interpreter::find(project.python.as_ref()).map_err(PythonError::from)?;
        output::step(&interpreter.describe(project.python.as_ref()));
        let web = web::find(&context.app_dir);
        let server = web.as_ref().map(|web| Server::choose(web.interface, &project.requirements));
        let extra = server.and_then(Server::to_install);
        let installer = Installer::find(&project, extra, &interpreter);
        Environment::new(&context, &interpreter, &installer).provide()?;

        let mut launch = LaunchBuilder::new();
        if let (Some(web), Some(server)) = (web, server) {
            launch.process(server.process(&web));
        }
        BuildResultBuilder::new().launch(launch.build()).build()
    }

    fn on_error(&self, error: libcnb::Error<PythonError>) {
        match error {
            libcnb::Error::BuildpackError(error) => output::error(&errors::describe(&error)),
            other => output::error(&[other.to_string()]),
        }
    }
}

impl From<PythonError> for libcnb::Error<PythonError> {
    fn from(error: PythonError) -> Self {
        Self::BuildpackError(error)
    }
}
