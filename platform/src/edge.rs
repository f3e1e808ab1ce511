//! What the router is told: for every app its host names and what answers for them.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use router::{HostName, Router, RouterError, Service, Table};

use crate::store::AppId;

/// The routes of all apps, and the router that serves them once it listens.
#[derive(Default)]
pub struct Edge {
    state: Mutex<EdgeState>,
}

#[derive(Default)]
struct EdgeState {
    routes: BTreeMap<AppId, Route>,
    router: Option<Router>,
}

/// One app's route.
pub struct Route {
    /// Where it answers.
    pub hosts: Vec<HostName>,
    /// Its healthy web instances, or why there are none.
    pub service: Arc<Service>,
}

impl Edge {
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
        let router = self.state().router.take();
        if let Some(router) = router {
            router.shutdown(grace).await;
        }
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
}
