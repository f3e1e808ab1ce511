//! TLS of a listener: which certificate a client sees, and what is agreed on besides.

use std::io;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::certificates::Certificates;

/// HTTP/2 over TLS.
pub(crate) const H2: &[u8] = b"h2";
/// HTTP/1.1 over TLS.
const HTTP1: &[u8] = b"http/1.1";
/// A certificate authority that wants to see whose name this is (RFC 8737).
pub(crate) const ACME: &[u8] = b"acme-tls/1";

/// Makes TLS of connections.
#[derive(Clone)]
pub(crate) struct Acceptor(TlsAcceptor);

impl Acceptor {
    /// With certificates that may change at any time; sessions are resumed by tickets, whose keys live in memory.
    pub(crate) fn new(certificates: Arc<Certificates>) -> Result<Self, rustls::Error> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(certificates);
        config.alpn_protocols = [H2, HTTP1, ACME].map(<[u8]>::to_vec).to_vec();
        config.ticketer = ring::Ticketer::new()?;
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }

    pub(crate) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        self.0.accept(stream).await
    }
}

/// The protocol that was agreed on.
pub(crate) fn protocol(stream: &TlsStream<TcpStream>) -> Option<&[u8]> {
    stream.get_ref().1.alpn_protocol()
}
