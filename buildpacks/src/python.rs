//! The python buildpack: an app's requirements become a virtual environment, its WSGI or ASGI module a web process.
//!
//! The environment is a launch layer of which later builds get the metadata alone. While its key is the same the layer stays as
//! it is, and neither python nor an installer is started.

mod bundle;
mod bytecode;
mod diagnosis;
mod environment;
mod errors;
mod index;
mod installer;
mod interpreter;
mod marker;
mod project;
mod repository;
mod reproducible;
mod requirements;
mod resolve;
mod server;
mod sharing;
mod specifier;
mod static_files;
mod version;
mod web;

use std::path::Path;

use libcnb::build::{BuildContext, BuildResult, BuildResultBuilder};
use libcnb::data::build_plan::BuildPlanBuilder;
use libcnb::data::launch::{Launch, LaunchBuilder};
use libcnb::detect::{DetectContext, DetectResult, DetectResultBuilder};
use libcnb::generic::{GenericMetadata, GenericPlatform};

use crate::output;
use environment::{Environment, Previous};
use errors::PythonError;
use installer::Installer;
use interpreter::{Interpreter, Remembered};
use marker::Machine;
use project::Project;
use server::Server;
use sharing::Sharing;
use version::Wish;
use web::Web;

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
        let sharing = Sharing::offered();
        let previous = Previous::read(&context);
        // What is given was made for the default.
        let before = previous.as_ref().map(|previous| &previous.python).filter(|_| sharing.knows_the_app());
        let (interpreter, project) = read(&context.app_dir, before, sharing)?;
        let web = web::find(&context.app_dir, &project.requirements);
        let server = match &web {
            Some(Web::Module(module)) => Some(Server::choose(module, &project.requirements)),
            _ => None,
        };
        let mut installer = Installer::find(&project, server.and_then(Server::to_install), &interpreter);
        installer.is_said = sharing == Sharing::Refused;
        let environment = Environment::new(&context, &interpreter, &installer, previous, sharing);
        environment.provide()?;
        if sharing == Sharing::Make {
            return BuildResultBuilder::new().build();
        }
        collect_static_files(&context.app_dir, &environment)?;
        BuildResultBuilder::new().launch(launch(web.as_ref(), server)).build()
    }

    fn on_error(&self, error: libcnb::Error<PythonError>) {
        match error {
            // What cannot be shared is no mistake of anyone's; the next run says what is one.
            _ if Sharing::offered() == Sharing::Make => {}
            libcnb::Error::BuildpackError(error) => output::error(&errors::describe(&error)),
            other => output::error(&[other.to_string()]),
        }
    }
}

/// The interpreter and the project; what was chosen is said in the build's first run.
fn read(app: &Path, before: Option<&Remembered>, sharing: Sharing) -> Result<(Interpreter, Project), PythonError> {
    let lines: &mut dyn FnMut(&str) = if sharing.is_first_run() { &mut output::step } else { &mut |_| {} };
    lines("Python app detected");
    let wish = Wish::read(app)?;
    let interpreter = Interpreter::find(wish.as_ref(), before)?;
    lines(&interpreter.describe(wish.as_ref(), before));
    if let Some(advice) = interpreter.advice(wish.as_ref(), before).filter(|_| sharing.is_first_run()) {
        output::detail(&advice);
    }
    let project = Project::read(app, &Machine::of(&interpreter))?;
    project.warnings.iter().for_each(|warning| lines(&format!("Warning: {warning}")));
    Ok((interpreter, project))
}

fn collect_static_files(app: &Path, environment: &Environment<'_>) -> Result<(), PythonError> {
    if static_files::are_wanted(app) {
        environment.with(|environment| static_files::collect(app, environment))??;
    }
    Ok(())
}

fn launch(web: Option<&Web>, server: Option<Server>) -> Launch {
    let mut launch = LaunchBuilder::new();
    match (web, server) {
        (Some(Web::Module(module)), Some(server)) => _ = launch.process(server.process(module)),
        (Some(Web::Program(program)), _) => _ = launch.process(server::run(program)),
        _ => {}
    }
    launch.build()
}

impl From<PythonError> for libcnb::Error<PythonError> {
    fn from(error: PythonError) -> Self {
        Self::BuildpackError(error)
    }
}
