//! The addresses that the server listens on: sockets that it was given, or else its own.

use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use gitd::Server;
use router::{Listeners, RouterError};

use crate::control;
use crate::failure::{Failure, Result};
use crate::metrics::{self, Protocol};
use crate::platform::Platform;
use crate::sessions::Doorkeeper;
use crate::settings::Settings;

/// Answers requests; gives back what the ready line says of it.
pub(super) fn open_http(
    platform: &Platform,
    settings: &Settings,
    http: Option<Listeners>,
    https: Option<Listeners>,
) -> Result<String> {
    let failed = |e: RouterError| Failure::plain(e.to_string());
    let limits = router::Limits {
        proxies: settings.proxies.clone(),
        connections_per_address: settings.connections_per_address,
        ..router::Limits::default()
    };
    let listen = |address, inherited: Option<Listeners>| {
        inherited.map_or_else(|| Listeners::bind(address, &limits), Ok).map_err(failed)
    };
    if settings.https.is_none() && https.is_some() {
        tracing::warn!("a socket for HTTPS was passed on, but HTTPS is off: set https");
    }
    let http = listen(settings.http, http)?;
    let https = settings.https.map(|address| listen(address, https)).transpose()?;
    let address = &platform.address;
    address.http_port.store(http.address().port(), Ordering::Relaxed);
    let mut said = format!("http={}", http.address());
    if let Some(https) = &https {
        address.https_port.store(https.address().port(), Ordering::Relaxed);
        said = format!("{said} https={}", https.address());
    }
    let https = https.map(|https| (https, platform.tls.certificates().clone()));
    platform.edge.open(http, https, &limits).map_err(failed)?;
    Ok(said)
}

pub(super) fn open_ssh(
    platform: &Arc<Platform>,
    settings: &Settings,
    inherited: Option<TcpListener>,
) -> Result<(Server, TcpListener)> {
    let failed = |e| Failure::io(format!("listening for SSH on {}", settings.ssh), &e);
    let socket = inherited.map_or_else(|| TcpListener::bind(settings.ssh), Ok).map_err(failed)?;
    let doorkeeper = Arc::new(Doorkeeper(platform.clone()));
    let copy = socket.try_clone().map_err(failed)?;
    let ssh = Server::on(socket, platform.home.host_key(), settings.git.clone(), doorkeeper);
    let ssh = ssh.map_err(|e| Failure::plain(e.to_string()))?;
    platform.address.ssh_port.store(ssh.address().port(), Ordering::Relaxed);
    Ok((ssh, copy))
}

pub(super) fn open_control(
    platform: &Arc<Platform>,
    inherited: Option<UnixListener>,
) -> io::Result<(tokio::task::JoinHandle<()>, UnixListener)> {
    let listener = inherited.map_or_else(|| control::listen(&platform.home.control_socket()), Ok)?;
    let copy = listener.try_clone()?;
    listener.set_nonblocking(true)?;
    let listener = tokio::net::UnixListener::from_std(listener)?;
    Ok((tokio::spawn(control::serve(platform.clone(), listener)), copy))
}

/// Sends metrics to whoever is to have them, and answers for Prometheus, if that is wanted; gives back what the ready line says of that.
pub(super) fn open_metrics(
    platform: &Arc<Platform>,
    settings: &Settings,
    inherited: Option<TcpListener>,
) -> Result<(String, Option<TcpListener>)> {
    for (protocol, to) in [(Protocol::StatsD, settings.statsd), (Protocol::Graphite, settings.graphite)] {
        if let Some(to) = to {
            platform.tasks.spawn(metrics::push(platform.clone(), protocol, to));
        }
    }
    let Some(address) = settings.metrics else { return Ok((String::new(), None)) };
    let failed = |e| Failure::io(format!("listening for metrics on {address}"), &e);
    let listener = inherited.map_or_else(|| TcpListener::bind(address), Ok).map_err(failed)?;
    let copy = listener.try_clone().map_err(failed)?;
    let real = listener.local_addr().map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let listener = tokio::net::TcpListener::from_std(listener).map_err(failed)?;
    platform.tasks.spawn(metrics::serve(platform.clone(), listener));
    Ok((format!(" metrics={real}"), Some(copy)))
}
