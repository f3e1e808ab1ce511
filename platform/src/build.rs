//! The build phase: a tree laid out aside, built by buildpacks, and kept under its release's name.

use std::path::{Path, PathBuf};
use std::time::Duration;

use builder::source::{Layout, SourceError};
use builder::{BuildError, Buildpack, Image, Order};
use gitd::Output;
use tempfile::TempDir;

use crate::failure::{Failure, Result};
use crate::instance::{ENV, owner};
use crate::pipeline::Deployment;
use crate::platform::Platform;
use crate::release::{self, Manifest, health_path};
use crate::sandbox::BuildSandbox;
use crate::source::Source;
use crate::store::App;
use crate::toolchain::BuildTools;

/// Bound of all detects of a build.
const DETECT_LIMIT: Duration = Duration::from_secs(60);
/// Bound of a build.
const BUILD_LIMIT: Duration = Duration::from_secs(15 * 60);
/// Prefix of directories of builds in progress; a start removes what crashes left.
pub const IN_PROGRESS: &str = ".build-";
/// The parts of a build's directory beside the release's code: the lifecycle's own space, and what is `/tmp` inside.
const SCRATCH: &str = "scratch";
const TMP: &str = "tmp";
/// The part of a release's directory where its software bills of material are, if there are any.
const SBOM: &str = "sbom";
/// The layer that is shown as the virtualenv.
const ENV_LAYER: &str = "/layers/airstrip_python/env";

/// A build in a directory of its own, removed unless kept.
pub struct Built {
    directory: TempDir,
}

impl Platform {
    /// Lays the tree out and builds it.
    pub async fn build(
        &self,
        app: &App,
        deployment: &Deployment<'_>,
        source: &dyn Source,
        output: &Output,
    ) -> Result<Built> {
        let built = self.build_directory(app)?;
        let directory = &built.directory;
        let code = release::code(directory.path());
        tokio::task::block_in_place(|| lay_out(&code, app, source))?;
        let tools = self.toolchain.for_build(output).await;
        let image = self.run_buildpacks(app, deployment, directory.path(), &tools, output).await?;
        let health_path = health_path(&code)?;
        let manifest = Manifest {
            image,
            toolchain: tools.needed_at_launch,
            health_path,
            commit: deployment.commit.clone(),
            code: Some(release::list_code(directory.path()).await?),
        };
        built.finish(&manifest)?;
        Ok(built)
    }

    /// A place to make a release in.
    pub fn build_directory(&self, app: &App) -> Result<Built> {
        let releases = self.home.app(&app.name).releases();
        let failed = |e: std::io::Error| Failure::io(releases.display(), &e);
        let directory = tempfile::Builder::new().prefix(IN_PROGRESS).tempdir_in(&releases).map_err(failed)?;
        for part in [release::code(directory.path()), directory.path().join(SCRATCH), directory.path().join(TMP)] {
            std::fs::create_dir(part).map_err(failed)?;
        }
        let owner = owner(app.id);
        std::os::unix::fs::lchown(directory.path().join(TMP), owner, owner).map_err(failed)?;
        Ok(Built { directory })
    }

    async fn run_buildpacks(
        &self,
        app: &App,
        deployment: &Deployment<'_>,
        directory: &Path,
        tools: &BuildTools,
        output: &Output,
    ) -> Result<Image> {
        let previous = self.current(app).ok();
        let previous_sbom = previous.as_ref().and_then(|release| Some(release.code.parent()?.join(SBOM)));
        let previous = previous.map(|release| release.manifest.image);
        let owner = owner(app.id);
        let order = Order::of_alternatives(&self.buildpacks);
        let build_config = Some(self.home.build_config()).filter(|directory| directory.is_dir());
        let request = builder::Request {
            source: &release::code(directory),
            scratch: &directory.join(SCRATCH),
            cache: &self.home.app(&app.name).cache(),
            store: &self.home.layers(),
            previous: previous.as_ref(),
            order: &order,
            buildpacks: &self.buildpacks,
            chosen: false,
            sbom: &directory.join(SBOM),
            previous_sbom: previous_sbom.as_deref(),
            owner,
            tools: &tools.binds,
            env: &tools.env,
            platform_env: &[],
            build_config: build_config.as_deref(),
            symlinks: &[(ENV.into(), ENV_LAYER.into())],
            clean: deployment.clean,
            detect_timeout: DETECT_LIMIT,
            build_timeout: BUILD_LIMIT,
        };
        let uid = owner.unwrap_or_else(|| nix::unistd::geteuid().as_raw());
        let (name, tmp) = (&app.name, &directory.join(TMP));
        let limits = app.terms.limits.of_builds().for_engine();
        let own_addresses = tools.own_addresses.clone();
        let sandbox = BuildSandbox { platform: self, app: name, uid, limits, own_addresses, tmp };
        let to_user = ToUser(output);
        let build = builder::build(&request, &sandbox, &to_user);
        let result = output.cancelled().run_until_cancelled(build).await;
        result.ok_or_else(|| Failure::plain("cancelled"))?.map_err(explain)
    }
}

impl Built {
    /// The directory.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The lifecycle's own space in it.
    pub fn scratch(&self) -> PathBuf {
        self.path().join(SCRATCH)
    }

    /// Removes what the build alone needed, and writes down what it made.
    pub fn finish(&self, manifest: &Manifest) -> Result<()> {
        for part in [SCRATCH, TMP].map(|part| self.path().join(part)) {
            std::fs::remove_dir_all(&part).map_err(|e| Failure::io(part.display(), &e))?;
        }
        manifest.write(self.path())
    }

    /// Gives the directory its release's name. It is durable after [`ReleaseDirectory::sync`].
    pub fn keep_as(self, release: &Path) -> Result<ReleaseDirectory> {
        let failed = |e: std::io::Error| Failure::io(release.display(), &e);
        let _left_by_a_crash = std::fs::remove_dir_all(release);
        std::fs::rename(self.directory.path(), release).map_err(failed)?;
        let _renamed = self.directory.keep();
        let kept = ReleaseDirectory(release.to_owned());
        std::fs::set_permissions(release, std::os::unix::fs::PermissionsExt::from_mode(0o711)).map_err(failed)?;
        Ok(kept)
    }
}

/// A built tree under its release's name, before that release is true.
#[derive(Debug)]
pub struct ReleaseDirectory(PathBuf);

impl ReleaseDirectory {
    /// Begins to make it durable, in the background: the disk's time passes while the instances start.
    /// One `syncfs` costs about what a single `fsync` does, where one for each file costs that for each.
    pub fn sync(&self) -> impl Future<Output = Result<()>> + Send + use<> {
        let path = self.0.clone();
        let failed = |path: &Path, e: std::io::Error| Failure::io(path.display(), &e);
        let synced = tokio::task::spawn_blocking(move || {
            let directory = std::fs::File::open(&path).map_err(|e| failed(&path, e))?;
            nix::unistd::syncfs(&directory).map_err(|e| failed(&path, e.into()))
        });
        async { synced.await.map_err(|e| Failure::plain(e.to_string()))? }
    }

    /// The release did not come to be.
    pub fn discard(self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(directory = %self.0.display(), %error, "removing a release that did not come to be");
        }
    }
}

fn lay_out(code: &Path, app: &App, source: &dyn Source) -> Result<()> {
    let mut layout = Layout::new(code, owner(app.id)).map_err(refuse)?;
    source.lay_out(&mut layout)
}

/// A tree that is not laid out, in words for users.
pub fn refuse(error: SourceError) -> Failure {
    match error {
        SourceError::Io { doing, source } => Failure::io(doing, &source),
        SourceError::Refused { path, reason } => {
            Failure::new(format!("{path}: {reason}"), "rename or remove it, commit, and push again")
        }
        submodule @ SourceError::Submodule { .. } => Failure::plain(submodule.to_string()),
    }
}

const RECOGNISED: &str =
    "a Python app has a requirements.txt (or a wsgi.py) at the root of the repository, an app of any kind a Procfile";

/// A failed build, in words for users. What a buildpack had to say it has said already.
fn explain(error: BuildError) -> Failure {
    match error {
        BuildError::NothingDetected => Failure::new("no buildpack recognises this app", RECOGNISED),
        BuildError::Failed { buildpack, how } => {
            Failure::new(format!("build failed: {buildpack} {how}"), "the reason stands above")
        }
        BuildError::TimedOut { phase, limit } => {
            Failure::new(format!("{phase} took longer than {} s", limit.as_secs()), "what it printed last stands above")
        }
        BuildError::Procfile(error) => Failure::new(
            format!("Procfile: {error}"),
            "write one `NAME: COMMAND` a line, such as `web: gunicorn app:app`",
        ),
        BuildError::Io { doing, source } => Failure::io(doing, &source),
        other => Failure::plain(format!("build failed: {other}")),
    }
}

/// What a build prints goes to the user as it is.
struct ToUser<'a>(&'a Output);

#[async_trait::async_trait]
impl builder::Output for ToUser<'_> {
    async fn write(&self, bytes: &[u8]) {
        self.0.write(bytes).await;
    }
}

/// Writes the directories of the built-in buildpacks: their descriptors, and executables that lead to this program.
pub fn install_buildpacks(directory: &Path) -> Result<Vec<Buildpack>> {
    buildpacks::BUILT_IN.iter().map(|built_in| install_buildpack(directory, built_in)).collect()
}

fn install_buildpack(directory: &Path, built_in: &buildpacks::BuiltIn) -> Result<Buildpack> {
    let root = directory.join(built_in.id.replace('/', "_")).join(built_in.version);
    let failed = |e: std::io::Error| Failure::io(root.display(), &e);
    std::fs::create_dir_all(root.join("bin")).map_err(failed)?;
    let (descriptor, content) = (root.join("buildpack.toml"), built_in.descriptor.as_bytes());
    // A full disk must not keep a daemon from starting.
    if std::fs::read(&descriptor).ok().as_deref() != Some(content) {
        crate::home::write_durably(&descriptor, content, 0o644).map_err(failed)?;
    }
    for executable in ["detect", "build"] {
        match std::os::unix::fs::symlink(crate::toolchain::PROGRAM, root.join("bin").join(executable)) {
            Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => return Err(failed(e)),
            _ => {}
        }
    }
    Buildpack::open(&root).map_err(|e| Failure::plain(e.to_string()))
}
