//! An app, a store and a cache in a temporary directory, buildpacks as shell scripts, and a sandbox that runs them as
//! plain processes: paths inside are replaced by those of the binds in arguments, environment and working directory.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use builder::{
    BuildError, Buildpack, Image, Order, Output, Request, Sandbox, SandboxError, Step, StepExit, build, explain,
};
use tempfile::TempDir;
use tokio::process::Command;

/// Runs steps without any confinement, and remembers them.
pub(crate) struct PlainProcesses {
    pub(crate) steps: Mutex<Vec<Step>>,
    owner: Option<u32>,
}

#[async_trait]
impl Sandbox for PlainProcesses {
    async fn run(&self, step: &Step, output: &dyn Output) -> Result<StepExit, SandboxError> {
        self.steps.lock().unwrap().push(step.clone());
        let mut command = Command::new(on_host(step, &step.argv[0]));
        command.args(step.argv[1..].iter().map(|argument| on_host(step, argument)));
        command.env_clear().envs(step.env.iter().map(|(name, value)| (name, mapped(step, value))));
        command.current_dir(on_host(step, step.cwd.to_str().unwrap()));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        if let Some(owner) = step.owner.or(self.owner) {
            command.uid(owner).gid(owner);
        }
        let ended = command.spawn().unwrap().wait_with_output().await.unwrap();
        output.write(&ended.stdout).await;
        output.write(&ended.stderr).await;
        Ok(match ended.status.code() {
            Some(status) => StepExit::Status(status),
            None => StepExit::Signal(ended.status.signal().unwrap()),
        })
    }
}

fn mapped(step: &Step, value: &str) -> String {
    value.split(':').map(|part| on_host(step, part)).collect::<Vec<_>>().join(":")
}

fn on_host(step: &Step, path: &str) -> String {
    let matching = step.binds.iter().filter_map(|bind| Some((bind, Path::new(path).strip_prefix(&bind.target).ok()?)));
    match matching.max_by_key(|(bind, _)| bind.target.as_os_str().len()) {
        Some((bind, rest)) if rest.as_os_str().is_empty() => bind.source.display().to_string(),
        Some((bind, rest)) => bind.source.join(rest).display().to_string(),
        None => path.to_owned(),
    }
}

/// Keeps what a build prints.
#[derive(Default)]
pub(crate) struct Printed(Mutex<Vec<u8>>);

#[async_trait]
impl Output for Printed {
    async fn write(&self, bytes: &[u8]) {
        self.0.lock().unwrap().extend_from_slice(bytes);
    }
}

/// One app on one server.
pub(crate) struct Workshop {
    root: TempDir,
    app: PathBuf,
    cache: PathBuf,
    store: PathBuf,
    sbom: PathBuf,
    pub(crate) buildpacks: Vec<Buildpack>,
    /// Instead of one buildpack after the other.
    pub(crate) order: Option<Order>,
    pub(crate) sandbox: PlainProcesses,
    pub(crate) previous: Option<Image>,
    pub(crate) clean: bool,
    /// Whether the buildpacks may ask for shared layers.
    pub(crate) sharing: bool,
    shared: PathBuf,
    pub(crate) timeout: Duration,
    pub(crate) platform_env: Vec<(String, String)>,
    pub(crate) build_config: Option<PathBuf>,
    printed: Printed,
    builds: usize,
}

impl Workshop {
    pub(crate) fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for directory in ["app", "buildpacks", "store", "scratch"] {
            fs::create_dir(root.path().join(directory)).unwrap();
        }
        // As root, builds run as somebody else, as they do on a server.
        let owner = nix::unistd::geteuid().is_root().then_some(65534);
        let at = |below: &str| root.path().join(below);
        let new = Self {
            app: at("app"),
            cache: at("cache"),
            store: at("store"),
            sbom: at("sbom"),
            shared: at("shared"),
            sharing: false,
            root,
            buildpacks: Vec::new(),
            order: None,
            sandbox: PlainProcesses { steps: Mutex::default(), owner },
            previous: None,
            clean: false,
            timeout: Duration::from_secs(60),
            platform_env: Vec::new(),
            build_config: None,
            printed: Printed::default(),
            builds: 0,
        };
        new.give(&new.path("app"));
        new
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.root.path().join(below)
    }

    pub(crate) fn give(&self, path: &Path) {
        if let Some(owner) = self.sandbox.owner {
            chown(path, Some(owner), Some(owner)).unwrap();
        }
    }

    /// Writes a file of the app.
    pub(crate) fn app_file(&self, name: &str, content: &str) {
        let path = self.path("app").join(name);
        fs::write(&path, content).unwrap();
        self.give(&path);
    }

    /// Adds a buildpack `test/NAME` to the order. Scripts of `sh`; for `build`, `$1` is the directory of layers.
    pub(crate) fn buildpack(&mut self, name: &str, detect: &str, build: &str) {
        self.buildpack_with_api(name, "0.10", detect, build);
    }

    pub(crate) fn buildpack_with_api(&mut self, name: &str, api: &str, detect: &str, build: &str) {
        let descriptor = format!("api = \"{api}\"\n[buildpack]\nid = \"test/{name}\"\nversion = \"1.0.0\"\n");
        self.write_buildpack(name, &descriptor, detect, build);
    }

    /// With more in its `buildpack.toml`.
    pub(crate) fn buildpack_described(&mut self, name: &str, more: &str, detect: &str, build: &str) {
        let descriptor = format!("api = \"0.10\"\n[buildpack]\nid = \"test/{name}\"\nversion = \"1.0.0\"\n{more}");
        self.write_buildpack(name, &descriptor, detect, build);
    }

    /// Adds a composite `test/NAME`.
    pub(crate) fn composite(&mut self, name: &str, order: &str) {
        let directory = self.path("buildpacks").join(name);
        fs::create_dir_all(&directory).unwrap();
        let descriptor = format!("api = \"0.10\"\n[buildpack]\nid = \"test/{name}\"\nversion = \"1.0.0\"\n{order}\n");
        fs::write(directory.join("buildpack.toml"), descriptor).unwrap();
        self.buildpacks.push(Buildpack::open(&directory).unwrap());
    }

    fn write_buildpack(&mut self, name: &str, descriptor: &str, detect: &str, build: &str) {
        let directory = self.path("buildpacks").join(format!("{name}-{}", self.buildpacks.len()));
        fs::create_dir_all(directory.join("bin")).unwrap();
        fs::write(directory.join("buildpack.toml"), descriptor).unwrap();
        for (program, script) in [("detect", detect), ("build", build)] {
            let path = directory.join("bin").join(program);
            fs::write(&path, format!("#!/bin/sh\nset -eu\n{script}\n")).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        self.buildpacks.push(Buildpack::open(&directory).unwrap());
    }

    /// Builds with the only buildpack `test/x`, which detects always.
    pub(crate) async fn build_with(&mut self, script: &str) -> Result<Image, BuildError> {
        self.buildpacks.clear();
        self.buildpack("x", "exit 0", script);
        let _replaced = fs::remove_dir_all(self.path("buildpacks/x-0"));
        self.buildpacks.clear();
        self.buildpack("x", "exit 0", script);
        self.build().await
    }

    pub(crate) async fn build(&mut self) -> Result<Image, BuildError> {
        let scratch = self.scratch();
        let alternatives = Order::of_alternatives(&self.buildpacks);
        let env = operator_env();
        let built = build(&self.request(&scratch, &alternatives, &env), &self.sandbox, &self.printed).await;
        fs::remove_dir_all(&scratch).unwrap();
        built
    }

    /// What is said of each group: a line for each buildpack, and one for who would build.
    pub(crate) async fn explain(&mut self) -> String {
        let scratch = self.scratch();
        let alternatives = Order::of_alternatives(&self.buildpacks);
        let env = operator_env();
        let verdicts = explain(&self.request(&scratch, &alternatives, &env), &self.sandbox).await.unwrap();
        fs::remove_dir_all(&scratch).unwrap();
        let lines = verdicts.iter().flat_map(|group| {
            let said = group.buildpacks.iter().map(|verdict| format!("{}: {}", verdict.buildpack, verdict.said));
            let result = group.result.clone().map_or_else(|reason| reason, |names| names.join(" "));
            said.chain([format!("=> {result}")]).collect::<Vec<_>>()
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    fn scratch(&mut self) -> PathBuf {
        self.builds += 1;
        let scratch = self.path(&format!("scratch/{}", self.builds));
        fs::create_dir(&scratch).unwrap();
        scratch
    }

    fn request<'a>(&'a self, scratch: &'a Path, alternatives: &'a Order, env: &'a [(String, String)]) -> Request<'a> {
        Request {
            source: &self.app,
            scratch,
            cache: &self.cache,
            store: &self.store,
            previous: self.previous.as_ref(),
            order: self.order.as_ref().unwrap_or(alternatives),
            buildpacks: &self.buildpacks,
            chosen: self.order.is_some(),
            owner: self.sandbox.owner,
            tools: &[],
            env,
            platform_env: &self.platform_env,
            sbom: &self.sbom,
            previous_sbom: Some(&self.sbom),
            build_config: self.build_config.as_deref(),
            symlinks: &[],
            shared: self.sharing.then_some(builder::Shared {
                buildpacks: &self.buildpacks,
                directory: &self.shared,
                owner: self.sandbox.owner.map(|owner| owner - 1),
            }),
            clean: self.clean,
            detect_timeout: self.timeout,
            build_timeout: self.timeout,
        }
    }

    /// What has been printed since the last time.
    pub(crate) fn printed(&self) -> String {
        String::from_utf8(std::mem::take(&mut *self.printed.0.lock().unwrap())).unwrap()
    }

    /// Names of the steps since the last time.
    pub(crate) fn steps(&self) -> Vec<String> {
        std::mem::take(&mut *self.sandbox.steps.lock().unwrap()).into_iter().map(|step| step.name).collect()
    }

    /// Content of a file of a layer in the store.
    pub(crate) fn stored(&self, image: &Image, layer: &str, file: &str) -> String {
        let layer = image.layers.iter().find(|l| l.name == layer).unwrap();
        fs::read_to_string(self.path("store").join(layer.digest.as_str()).join(file)).unwrap()
    }

    /// Names of the layers in the store.
    pub(crate) fn store(&self) -> Vec<String> {
        let mut names = names(&self.path("store"));
        names.retain(|name| self.path("store").join(name).is_dir());
        names
    }
}

fn operator_env() -> Vec<(String, String)> {
    vec![("PATH".into(), "/usr/bin:/bin".into()), ("OPERATOR".into(), "yes".into())]
}

pub(crate) fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The environment of a process of the image.
pub(crate) fn launched(image: &Image, process: &str, base: &[(&str, &str)]) -> BTreeMap<String, String> {
    let base = base.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    builder::launch::environment(image, process, base).into_iter().collect()
}
