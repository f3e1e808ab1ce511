//! HTTPS: which certificate each host name of an app is served with, and where that comes from.
//!
//! A name has what its owner has given for it, else what was given for its app, else for the server; else what an authority
//! has issued by ACME; else, where none is asked, what the server's own authority has issued. What was given is shown for
//! names of its own app alone, whatever else it is for.

mod kept;
mod local;
mod own;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use router::acme::{Acme, CertificateState, Failure as Refused, TooSoon};
use router::{Certificate, Certificates, HostName};
use tokio_util::sync::CancellationToken;

use self::kept::Kept;
use self::local::Local;
pub use self::own::{Own, read as read_bundle};
use crate::failure::{Failure, Result};
use crate::names::AppName;
use crate::platform::Platform;
use crate::settings::{Settings, is_certifiable};
use crate::store::{AppId, Store};

/// How often it is looked whether a certificate has ended, or soon will.
const LOOK: Duration = Duration::from_secs(3600);

/// Certificates, and those who give them.
pub struct Tls {
    /// Whether HTTPS is spoken at all.
    on: bool,
    certificates: Arc<Certificates>,
    acme: Option<Acme>,
    store: Arc<Store>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    apps: BTreeMap<AppId, Names>,
    own: Vec<Own>,
    local: Local,
}

/// An app's names.
#[derive(Default)]
struct Names {
    hosts: Vec<HostName>,
    /// Whether there is anything to be asked for: an authority is not troubled before.
    deployed: bool,
    /// What the router was told of each.
    told: Vec<Option<Source>>,
}

/// Where a certificate comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// It was given for the app.
    Own,
    /// It was given for the server.
    Server,
    /// An authority issued it.
    Acme,
    /// The server's own authority issued it: nobody trusts it who was not told to.
    Local,
}

impl Source {
    /// In a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Server => "server",
            Self::Acme => "acme",
            Self::Local => "local",
        }
    }
}

/// How things are with a name.
#[derive(Debug)]
pub struct Report {
    /// Which.
    pub host: HostName,
    /// In a word.
    pub state: &'static str,
    /// Where its certificate comes from, or will.
    pub source: Source,
    /// The certificate that is shown, if it is valid.
    pub certificate: Option<Arc<Certificate>>,
    /// When an authority is asked next.
    pub next: Option<SystemTime>,
    /// What failed last, and when.
    pub failure: Option<(String, Option<SystemTime>)>,
}

impl Tls {
    /// With what the store knows.
    pub fn new(settings: &Settings, store: Arc<Store>) -> Result<Self> {
        let certificates = Arc::new(Certificates::new().map_err(|e| Failure::plain(e.to_string()))?);
        let on = settings.https.is_some();
        let acme = settings.acme.clone().filter(|_| on).map(|settings| {
            let kept = Arc::new(Kept { store: store.clone(), directory: settings.directory.clone() });
            Acme::new(settings, kept, certificates.clone())
        });
        let state = State { own: own::all(&store)?, ..State::default() };
        Ok(Self { on, certificates, acme, store, state: Mutex::new(state) })
    }

    /// What the router shows.
    pub fn certificates(&self) -> &Arc<Certificates> {
        &self.certificates
    }

    /// Whether HTTPS is spoken.
    pub fn is_on(&self) -> bool {
        self.on
    }

    /// From now on these are an app's names; gives for each where the certificate comes from that is there now.
    pub fn serve(&self, app: AppId, hosts: &[HostName], deployed: bool) -> Vec<Option<Source>> {
        let mut state = self.state();
        let names = state.apps.entry(app).or_default();
        if names.hosts != hosts || names.deployed != deployed {
            names.hosts = hosts.to_vec();
            names.deployed = deployed;
            self.show(&mut state);
        }
        let told: Vec<_> = hosts.iter().map(|host| self.current(&state, app, host)).collect();
        if let Some(names) = state.apps.get_mut(&app) {
            names.told.clone_from(&told);
        }
        told
    }

    /// An app is gone.
    pub fn forget(&self, app: AppId) {
        let mut state = self.state();
        if state.apps.remove(&app).is_some() {
            self.show(&mut state);
        }
    }

    /// Whether a name is served with a certificate that is valid.
    pub fn covers(&self, host: &HostName) -> bool {
        self.valid(host).is_some()
    }

    /// Looks again which certificates there are, and which of them are valid.
    pub fn refresh(&self) -> Result<()> {
        let own = own::all(&self.store)?;
        let mut state = self.state();
        state.own = own;
        self.show(&mut state);
        Ok(())
    }

    /// How things are with each name of an app.
    pub fn report(&self, app: AppId) -> Vec<Report> {
        let orders = self.acme.as_ref().map(Acme::states).unwrap_or_default();
        let state = self.state();
        let hosts = state.apps.get(&app).map(|names| names.hosts.as_slice()).unwrap_or_default();
        hosts.iter().map(|host| self.report_of(&state, app, host, orders.get(host))).collect()
    }

    /// Asks at once for a name that was refused; false if there is none such.
    pub fn retry(&self, host: &HostName) -> std::result::Result<bool, TooSoon> {
        self.acme.as_ref().map_or(Ok(false), |acme| acme.retry(host))
    }

    /// The certificate of the server's own authority, which is made if there is none yet.
    pub fn authority(&self) -> Result<String> {
        Ok(self.state().local.authority(&self.store)?.certificate().to_owned())
    }

    async fn load(&self) {
        if let Some(acme) = &self.acme {
            acme.load().await;
        }
    }

    async fn run(&self, cancel: CancellationToken) {
        if let Some(acme) = &self.acme {
            acme.run(cancel).await;
        }
    }

    /// The apps of which the router was told something that is not so any more.
    fn outdated(&self) -> Vec<AppId> {
        let state = self.state();
        let differs = |(app, names): &(&AppId, &Names)| {
            let now = names.hosts.iter().map(|host| self.current(&state, **app, host));
            !now.eq(names.told.iter().copied())
        };
        state.apps.iter().filter(differs).map(|(app, _)| *app).collect()
    }

    /// Has all names shown what they are to be shown with, and asks for what is missing.
    fn show(&self, state: &mut State) {
        if !self.on {
            return;
        }
        let State { apps, own, local } = state;
        let (mut shown, mut wanted) = (BTreeMap::new(), BTreeSet::new());
        for (app, names) in &*apps {
            for host in &names.hosts {
                match self.source(own, *app, host) {
                    (_, Some(own)) => _ = shown.insert(host.clone(), own),
                    (Source::Local, None) => shown.extend(local.of(host, &self.store).map(|own| (host.clone(), own))),
                    (_, None) if names.deployed => _ = wanted.insert(host.clone()),
                    (_, None) => {}
                }
            }
        }
        local.keep(|host| shown.contains_key(host));
        match &self.acme {
            Some(acme) => acme.want(wanted, shown),
            None => self.certificates.swap(shown),
        }
    }

    /// Where a name's certificate comes from, and it, if it was given.
    fn source(&self, own: &[Own], app: AppId, host: &HostName) -> (Source, Option<Arc<Certificate>>) {
        if let Some(own) = own::choose(own, app, host, SystemTime::now()) {
            let source = if own.app.is_some() { Source::Own } else { Source::Server };
            return (source, Some(own.certificate.clone()));
        }
        let asked = self.acme.is_some() && is_certifiable(host);
        (if asked { Source::Acme } else { Source::Local }, None)
    }

    fn current(&self, state: &State, app: AppId, host: &HostName) -> Option<Source> {
        self.valid(host).map(|_| self.source(&state.own, app, host).0)
    }

    fn valid(&self, host: &HostName) -> Option<Arc<Certificate>> {
        let shown = self.certificates.of(host).filter(|_| self.on)?;
        shown.check(SystemTime::now(), std::slice::from_ref(host)).is_ok().then_some(shown)
    }

    fn report_of(&self, state: &State, app: AppId, host: &HostName, order: Option<&CertificateState>) -> Report {
        let (source, own) = self.source(&state.own, app, host);
        let certificate = if self.on { self.valid(host) } else { own };
        let ended = || own::has_ended(&state.own, app, host).then(|| (ENDED.to_owned(), None));
        let (word, next, refused) = match order.filter(|_| source == Source::Acme) {
            _ if !self.on => ("off", None, None),
            Some(CertificateState::Ordering) => ("ordering", None, None),
            Some(CertificateState::Valid { next, .. }) => ("valid", Some(*next), None),
            Some(CertificateState::Failed { failure, .. }) => ("failed", Some(failure.next), Some(told(failure))),
            Some(CertificateState::None { next }) => ("waiting", Some(*next), None),
            None if certificate.is_some() => ("valid", None, None),
            None if source == Source::Acme => ("waiting", None, None),
            None => ("none", None, None),
        };
        Report { host: host.clone(), state: word, source, certificate, next, failure: refused.or_else(ended) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Instead of which the name has another.
const ENDED: &str = "the certificate that was given is not valid now";

fn told(refused: &Refused) -> (String, Option<SystemTime>) {
    (refused.reason.clone(), Some(refused.at))
}

impl Platform {
    /// Where an app is reached.
    pub fn url(&self, app: &AppName) -> String {
        let host = HostName::new(&format!("{app}.{}", self.address.domain));
        self.address.url(app, host.is_ok_and(|host| self.tls.covers(&host)))
    }

    /// Takes what was issued before from the store: before anybody asks.
    pub async fn load_certificates(&self) {
        self.tls.load().await;
        self.tell_of_certificates();
    }

    /// Asks for certificates when it is time, and tells the router what has changed by them.
    pub async fn look_after_certificates(self: Arc<Self>) {
        let follow = self.duties.run_until_cancelled(self.follow_certificates());
        tokio::join!(self.tls.run(self.duties.clone()), follow);
    }

    async fn follow_certificates(&self) {
        let mut changes = self.tls.certificates.changes();
        loop {
            if tokio::time::timeout(LOOK, changes.changed()).await.is_err()
                && let Err(error) = self.tls.refresh()
            {
                tracing::warn!(%error, "looking for certificates");
            }
            self.tell_of_certificates();
        }
    }

    fn tell_of_certificates(&self) {
        self.tls.outdated().into_iter().for_each(|app| self.route_of(app));
    }
}

#[cfg(test)]
mod tests;
