//! A fresh engine for every case, and the check that a case leaves nothing behind.

use std::fs;
use std::future::Future;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::docker::Docker;
use engine::native::Native;
use engine::{
    Abilities, Ability, Command, Control, Egress, Engine, EngineError, Exit, InstanceId, Limits, LogFile, Mount,
    MountKind, Process, Spec, Streams, WindowSize,
};
use sha2::{Digest, Sha256};
use tokio::io::AsyncReadExt;

pub(crate) type Tried = Pin<Box<dyn Future<Output = ()> + Send>>;
pub(crate) type Case = fn(Arc<World>) -> Tried;

/// The user outside, as root.
pub(crate) const HOST_UID: u32 = 210_007;
pub(crate) const SIZE: WindowSize = WindowSize { columns: 90, rows: 33 };

/// The engines that are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Native,
    Docker,
}

impl Kind {
    pub(crate) const ALL: [Self; 2] = [Self::Native, Self::Docker];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Docker => "docker",
        }
    }

    /// A case must end within this time.
    fn limit(self) -> Duration {
        Duration::from_secs(if self == Self::Native { 60 } else { 120 })
    }
}

pub(crate) struct World {
    pub(crate) kind: Kind,
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) dir: tempfile::TempDir,
}

pub(crate) fn root() -> bool {
    nix::unistd::Uid::effective().is_root()
}

/// Makes the list of a module's cases.
macro_rules! cases {
    ($($name:ident),* $(,)?) => {
        pub(crate) fn cases() -> Vec<(&'static str, $crate::world::Case)> {
            vec![$((stringify!($name), |world| Box::pin($name(world)))),*]
        }
    };
}
pub(crate) use cases;

pub(crate) async fn open(kind: Kind, run_dir: PathBuf) -> Result<Arc<dyn Engine>, EngineError> {
    Ok(match kind {
        Kind::Native => Arc::new(Native::new(run_dir)?),
        Kind::Docker => {
            let base = std::env::var("AIRSTRIP_TEST_DOCKER_BASE").ok();
            Arc::new(Docker::open(run_dir, base.as_deref()).await?)
        }
    })
}

impl World {
    /// Why not: this machine cannot.
    pub(crate) async fn new(kind: Kind) -> Result<Arc<Self>, String> {
        let dir = tempfile::Builder::new().prefix("airstrip-conformance-").tempdir().unwrap();
        fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
        match open(kind, dir.path().join("run")).await {
            Ok(engine) => Ok(Arc::new(Self { kind, engine, dir })),
            Err(EngineError::Unsupported(reason)) => Err(reason),
            Err(error) => panic!("{error}"),
        }
    }

    /// The same instances in the hands of another daemon.
    pub(crate) async fn reopened(&self) -> Arc<dyn Engine> {
        open(self.kind, self.path("run")).await.unwrap()
    }

    /// False if the case failed, took too long, or left something.
    pub(crate) async fn try_case(self: Arc<Self>, case: Case) -> bool {
        let task = tokio::spawn(case(Arc::clone(&self)));
        let held = match tokio::time::timeout(self.kind.limit(), task).await {
            Ok(Ok(())) => true,
            Ok(Err(_panicked)) => false,
            Err(_) => {
                println!("took longer than {:?}", self.kind.limit());
                false
            }
        };
        for listed in self.engine.list().await.unwrap() {
            let _ = self.engine.stop(&listed.id, Duration::ZERO).await;
            self.engine.remove(&listed.id).await.unwrap();
        }
        held & self.nothing_is_left().await
    }

    /// Waits until no process of this case's, no mount, no control group, no instance's and no one-off's directory is left. (A
    /// directory goes after its container.)
    async fn nothing_is_left(&self) -> bool {
        let end = Instant::now() + Duration::from_secs(if self.kind == Kind::Native { 5 } else { 15 });
        loop {
            let left = self.left();
            if left.is_empty() {
                return true;
            }
            if Instant::now() > end {
                println!("left behind: {left:?}");
                return false;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) fn left(&self) -> Vec<String> {
        let mut left: Vec<String> = children(std::process::id()).into_iter().map(describe).collect();
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        left.extend(
            mounts.lines().filter(|line| line.contains(&*self.dir.path().to_string_lossy())).map(str::to_owned),
        );
        let entries = fs::read_dir(self.path("run")).unwrap().map(|entry| entry.unwrap().file_name());
        let names = entries.map(|name| name.into_string().unwrap());
        let stays: &[&str] = if self.kind == Kind::Docker { &[".init", ".identity"] } else { &[] };
        left.extend(names.filter(|name| !stays.contains(&name.as_str())));
        left.extend(self.groups().into_iter().map(|group| group.display().to_string()));
        left
    }

    /// The control groups of the native engine's sandboxes, in all hierarchies.
    pub(crate) fn groups(&self) -> Vec<PathBuf> {
        groups_of(&self.path("run"))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// The texts of the log's lines, without time and tag.
    pub(crate) fn texts(&self) -> Vec<String> {
        let text = |line: &str| line.splitn(3, ' ').nth(2).unwrap().to_owned();
        self.log().lines().map(text).collect()
    }

    /// A directory that the sandbox's user owns.
    pub(crate) fn owned_dir(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir(&path).unwrap();
        give(&path);
        path
    }

    pub(crate) fn spec(&self, script: &str) -> Spec {
        spec_in(self.dir.path(), script)
    }

    pub(crate) async fn launch(&self, name: &str, script: &str) -> InstanceId {
        let id = id(name);
        self.engine.launch(&id, &self.spec(script), "labels").await.unwrap();
        id
    }

    /// Runs a one-off: standard output and error, and how it ended.
    pub(crate) async fn run(&self, spec: &Spec) -> Output {
        output(self.engine.attach(&id("run"), spec, None).await.unwrap()).await
    }

    /// Runs a script in a running instance.
    pub(crate) async fn exec(&self, id: &InstanceId, script: &str) -> Output {
        output(self.engine.exec(id, &command(script), None).await.unwrap()).await
    }

    /// Waits until the instance's log holds `text`.
    pub(crate) async fn logged(&self, text: &str) {
        until(|| self.log().contains(text)).await;
    }
}

pub(crate) fn limited(world: &World, script: &str, limits: Limits) -> Spec {
    Spec { limits, ..world.spec(script) }
}

/// True, and says so, if this machine lets a limit go unenforced.
pub(crate) fn lacks(world: &World, ability: impl Fn(Abilities) -> Ability) -> bool {
    let Err(reason) = ability(world.engine.abilities()) else { return false };
    println!("skipped: {reason}");
    true
}

/// The control groups of the sandboxes of the native engine in `run_dir`.
pub(crate) fn groups_of(run_dir: &Path) -> Vec<PathBuf> {
    parents_of(run_dir).iter().flat_map(|parent| directories(parent)).collect()
}

/// What those are in, anywhere below `/sys/fs/cgroup`.
pub(crate) fn parents_of(run_dir: &Path) -> Vec<PathBuf> {
    let hash = Sha256::digest(run_dir.canonicalize().unwrap().as_os_str().as_encoded_bytes());
    let name = format!("airstrip-{:02x}{:02x}{:02x}{:02x}", hash[0], hash[1], hash[2], hash[3]);
    let (mut found, mut to_see) = (Vec::new(), vec![PathBuf::from("/sys/fs/cgroup")]);
    while let Some(dir) = to_see.pop() {
        let inner = directories(&dir);
        found.extend(inner.iter().filter(|path| path.ends_with(&name)).cloned());
        to_see.extend(inner);
    }
    found
}

fn directories(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect()
}

/// What a world in `dir` runs.
pub(crate) fn spec_in(dir: &Path, script: &str) -> Spec {
    Spec {
        hostname: "blog".to_owned(),
        host_uid: HOST_UID,
        mounts: Vec::new(),
        symlinks: Vec::new(),
        command: command(script),
        log: Some(LogFile { path: dir.join("log"), tag: "app[web.1]:".to_owned(), max_bytes: 1 << 20 }),
        limits: Limits::default(),
        egress: Egress::default(),
        egress_exceptions: Vec::new(),
        internal: None,
    }
}

/// Makes the sandbox's user the owner.
pub(crate) fn give(path: &Path) {
    if root() {
        std::os::unix::fs::chown(path, Some(HOST_UID), Some(HOST_UID)).unwrap();
    }
}

pub(crate) fn id(name: &str) -> InstanceId {
    InstanceId::new(name).unwrap()
}

pub(crate) fn words(words: &[&str]) -> Command {
    let env = [("PATH", "/usr/bin:/bin:/usr/sbin"), ("HOME", "/home/app"), ("SECRET", "s3cret")];
    Command {
        argv: words.iter().map(|word| (*word).to_owned()).collect(),
        env: env.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
        cwd: "/home/app".into(),
    }
}

pub(crate) fn command(script: &str) -> Command {
    words(&["sh", "-c", script])
}

pub(crate) fn mount(source: impl Into<PathBuf>, target: &str, kind: MountKind) -> Mount {
    Mount { source: source.into(), target: target.into(), kind }
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Output {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) exit: Exit,
}

/// Closes the program's standard input, reads everything, waits for the end.
pub(crate) async fn output(mut process: Process) -> Output {
    let Some(Streams::Pipes { stdin, stdout, stderr }) = process.streams.take() else { panic!("no pipes") };
    drop(stdin);
    let (stdout, stderr) = tokio::join!(read(stdout), read(stderr));
    Output { stdout, stderr, exit: process.control.wait().await.unwrap() }
}

async fn read(mut from: Box<dyn tokio::io::AsyncRead + Send + Unpin>) -> String {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).await.unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A terminal under test: what it has shown so far can be waited for.
pub(crate) struct Terminal {
    pub(crate) input: Box<dyn tokio::io::AsyncWrite + Send + Unpin>,
    output: Box<dyn tokio::io::AsyncRead + Send + Unpin>,
    pub(crate) shown: Vec<u8>,
    pub(crate) control: Box<dyn Control>,
}

impl Terminal {
    pub(crate) fn new(mut process: Process) -> Self {
        let Some(Streams::Terminal { input, output }) = process.streams.take() else { panic!("no terminal") };
        Self { input, output, shown: Vec::new(), control: process.control }
    }

    /// Reads until `text` has been shown; forgets what was shown up to its end.
    pub(crate) async fn expect(&mut self, text: &str) {
        loop {
            let found = self.shown.windows(text.len()).position(|window| window == text.as_bytes());
            if let Some(at) = found {
                self.shown.drain(..at + text.len());
                return;
            }
            let length = self.output.read_buf(&mut self.shown).await.unwrap();
            assert!(length > 0, "{text:?} was not shown, but {:?}", String::from_utf8_lossy(&self.shown));
        }
    }

    /// Reads to the end of the terminal.
    pub(crate) async fn rest(&mut self) -> String {
        self.output.read_to_end(&mut self.shown).await.unwrap();
        String::from_utf8_lossy(&self.shown).into_owned()
    }
}

/// Waits until something is so; a case's own limit bounds the wait.
pub(crate) async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// All descendants of a process.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    direct_children(pid).into_iter().flat_map(|child| [vec![child], children(child)].concat()).collect()
}

pub(crate) fn direct_children(pid: u32) -> Vec<u32> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let lists = tasks.flatten().filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<_>>()).collect()
}

pub(crate) fn describe(pid: u32) -> String {
    let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    format!("{pid} {} {}", command_line(pid), state.split(' ').take(4).collect::<Vec<_>>().join(" "))
}

pub(crate) fn send(pid: u32, signal: nix::sys::signal::Signal) {
    let _gone = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid.cast_signed()), signal);
}

pub(crate) fn alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// The processes of this machine whose command line contains `text`.
pub(crate) fn with_command_line(text: &str) -> Vec<u32> {
    let numbers = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    numbers.filter(|pid| alive(*pid) && command_line(*pid).contains(text)).collect()
}

fn command_line(pid: u32) -> String {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).replace('\0', " ")
}
