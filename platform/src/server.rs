//! `airstrip serve`: puts the parts together, says when it is ready, and ends in order.

mod open;

use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use engine::native::Native;
use gitd::Server;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::open::{open_control, open_http, open_metrics, open_ssh};
use crate::build::install_buildpacks;
use crate::collect::collector;
use crate::edge::Edge;
use crate::engines::Engines;
use crate::failure::{Failure, Result};
use crate::formation::Formations;
use crate::gate::{Gate, Shut};
use crate::handover::{Predecessor, Successor};
use crate::home::{Home, HomeLock};
use crate::names::KeyName;
use crate::nap::Naps;
use crate::notify::{self, notify};
use crate::pages::AllPages;
use crate::platform::{Address, Platform};
use crate::quota::Told;
use crate::reconcile::remove_asides;
use crate::settings::Settings;
use crate::sleep;
use crate::sockets::Sockets;
use crate::store::{Role, Store};
use crate::tls::Tls;
use crate::toolchain::Toolchain;
use crate::traffic::Traffic;
use crate::upgrade::{Program, Request};
use crate::uses::Uses;

/// How long requests, pushes and commands in flight have to end at a shutdown.
const GRACE: Duration = Duration::from_secs(30);
/// How long a new server may take to serve, once the home is free.
const TAKING_OVER: Duration = Duration::from_secs(60);
/// How long clients of a server that was replaced may go on using their connections. Shorter than the time that replaced
/// instances have for requests in flight: those of the old server find theirs alive.
const LINGER: Duration = Duration::from_secs(10);

/// A server that has been started.
struct Running {
    platform: Arc<Platform>,
    ssh: Server,
    ssh_socket: TcpListener,
    control: tokio::task::JoinHandle<()>,
    control_socket: UnixListener,
    metrics_socket: Option<TcpListener>,
    upgrades: mpsc::Receiver<Request>,
    ready: String,
    lock: Option<HomeLock>,
}

/// Runs the server until SIGTERM, SIGINT or `stop-all`, or until another has taken its place and all that it began is done.
pub async fn serve(settings: Settings, predecessor: Option<Arc<Predecessor>>) -> Result<()> {
    let mut end = Ends::listen()?;
    let mut upgrade = listen_for(SignalKind::hangup())?;
    let program = Program::of_this_process()?;
    raise_descriptor_limit();
    let mut running = begin(&settings, predecessor).await?;
    loop {
        let request = tokio::select! {
            () = end.told() => break,
            () = running.platform.shutdown.cancelled() => break,
            _ = upgrade.recv() => Request::by_signal(),
            Some(request) = running.upgrades.recv() => request,
        };
        let prepared = running.platform.prepare_upgrade(&program, &request.output);
        let prepared = tokio::select! {
            prepared = request.output.cancelled().run_until_cancelled(prepared) => prepared,
            () = end.told() => break,
        };
        let (successor, shut) = match prepared.unwrap_or_else(|| Err(Failure::plain("cancelled"))) {
            Ok(prepared) => prepared,
            Err(failure) => {
                tracing::warn!(%failure, "not upgraded");
                let _gone = request.answer.send(Err(failure));
                continue;
            }
        };
        match hand_over(&settings, running, successor, shut, request.answer).await? {
            HandedOver::ToAnother(leaving) => {
                tokio::select! {
                    () = leaving => {}
                    () = end.told() => {}
                }
                return Ok(());
            }
            HandedOver::ToMyself(again) => running = again,
        }
    }
    notify(notify::STOPPING);
    stop(running).await;
    Ok(())
}

/// Every request in flight needs two descriptors; the usual soft limit of 1024 is for programs that use `select`.
fn raise_descriptor_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let raised =
        getrlimit(Resource::RLIMIT_NOFILE).and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        tracing::warn!(%error, "raising the limit of open files");
    }
}

fn listen_for(kind: SignalKind) -> Result<Signal> {
    signal(kind).map_err(|e| Failure::io("listening for signals", &e))
}

/// The signals that end the server.
struct Ends {
    terminate: Signal,
    interrupt: Signal,
}

impl Ends {
    fn listen() -> Result<Self> {
        Ok(Self { terminate: listen_for(SignalKind::terminate())?, interrupt: listen_for(SignalKind::interrupt())? })
    }

    async fn told(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// The one line on standard output that programs wait for.
#[expect(clippy::print_stdout, reason = "the contract's ready line")]
fn announce(line: &str) {
    println!("{line}");
}

/// Starts the first server of this process, in the place of another if there is one.
async fn begin(settings: &Settings, predecessor: Option<Arc<Predecessor>>) -> Result<Running> {
    let (alone, parts) = (CancellationToken::new(), Parts::find(settings).await?);
    let running = if let Some(predecessor) = predecessor {
        let sockets = predecessor.wait_for_turn().await?;
        let running = start(settings, parts, sockets, alone.clone()).await?;
        predecessor.ready();
        let platform = &running.platform;
        platform.tasks.spawn(wait_for_end(predecessor, alone, platform.duties.clone()));
        running
    } else {
        alone.cancel();
        let running = start(settings, parts, Sockets::from_service_manager()?, alone).await?;
        notify(notify::READY);
        running
    };
    announce(&running.ready);
    Ok(running)
}

async fn wait_for_end(predecessor: Arc<Predecessor>, alone: CancellationToken, duties: CancellationToken) {
    match duties.run_until_cancelled(predecessor.gone()).await {
        Some(Ok(())) => tracing::info!("the server that this one replaced has ended"),
        Some(Err(error)) => tracing::warn!(%error, "watching the server that this one replaced"),
        None => return,
    }
    alone.cancel();
}

/// What can be had, and can fail, while another server still uses the home.
struct Parts {
    home: Home,
    toolchain: Toolchain,
}

impl Parts {
    async fn find(settings: &Settings) -> Result<Self> {
        let home = Home::make(&settings.home)?;
        let toolchain = Toolchain::probe(home.tools()).await?;
        Ok(Self { home, toolchain })
    }
}

async fn start(settings: &Settings, parts: Parts, sockets: Sockets, alone: CancellationToken) -> Result<Running> {
    let (platform, upgrades, lock) = prepare(settings, parts, alone)?;
    let platform = Arc::new(platform);
    admit_invoking_user(&platform.store)?;
    if let Some(listeners) = sockets.internal {
        platform.edge.open_internal(listeners).map_err(|e| Failure::plain(e.to_string()))?;
    }
    platform.reconcile().await?;
    platform.tasks.spawn(platform.clone().watch_data());
    platform.tasks.spawn(collector(platform.clone()));
    platform.tasks.spawn(sleep::watch(platform.clone()));
    platform.uses.look_through_layers();
    platform.load_certificates().await;
    let http = open_http(&platform, settings, sockets.http, sockets.https)?;
    if platform.tls.is_on() {
        platform.tasks.spawn(platform.clone().look_after_certificates());
    }
    let (ssh, ssh_socket) = open_ssh(&platform, settings, sockets.ssh)?;
    let (control, control_socket) =
        open_control(&platform, sockets.control).map_err(|e| Failure::io("control.sock", &e))?;
    let (said, metrics_socket) = open_metrics(&platform, settings, sockets.metrics)?;
    let ready = format!("airstrip ready ssh={} {http}{said} home={}", ssh.address(), platform.home.root().display());
    let lock = Some(lock);
    Ok(Running { platform, ssh, ssh_socket, control, control_socket, metrics_socket, upgrades, ready, lock })
}

/// Everything that does not listen yet.
fn prepare(
    settings: &Settings,
    parts: Parts,
    alone: CancellationToken,
) -> Result<(Platform, mpsc::Receiver<Request>, HomeLock)> {
    let Parts { home, toolchain } = parts;
    let lock = home.lock()?;
    for directory in [home.layers(), home.shared(), home.tools(), home.buildpacks()] {
        remove_asides(&directory).map_err(|e| Failure::io(directory.display(), &e))?;
    }
    let store = Arc::new(Store::open(&home.database())?);
    let tls = Tls::new(settings, store.clone())?;
    let native = Native::new(home.run())?;
    let engines = Arc::new(Engines::new(native, home.docker(), settings.docker_base.clone()));
    let buildpacks = install_buildpacks(&home.buildpacks())?;
    let edge = Edge::new(home.internal());
    let shutdown = CancellationToken::new();
    let (requests, upgrades) = mpsc::channel(1);
    let platform = Platform {
        home,
        store,
        engine: engines.clone(),
        engines,
        edge,
        tls,
        traffic: Traffic::default(),
        formations: Formations::default(),
        pages: AllPages::default(),
        naps: Naps::default(),
        uses: Uses::default(),
        toolchain,
        buildpacks,
        told: Told::default(),
        address: Address::new(settings.domain.clone()),
        gate: Gate::default(),
        upgrades: requests,
        alone,
        tasks: TaskTracker::new(),
        endings: TaskTracker::new(),
        visits: TaskTracker::new(),
        duties: shutdown.child_token(),
        shutdown,
    };
    Ok((platform, upgrades, lock))
}

/// The first start without any key lets the user who made it in.
fn admit_invoking_user(store: &Store) -> Result<()> {
    if !store.keys()?.is_empty() {
        return Ok(());
    }
    let Some(home) = std::env::var_os("HOME").map(PathBuf::from) else { return Ok(()) };
    let Ok(files) = std::fs::read_dir(home.join(".ssh")) else { return Ok(()) };
    for path in
        files.flatten().map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|ending| ending == "pub"))
    {
        match admit(store, &path) {
            Ok(name) => tracing::info!(file = %path.display(), %name, "added as an admin key"),
            Err(error) => tracing::warn!(file = %path.display(), %error, "not added as a key"),
        }
    }
    Ok(())
}

fn admit(store: &Store, path: &Path) -> Result<KeyName> {
    let name: KeyName = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().parse()?;
    let text = std::fs::read_to_string(path).map_err(|e| Failure::io(path.display(), &e))?;
    let key = gitd::PublicKey::parse(&text).map_err(|e| Failure::plain(e.to_string()))?;
    store.add_key(&name, &key.text, &key.fingerprint, None, Role::Admin)?;
    Ok(name)
}

/// Who serves now.
enum HandedOver<Leaving> {
    /// The new server. What this one has begun is still to end.
    ToAnother(Leaving),
    /// A new server in this same process, because the other did not manage.
    ToMyself(Running),
}

/// Gives the home to the new server.
async fn hand_over(
    settings: &Settings,
    mut running: Running,
    mut successor: Successor,
    shut: Shut,
    answer: oneshot::Sender<Result<u32>>,
) -> Result<HandedOver<impl Future<Output = ()>>> {
    let sockets = running.give_up().await?;
    shut.for_ever();
    let taken = match successor.take(&sockets) {
        Ok(()) => successor.ready(TAKING_OVER).await,
        Err(failure) => Err(failure),
    };
    let Err(failure) = taken else {
        drop(sockets);
        let pid = successor.pid();
        notify(&notify::main_process(pid));
        tracing::info!(pid, "another server has taken over");
        let _gone = answer.send(Ok(pid));
        let presence = successor.leave_alone();
        let drain = settings.drain;
        return Ok(HandedOver::ToAnother(async move {
            leave(running, drain).await;
            drop(presence);
        }));
    };
    successor.kill().await;
    tracing::error!(%failure, "not upgraded");
    let again = start_again(settings, sockets, running).await?;
    let _gone = answer.send(Err(failure));
    Ok(HandedOver::ToMyself(again))
}

/// A new server in the place of one that has given the home up.
async fn start_again(settings: &Settings, sockets: Sockets, old: Running) -> Result<Running> {
    let alone = CancellationToken::new();
    let again = start(settings, Parts::find(settings).await?, sockets, alone.clone()).await?;
    let drain = settings.drain;
    again.platform.visits.spawn(async move {
        leave(old, drain).await;
        alone.cancel();
    });
    Ok(again)
}

impl Running {
    /// Looks after nothing any more, but goes on answering requests. Gives copies of the sockets. Nothing changes meanwhile:
    /// the gate is shut.
    async fn give_up(&mut self) -> Result<Sockets> {
        let platform = &self.platform;
        let failed = |e: io::Error| Failure::io("handing the sockets over", &e);
        let edge = platform.edge.sockets().map_err(failed)?;
        let sockets = Sockets {
            ssh: Some(self.ssh_socket.try_clone().map_err(failed)?),
            http: edge.http,
            https: edge.https,
            internal: edge.internal,
            control: Some(self.control_socket.try_clone().map_err(failed)?),
            metrics: self.metrics_socket.as_ref().map(TcpListener::try_clone).transpose().map_err(failed)?,
        };
        self.ssh.stop_accepting();
        platform.thaw_sleepers().await;
        platform.duties.cancel();
        let _ended = (&mut self.control).await;
        platform.tasks.close();
        if tokio::time::timeout(GRACE, platform.tasks.wait()).await.is_err() {
            tracing::warn!("some tasks did not end in time");
        }
        // Dropped, it would take parents of control groups away that the next one counts on.
        std::mem::forget(platform.engines.clone());
        self.lock = None;
        Ok(sockets)
    }
}

/// Lets what a server that gave the home up has begun come to its end, for at most `drain`.
async fn leave(running: Running, drain: Duration) {
    let Running { platform, ssh, ssh_socket, control_socket, metrics_socket, .. } = running;
    drop((ssh_socket, control_socket, metrics_socket));
    platform.visits.close();
    let requests = async {
        platform.edge.close(LINGER, drain).await;
        platform.traffic.close();
    };
    let visits = tokio::time::timeout(drain, platform.visits.wait());
    let ((), (), _all_or_late) = tokio::join!(requests, ssh.shutdown(drain), visits);
    platform.shutdown.cancel();
    if tokio::time::timeout(GRACE, platform.visits.wait()).await.is_err() {
        tracing::warn!("some commands did not end in time");
    }
}

/// Stops accepting, lets what is in flight end, leaves instances running.
async fn stop(running: Running) {
    let Running { platform, ssh, ssh_socket, control, control_socket, metrics_socket, .. } = running;
    drop((ssh_socket, control_socket, metrics_socket));
    platform.shutdown.cancel();
    tokio::join!(platform.edge.close(Duration::ZERO, GRACE), ssh.shutdown(GRACE));
    let _ended = control.await;
    platform.traffic.close();
    for tasks in [&platform.visits, &platform.tasks] {
        tasks.close();
        if tokio::time::timeout(GRACE, tasks.wait()).await.is_err() {
            tracing::warn!("some tasks did not end in time");
        }
    }
}
