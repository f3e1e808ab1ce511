//! What the router is told: for every app its host names and what answers for them.
//!
//! Apps that are set to be reached by others are also routed by `APP.internal`, on a listener of their own on loopback: only the relays of
//! apps that are set so, too, lead there. Its port is kept in a file, because instances outlive this process.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use router::{Certificates, HostName, Limits, Listeners, Router, RouterError, Service, Table};

use crate::home::write_durably;
use crate::store::AppId;

/// The routes of all apps, and the router that serves them once it listens.
pub struct Edge {
    state: Mutex<EdgeState>,
    /// Where the address of the internal listener is kept.
    internal_file: PathBuf,
}

#[derive(Default)]
struct EdgeState {
    routes: BTreeMap<AppId, Route>,
    open: Option<Open>,
    /// There once an app is set to need it.
    internal: Option<Open>,
}

/// Sockets for HTTPS, and what clients are shown there.
pub type Secure = (Listeners, Arc<Certificates>);

/// Copies of the sockets that routers accept from.
#[derive(Debug, Default)]
pub struct Sockets {
    /// HTTP.
    pub http: Option<Listeners>,
    /// HTTPS.
    pub https: Option<Listeners>,
    /// Internal names.
    pub internal: Option<Listeners>,
}

/// A router, and copies of the sockets that it accepts from.
struct Open {
    router: Router,
    listeners: Listeners,
    https: Option<Listeners>,
}

impl Open {
    fn on(listeners: Listeners, https: Option<Secure>, table: Table, limits: &Limits) -> Result<Self, RouterError> {
        let copy = |listeners: &Listeners| {
            let failed = |source| RouterError::Bind { address: listeners.address(), source };
            listeners.try_clone().map_err(failed)
        };
        let kept = https.as_ref().map(|(listeners, _)| copy(listeners)).transpose()?;
        let router = Router::on(copy(&listeners)?, https, table, limits)?;
        Ok(Self { router, listeners, https: kept })
    }
}

/// One app's route.
pub struct Route {
    /// Where it answers: by its healthy web instances, or by saying why there are none.
    pub hosts: Vec<(HostName, Arc<Service>)>,
    /// Where other apps reach it, if they may.
    pub internal: Option<(HostName, Arc<Service>)>,
}

impl Edge {
    /// Serves nothing yet.
    pub fn new(internal_file: PathBuf) -> Self {
        Self { state: Mutex::default(), internal_file }
    }

    /// Where connections to internal names are served.
    pub fn internal_address(&self) -> Result<SocketAddr, RouterError> {
        let mut state = self.state();
        if let Some(open) = &state.internal {
            return Ok(open.listeners.address());
        }
        let open = Open::on(self.listen_internally()?, None, state.internal_table(), &Limits::default())?;
        let address = open.listeners.address();
        state.internal = Some(open);
        Ok(address)
    }

    /// On the port of the last time, if that is free.
    fn listen_internally(&self) -> Result<Listeners, RouterError> {
        let limits = Limits::default();
        let kept = std::fs::read_to_string(&self.internal_file).ok().and_then(|text| text.trim().parse().ok());
        match kept.map(|address| Listeners::bind(address, &limits)) {
            Some(Ok(listeners)) => return Ok(listeners),
            Some(Err(error)) => {
                tracing::warn!(%error, "apps that are running cannot reach each other until they are restarted");
            }
            None => {}
        }
        let listeners = Listeners::bind((Ipv4Addr::LOCALHOST, 0).into(), &limits)?;
        if let Err(error) = write_durably(&self.internal_file, listeners.address().to_string().as_bytes(), 0o600) {
            tracing::warn!(%error, "the port for internal names cannot be kept");
        }
        Ok(listeners)
    }

    /// Makes an app's route anew; None: its hosts are unknown from now on. `route` is called, and the table swapped,
    /// as one step: of two changes at the same time the later one always wins.
    pub fn refresh(&self, app: AppId, route: impl FnOnce() -> Option<Route>) {
        let mut state = self.state();
        match route() {
            Some(route) => state.routes.insert(app, route),
            None => state.routes.remove(&app),
        };
        if let Some(open) = &state.open {
            open.router.swap(state.table());
        }
        if let Some(internal) = &state.internal {
            internal.router.swap(state.internal_table());
        }
    }

    /// Whether an app is set to be reached by others.
    pub fn has_internal(&self) -> bool {
        self.state().routes.values().any(|route| route.internal.is_some())
    }

    /// Starts serving.
    pub fn open(&self, http: Listeners, https: Option<Secure>, limits: &Limits) -> Result<(), RouterError> {
        let mut state = self.state();
        state.open = Some(Open::on(http, https, state.table(), limits)?);
        Ok(())
    }

    /// Starts serving internal names on sockets that another daemon served them on.
    pub fn open_internal(&self, listeners: Listeners) -> Result<(), RouterError> {
        let mut state = self.state();
        state.internal = Some(Open::on(listeners, None, state.internal_table(), &Limits::default())?);
        Ok(())
    }

    /// Copies of the sockets.
    pub fn sockets(&self) -> io::Result<Sockets> {
        let state = self.state();
        let copy = |listeners: Option<&Listeners>| listeners.map(Listeners::try_clone).transpose();
        Ok(Sockets {
            http: copy(state.open.as_ref().map(|open| &open.listeners))?,
            https: copy(state.open.as_ref().and_then(|open| open.https.as_ref()))?,
            internal: copy(state.internal.as_ref().map(|open| &open.listeners))?,
        })
    }

    /// Stops serving; requests in flight have until `grace` to end. Clients may use their connections for `linger` more.
    pub async fn close(&self, linger: Duration, grace: Duration) {
        let (open, internal) = {
            let mut state = self.state();
            (state.open.take(), state.internal.take())
        };
        let leave = async |open: Option<Open>| {
            let Some(Open { router, listeners, https }) = open else { return };
            drop((listeners, https));
            router.leave(linger, grace).await;
        };
        tokio::join!(leave(open), leave(internal));
    }

    fn state(&self) -> MutexGuard<'_, EdgeState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EdgeState {
    fn table(&self) -> Table {
        let services = self.routes.values().flat_map(|route| route.hosts.iter().cloned());
        Table { hosts: services.collect::<HashMap<_, _>>() }
    }

    fn internal_table(&self) -> Table {
        let services = self.routes.values().filter_map(|route| route.internal.clone());
        Table { hosts: services.collect::<HashMap<_, _>>() }
    }
}
