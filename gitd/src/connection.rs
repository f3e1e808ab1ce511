//! One SSH connection: russh's callbacks, turned into authentication and channels.
//!
//! Nothing here waits for a command or a repository: that would stop the other channels of the connection. The work
//! of a channel is a task of its own ([`crate::serve`]), which the server waits for.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use russh::keys::ssh_key::{Algorithm, PublicKey};
use russh::server::{
    Auth, ChannelOpenHandle, Config, Handle, Handler, Msg, PublicKeyOffer, Session, VerifiedPublicKey,
};
use russh::{Channel, ChannelId, ChannelOpenFailure, Disconnect, Pty, Sig};
use tokio::net::TcpStream;
use tokio::time::{interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::admission::Admitted;
use crate::authentication::Refusals;
use crate::open_channel::{OpenChannel, Request};
use crate::server::Service;
use crate::socket::Socket;
use crate::{WindowSize, authentication, forward};

/// Bytes a client may send ahead on one channel.
pub(crate) const WINDOW: u32 = 2 << 20;
/// The same while a reader is behind. russh renews windows on arrival, not on reading, and offers no way to renew
/// one later: so the window becomes so small that the client's next bytes only ask whether it may go on.
const TRICKLE: u32 = 16;
/// How long those questions wait for their answers, the first and any later one.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(20);
/// Channels of one connection at the same time.
const CHANNELS: usize = 32;
/// How often is looked whether the key of an open session still counts.
const LOOK: Duration = Duration::from_secs(2);
/// Time for a client to go after its last command, and after it has been told to.
const LEAVE: Duration = Duration::from_secs(2);
/// The same for one that had its time already.
const AT_ONCE: Duration = Duration::from_millis(200);

/// Runs a connection to its end.
pub(crate) async fn run(
    stream: TcpStream,
    connection: Connection,
    config: Arc<Config>,
    service: &Service,
) -> Result<(), russh::Error> {
    let kill = CancellationToken::new();
    let socket = Socket::new(stream, kill.clone())?;
    let (authenticated, entered) = (connection.authenticated.clone(), Arc::clone(&connection.session));
    let deadline = sleep(service.limits.login);
    let starting = russh::server::run_stream(config, socket, connection);
    let mut session = timeout(service.limits.login, starting).await.map_err(|_| russh::Error::ConnectionTimeout)??;
    let handle = session.handle();
    let mut patience = LEAVE;
    tokio::select! {
        ended = &mut session => return ended,
        () = expired(deadline, authenticated.clone()) => patience = AT_ONCE,
        () = forbidden(authenticated, entered) => {
            // Perhaps by a command of this very connection, whose end its client is still to see. No other begins.
            if let Ok(ended) = timeout(LEAVE, &mut session).await {
                return ended;
            }
            say_goodbye(&handle, "this key has been removed").await;
        }
        () = service.disconnect.cancelled() => {
            // Clients whose work is done leave by themselves; told to go, OpenSSH drops what it has not printed yet.
            if service.work.is_empty() && let Ok(ended) = timeout(LEAVE, &mut session).await {
                return ended;
            }
            say_goodbye(&handle, "the server is stopping").await;
        }
    }
    let Ok(ended) = timeout(patience, &mut session).await else {
        kill.cancel();
        return session.await;
    };
    ended
}

/// Ends when the time for authentication is over, never after it succeeded.
async fn expired(deadline: tokio::time::Sleep, authenticated: CancellationToken) {
    tokio::select! {
        () = deadline => {}
        () = authenticated.cancelled() => std::future::pending().await,
    }
}

/// Ends when the key of a session has been removed.
async fn forbidden(authenticated: CancellationToken, entered: Entered) {
    authenticated.cancelled().await;
    let mut look = interval(LOOK);
    loop {
        look.tick().await;
        if let Some(session) = entered.get()
            && !session.still_allowed().await
        {
            return;
        }
    }
}

async fn say_goodbye(handle: &Handle, reason: &str) {
    let _gone = timeout(LEAVE, handle.disconnect(Disconnect::ByApplication, reason.to_owned(), String::new())).await;
}

/// The session, once there is one.
type Entered = Arc<OnceLock<Arc<dyn crate::Session>>>;

/// The state of one connection.
pub(crate) struct Connection {
    peer: SocketAddr,
    admitted: Admitted,
    refusals: Refusals,
    service: Arc<Service>,
    session: Entered,
    authenticated: CancellationToken,
    gone: CancellationToken,
    channels: HashMap<ChannelId, OpenChannel>,
    pause: Duration,
}

impl Connection {
    pub(crate) fn new(peer: SocketAddr, admitted: Admitted, service: Arc<Service>) -> Self {
        Self {
            peer,
            admitted,
            refusals: Refusals::new(peer),
            service,
            session: Arc::default(),
            authenticated: CancellationToken::new(),
            gone: CancellationToken::new(),
            channels: HashMap::new(),
            pause: FIRST_PAUSE,
        }
    }

    async fn authenticate(
        &mut self,
        user: &str,
        key: &PublicKey,
        algorithm: &Algorithm,
    ) -> Option<Arc<dyn crate::Session>> {
        let login = authentication::login(user, key, self.peer).ok()?;
        if let Some(reason) = authentication::objection(algorithm) {
            self.refusals.note(&login, reason);
            return None;
        }
        let session = self.service.handler.authenticate(&login).await;
        match session {
            None => self.refusals.note(&login, "unknown key"),
            Some(_) => self.refusals.known(login),
        }
        session
    }

    /// Takes a channel in unless there are too many, or the server is about to stop.
    fn admit(&mut self, channel: Channel<Msg>) -> Result<&mut OpenChannel, ChannelOpenFailure> {
        if self.service.stopping.is_cancelled() {
            return Err(ChannelOpenFailure::ConnectFailed);
        }
        self.channels.retain(|_, channel| !channel.finished());
        if self.channels.len() >= CHANNELS {
            return Err(ChannelOpenFailure::ResourceShortage);
        }
        let id = channel.id();
        Ok(self.channels.entry(id).insert_entry(OpenChannel::new(channel, &self.gone)).into_mut())
    }

    /// Starts what a channel was opened for. False if it has been started before.
    fn start(&mut self, id: ChannelId, request: Request, handle: Handle) -> bool {
        match (self.channels.get_mut(&id), self.session.get()) {
            (Some(channel), Some(session)) => channel.start(request, Arc::clone(session), &self.service, handle),
            _ => false,
        }
    }

    /// Whether somebody on this connection reads slower than the client sends.
    fn congested(&self) -> bool {
        self.channels.values().any(OpenChannel::congested)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.gone.cancel();
    }
}

/// Every request is answered: OpenSSH waits for the answer of some of them.
fn answer(session: &mut Session, channel: ChannelId, accepted: bool) -> Result<(), russh::Error> {
    if accepted { session.channel_success(channel) } else { session.channel_failure(channel) }
}

impl Handler for Connection {
    type Error = russh::Error;

    async fn auth_publickey_offered(&mut self, user: &str, offer: PublicKeyOffer<'_>) -> Result<Auth, Self::Error> {
        let known = self.authenticate(user, offer.public_key, offer.algorithm).await.is_some();
        Ok(if known { Auth::Accept } else { Auth::reject() })
    }

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        let session = self.authenticate(user, key.public_key, key.algorithm).await;
        // A connection authenticates once: russh asks for no second time.
        Ok(if session.is_some_and(|session| self.session.set(session).is_ok()) { Auth::Accept } else { Auth::reject() })
    }

    async fn auth_password(&mut self, user: &str, _: &str) -> Result<Auth, Self::Error> {
        self.refusals.note_password(user);
        Ok(Auth::reject())
    }

    async fn auth_succeeded(&mut self, _: &mut Session) -> Result<(), Self::Error> {
        self.admitted.authenticated();
        self.refusals.succeeded();
        self.authenticated.cancel();
        Ok(())
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        match self.admit(channel) {
            Ok(_) => reply.accept().await,
            Err(reason) => reply.reject(reason).await,
        }
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let target = u16::try_from(port).map(|port| forward::Target { host: host.to_owned(), port });
        let (Some(leads), Ok(target)) = (self.session.get().cloned(), target) else {
            reply.reject(ChannelOpenFailure::ConnectFailed).await;
            return Ok(());
        };
        let service = Arc::clone(&self.service);
        match self.admit(channel) {
            Ok(channel) => channel.forward(target, leads, &service, session.handle(), reply),
            Err(reason) => reply.reject(reason).await,
        }
        Ok(())
    }

    async fn channel_eof(&mut self, channel: ChannelId, _: &mut Session) -> Result<(), Self::Error> {
        if let Some(channel) = self.channels.get(&channel) {
            channel.end_of_input();
        }
        Ok(())
    }

    async fn channel_close(&mut self, channel: ChannelId, _: &mut Session) -> Result<(), Self::Error> {
        // Dropping it is the hang-up.
        self.channels.remove(&channel);
        Ok(())
    }

    async fn data(&mut self, channel: ChannelId, data: &[u8], _: &mut Session) -> Result<(), Self::Error> {
        let Some(channel) = self.channels.get(&channel) else { return Ok(()) };
        channel.input(data);
        if data.len() <= TRICKLE as usize && channel.congested() {
            sleep(self.pause).await;
            self.pause = LONGEST_PAUSE.min(self.pause * 2);
        }
        Ok(())
    }

    fn adjust_window(&mut self, _: ChannelId, _: u32) -> u32 {
        if self.congested() {
            return TRICKLE;
        }
        self.pause = FIRST_PAUSE;
        WINDOW
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        term: &str,
        columns: u32,
        rows: u32,
        _: u32,
        _: u32,
        _: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let size = window_size(columns, rows);
        let accepted = self.channels.get_mut(&channel).is_some_and(|channel| channel.add_terminal(term, size));
        answer(session, channel, accepted)
    }

    async fn window_change_request(
        &mut self,
        channel: ChannelId,
        columns: u32,
        rows: u32,
        _: u32,
        _: u32,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let size = window_size(columns, rows);
        let accepted = self.channels.get(&channel).is_some_and(|channel| channel.resize(size));
        answer(session, channel, accepted)
    }

    async fn env_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        value: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let accepted = self.channels.get_mut(&channel).is_some_and(|channel| channel.add_variable(name, value));
        answer(session, channel, accepted)
    }

    async fn signal(&mut self, channel: ChannelId, signal: Sig, session: &mut Session) -> Result<(), Self::Error> {
        let accepted = self.channels.get(&channel).is_some_and(|channel| channel.signal(&signal));
        answer(session, channel, accepted)
    }

    async fn shell_request(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), Self::Error> {
        let accepted = self.start(channel, Request::Shell, session.handle());
        answer(session, channel, accepted)
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        line: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let accepted = self.start(channel, Request::Exec(line.to_vec()), session.handle());
        answer(session, channel, accepted)
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let accepted = self.start(channel, Request::Subsystem(name.to_owned()), session.handle());
        answer(session, channel, accepted)
    }

    async fn x11_request(
        &mut self,
        channel: ChannelId,
        _: bool,
        _: &str,
        _: &str,
        _: u32,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        answer(session, channel, false)
    }
}

/// A client that claims more gets as much as a terminal can be.
fn window_size(columns: u32, rows: u32) -> WindowSize {
    let clamp = |size: u32| u16::try_from(size).unwrap_or(u16::MAX);
    WindowSize { columns: clamp(columns), rows: clamp(rows) }
}
