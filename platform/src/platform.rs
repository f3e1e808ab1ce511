//! What the product's parts share, and the operations that users ask for.
//!
//! The operations themselves stand where their subject is: [`crate::apps`], [`crate::pipeline`] (whatever makes a
//! release), [`crate::formation`] (whatever changes what runs), [`crate::inside`] (shells and one-offs).

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use engine::Engine;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::edge::Edge;
use crate::engines::Engines;
use crate::failure::{Failure, Result};
use crate::formation::Formations;
use crate::gate::Gate;
use crate::home::Home;
use crate::names::AppName;
use crate::nap::Naps;
use crate::pages::AllPages;
use crate::quota::Told;
use crate::store::{App, Store};
use crate::tls::Tls;
use crate::toolchain::Toolchain;
use crate::traffic::Traffic;
use crate::upgrade::Request;
use crate::uses::Uses;

/// The running server. One per process, shared by everything that serves a user.
pub struct Platform {
    /// Where things are on disk.
    pub home: Home,
    /// What is true.
    pub store: Arc<Store>,
    /// What runs things.
    pub engine: Arc<dyn Engine>,
    /// The same, for those who choose what starts something.
    pub engines: Arc<Engines>,
    /// What the router was told.
    pub edge: Edge,
    /// With which certificates apps are served.
    pub tls: Tls,
    /// What is kept of each app's requests.
    pub traffic: Traffic,
    /// What runs of each app.
    pub formations: Formations,
    /// Their own error pages.
    pub pages: AllPages,
    /// Whether each sleeps.
    pub naps: Naps,
    /// What of the releases and layers is being used.
    pub uses: Uses,
    /// Interpreters and installers of this machine.
    pub toolchain: Toolchain,
    /// The built-in buildpacks, in the order in which they are tried.
    pub buildpacks: Vec<builder::Buildpack>,
    /// Bytes of the largest object of a repository ([`gitd::Limits::object_bytes`]).
    pub object_bytes: usize,
    /// Which apps know that their `data/` holds too much.
    pub told: Told,
    /// How users reach the server.
    pub address: Address,
    /// Everything that changes something is in here.
    pub gate: Gate,
    /// Takes requests to be replaced by a new daemon.
    pub upgrades: mpsc::Sender<Request>,
    /// Cancelled once no other daemon answers requests that it began before this one took over.
    pub alone: CancellationToken,
    /// Owns every task that looks after what runs and what is on disk; the server waits for it at the end.
    pub tasks: TaskTracker,
    /// Those of them that end what was replaced.
    pub endings: TaskTracker,
    /// Owns what users of `control.sock` do.
    pub visits: TaskTracker,
    /// Cancelled when this process is to look after nothing any more. Instances stay.
    pub duties: CancellationToken,
    /// Cancelled when the server is to end, and with it `duties`.
    pub shutdown: CancellationToken,
}

/// How users reach the server: for URLs and `ssh-config`. Ports are 0 until they are known.
#[derive(Debug)]
pub struct Address {
    /// Apps are served at `APP.DOMAIN`.
    pub domain: router::HostName,
    /// Real port of HTTP.
    pub http_port: AtomicU16,
    /// Real port of HTTPS, if that is on.
    pub https_port: AtomicU16,
    /// Real port of SSH.
    pub ssh_port: AtomicU16,
}

impl Address {
    /// Before anything listens.
    pub fn new(domain: router::HostName) -> Self {
        Self { domain, http_port: AtomicU16::new(0), https_port: AtomicU16::new(0), ssh_port: AtomicU16::new(0) }
    }

    /// Where an app is reached, with TLS or without.
    pub fn url(&self, app: &AppName, secure: bool) -> String {
        let (scheme, usual, port) =
            if secure { ("https", 443, &self.https_port) } else { ("http", 80, &self.http_port) };
        match port.load(Ordering::Relaxed) {
            port if port == usual => format!("{scheme}://{app}.{}", self.domain),
            port => format!("{scheme}://{app}.{}:{port}", self.domain),
        }
    }
}

impl Platform {
    /// The app of this name, or the failure to tell the user.
    pub fn app(&self, name: &AppName) -> Result<App> {
        let app = self.store.app(name)?.filter(|app| !app.destroying);
        app.ok_or_else(|| Failure::no_app(name.as_str()))
    }
}
