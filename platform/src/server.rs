//! `airstrip serve`: puts the parts together, says when it is ready, and ends in order.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use engine::native::Native;
use gitd::{Limits, Server};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::build::install_buildpacks;
use crate::collect::collector;
use crate::control;
use crate::edge::Edge;
use crate::engines::Engines;
use crate::failure::{Failure, Result};
use crate::formation::Formations;
use crate::home::{Home, HomeLock};
use crate::names::KeyName;
use crate::platform::{Address, Platform};
use crate::quota::Told;
use crate::reconcile::remove_asides;
use crate::sessions::Doorkeeper;
use crate::settings::Settings;
use crate::store::{Role, Store};
use crate::toolchain::Toolchain;
use crate::uses::Uses;

/// How long requests, pushes and commands in flight have to end at a shutdown.
const GRACE: Duration = Duration::from_secs(30);

/// A server that has been started.
struct Running {
    platform: Arc<Platform>,
    ssh: Server,
    control: tokio::task::JoinHandle<()>,
    ready: String,
    _lock: HomeLock,
}

/// Runs the server until SIGTERM, SIGINT or `stop-all`.
pub async fn serve(settings: Settings) -> Result<()> {
    let mut terminate = listen_for(SignalKind::terminate())?;
    let mut interrupt = listen_for(SignalKind::interrupt())?;
    raise_descriptor_limit();
    let running = start(settings).await?;
    announce(&running.ready);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = running.platform.shutdown.cancelled() => {}
    }
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

fn listen_for(kind: SignalKind) -> Result<tokio::signal::unix::Signal> {
    signal(kind).map_err(|e| Failure::io("listening for signals", &e))
}

/// The one line on standard output that programs wait for.
#[expect(clippy::print_stdout, reason = "the contract's ready line")]
fn announce(line: &str) {
    println!("{line}");
}

async fn start(settings: Settings) -> Result<Running> {
    let (platform, lock) = prepare(&settings).await?;
    admit_invoking_user(&platform.store)?;
    platform.reconcile().await?;
    platform.tasks.spawn(platform.clone().watch_data());
    platform.tasks.spawn(collector(platform.clone()));
    platform.uses.look_through_layers();
    let http = platform.edge.open(settings.http).map_err(|e| Failure::plain(e.to_string()))?;
    platform.address.http_port.store(http.port(), Ordering::Relaxed);
    let doorkeeper = Arc::new(Doorkeeper(platform.clone()));
    let ssh = Server::bind(settings.ssh, platform.home.host_key(), Limits::default(), doorkeeper).await;
    let ssh = ssh.map_err(|e| Failure::plain(e.to_string()))?;
    platform.address.ssh_port.store(ssh.address().port(), Ordering::Relaxed);
    let listener = control::listen(&platform.home.control_socket()).map_err(|e| Failure::io("control.sock", &e))?;
    let control = tokio::spawn(control::serve(platform.clone(), listener));
    let ready = format!("airstrip ready ssh={} http={http} home={}", ssh.address(), platform.home.root().display());
    Ok(Running { platform, ssh, control, ready, _lock: lock })
}

/// Everything that does not listen yet.
async fn prepare(settings: &Settings) -> Result<(Arc<Platform>, HomeLock)> {
    let (home, lock) = Home::open(&settings.home)?;
    for directory in [home.layers(), home.shared(), home.tools(), home.buildpacks()] {
        remove_asides(&directory).map_err(|e| Failure::io(directory.display(), &e))?;
    }
    let store = Store::open(&home.database())?;
    let native = Native::new(home.run())?;
    let engines = Arc::new(Engines::new(native, home.docker(), settings.docker_base.clone()));
    let toolchain = Toolchain::probe(home.tools()).await?;
    let buildpacks = install_buildpacks(&home.buildpacks())?;
    let edge = Edge::new(home.internal());
    let platform = Platform {
        home,
        store,
        engine: engines.clone(),
        engines,
        edge,
        formations: Formations::default(),
        uses: Uses::default(),
        toolchain,
        buildpacks,
        told: Told::default(),
        address: Address::new(settings.domain.clone()),
        tasks: TaskTracker::new(),
        shutdown: CancellationToken::new(),
    };
    Ok((Arc::new(platform), lock))
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

/// Stops accepting, lets what is in flight end, leaves instances running.
async fn stop(running: Running) {
    let Running { platform, ssh, control, .. } = running;
    platform.shutdown.cancel();
    tokio::join!(platform.edge.close(GRACE), ssh.shutdown(GRACE));
    let _ended = control.await;
    platform.tasks.close();
    if tokio::time::timeout(GRACE, platform.tasks.wait()).await.is_err() {
        tracing::warn!("some tasks did not end in time");
    }
}
