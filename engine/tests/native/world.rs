//! A fresh engine for every story, and the check that a story leaves nothing behind.

use std::collections::BTreeSet;
use std::fs;
use std::future::Future;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::native::Native;
use engine::{
    Command, Engine, EngineError, Exit, InstanceId, LogFile, Mount, MountKind, Process, Spec, Streams, WindowSize,
};
use sha2::{Digest, Sha256};
use tokio::io::AsyncReadExt;

pub(crate) type Told = Pin<Box<dyn Future<Output = ()> + Send>>;
pub(crate) type Story = fn(Arc<World>) -> Told;

/// A story must end within this time.
const LIMIT: Duration = Duration::from_secs(60);
/// The user outside, as root.
pub(crate) const HOST_UID: u32 = 210_007;
pub(crate) const SIZE: WindowSize = WindowSize { columns: 90, rows: 33 };

pub(crate) struct World {
    pub(crate) engine: Native,
    pub(crate) dir: tempfile::TempDir,
}

pub(crate) fn root() -> bool {
    nix::unistd::Uid::effective().is_root()
}

/// Makes the list of a module's stories.
macro_rules! stories {
    ($($name:ident),* $(,)?) => {
        pub(crate) fn stories() -> Vec<(&'static str, $crate::world::Story)> {
            vec![$((stringify!($name), |world| Box::pin($name(world)))),*]
        }
    };
}
pub(crate) use stories;

impl World {
    /// `None`: this machine does not permit sandboxes; says why.
    pub(crate) fn new() -> Option<Arc<Self>> {
        let dir = tempfile::Builder::new().prefix("airstrip-engine-").tempdir().unwrap();
        fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
        match Native::new(dir.path().join("run")) {
            Ok(engine) => Some(Arc::new(Self { engine, dir })),
            Err(EngineError::Unsupported(reason)) => {
                println!("skipped: {reason}");
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Runs a story. False if it failed, took too long, or left something.
    pub(crate) async fn tell(self: Arc<Self>, story: Story) -> bool {
        let task = tokio::spawn(story(Arc::clone(&self)));
        let told = match tokio::time::timeout(LIMIT, task).await {
            Ok(Ok(())) => true,
            Ok(Err(_panicked)) => false,
            Err(_) => {
                println!("took longer than {LIMIT:?}");
                false
            }
        };
        for listed in self.engine.list().await.unwrap() {
            let _ = self.engine.stop(&listed.id, Duration::ZERO).await;
            self.engine.remove(&listed.id).await.unwrap();
        }
        told & self.nothing_is_left().await
    }

    /// Waits until no process and no mount of this story's sandboxes is left.
    async fn nothing_is_left(&self) -> bool {
        let end = Instant::now() + Duration::from_secs(5);
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

    fn left(&self) -> BTreeSet<String> {
        let mut left: BTreeSet<String> = children(std::process::id()).into_iter().map(describe).collect();
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        left.extend(
            mounts.lines().filter(|line| line.contains(&*self.dir.path().to_string_lossy())).map(str::to_owned),
        );
        let entries = fs::read_dir(self.dir.path().join("run")).unwrap();
        left.extend(entries.map(|entry| entry.unwrap().path().display().to_string()));
        left.extend(self.groups().into_iter().map(|group| group.display().to_string()));
        left
    }

    /// The control groups of this engine's sandboxes, in all hierarchies.
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
        if root() {
            std::os::unix::fs::chown(&path, Some(HOST_UID), Some(HOST_UID)).unwrap();
        }
        path
    }

    pub(crate) fn spec(&self, script: &str) -> Spec {
        Spec {
            hostname: "blog".to_owned(),
            host_uid: HOST_UID,
            mounts: Vec::new(),
            symlinks: Vec::new(),
            command: command(script),
            log: Some(LogFile { path: self.path("log"), tag: "app[web.1]:".to_owned(), max_bytes: 1 << 20 }),
            limits: engine::Limits::default(),
            egress: engine::Egress::default(),
            egress_exceptions: Vec::new(),
            internal: None,
        }
    }

    pub(crate) async fn launch(&self, name: &str, script: &str) -> InstanceId {
        let id = id(name);
        self.engine.launch(&id, &self.spec(script), "labels").await.unwrap();
        id
    }

    /// Runs a script in a sandbox of its own: standard output and error, and how it ended.
    pub(crate) async fn run(&self, spec: &Spec) -> Output {
        let process = self.engine.attach(&id("run"), spec, None).await.unwrap();
        output(process).await
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

/// The control groups of the sandboxes of the engine in `run_dir`.
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

pub(crate) fn id(name: &str) -> InstanceId {
    InstanceId::new(name).unwrap()
}

pub(crate) fn command(script: &str) -> Command {
    let argv = ["sh", "-c", script].map(str::to_owned).to_vec();
    let env = [("PATH", "/usr/bin:/bin:/usr/sbin"), ("HOME", "/home/app"), ("SECRET", "s3cret")];
    Command {
        argv,
        env: env.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
        cwd: "/home/app".into(),
    }
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

/// Waits until something is so; a story's own limit bounds the wait.
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
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    format!(
        "{pid} {} {}",
        String::from_utf8_lossy(&line).replace('\0', " "),
        state.split(' ').take(4).collect::<Vec<_>>().join(" ")
    )
}

pub(crate) fn send(pid: u32, signal: nix::sys::signal::Signal) {
    let _gone = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid.cast_signed()), signal);
}

pub(crate) fn alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// The processes whose command line contains `text`.
pub(crate) fn with_command_line(text: &str) -> Vec<u32> {
    let numbers = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    let has = |pid: &u32| {
        let line = fs::read(Path::new("/proc").join(pid.to_string()).join("cmdline")).unwrap_or_default();
        alive(*pid) && String::from_utf8_lossy(&line).replace('\0', " ").contains(text)
    };
    numbers.filter(has).collect()
}
