//! detect -> restore -> build -> export.
//!
//! What a step leaves is read by the next with bounds and without following links: buildpacks are not trusted.

mod cache;
mod detect;
mod export;
mod files;
mod plan;
mod preparations;
mod processes;
mod restore;
mod run;
mod sbom;
mod shared;
mod workplace;

use std::io;
use std::path::Path;
use std::time::Duration;

pub use self::cache::cached_layers;
pub use self::shared::{Shared, forget_gone};
use self::workplace::Workplace;
use crate::blocking::Cancel;
use crate::order::{Order, OrderError};
use crate::{Bind, Buildpack, Image, Output, Sandbox, SandboxError, tree};

pub(crate) use self::workplace::app_directory;

pub use self::detect::{BuildpackVerdict, GroupVerdict};

/// What to build, with what, and where things are.
pub struct Request<'a> {
    /// The tree, laid out by [`crate::source`]; buildpacks may change it, and it is the release's code afterwards.
    /// Owned by `owner`.
    pub source: &'a Path,
    /// An empty directory for this build, on the same file system as `store`. The caller removes it.
    pub scratch: &'a Path,
    /// What earlier builds of this app kept. May be empty or missing; never trusted further than its digests.
    /// On the same file system as `scratch` (or nothing is taken from it), and used by one build at a time.
    pub cache: &'a Path,
    /// The content-addressed store of layers, shared by all apps. None may be removed from it during a build, nor until the
    /// image's owner has made it known.
    pub store: &'a Path,
    /// Result of the build whose release serves now, for reuse of its layers.
    pub previous: Option<&'a Image>,
    /// Which buildpacks to try, in which order and together.
    pub order: &'a Order,
    /// Those that there are; what `order` and composites name is looked up here.
    pub buildpacks: &'a [Buildpack],
    /// Whether somebody has chosen the order for this app. Then a Procfile does not make up for buildpacks that do not want it.
    pub chosen: bool,
    /// Where software bills of material are kept; made if a buildpack writes any.
    pub sbom: &'a Path,
    /// Where the build of `previous` has kept its own.
    pub previous_sbom: Option<&'a Path>,
    /// The user (and group) outside under which steps run; files they must change are given to it. None: the caller's own (no privileges to change it).
    pub owner: Option<u32>,
    /// Shown read-only in every step: tool chains, the operator's configuration of package tools.
    pub tools: &'a [Bind],
    /// The operator's environment for build tools (`PATH`, proxies, certificate bundles, package index settings).
    pub env: &'a [(String, String)],
    /// The user's build-scoped variables (`/platform/env`).
    pub platform_env: &'a [(String, String)],
    /// The operator's last word on all builds' environment: a directory whose `env` is read as a layer's (`/cnb/build-config`).
    pub build_config: Option<&'a Path>,
    /// Extra symbolic links inside (link, target): how `/home/app/env` leads to a layer.
    pub symlinks: &'a [(std::path::PathBuf, std::path::PathBuf)],
    /// Where layers are that apps share. None: nothing is shared.
    pub shared: Option<Shared<'a>>,
    /// Build from nothing: no cache, no reuse, nothing shared.
    pub clean: bool,
    /// Bound of all detects together.
    pub detect_timeout: Duration,
    /// Bound of all builds together.
    pub build_timeout: Duration,
}

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// No buildpack wants this tree.
    #[error("no buildpack recognises this app")]
    NothingDetected,
    /// The order cannot be tried.
    #[error(transparent)]
    Order(#[from] OrderError),
    /// A buildpack's build failed; it has said why in the output.
    #[error("{buildpack} failed: {how}")]
    Failed {
        /// Its id.
        buildpack: String,
        /// "exited with status 1", …
        how: String,
    },
    /// A bound was passed.
    #[error("{phase} took longer than {} s", limit.as_secs())]
    TimedOut {
        /// `detect` or `build`.
        phase: &'static str,
        /// The bound.
        limit: Duration,
    },
    /// The Procfile cannot be read.
    #[error("Procfile: {0}")]
    Procfile(#[from] crate::procfile::ProcfileError),
    /// A buildpack wrote something that the specification does not allow.
    #[error("{buildpack}: {file}: {reason}")]
    Malformed {
        /// Its id.
        buildpack: String,
        /// Which file of its.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The sandbox itself failed.
    #[error("sandbox: {0}")]
    Sandbox(#[from] SandboxError),
    /// Reading or writing on the server failed.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done, with the path.
        doing: String,
        /// The operating system's answer; `StorageFull` and `QuotaExceeded` deserve words of their own.
        source: std::io::Error,
    },
}

/// Builds `request.source`. On success every layer named in the image is durable in the store.
/// Dropping the future stops the build; the caller then removes `scratch` and the source.
pub async fn build(request: &Request<'_>, sandbox: &dyn Sandbox, output: &dyn Output) -> Result<Image, BuildError> {
    // A mistake in it should not cost a build to learn of.
    let procfile = processes::read_procfile(request.source)?;
    let workplace = Workplace::prepare(request)?;
    let Some(detected) = detect::detect(&workplace, sandbox, output).await? else {
        // Whoever brings all that it needs may bring just a Procfile.
        return if procfile.is_empty() || request.chosen {
            Err(BuildError::NothingDetected)
        } else {
            image(request, &[], Vec::new(), output).await
        };
    };
    let mut restored = restore::restore(&workplace, &detected).await?;
    let built = run::build(&workplace, detected, &mut restored, sandbox, output).await?;
    let layers = export::export(&workplace, &built, &restored).await?;
    sbom::keep(&workplace, &built)?;
    let image = image(request, &built, layers, output).await?;
    cache::save(&workplace, &built, &image.layers, restored).await;
    Ok(image)
}

/// Runs only the detects, of all groups, to say which buildpacks would build `request.source` and why others would not.
/// Nothing but `request.scratch` is changed.
pub async fn explain(request: &Request<'_>, sandbox: &dyn Sandbox) -> Result<Vec<GroupVerdict>, BuildError> {
    detect::explain(&Workplace::prepare(request)?, sandbox).await
}

/// Copies code that was built, without following links, to the new directory `to`. Blocks.
pub fn copy_code(from: &Path, to: &Path, owner: Option<u32>) -> io::Result<()> {
    Ok(tree::copy(from, to, owner, &Cancel::default())?)
}

async fn image(
    request: &Request<'_>,
    built: &[run::Built],
    layers: Vec<crate::Layer>,
    output: &dyn Output,
) -> Result<Image, BuildError> {
    Ok(Image {
        env: export::launch_environment(request.store, &layers)?,
        preparations: preparations::find(request.store, &layers, request.source)?,
        layers,
        processes: processes::discover(request.source, built, output).await?,
        buildpacks: built.iter().map(|built| built.buildpack.name()).collect(),
    })
}

impl BuildError {
    fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source }
    }

    fn malformed(buildpack: &str, file: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Malformed { buildpack: buildpack.to_owned(), file: file.into(), reason: reason.into() }
    }
}
