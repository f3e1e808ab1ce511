//! What the router is told: for every app its host names and what answers for them.
//!
//! Apps that are set to be reached by others are also routed by `APP.internal`, on a listener of their own on loopback: only the relays of
//! apps that are set so, too, lead there. Its port is kept in a file, because instances outlive this process.

use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use router::{HostName, Router, RouterError, Service, Table};

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
    router: Option<Router>,
    /// There once an app is set to need it.
    internal: Option<Router>,
}

/// One app's route.
pub struct Route {
    /// Where it answers.
    pub hosts: Vec<HostName>,
    /// Where other apps reach it, if they may.
    pub internal: Option<HostName>,
    /// Its healthy web instances, or why there are none.
    pub service: Arc<Service>,
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
            return Ok(open.address());
        }
        let router = self.open_internal(&state)?;
        let address = router.address();
        state.internal = Some(router);
        Ok(address)
    }

    /// On the port of the last time, if that is free.
    fn open_internal(&self, state: &EdgeState) -> Result<Router, RouterError> {
        let kept = std::fs::read_to_string(&self.internal_file).ok().and_then(|text| text.trim().parse().ok());
        let again = kept.map(|address| Router::bind(address, state.internal_table()));
        match again {
            Some(Ok(router)) => return Ok(router),
            Some(Err(error)) => {
                tracing::warn!(%error, "apps that are running cannot reach each other until they are restarted");
            }
            None => {}
        }
        let router = Router::bind((Ipv4Addr::LOCALHOST, 0).into(), state.internal_table())?;
        if let Err(error) = write_durably(&self.internal_file, router.address().to_string().as_bytes(), 0o600) {
            tracing::warn!(%error, "the port for internal names cannot be kept");
        }
        Ok(router)
    }

    /// Makes an app's route anew; None: its hosts are unknown from now on. `route` is called, and the table swapped,
    /// as one step: of two changes at the same time the later one always wins.
    pub fn refresh(&self, app: AppId, route: impl FnOnce() -> Option<Route>) {
        let mut state = self.state();
        match route() {
            Some(route) => state.routes.insert(app, route),
            None => state.routes.remove(&app),
        };
        if let Some(router) = &state.router {
            router.swap(state.table());
        }
        if let Some(internal) = &state.internal {
            internal.swap(state.internal_table());
        }
    }

    /// Whether an app is set to be reached by others.
    pub fn has_internal(&self) -> bool {
        self.state().routes.values().any(|route| route.internal.is_some())
    }

    /// Starts serving on `address`, and says which that really is.
    pub fn open(&self, address: SocketAddr) -> Result<SocketAddr, RouterError> {
        let mut state = self.state();
        let router = Router::bind(address, state.table())?;
        let real = router.address();
        state.router = Some(router);
        Ok(real)
    }

    /// Stops serving; requests in flight have until `grace` to end.
    pub async fn close(&self, grace: Duration) {
        let (router, internal) = {
            let mut state = self.state();
            (state.router.take(), state.internal.take())
        };
        let shutdown = async |router: Option<Router>| {
            if let Some(router) = router {
                router.shutdown(grace).await;
            }
        };
        tokio::join!(shutdown(router), shutdown(internal));
    }

    fn state(&self) -> MutexGuard<'_, EdgeState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EdgeState {
    fn table(&self) -> Table {
        let services =
            self.routes.values().flat_map(|route| route.hosts.iter().map(|host| (host.clone(), route.service.clone())));
        Table { hosts: services.collect::<HashMap<_, _>>() }
    }

    fn internal_table(&self) -> Table {
        let services = self.routes.values().filter_map(|route| Some((route.internal.clone()?, route.service.clone())));
        Table { hosts: services.collect::<HashMap<_, _>>() }
    }
}
