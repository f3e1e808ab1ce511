//! An app's `data/` as a whole: out as a tar, in from one.
//!
//! Its content is the app's, and so not to be trusted: both the reading and the writing are done by this same program inside a
//! sandbox of the app's own user, which sees that one directory ([`pack`], [`unpack`]). What is imported is received and checked
//! beside the directory in use, and takes its place by one rename.

mod pack;
mod unpack;

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;

use engine::{Command, Egress, Exit, InstanceId, Mount, MountKind, Process, Spec, Streams};
use gitd::Output;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use crate::change::{Change, Renew};
use crate::failure::{Failure, Result};
use crate::home::sync_directory;
use crate::instance::{DATA, owner, suffix};
use crate::limits::{Settings, show_bytes};
use crate::platform::Platform;
use crate::store::App;
use crate::toolchain::PROGRAM;

/// Beginning of the names of directories that an import works in; see [`Platform::reconcile`].
pub const IN_PROGRESS: &str = ".data-";
/// The arguments that make a process one of the two programs.
const PACK: &str = "data-export";
const UNPACK: &str = "data-import";
/// Of what the sandboxed program has to say.
const LONGEST_WORDS: u64 = 4096;

/// Packs or unpacks the working directory and ends the process, if it was started for that; otherwise returns.
pub fn run_if_archiver() {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let done = match arguments.as_slice() {
        [only] if only == PACK => pack::run(Path::new("."), std::io::stdout()),
        [only] if only == UNPACK => unpack::run(std::io::stdin(), Path::new(".")),
        _ => return,
    };
    if let Err(error) = &done {
        say(error);
    }
    std::process::exit(i32::from(done.is_err()))
}

/// For the user, or for the daemon that passes it on to the user.
#[expect(clippy::print_stderr, reason = "a program of its own, with nothing but its streams")]
fn say(words: &dyn std::fmt::Display) {
    eprintln!("{words}");
}

impl Platform {
    /// A process whose standard output is the tar.
    pub async fn export_data(&self, app: &App) -> Result<Process> {
        self.archiver(app, PACK, &self.home.app(&app.name).data(), MountKind::ReadOnly).await
    }

    /// Replaces the content of `data/` by that of a tar or tar.gz, once all of it has been received. The app's instances are ended
    /// before and started after that; if they do not start, the old content is put back.
    pub async fn import_data(
        self: &Arc<Self>,
        app: &App,
        archive: Box<dyn AsyncRead + Send + Unpin>,
        output: &Output,
    ) -> Result<()> {
        output.line("-----> Receiving the archive").await;
        let received = self.receive_data(app, archive, output).await?;
        let limit = app.terms.limits.data();
        let (app, _turn) = &self.begin_change(app, output).await?;
        if app.terms.limits.data() != limit {
            self.bound_import(app, received.path().to_owned()).await?;
        }
        if app.current.is_none() || app.stopped {
            return self.swap_data(app, received.path());
        }
        output.line(&format!("-----> Restarting {} with the new data", app.name)).await;
        self.empty(app.id).await;
        let started = match self.swap_data(app, received.path()) {
            Ok(()) => self.start_again(app, output).await.map_err(|failure| (failure, true)),
            Err(failure) => Err((failure, false)),
        };
        match started {
            Ok(()) => Ok(()),
            Err((failure, swapped)) => Err(self.restore_data(app, received.path(), swapped, failure, output).await),
        }
    }

    async fn receive_data(
        &self,
        app: &App,
        archive: Box<dyn AsyncRead + Send + Unpin>,
        output: &Output,
    ) -> Result<TempDir> {
        let failed = |e: std::io::Error| Failure::io("making room for the data", &e);
        let room = tempfile::Builder::new()
            .prefix(IN_PROGRESS)
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o750))
            .tempdir_in(self.home.app(&app.name).root())
            .map_err(failed)?;
        std::os::unix::fs::lchown(room.path(), owner(app.id), owner(app.id)).map_err(failed)?;
        self.bound_import(app, room.path().to_owned()).await?;
        let process = self.archiver(app, UNPACK, room.path(), MountKind::ReadWrite).await?;
        let fed = output.cancelled().run_until_cancelled(feed(app, process, archive)).await;
        fed.ok_or_else(|| Failure::plain("cancelled"))??;
        let path = room.path().to_owned();
        let synced = tokio::task::spawn_blocking(move || {
            nix::unistd::syncfs(std::fs::File::open(path)?).map_err(std::io::Error::from)
        });
        synced.await.map_err(|e| Failure::plain(e.to_string()))?.map_err(failed)?;
        Ok(room)
    }

    /// The two change places, as one step.
    fn swap_data(&self, app: &App, other: &Path) -> Result<()> {
        let home = self.home.app(&app.name);
        let failed = |e: std::io::Error| Failure::io("replacing the data", &e);
        renameat2(AT_FDCWD, &home.data(), AT_FDCWD, other, RenameFlags::RENAME_EXCHANGE)
            .map_err(|e| failed(e.into()))?;
        sync_directory(home.root()).map_err(failed)
    }

    async fn start_again(self: &Arc<Self>, app: &App, output: &Output) -> Result<()> {
        let (release, wanted) = self.desired(app)?;
        self.change(app, Change { release, wanted, renew: Renew::Nothing }, output, async { Ok(()) }).await
    }

    /// Back to how it was. Gives what to tell the user.
    async fn restore_data(
        self: &Arc<Self>,
        app: &App,
        received: &Path,
        swapped: bool,
        failure: Failure,
        output: &Output,
    ) -> Failure {
        if swapped && let Err(failure) = self.swap_data(app, received) {
            return failure;
        }
        output.line("-----> Putting the old data back").await;
        match self.desired(app) {
            Ok((release, wanted)) => {
                for process in wanted.iter().flat_map(crate::plan::places) {
                    self.fill(&release, process);
                }
                failure
            }
            Err(failure) => failure,
        }
    }

    /// This program in a sandbox that shows one directory and has no network.
    async fn archiver(&self, app: &App, what: &str, directory: &Path, kind: MountKind) -> Result<Process> {
        let program = self.toolchain.program();
        let program = program.ok_or_else(|| Failure::new("the server's program is being replaced", "try again"))?;
        let mount =
            |source: &Path, target: &str, kind| Mount { source: source.to_owned(), target: target.into(), kind };
        let spec = Spec {
            hostname: app.name.to_string(),
            host_uid: owner(app.id).unwrap_or_else(|| nix::unistd::geteuid().as_raw()),
            mounts: vec![mount(program, PROGRAM, MountKind::ReadOnly), mount(directory, DATA, kind)],
            symlinks: Vec::new(),
            command: Command { argv: vec![PROGRAM.into(), what.into()], env: Vec::new(), cwd: DATA.into() },
            log: None,
            limits: Settings::default().of("data").for_engine(),
            egress: Egress::None,
            egress_exceptions: Vec::new(),
            internal: None,
        };
        let id = InstanceId::new(format!("{}.{what}.{}", app.name, suffix()));
        Ok(self.engine.attach(&id.map_err(|e| Failure::plain(e.to_string()))?, &spec, None).await?)
    }
}

/// Hands an archive over to the unpacking process and waits for its verdict.
async fn feed(app: &App, mut process: Process, mut archive: Box<dyn AsyncRead + Send + Unpin>) -> Result<()> {
    let Some(Streams::Pipes { mut stdin, stdout, stderr }) = process.streams.take() else {
        return Err(Failure::plain("the unpacking process has no streams"));
    };
    drop(stdout);
    let send = async {
        // It may have seen enough; its verdict says why.
        let _gone = tokio::io::copy(&mut archive, &mut stdin).await;
        let _gone = stdin.shutdown().await;
        drop(stdin);
        std::future::pending::<Infallible>().await
    };
    let hear = async {
        let mut words = String::new();
        let _cut = stderr.take(LONGEST_WORDS).read_to_string(&mut words).await;
        words
    };
    let verdict = async { tokio::join!(hear, process.control.wait()) };
    let (words, exit) = tokio::select! {
        verdict = verdict => verdict,
        never = send => match never {},
    };
    refusal(exit?, words.trim()).map_err(|failure| match app.terms.limits.data() {
        Some(limit) if is_full(&failure) => too_much(app, limit),
        _ => failure,
    })
}

/// Some file systems call a quota that is used up a disk without space.
fn is_full(failure: &Failure) -> bool {
    *failure == Failure::disk_full() || failure.message.contains("quota exceeded")
}

fn too_much(app: &App, limit: u64) -> Failure {
    let (name, limit, more) = (&app.name, show_bytes(limit), show_bytes(limit.saturating_mul(2)));
    Failure::new(
        format!("the data is more than {name} may hold, which is {limit}, or more than the server has space for"),
        format!("if it really needs more: `resource:limit {name} data={more}`"),
    )
}

fn refusal(exit: Exit, words: &str) -> Result<()> {
    match exit {
        Exit::Status(0) => Ok(()),
        _ if words.contains("No space left on device") => Err(Failure::disk_full()),
        Exit::Status(_) if !words.is_empty() => {
            Err(Failure::new(words, "send a tar or tar.gz, uncut, with paths relative to data/: tar c -C DIR ."))
        }
        other => Err(Failure::plain(format!("unpacking {other}"))),
    }
}
