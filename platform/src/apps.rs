//! Apps come, go, change their names, and are routed.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use gitd::Output;
use router::{HostName, Pages, Queue, Service, Settings, State};

use crate::edge::Route;
use crate::failure::{Failure, Result};
use crate::formation::InstanceState;
use crate::http;
use crate::instance::owner;
use crate::line::Job;
use crate::logs::{AccessLog, AccessTerms};
use crate::names::{AppName, Version};
use crate::platform::Platform;
use crate::store::{App, AppId};

/// How long a request waits at most for an app to wake.
const WAKING: Duration = Duration::from_secs(60);

impl Platform {
    /// A new app without a release.
    pub fn create_app(&self, name: &AppName) -> Result<App> {
        let app = self.store.create_app(name)?;
        self.make_app_home(&app)?;
        self.route_of(app.id);
        Ok(app)
    }

    /// Makes what is missing of an app's directories; also at start, in case a crash came between row and directory.
    pub fn make_app_home(&self, app: &App) -> Result<()> {
        let home = self.home.app(&app.name);
        home.make(owner(app.id))?;
        gitd::Repository::init(&home.repository())?;
        Ok(())
    }

    /// Ends an app and removes everything of it, its data too.
    pub async fn destroy_app(self: &Arc<Self>, app: &App, output: &Output) -> Result<()> {
        let (app, _change) = &self.begin_change(app, output).await?;
        self.store.begin_destroy(app.id)?;
        self.empty(app.id).await;
        self.finish_destroy(app)?;
        self.uses.look_through_layers();
        Ok(())
    }

    /// Removes what is left of an app that is being destroyed.
    pub fn finish_destroy(&self, app: &App) -> Result<()> {
        remove_directory(self.home.app(&app.name).root())?;
        self.store.delete_app(app.id)?;
        self.formations.remove(app.id);
        self.route_of(app.id);
        self.traffic.forget(app.id);
        self.naps.forget(app.id);
        self.pages.forget(app.id);
        Ok(())
    }

    /// Gives an app another name: its address, its directory, and the names its instances know.
    pub async fn rename_app(self: &Arc<Self>, app: &App, to: &AppName, output: &Output) -> Result<()> {
        let job = Job::new(None, "", format!("Rename to {to}"), output.cancelled().child_token());
        let builds = self.formations.of(app.id).builds.join(job)?;
        builds.head(output).await?;
        // Whoever looks for layers that no release names must find the directory, under one name or the other.
        let _layers = self.uses.layers().await;
        {
            let (app, _change) = &self.begin_change(app, output).await?;
            self.store.rename_app(app.id, to)?;
            self.finish_rename(&self.app(to)?)?;
        }
        let renamed = self.app(to)?;
        if renamed.current.is_none() || renamed.stopped {
            self.route_of(app.id);
            return Ok(());
        }
        self.restart(&renamed, None, output).await
    }

    /// Moves the directory of a renamed app, if that has not been done.
    pub fn finish_rename(&self, app: &App) -> Result<()> {
        let Some(old) = &app.renamed_from else { return Ok(()) };
        let (from, to) = (self.home.app(old), self.home.app(&app.name));
        if from.root().exists() && !to.root().exists() {
            std::fs::rename(from.root(), to.root()).map_err(|e| Failure::io(from.root().display(), &e))?;
            crate::home::sync_directory(&self.home.apps()).map_err(|e| Failure::io(to.root().display(), &e))?;
        }
        Ok(self.store.finish_rename(app.id)?)
    }

    /// Host names at which an app answers: its own, then those added.
    pub fn hosts(&self, app: &App) -> Result<Vec<String>> {
        let own = format!("{}.{}", app.name, self.address.domain);
        Ok(std::iter::once(own).chain(self.store.domains(app.id)?).collect())
    }

    /// Tells the router how an app is served now.
    pub fn route_of(&self, id: AppId) {
        self.edge.refresh(id, || match self.make_route(id) {
            Ok(route) => route,
            Err(error) => {
                tracing::error!(app = id.0, %error, "routing");
                None
            }
        });
        // For the instances that an earlier daemon started.
        if self.edge.has_internal()
            && let Err(error) = self.edge.internal_address()
        {
            tracing::error!(%error, "serving internal names");
        }
    }

    fn make_route(&self, id: AppId) -> Result<Option<Route>> {
        let Some(app) = self.store.app_by_id(id)?.filter(|app| !app.destroying) else {
            self.tls.forget(id);
            return Ok(None);
        };
        let hosts: Vec<_> = self.hosts(&app)?.iter().filter_map(|host| HostName::new(host).ok()).collect();
        let certificates = self.tls.serve(id, &hosts, app.current.is_some());
        let open = self.service(&app)?;
        let secure =
            Arc::new(Service { settings: Settings { https_only: true, ..open.settings.clone() }, ..open.clone() });
        let open = Arc::new(open);
        let service = |certificate| if app.http.https.redirects(certificate) { &secure } else { &open };
        let hosts = hosts.into_iter().zip(certificates).map(|(host, found)| (host, service(found).clone())).collect();
        let internal = app.terms.internal.then(|| HostName::new(&format!("{}.internal", app.name)).ok()).flatten();
        Ok(Some(Route { hosts, internal: internal.map(|name| (name, open.clone())) }))
    }

    fn service(&self, app: &App) -> Result<Service> {
        let settings = app.http.for_router();
        let queue = queue_of(app).or(settings.queue);
        Ok(Service {
            meter: self.traffic.meter(app.id),
            log: self.access_log(app).map(|log| log as _),
            settings: Settings { queue, ..settings },
            pages: self.pages_of(app)?,
            wake: app.sleep_after().filter(|_| !app.maintenance).map(|_| self.naps.of(app.id) as _),
            ..Service::new(app.name.to_string(), self.route_state(app))
        })
    }

    /// The error pages in the code that serves.
    fn pages_of(&self, app: &App) -> Result<Option<Arc<Pages>>> {
        let Some(current) = app.current else { return Ok(None) };
        let Some(release) = self.store.release(app.id, current)? else { return Ok(None) };
        let code = crate::release::code(&self.home.app(&app.name).release(release.code));
        Ok(Some(self.pages.of(app.id, release.code, &code, app.maintenance)))
    }

    fn access_log(&self, app: &App) -> Option<Arc<AccessLog>> {
        let terms = app.http.access_log.map(|format| AccessTerms {
            path: self.home.app(&app.name).access_log(),
            format,
            version: app.current.unwrap_or(Version(1)),
        });
        self.traffic.log(app.id, terms, &self.visits)
    }

    fn route_state(&self, app: &App) -> State {
        let unavailable = |why: &str| State::Unavailable(format!("The app {} {why}.", app.name));
        if app.maintenance {
            return unavailable("is down for maintenance and will be back soon");
        }
        if app.current.is_none() {
            return unavailable("has not been deployed yet");
        }
        let places = self.formations.of(app.id).places();
        let webs: Vec<_> =
            places.iter().filter(|place| place.process.kind.is_web()).map(|place| place.occupancy()).collect();
        let targets: Vec<_> = webs.iter().filter_map(|web| web.instance.as_ref()?.target.clone()).collect();
        match targets.is_empty() {
            false => State::Serving(targets),
            true if app.stopped => unavailable("is stopped"),
            true if webs.iter().any(|web| web.state == InstanceState::Crashed) => {
                unavailable("has crashed; see its log")
            }
            true if webs.is_empty() => unavailable("has no web process running"),
            true if app.sleep.is_some() => State::Starting(format!("The app {} is waking up.", app.name)),
            true => State::Starting(format!("The app {} is starting.", app.name)),
        }
    }
}

/// Requests for an app that may be asleep wait until it is awake, whatever is set for others.
fn queue_of(app: &App) -> Option<Queue> {
    let patience = Duration::from_secs(app.checks_timeout).min(WAKING);
    app.sleep.map(|_| http::queue(patience))
}

/// Removes a directory and everything in it; none is fine.
fn remove_directory(path: &Path) -> Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Failure::io(path.display(), &e)),
        _ => Ok(()),
    }
}
