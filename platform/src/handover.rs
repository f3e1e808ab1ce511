//! How one daemon takes the place of another: what the two say to each other.
//!
//! ```text
//! old                                 new
//!  │  starts it ───────────────────────▶ reads its settings, looks around
//!  │ ◀───────────────────────── Prepared │
//!  │  lets changes end, gives the home up│
//!  │  Take, with the sockets ──────────▶ │ takes the home, serves
//!  │ ◀──────────────────────────── Ready │
//!  │  answers what it has begun, ends    │ notices that it is alone
//! ```
//!
//! They say it over a socket that is the new one's standard input. Whichever goes away, the other sees that.

use std::io;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::retry_on_intr;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair, sockopt,
};
use serde::{Deserialize, Serialize};
use tokio::process::Child;

use crate::failure::{Failure, Result};
use crate::sockets::Sockets;

/// Set for a daemon whose standard input leads to the one that it replaces.
const MARK: &str = "AIRSTRIP_HANDOVER";
/// Bytes of one message.
const MESSAGE: usize = 16 * 1024;
/// Sockets in one message: the kernel passes on 253 at most.
const SOCKETS: usize = 253;

/// What is said.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Message {
    /// By the new one: it could begin.
    Prepared,
    /// By the old one, with the sockets of these names: the home is free.
    Take(Vec<String>),
    /// By the new one: it serves.
    Ready,
    /// By the new one: it cannot.
    Failed(String),
}

/// One end of what they talk over. Messages stay whole (`SOCK_SEQPACKET`).
#[derive(Debug)]
struct Line(OwnedFd);

impl Line {
    fn pair() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Self(ours), theirs))
    }

    fn send(&self, message: &Message, sockets: &[BorrowedFd<'_>]) -> io::Result<()> {
        let text = serde_json::to_vec(message)?;
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS))];
        let mut passed = SendAncillaryBuffer::new(&mut space);
        if !sockets.is_empty() && !passed.push(SendAncillaryMessage::ScmRights(sockets)) {
            return Err(io::Error::other("too many sockets to hand over"));
        }
        retry_on_intr(|| sendmsg(&self.0, &[IoSlice::new(&text)], &mut passed, SendFlags::NOSIGNAL))?;
        Ok(())
    }

    /// Waits at most `limit`. None if the other has gone.
    fn receive(&self, limit: Option<Duration>) -> io::Result<Option<(Message, Vec<OwnedFd>)>> {
        sockopt::set_socket_timeout(&self.0, sockopt::Timeout::Recv, limit)?;
        let mut bytes = vec![0; MESSAGE];
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS))];
        let mut passed = RecvAncillaryBuffer::new(&mut space);
        // With a limit of time, the kernel does not wait on after a signal.
        let received = retry_on_intr(|| {
            recvmsg(&self.0, &mut [IoSliceMut::new(&mut bytes)], &mut passed, RecvFlags::CMSG_CLOEXEC)
        });
        let length = match received {
            Ok(received) => received.bytes,
            Err(rustix::io::Errno::CONNRESET) => 0,
            Err(error) => return Err(error.into()),
        };
        if length == 0 {
            return Ok(None);
        }
        let sockets = passed.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(sockets) => Some(sockets),
            _ => None,
        });
        let sockets = sockets.flatten().collect();
        Ok(Some((serde_json::from_slice(bytes.get(..length).unwrap_or_default())?, sockets)))
    }
}

/// The daemon that this one is to replace, as the new one sees it.
#[derive(Debug)]
pub struct Predecessor(Arc<Line>);

impl Predecessor {
    /// None in a daemon that nobody started to replace another. Standard input is nothing afterwards.
    pub fn find() -> io::Result<Option<Self>> {
        if std::env::var_os(MARK).is_none() {
            return Ok(None);
        }
        let line = rustix::stdio::stdin().try_clone_to_owned()?;
        rustix::stdio::dup2_stdin(std::fs::File::open("/dev/null")?)?;
        Ok(Some(Self(Arc::new(Line(line)))))
    }

    /// Says that this one could begin, and waits for the home and the sockets for as long as the old one needs.
    pub async fn wait_for_turn(&self) -> Result<Sockets> {
        let line = self.0.clone();
        let asked = tokio::task::spawn_blocking(move || {
            line.send(&Message::Prepared, &[])?;
            match line.receive(None)? {
                Some((Message::Take(names), sockets)) => Sockets::from_named(names.into_iter().zip(sockets)),
                _ => Err(io::Error::other("it did not hand over")),
            }
        });
        let taken = asked.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        taken.map_err(|e| Failure::io("taking over from the running server", &e))
    }

    /// Says that this one serves.
    pub fn ready(&self) {
        self.say(&Message::Ready);
    }

    /// Says why this one cannot.
    pub fn failed(&self, why: &Failure) {
        let lines: Vec<String> = std::iter::once(why.message.clone()).chain(why.remedy.clone()).collect();
        self.say(&Message::Failed(lines.join("; ").chars().take(MESSAGE / 8).collect()));
    }

    fn say(&self, message: &Message) {
        if let Err(error) = self.0.send(message, &[]) {
            tracing::warn!(%error, "telling the server that is to be replaced");
        }
    }

    /// Ends when the old one has ended.
    pub async fn gone(&self) -> io::Result<()> {
        // It says nothing any more: what there is to read is its end.
        let line = std::os::unix::net::UnixStream::from(self.0.0.try_clone()?);
        line.set_nonblocking(true)?;
        tokio::net::UnixStream::from_std(line)?.readable().await
    }
}

/// The daemon that is to replace this one, as the old one sees it. Killed when dropped before it was left alone.
#[derive(Debug)]
pub struct Successor {
    line: Arc<Line>,
    process: Child,
    on_trial: bool,
}

/// Kept by the old one for as long as it serves anything: the new one notices when it goes.
#[derive(Debug)]
pub struct Presence(#[expect(dead_code, reason = "held, not used")] Arc<Line>);

impl Drop for Successor {
    fn drop(&mut self) {
        if self.on_trial {
            // It may have ended by itself.
            let _gone = self.process.start_kill();
        }
    }
}

impl Successor {
    /// Starts it.
    pub fn start(program: &mut tokio::process::Command) -> Result<Self> {
        let mut begin = || {
            let (line, theirs) = Line::pair()?;
            let process = program.env(MARK, "1").stdin(theirs).spawn()?;
            Ok(Self { line: line.into(), process, on_trial: true })
        };
        begin().map_err(|e: io::Error| Failure::io("the new program cannot be started", &e))
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.id().unwrap_or_default()
    }

    /// Waits until it could begin.
    pub async fn prepared(&mut self, limit: Duration) -> Result<()> {
        self.hear(&Message::Prepared, limit).await
    }

    /// Gives it the sockets: the home is free now.
    pub fn take(&self, sockets: &Sockets) -> Result<()> {
        let (names, sockets): (Vec<_>, Vec<_>) = sockets.named().into_iter().unzip();
        let names = names.into_iter().map(str::to_owned).collect();
        let sent = self.line.send(&Message::Take(names), &sockets);
        sent.map_err(|e| Failure::io("handing over to the new program", &e))
    }

    /// Waits until it serves.
    pub async fn ready(&mut self, limit: Duration) -> Result<()> {
        self.hear(&Message::Ready, limit).await
    }

    /// From now on it lives its own life.
    pub fn leave_alone(mut self) -> Presence {
        self.on_trial = false;
        Presence(self.line.clone())
    }

    /// Ends it.
    pub async fn kill(mut self) {
        if let Err(error) = self.process.kill().await {
            tracing::warn!(%error, "ending the new program");
        }
    }

    async fn hear(&mut self, expected: &Message, limit: Duration) -> Result<()> {
        let line = self.line.clone();
        let heard = tokio::task::spawn_blocking(move || line.receive(Some(limit)));
        match heard.await.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(Some((message, _))) if message == *expected => Ok(()),
            Ok(Some((Message::Failed(why), _))) => Err(Failure::plain(format!("the new program cannot serve: {why}"))),
            Ok(Some((message, _))) => Err(Failure::plain(format!("the new program said {message:?}"))),
            Ok(None) => Err(self.ended().await),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                Err(Failure::plain(format!("the new program was not ready within {} s", limit.as_secs())))
            }
            Err(error) => Err(Failure::io("listening to the new program", &error)),
        }
    }

    /// It has gone; how?
    async fn ended(&mut self) -> Failure {
        let status = tokio::time::timeout(Duration::from_secs(5), self.process.wait()).await;
        let how = match status {
            Ok(Ok(status)) => ended_with(status),
            _ => "hung up".to_owned(),
        };
        Failure::new(format!("the new program {how} before it was ready"), "see the server's log for what it said")
    }
}

fn ended_with(status: ExitStatus) -> String {
    format!("ended with {status}")
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn messages_and_sockets_arrive_as_they_were_sent() {
        let (here, there) = Line::pair().unwrap();
        let there = Line(there);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let message = Message::Take(vec!["ssh".into(), "http".into()]);
        here.send(&message, &[listener.as_fd(), listener.as_fd()]).unwrap();
        here.send(&Message::Prepared, &[]).unwrap();
        let (received, sockets) = there.receive(None).unwrap().unwrap();
        assert_eq!(received, message);
        let addresses = sockets.into_iter().map(|socket| TcpListener::from(socket).local_addr().unwrap());
        assert_eq!(addresses.collect::<Vec<_>>(), [listener.local_addr().unwrap(); 2]);
        assert_eq!(there.receive(None).unwrap().unwrap().0, Message::Prepared);
        drop(here);
        assert!(there.receive(None).unwrap().is_none());
    }

    #[test]
    fn nobody_waits_for_ever() {
        let (here, _there) = Line::pair().unwrap();
        let error = here.receive(Some(Duration::from_millis(10))).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }

    #[tokio::test]
    async fn a_program_that_does_not_become_a_server_is_explained() {
        for (program, expected) in [("true", "ended with exit status: 0"), ("false", "ended with exit status: 1")] {
            let mut successor = Successor::start(&mut tokio::process::Command::new(program)).unwrap();
            let failure = successor.prepared(Duration::from_secs(20)).await.unwrap_err();
            assert!(failure.message.contains(expected), "{failure:?}");
        }
        let failure = Successor::start(&mut tokio::process::Command::new("/nowhere/airstrip")).unwrap_err();
        assert!(failure.message.contains("cannot be started"), "{failure:?}");
    }
}
