//! The server of a static site: one thread, started as this program with an argument of its own.

use std::cell::RefCell;
use std::convert::Infallible;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::timeout;

use super::answer::Answerer;
use super::site::Site;

/// By this argument the program knows that it is to be the server; the root of the site below the working directory follows.
pub(super) const ARGUMENT: &str = "static-server";
/// Connections beyond this wait.
const MOST_CONNECTIONS: usize = 1000;
/// How long a request's head may take.
const HEAD_LIMIT: Duration = Duration::from_secs(60);
/// How long requests may take to end when the server is told to.
const DRAIN_LIMIT: Duration = Duration::from_secs(25);

/// Serves until it is told to end, if the program was started for that; otherwise returns.
pub fn run_if_static_server() {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().is_none_or(|argument| argument != ARGUMENT) {
        return;
    }
    let root = arguments.next().unwrap_or_default();
    let served = serve(&root);
    if let Err(reason) = &served {
        let _nobody_listens = writeln!(io::stderr(), "{reason}");
    }
    std::process::exit(i32::from(served.is_err()))
}

fn serve(root: &str) -> Result<(), String> {
    let port = std::env::var("PORT").ok().and_then(|port| port.parse().ok());
    let port: u16 = port.ok_or("PORT must be a port's number")?;
    let site = Site::read(Path::new("."), root).map_err(|error| error.to_string())?;
    let shown = site.root.display().to_string();
    let answerer = Answerer::new(site).map_err(|error| format!("{shown}: {error}"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    let serving = async {
        let listener = TcpListener::bind(address).await?;
        let _nobody_listens = writeln!(io::stdout(), "Serving {shown} on {}", listener.local_addr()?);
        accept(listener, answerer).await
    };
    LocalSet::new().block_on(&runtime, serving).map_err(|error: io::Error| format!("{address}: {error}"))
}

async fn accept(listener: TcpListener, answerer: Answerer) -> io::Result<()> {
    let answerer = Rc::new(RefCell::new(answerer));
    let (ending, told) = watch::channel(false);
    let mut connections = JoinSet::new();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < MOST_CONNECTIONS => match accepted {
                Ok((stream, _)) => drop(connections.spawn_local(connection(stream, Rc::clone(&answerer), told.clone()))),
                // A client that is gone already, or no descriptor for it: the next may fare better.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            },
            Some(_) = connections.join_next() => {}
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    drop(listener);
    ending.send_replace(true);
    let drained = async { while connections.join_next().await.is_some() {} };
    // What is not through by then is cut.
    let _ = timeout(DRAIN_LIMIT, drained).await;
    Ok(())
}

/// Serves one client until it or the server ends.
async fn connection(stream: TcpStream, answerer: Rc<RefCell<Answerer>>, mut told: watch::Receiver<bool>) {
    let _slower_otherwise = stream.set_nodelay(true);
    let service = service_fn(|request| {
        let answer = answerer.borrow_mut().answer(&request);
        async move { Ok::<_, Infallible>(answer) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_LIMIT);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        // Clients go as they like.
        _ = connection.as_mut() => return,
        _ = told.wait_for(|told| *told) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}
