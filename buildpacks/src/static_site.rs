//! The static buildpack: a directory with an `index.html` is served by a small server, which is this program itself.
//!
//! Nothing is built. The rules of `_redirects`, `_headers` and `static.json` are read by the build, so that a mistake in them rejects the push,
//! and again by the server.

mod answer;
mod content_type;
mod file;
mod path;
mod pattern;
mod range;
mod rules;
mod server;
mod site;

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use libcnb::build::{BuildContext, BuildResult, BuildResultBuilder};
use libcnb::data::build_plan::BuildPlanBuilder;
use libcnb::data::launch::{LaunchBuilder, Process, ProcessBuilder};
use libcnb::data::{layer_name, process_type};
use libcnb::detect::{DetectContext, DetectResult, DetectResultBuilder};
use libcnb::generic::{GenericMetadata, GenericPlatform};
use libcnb::layer::UncachedLayerDefinition;

use crate::message::message;
use crate::output;
pub use server::run_if_static_server;
pub(crate) use site::{Site, SiteError, built_root};

/// Its `buildpack.toml`.
pub(crate) const DESCRIPTOR: &str = concat!(
    "api = \"0.10\"\n\n[buildpack]\nid = \"airstrip/static\"\nversion = \"",
    env!("CARGO_PKG_VERSION"),
    "\"\nname = \"Static site\"\n\n[[stacks]]\nid = \"*\"\n\n[[targets]]\nos = \"linux\"\n"
);

/// See the module.
pub(crate) struct StaticBuildpack;

impl libcnb::Buildpack for StaticBuildpack {
    type Platform = GenericPlatform;
    type Metadata = GenericMetadata;
    type Error = SiteError;

    fn detect(&self, context: DetectContext<Self>) -> libcnb::Result<DetectResult, SiteError> {
        if site::root(&context.app_dir).is_some() {
            DetectResultBuilder::pass().build_plan(BuildPlanBuilder::new().build()).build()
        } else {
            DetectResultBuilder::fail().build()
        }
    }

    fn build(&self, context: BuildContext<Self>) -> libcnb::Result<BuildResult, SiteError> {
        output::step("Static site detected");
        let app = &context.app_dir;
        let root = site::root(app).unwrap_or_default();
        for name in site::unknown_settings(app) {
            output::step(&format!("Warning: {name} of static.json has no effect here"));
        }
        let process = process(&context, &root).map_err(libcnb::Error::BuildpackError)?;
        BuildResultBuilder::new().launch(LaunchBuilder::new().process(process).build()).build()
    }

    fn on_error(&self, error: libcnb::Error<SiteError>) {
        match error {
            libcnb::Error::BuildpackError(error) => output::error(&describe(&error)),
            other => output::error(&[other.to_string()]),
        }
    }
}

/// The `web` process that serves the directory `root` of the app; says what it is. A mistake in the site's rules is an error.
pub(crate) fn process<B: libcnb::Buildpack>(context: &BuildContext<B>, root: &str) -> Result<Process, SiteError> {
    let root = root.trim_matches('/');
    let served = if root.is_empty() { "." } else { root };
    let site = Site::read(&context.app_dir, root)?;
    if !site.root.is_dir() {
        return Err(SiteError::Settings(format!("there is no directory {served}")));
    }
    let program =
        program(context).map_err(|source| SiteError::Io { doing: "placing the server".to_owned(), source })?;
    let rules = match site.redirects.len() {
        0 => String::new(),
        1 => " with 1 redirect".to_owned(),
        count => format!(" with {count} redirects"),
    };
    output::step(&format!("Serving the directory {served}{rules}"));
    let command = [program.to_string_lossy().into_owned(), server::ARGUMENT.to_owned(), served.to_owned()];
    Ok(ProcessBuilder::new(process_type!("web"), command).default(true).build())
}

/// This program, where running apps find it: a platform that shows it under this path does so to them, too; otherwise a copy in a layer.
fn program<B: libcnb::Buildpack>(context: &BuildContext<B>) -> io::Result<PathBuf> {
    let own = env::current_exe()?;
    if !own.starts_with(context.buildpack_dir.canonicalize()?) {
        return Ok(own);
    }
    let definition = UncachedLayerDefinition { build: false, launch: true };
    let layer = context.uncached_layer(layer_name!("server"), definition).map_err(|_| io::Error::other("no layer"))?;
    copy_to(&own, &layer.path().join("bin"))
}

fn copy_to(program: &Path, directory: &Path) -> io::Result<PathBuf> {
    let copy = directory.join("static-server");
    fs::create_dir_all(directory)?;
    fs::copy(program, &copy)?;
    Ok(copy)
}

/// The lines to print.
pub(crate) fn describe(error: &SiteError) -> Vec<String> {
    let message = match error {
        SiteError::Rule(rule) => message(
            format!("{} cannot be read", rule.file),
            error.to_string(),
            &["Correct the line; docs/BUILDPACKS.md says what is understood."],
        ),
        SiteError::Settings(reason) => {
            message("static.json cannot be read", format!("static.json: {reason}"), &["Correct the file."])
        }
        SiteError::Io { .. } => message("The build cannot go on", error.to_string(), &[]),
    };
    message.lines()
}
