//! The build phase: a tree laid out aside, built by buildpacks, and kept under its release's name.

use std::path::{Path, PathBuf};

use builder::source::{Layout, SourceError};
use builder::{BuildError, Buildpack, Image};
use gitd::Output;
use tokio_util::task::TaskTracker;

use crate::bounds::Bounds;
use crate::failure::{Failure, Result};
use crate::home::remove_tree;
use crate::instance::owner;
use crate::listing::printable;
use crate::pipeline::Deployment;
use crate::platform::Platform;
use crate::recipe::{BUILDPACKS, Recipe, SCRATCH, TMP};
use crate::release::{self, Manifest, health_path};
use crate::sandbox::BuildSandbox;
use crate::source::Source;
use crate::store::App;

/// Prefix of directories of builds in progress; a start removes what crashes left.
pub const IN_PROGRESS: &str = ".build-";
/// A build in a directory of its own, removed unless kept.
pub struct Built {
    directory: BuildDirectory,
}

/// Removed unless kept.
struct BuildDirectory {
    path: PathBuf,
    kept: bool,
}

impl BuildDirectory {
    fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for BuildDirectory {
    fn drop(&mut self) {
        if !self.kept
            && let Err(error) = remove_tree(&self.path)
        {
            tracing::warn!(directory = %self.path.display(), %error, "removing a build");
        }
    }
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
        let code = release::code(built.path());
        let buildpacks = tokio::task::block_in_place(|| {
            lay_out(&code, app, source)?;
            self.buildpacks_for(app, built.path())
        })?;
        if let Some(described) = buildpacks.described() {
            output.line(&format!("-----> {described}")).await;
        }
        let tools = self.toolchain.for_build(&code, buildpacks.chosen_by.is_some(), output).await;
        let recipe = self.recipe(app, built.path(), buildpacks, tools, deployment.clean);
        let image = self.run_buildpacks(app, &recipe, built.path(), output).await?;
        let health_path = health_path(&code)?;
        let toolchain = recipe.tools.needed_at_launch(&image, &self.home.layers());
        let manifest = Manifest {
            image,
            toolchain,
            health_path,
            commit: deployment.commit.clone(),
            code: release::list(built.path(), release::CODE).await?,
            sbom: release::list(built.path(), release::SBOM).await?,
        };
        built.finish(&manifest)?;
        Ok(built)
    }

    /// A place to make a release in.
    pub fn build_directory(&self, app: &App) -> Result<Built> {
        let releases = self.home.app(&app.name).releases();
        let failed = |e: std::io::Error| Failure::io(releases.display(), &e);
        let directory = tempfile::Builder::new().prefix(IN_PROGRESS).tempdir_in(&releases).map_err(failed)?;
        let directory = BuildDirectory { path: directory.keep(), kept: false };
        std::fs::create_dir(release::code(directory.path())).map_err(failed)?;
        for part in [SCRATCH, TMP, BUILDPACKS] {
            std::fs::create_dir(directory.path().join(part)).map_err(failed)?;
        }
        let owner = owner(app.id);
        std::os::unix::fs::lchown(directory.path().join(TMP), owner, owner).map_err(failed)?;
        Ok(Built { directory })
    }

    async fn run_buildpacks(&self, app: &App, recipe: &Recipe, directory: &Path, output: &Output) -> Result<Image> {
        let bounds = Bounds::new(&app.name, app.terms.limits.of_builds());
        let sandbox = self.build_sandbox(app, recipe, &bounds, directory);
        let (request, to_user) = (recipe.request(), ToUser(output));
        let build = builder::build(&request, &sandbox, &to_user);
        let result = bounds.hold(build, directory, output.cancelled()).await;
        sandbox.ended().await;
        if bounds.is_disk_concerned() {
            // What the build had been given of the cache is there again, and may be what is too large.
            self.drop_cache(app);
        }
        bounds.judge(result)?.map_err(|error| explain(error, app))
    }

    /// Where the steps of an app's builds run.
    pub fn build_sandbox<'a>(
        &'a self,
        app: &'a App,
        recipe: &Recipe,
        bounds: &'a Bounds,
        directory: &'a Path,
    ) -> BuildSandbox<'a> {
        let uid = owner(app.id).unwrap_or_else(|| nix::unistd::geteuid().as_raw());
        let (own_addresses, tmp, steps) = (recipe.own_addresses(), directory.join(TMP), TaskTracker::new());
        BuildSandbox { platform: self, app: &app.name, uid, bounds, own_addresses, directory, tmp, steps }
    }

    fn drop_cache(&self, app: &App) {
        let home = self.home.app(&app.name);
        let dropped = remove_tree(&home.cache()).map_err(|error| error.to_string());
        if let Err(error) = dropped.and_then(|()| home.make(owner(app.id)).map_err(|error| error.to_string())) {
            tracing::warn!(app = %app.name, error, "dropping the build cache");
        }
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
        for part in [SCRATCH, TMP, BUILDPACKS].map(|part| self.path().join(part)) {
            remove_tree(&part).map_err(|e| Failure::io(part.display(), &e))?;
        }
        manifest.write(self.path())
    }

    /// Gives the directory its release's name. It is durable after [`ReleaseDirectory::sync`].
    pub fn keep_as(mut self, release: &Path) -> Result<ReleaseDirectory> {
        let failed = |e: std::io::Error| Failure::io(release.display(), &e);
        let _left_by_a_crash = std::fs::remove_dir_all(release);
        std::fs::rename(&self.directory.path, release).map_err(failed)?;
        self.directory.kept = true;
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

/// Writes a tree to the empty directory `code`.
pub fn lay_out(code: &Path, app: &App, source: &dyn Source) -> Result<()> {
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

const RECOGNISED: &str = "at the root of the repository a Python app has a requirements.txt (or a wsgi.py), a Node.js app a package.json, \
     a Ruby app a Gemfile, a Go app a go.mod, \
     a Rust app a Cargo.toml, a static site an index.html, and an app of any kind a Procfile";

/// A failed build, in words for users. What a buildpack had to say it has said already.
pub fn explain(error: BuildError, app: &App) -> Failure {
    match error {
        BuildError::NothingDetected => Failure::new(
            "no buildpack recognises this app",
            format!("{RECOGNISED}; why each does not: buildpacks:detect {}", app.name),
        ),
        BuildError::Order(error) => Failure::new(
            error.to_string(),
            "`buildpacks` lists those that there are; buildpacks:install takes others, as a tar on standard input",
        ),
        BuildError::Failed { buildpack, how } => {
            Failure::new(format!("build failed: {buildpack} {how}"), "the reason stands above")
        }
        BuildError::Procfile(error) => Failure::new(
            format!("Procfile: {error}"),
            "write one `NAME: COMMAND` a line, such as `web: gunicorn app:app`",
        ),
        // Names of files are the build's to choose.
        BuildError::Io { doing, source } => Failure::io(printable(&doing), &source),
        other => Failure::plain(printable(&format!("build failed: {other}"))),
    }
}

/// What a build prints goes to the user as it is.
pub struct ToUser<'a>(pub &'a Output);

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
