//! HTTPS: which certificate is shown, what is spoken, and where clients without TLS are sent.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper_util::rt::{TokioExecutor, TokioIo};
use router::{
    Authority, Certificate, Certificates, HostName, Hsts, Https, Limits, Router, Service, Settings, State, Table,
    Target,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::{ask, http_app, says, soon, text};

fn host(name: &str) -> HostName {
    HostName::new(name).unwrap()
}

fn issue(authority: &Authority, names: &[&str]) -> Arc<Certificate> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let issued = authority.issue(&names).unwrap();
    Arc::new(Certificate::from_pem(issued.chain.as_bytes(), issued.key.as_bytes()).unwrap())
}

fn serve(targets: Vec<Arc<Target>>, certificates: &Arc<Certificates>, settings: Settings) -> Router {
    let service = Arc::new(Service { settings, ..Service::new("app", State::Serving(targets)) });
    let table = Table { hosts: ["app", "a.b.test", "c.test"].map(|name| (host(name), service.clone())).into() };
    let https = Https { address: "127.0.0.1:0".parse().unwrap(), certificates: certificates.clone() };
    let limits = Limits { threads: 2, ..Limits::default() };
    Router::open("127.0.0.1:0".parse().unwrap(), Some(https), table, &limits).unwrap()
}

fn client(authority: &Authority, alpn: &[&[u8]]) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.certificate().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    TlsConnector::from(Arc::new(config))
}

async fn connect(router: &Router, connector: &TlsConnector, name: &str) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(router.https_address().unwrap()).await.unwrap();
    soon(connector.connect(ServerName::try_from(name.to_owned()).unwrap(), stream)).await
}

async fn exchange(stream: &mut TlsStream<TcpStream>, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = soon(stream.read_to_end(&mut answer)).await;
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn a_client_sees_the_certificate_of_the_name_it_asks_for() {
    let app = says("hello").await;
    let (ours, other) = (Authority::new().unwrap(), Authority::new().unwrap());
    let certificates = Arc::new(Certificates::new().unwrap());
    let router = serve(vec![app.target()], &certificates, Settings::default());
    let connector = client(&ours, &[]);
    assert!(connect(&router, &connector, "app").await.is_err(), "only the fallback yet");
    let wildcard = issue(&ours, &["*.b.test", "d.test"]);
    let shown = [("app", issue(&ours, &["app"])), ("c.test", issue(&other, &["c.test"])), ("a.b.test", wildcard)];
    certificates.swap(shown.map(|(name, certificate)| (host(name), certificate)).into());
    for (name, good) in
        [("app", true), ("APP", true), ("a.b.test", true), ("d.test", false), ("x.b.test", false), ("c.test", false)]
    {
        assert_eq!(connect(&router, &connector, name).await.is_ok(), good, "{name}");
    }
    let mut stream = connect(&router, &connector, "app").await.unwrap();
    let answer = exchange(&mut stream, "GET / HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("hello"), "{answer}");
}

#[tokio::test]
async fn the_protocol_is_agreed_on_in_the_handshake() {
    let app = http_app(|request| async move {
        Response(request.headers().get("x-forwarded-proto").unwrap().to_str().unwrap().to_owned()).into()
    })
    .await;
    let authority = Authority::new().unwrap();
    let certificates = Arc::new(Certificates::new().unwrap());
    certificates.swap([(host("app"), issue(&authority, &["app"]))].into());
    let router = serve(vec![app.target()], &certificates, Settings::default());
    for (offered, agreed) in
        [(&[&b"h2"[..], b"http/1.1"][..], Some(&b"h2"[..])), (&[b"http/1.1"], Some(b"http/1.1")), (&[], None)]
    {
        let stream = connect(&router, &client(&authority, offered), "app").await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), agreed);
    }
    assert!(connect(&router, &client(&authority, &[b"spdy/1"]), "app").await.is_err());
    let stream = connect(&router, &client(&authority, &[b"h2"]), "app").await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get("https://app/").body(Empty::<bytes::Bytes>::new()).unwrap();
    let answer = soon(sender.send_request(request)).await.unwrap().collect().await.unwrap().to_bytes();
    assert_eq!(answer, "https");
}

struct Response(String);

impl From<Response> for hyper::Response<crate::support::AppBody> {
    fn from(response: Response) -> Self {
        Self::new(text(response.0))
    }
}

#[tokio::test]
async fn sessions_are_resumed() {
    let app = says("hello").await;
    let authority = Authority::new().unwrap();
    let certificates = Arc::new(Certificates::new().unwrap());
    certificates.swap([(host("app"), issue(&authority, &["app"]))].into());
    let router = serve(vec![app.target()], &certificates, Settings::default());
    let connector = client(&authority, &[b"http/1.1"]);
    let mut kinds = Vec::new();
    for _ in 0..2 {
        let mut stream = connect(&router, &connector, "app").await.unwrap();
        exchange(&mut stream, "GET / HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n").await;
        kinds.push(stream.get_ref().1.handshake_kind().unwrap());
    }
    assert_eq!(kinds, [rustls::HandshakeKind::Full, rustls::HandshakeKind::Resumed]);
}

#[tokio::test]
async fn clients_without_tls_are_sent_to_it() {
    let app = says("hello").await;
    let certificates = Arc::new(Certificates::new().unwrap());
    let hsts = Hsts { max_age: Duration::from_secs(31_536_000), subdomains: true, preload: false };
    let settings = Settings { https_only: true, hsts: Some(hsts), ..Settings::default() };
    let authority = Authority::new().unwrap();
    certificates.swap([(host("app"), issue(&authority, &["app"]))].into());
    let router = serve(vec![app.target()], &certificates, settings);
    let port = router.https_address().unwrap().port();
    let answer = ask(&router, "POST /a?b=c HTTP/1.1\r\nHost: app:80\r\nContent-Length: 1\r\n\r\nx").await;
    assert_eq!((answer.status(), answer.header("location")), (308, Some(&*format!("https://app:{port}/a?b=c"))));
    assert_eq!(answer.header("strict-transport-security"), None);
    // The app's own questions of an authority begin without TLS.
    let asked = "GET /.well-known/acme-challenge/own HTTP/1.1\r\nHost: app\r\n\r\n";
    assert_eq!(ask(&router, asked).await.status(), 200);
    let mut stream = connect(&router, &client(&authority, &[]), "app").await.unwrap();
    let answer = exchange(&mut stream, "GET / HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n").await;
    assert!(answer.contains("strict-transport-security: max-age=31536000; includeSubDomains\r\n"), "{answer}");
    certificates.answer("token", "token.thumbprint");
    let asked = "GET /.well-known/acme-challenge/token HTTP/1.1\r\nHost: unknown\r\n\r\n";
    assert_eq!(ask(&router, asked).await.body, "token.thumbprint");
    certificates.forget(&host("unknown"), "token");
    assert_eq!(ask(&router, asked).await.status(), 404);
}

#[tokio::test]
async fn a_client_that_does_not_finish_the_handshake_is_cut() {
    let certificates = Arc::new(Certificates::new().unwrap());
    let https = Https { address: "127.0.0.1:0".parse().unwrap(), certificates };
    let limits = Limits { head: Duration::from_millis(100), ..Limits::default() };
    let router = Router::open("127.0.0.1:0".parse().unwrap(), Some(https), Table::default(), &limits).unwrap();
    for sent in ["", "\u{16}\u{3}\u{1}", "GET / HTTP/1.1\r\n\r\n"] {
        let mut stream = TcpStream::connect(router.https_address().unwrap()).await.unwrap();
        stream.write_all(sent.as_bytes()).await.unwrap();
        let mut rest = Vec::new();
        let _ = soon(stream.read_to_end(&mut rest)).await;
        assert!(!rest.starts_with(b"HTTP"), "{rest:?}");
    }
}

#[test]
fn certificates_are_checked_before_use() {
    let authority = Authority::new().unwrap();
    let one = authority.issue(&["a.test".to_owned(), "*.b.test".to_owned()]).unwrap();
    let two = authority.issue(&["c.test".to_owned()]).unwrap();
    let read = |chain: &str, key: &str| {
        Certificate::from_pem(chain.as_bytes(), key.as_bytes()).map(|_| ()).map_err(|error| error.to_string())
    };
    read(&one.chain, &one.key).unwrap();
    let stranger = Authority::new().unwrap();
    for (chain, key, error) in [
        (one.chain.clone(), &two.key, "the private key does not belong to the certificate"),
        (String::new(), &one.key, "there is no certificate in it"),
        (one.chain.clone(), &String::new(), "the private key cannot be read: no items found"),
        (
            one.chain.clone() + stranger.certificate(),
            &one.key,
            "certificate 1 of the chain has not been signed by the one after it",
        ),
    ] {
        assert_eq!(read(&chain, key).unwrap_err(), error);
    }
    assert!(read(&(one.chain.clone() + authority.certificate()), &one.key).is_ok());
    let broken = one.chain.replacen('M', "-", 1);
    assert!(read(&broken, &one.key).is_err());
    let certificate = Certificate::from_pem(one.chain.as_bytes(), one.key.as_bytes()).unwrap();
    let check = |at, name: &str| certificate.check(at, &[host(name)]).map_err(|error| error.to_string());
    let (from, to) = certificate.validity();
    let now = SystemTime::now();
    check(now, "a.test").unwrap();
    check(now, "x.b.test").unwrap();
    assert_eq!(check(now, "b.test").unwrap_err(), "the certificate is not for `b.test`");
    assert_eq!(check(to, "a.test").unwrap_err(), "the certificate has expired");
    assert_eq!(check(from - Duration::from_secs(1), "a.test").unwrap_err(), "the certificate is not valid yet");
}
