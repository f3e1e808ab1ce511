//! The start of a server: what can fail comes first, what can be seen from outside last.

use std::sync::Arc;

use engine::native::Native;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::first_keys::admit_invoking_user;
use super::open::{open_control, open_http, open_metrics, open_ssh};
use super::{Running, announce};
use crate::build::install_buildpacks;
use crate::collect::collector;
use crate::edge::Edge;
use crate::engines::Engines;
use crate::failure::{Failure, Result};
use crate::formation::Formations;
use crate::gate::Gate;
use crate::handover::Predecessor;
use crate::home::{Home, HomeLock};
use crate::nap::Naps;
use crate::notify::{self, notify};
use crate::pages::AllPages;
use crate::platform::{Address, Platform};
use crate::quota::Told;
use crate::reconcile::remove_asides;
use crate::settings::Settings;
use crate::sleep;
use crate::sockets::Sockets;
use crate::store::Store;
use crate::tls::Tls;
use crate::toolchain::Toolchain;
use crate::traffic::Traffic;
use crate::upgrade::Request;
use crate::uses::Uses;

/// Starts the first server of this process, in the place of another if there is one.
pub(super) async fn begin(settings: &Settings, predecessor: Option<Arc<Predecessor>>) -> Result<Running> {
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
pub(super) struct Parts {
    home: Home,
    toolchain: Toolchain,
}

impl Parts {
    pub(super) async fn find(settings: &Settings) -> Result<Self> {
        let home = Home::make(&settings.home)?;
        let toolchain = Toolchain::probe(home.tools()).await?;
        Ok(Self { home, toolchain })
    }
}

pub(super) async fn start(
    settings: &Settings,
    parts: Parts,
    sockets: Sockets,
    alone: CancellationToken,
) -> Result<Running> {
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
        object_bytes: settings.git.object_bytes,
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
