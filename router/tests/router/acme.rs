//! Certificates from `pebble`, the test authority of those who made the protocol.

#[path = "../../../tests/harness/pebble/programs.rs"]
mod programs;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use programs::{Ports, free_port};
use router::acme::{Acme, AcmeSettings, CertificateState, Failure, Store, StoreError};
use router::{Authority, Certificate, Certificates, HostName, Https, Issued, Limits, Router, Table};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio_rustls::TlsConnector;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::{soon, until};

/// Keeps in memory.
#[derive(Default)]
struct Memory {
    accounts: Mutex<HashMap<String, String>>,
    certificates: Mutex<HashMap<HostName, (String, String)>>,
    failures: Mutex<HashMap<HostName, Failure>>,
    writes: Mutex<Vec<&'static str>>,
    /// A name whose order never comes to its end.
    hangs: Option<HostName>,
}

#[async_trait]
impl Store for Memory {
    async fn account(&self, directory: &str) -> Result<Option<String>, StoreError> {
        Ok(self.accounts.lock().unwrap().get(directory).cloned())
    }

    async fn keep_account(&self, directory: &str, credentials: &str) -> Result<(), StoreError> {
        self.writes.lock().unwrap().push("account");
        self.accounts.lock().unwrap().insert(directory.to_owned(), credentials.to_owned());
        Ok(())
    }

    async fn certificate(&self, name: &HostName) -> Result<Option<Issued>, StoreError> {
        let kept = self.certificates.lock().unwrap().get(name).cloned();
        Ok(kept.map(|(chain, key)| Issued { chain, key }))
    }

    async fn keep_certificate(&self, name: &HostName, issued: &Issued) -> Result<(), StoreError> {
        if self.hangs.as_ref() == Some(name) {
            std::future::pending::<()>().await;
        }
        self.writes.lock().unwrap().push("certificate");
        self.certificates.lock().unwrap().insert(name.clone(), (issued.chain.clone(), issued.key.clone()));
        self.failures.lock().unwrap().remove(name);
        Ok(())
    }

    async fn failure(&self, name: &HostName) -> Result<Option<Failure>, StoreError> {
        Ok(self.failures.lock().unwrap().get(name).cloned())
    }

    async fn keep_failure(&self, name: &HostName, failure: &Failure) -> Result<(), StoreError> {
        self.failures.lock().unwrap().insert(name.clone(), failure.clone());
        Ok(())
    }
}

/// Pebble and its name server, on loopback; both end with it.
struct Pebble {
    directory: String,
    home: TempDir,
    _processes: [Child; 2],
}

/// What it issues is valid for so many seconds: five years.
const VALIDITY: u64 = 157_766_400;

impl Pebble {
    /// Looks for the answers at these ports of loopback, whatever the name. None if it is not installed.
    async fn start(http: u16, https: u16) -> Option<Self> {
        let home = tempfile::tempdir().unwrap();
        let ports = Ports::free();
        let authority = Authority::new().unwrap();
        let own = authority.issue(&["localhost".to_owned()]).unwrap();
        let write = |name: &str, text: &str| {
            let path = home.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        write("root.pem", authority.certificate());
        let (chain, key) = (write("chain.pem", &own.chain), write("key.pem", &own.key));
        let settings = write("pebble.json", &ports.settings(&chain, &key, (http, https), VALIDITY));
        let start = |command: std::process::Command| Command::from(command).kill_on_drop(true).spawn().ok();
        let mut pebble = ports.pebble(&settings);
        pebble.env("PEBBLE_WFE_NONCEREJECT", "5");
        let processes = [start(ports.name_server())?, start(pebble)?];
        let address = SocketAddr::from(([127, 0, 0, 1], ports.api));
        soon(async {
            while TcpStream::connect(address).await.is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        Some(Self { directory: ports.directory(), home, _processes: processes })
    }

    fn root(&self) -> &Path {
        self.home.path()
    }
}

/// A router, and what asks for its certificates.
struct Edge {
    router: Router,
    certificates: Arc<Certificates>,
}

impl Edge {
    fn new() -> Self {
        let certificates = Arc::new(Certificates::new().unwrap());
        let any = "127.0.0.1:0".parse().unwrap();
        let https = Https { address: any, certificates: certificates.clone() };
        let limits = Limits { threads: 1, ..Limits::default() };
        Self { router: Router::open(any, Some(https), Table::default(), &limits).unwrap(), certificates }
    }

    fn ports(&self) -> (u16, u16) {
        (self.router.address().port(), self.router.https_address().unwrap().port())
    }

    fn acme(&self, pebble: &Pebble, store: &Arc<Memory>) -> (Arc<Acme>, DropGuard) {
        let settings = AcmeSettings {
            directory: pebble.directory.clone(),
            contact: Some("mailto:owner@example.test".to_owned()),
            root: Some(pebble.root().join("root.pem")),
        };
        let acme = Arc::new(Acme::new(settings, store.clone(), self.certificates.clone()));
        let cancel = CancellationToken::new();
        let (running, guard) = (acme.clone(), cancel.clone().drop_guard());
        tokio::spawn(async move { running.run(cancel).await });
        (acme, guard)
    }

    /// Whether a client that trusts whoever issued `chain` takes the certificate shown for `name`.
    async fn shows(&self, name: &str, chain: &str) -> bool {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(chain.as_bytes()).skip(1) {
            roots.add(certificate.unwrap()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let connector = TlsConnector::from(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()));
        let stream = TcpStream::connect(self.router.https_address().unwrap()).await.unwrap();
        soon(connector.connect(ServerName::try_from(name.to_owned()).unwrap(), stream)).await.is_ok()
    }
}

fn names(names: &[&str]) -> BTreeSet<HostName> {
    names.iter().map(|name| HostName::new(name).unwrap()).collect()
}

fn is_valid(acme: &Acme, name: &str) -> bool {
    let state = acme.states().remove(&HostName::new(name).unwrap());
    assert!(!matches!(state, Some(CertificateState::Failed { .. })), "{name}: {state:?}");
    matches!(state, Some(CertificateState::Valid { .. }))
}

#[expect(clippy::print_stderr, reason = "a test that cannot run says so")]
fn skip() {
    eprintln!("skipped: `pebble` and `pebble-challtestsrv` are not installed (Debian: apt-get install pebble)");
}

#[tokio::test]
async fn a_name_gets_a_certificate_and_keeps_it() {
    let edge = Edge::new();
    let (http, https) = edge.ports();
    let Some(pebble) = Pebble::start(http, https).await else { return skip() };
    let store = Arc::new(Memory::default());
    let (acme, running) = edge.acme(&pebble, &store);
    acme.want(names(&["a.test", "b.test"]), BTreeMap::new());
    until("both have certificates", || is_valid(&acme, "a.test") && is_valid(&acme, "b.test")).await;
    assert_eq!(*store.writes.lock().unwrap(), ["account", "certificate", "certificate"]);
    let chain = store.certificates.lock().unwrap()[&HostName::new("a.test").unwrap()].0.clone();
    assert!(edge.shows("a.test", &chain).await && edge.shows("b.test", &chain).await);
    assert!(!edge.shows("c.test", &chain).await);
    drop((acme, running));
    // Started again, it takes what was kept, and asks for what is new with the same account.
    let (acme, _running) = edge.acme(&pebble, &store);
    acme.want(names(&["a.test", "c.test"]), BTreeMap::new());
    until("both have certificates", || is_valid(&acme, "a.test") && is_valid(&acme, "c.test")).await;
    assert_eq!(*store.writes.lock().unwrap(), ["account", "certificate", "certificate", "certificate"]);
    assert!(edge.shows("c.test", &chain).await && !edge.shows("b.test", &chain).await);
}

#[tokio::test]
async fn a_name_whose_order_hangs_does_not_hold_the_others_up() {
    let edge = Edge::new();
    let (http, https) = edge.ports();
    let Some(pebble) = Pebble::start(http, https).await else { return skip() };
    let store = Arc::new(Memory { hangs: Some(HostName::new("a.test").unwrap()), ..Memory::default() });
    let (acme, _running) = edge.acme(&pebble, &store);
    // The first in line.
    acme.want(names(&["a.test"]), BTreeMap::new());
    let hangs = || acme.states().values().next() == Some(&CertificateState::Ordering);
    until("it is asked for", hangs).await;
    acme.want(names(&["a.test", "b.test", "c.test"]), BTreeMap::new());
    until("the others have certificates", || is_valid(&acme, "b.test") && is_valid(&acme, "c.test")).await;
    assert!(hangs());
}

#[tokio::test]
async fn an_authority_that_cannot_come_by_http_comes_by_tls() {
    let edge = Edge::new();
    let Some(pebble) = Pebble::start(free_port(), edge.ports().1).await else { return skip() };
    let store = Arc::new(Memory::default());
    let (acme, _running) = edge.acme(&pebble, &store);
    acme.want(names(&["a.test"]), BTreeMap::new());
    until("it has a certificate", || is_valid(&acme, "a.test")).await;
}

#[tokio::test]
async fn a_failure_is_shown_and_tried_again_later() {
    let edge = Edge::new();
    let Some(pebble) = Pebble::start(free_port(), free_port()).await else { return skip() };
    let store = Arc::new(Memory::default());
    let (acme, _running) = edge.acme(&pebble, &store);
    let name = HostName::new("a.test").unwrap();
    let failed = |acme: &Acme| match acme.states().remove(&name) {
        Some(CertificateState::Failed { failure, until }) => Some((failure, until)),
        _ => None,
    };
    acme.want(names(&["a.test"]), BTreeMap::new());
    until("it has failed", || failed(&acme).is_some()).await;
    let (first, valid_until) = failed(&acme).unwrap();
    assert!(first.reason.starts_with("the authority did not find that the name leads here: "), "{first:?}");
    assert!(first.next > first.at + Duration::from_secs(1000) && first.count == 1, "{first:?}");
    assert_eq!(valid_until, None);
    assert!(acme.retry(&name).unwrap());
    until("it has failed again", || failed(&acme).is_some_and(|(later, _)| later.count == 2)).await;
    let (second, _) = failed(&acme).unwrap();
    assert!(second.next > first.next, "{first:?} {second:?}");
    let too_soon = acme.retry(&name).unwrap_err();
    assert_eq!(too_soon.until, first.at + Duration::from_secs(3600));
    // Whoever starts next knows of it.
    until("it has been kept", || store.failures.lock().unwrap().get(&name) == Some(&second)).await;
    let (acme, _running) = edge.acme(&pebble, &store);
    acme.want(names(&["a.test"]), BTreeMap::new());
    until("the failure is known", || failed(&acme).is_some_and(|(known, _)| known == second)).await;
}

#[tokio::test]
async fn an_authority_that_is_not_there_is_a_failure() {
    let edge = Edge::new();
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("root.pem"), Authority::new().unwrap().certificate()).unwrap();
    let settings = AcmeSettings {
        directory: format!("https://localhost:{}/dir", free_port()),
        contact: None,
        root: Some(home.path().join("root.pem")),
    };
    let acme = Acme::new(settings, Arc::new(Memory::default()), edge.certificates.clone());
    acme.want(names(&["a.test"]), BTreeMap::new());
    let cancel = CancellationToken::new();
    let seen =
        until("it has failed", || acme.states().values().any(|state| matches!(state, CertificateState::Failed { .. })));
    tokio::select! {
        () = acme.run(cancel) => panic!("it goes on"),
        () = seen => {}
    }
}

#[tokio::test]
async fn nothing_is_asked_for_names_with_a_certificate_of_their_own() {
    let edge = Edge::new();
    let authority = Authority::new().unwrap();
    let issued = authority.issue(&["*.b.test".to_owned()]).unwrap();
    let own = Arc::new(Certificate::from_pem(issued.chain.as_bytes(), issued.key.as_bytes()).unwrap());
    let settings = AcmeSettings { directory: String::new(), contact: None, root: None };
    let acme = Acme::new(settings, Arc::new(Memory::default()), edge.certificates.clone());
    acme.want(names(&["a.b.test"]), [(HostName::new("a.b.test").unwrap(), own)].into());
    assert!(acme.states().is_empty());
    let chain = issued.chain + authority.certificate();
    assert!(edge.shows("a.b.test", &chain).await);
    acme.want(names(&["a.b.test"]), BTreeMap::new());
    assert_eq!(acme.states().len(), 1);
    assert!(!edge.shows("a.b.test", &chain).await);
}
