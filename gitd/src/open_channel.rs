//! One channel of a connection, from its opening to the task that serves it.

use std::sync::Arc;

use russh::server::{ChannelOpenHandle, Handle, Msg};
use russh::{ChannelWriteHalf, Sig};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::inlet::{Inlet, Stdin, inlet};
use crate::outlet::{self, Outlet};
use crate::server::Service;
use crate::{Channel, Terminal, WindowSize, forward, serve, signal};

/// Signals that may wait for a command to look at them.
const SIGNALS: usize = 16;
/// Variables a client may send, and bytes of one.
const VARIABLES: usize = 64;
const VARIABLE_BYTES: usize = 4096;

/// What a channel was opened for.
pub(crate) enum Request {
    /// A command line, as the client sent it.
    Exec(Vec<u8>),
    /// A login shell.
    Shell,
    /// A subsystem by name.
    Subsystem(String),
}

/// The connection's side of a channel. Dropping it hangs up.
pub(crate) struct OpenChannel {
    inlet: Inlet,
    hangup: CancellationToken,
    done: CancellationToken,
    signals: mpsc::Sender<i32>,
    size: Option<watch::Sender<WindowSize>>,
    waiting: Option<Waiting>,
}

/// What the task that will serve the channel takes over.
struct Waiting {
    output: ChannelWriteHalf<Msg>,
    stdin: Stdin,
    signals: mpsc::Receiver<i32>,
    terminal: Option<Terminal>,
    env: Vec<(String, String)>,
    git_protocol: String,
}

impl OpenChannel {
    /// `gone` ends with the connection.
    pub(crate) fn new(channel: russh::Channel<Msg>, gone: &CancellationToken) -> Self {
        let (inlet, stdin) = inlet();
        let (signals, signal_queue) = mpsc::channel(SIGNALS);
        // Input comes by the connection's callbacks: the half dropped here would block the session loop when full.
        let (_, output) = channel.split();
        let waiting = Waiting {
            output,
            stdin,
            signals: signal_queue,
            terminal: None,
            env: Vec::new(),
            git_protocol: String::new(),
        };
        let hangup = gone.child_token();
        Self { inlet, hangup, done: CancellationToken::new(), signals, size: None, waiting: Some(waiting) }
    }

    /// Starts the command, shell or subsystem. False if the channel has been started before.
    pub(crate) fn start(
        &mut self,
        request: Request,
        session: Arc<dyn crate::Session>,
        service: &Arc<Service>,
        handle: Handle,
    ) -> bool {
        let Some(waiting) = self.waiting.take() else { return false };
        let (sender, queue) = outlet::queue();
        let channel = Channel {
            stdin: Box::new(waiting.stdin),
            stdout: Box::new(Outlet::stdout(&sender)),
            stderr: Box::new(Outlet::stderr(&sender)),
            terminal: waiting.terminal,
            env: waiting.env,
            signals: waiting.signals,
            hangup: self.hangup.clone(),
        };
        let work = serve::Work { service: Arc::clone(service), session, git_protocol: waiting.git_protocol };
        service.work.spawn(outlet::write_out(waiting.output, handle, queue, self.hangup.clone()));
        let done = self.done.clone().drop_guard();
        service.work.spawn(async move {
            work.serve(request, channel, sender).await;
            drop(done);
        });
        true
    }

    /// Connects to `target` and answers `reply` by the outcome.
    pub(crate) fn forward(
        &mut self,
        target: forward::Target,
        session: Arc<dyn crate::Session>,
        service: &Service,
        handle: Handle,
        reply: ChannelOpenHandle,
    ) {
        let Some(waiting) = self.waiting.take() else { return };
        let (sender, queue) = outlet::queue();
        let writer = outlet::write_out(waiting.output, handle, queue, self.hangup.clone());
        let streams = forward::Streams { stdin: waiting.stdin, output: sender, hangup: self.hangup.clone() };
        let done = self.done.clone().drop_guard();
        let tasks = service.work.clone();
        service.work.spawn(async move {
            if let Some(remote) = forward::connect(&*session, &target, reply).await {
                tasks.spawn(writer);
                forward::copy(remote, streams).await;
            }
            drop(done);
        });
    }

    /// Whether its task has ended.
    pub(crate) fn finished(&self) -> bool {
        self.done.is_cancelled()
    }

    pub(crate) fn input(&self, bytes: &[u8]) {
        self.inlet.push(bytes);
    }

    pub(crate) fn end_of_input(&self) {
        self.inlet.end();
    }

    pub(crate) fn congested(&self) -> bool {
        self.inlet.congested()
    }

    /// Before the start; the last one counts.
    pub(crate) fn add_terminal(&mut self, term: &str, size: WindowSize) -> bool {
        let Some(waiting) = &mut self.waiting else { return false };
        let (sender, receiver) = watch::channel(size);
        waiting.terminal = Some(Terminal { term: term.to_owned(), size: receiver });
        self.size = Some(sender);
        true
    }

    pub(crate) fn resize(&self, size: WindowSize) -> bool {
        self.size.as_ref().is_some_and(|sender| sender.send(size).is_ok())
    }

    /// Before the start. False for a variable that clients may not set.
    pub(crate) fn add_variable(&mut self, name: &str, value: &str) -> bool {
        let Some(waiting) = &mut self.waiting else { return false };
        if value.len() > VARIABLE_BYTES || waiting.env.len() >= VARIABLES {
            return false;
        }
        if name == "GIT_PROTOCOL" {
            value.clone_into(&mut waiting.git_protocol);
            return true;
        }
        let allowed = allowed_variable(name);
        if allowed {
            waiting.env.push((name.to_owned(), value.to_owned()));
        }
        allowed
    }

    pub(crate) fn signal(&self, signal: &Sig) -> bool {
        signal::number(signal).is_some_and(|number| self.signals.try_send(number).is_ok())
    }
}

impl Drop for OpenChannel {
    fn drop(&mut self) {
        self.hangup.cancel();
        self.inlet.end();
    }
}

/// Variables that only describe the client's terminal and language.
fn allowed_variable(name: &str) -> bool {
    let short = name.len() <= 64;
    short && (matches!(name, "LANG" | "TERM" | "COLORTERM" | "NO_COLOR") || name.starts_with("LC_"))
}

#[cfg(test)]
mod tests {
    use super::allowed_variable;

    #[test]
    fn only_terminal_and_language_pass() {
        for name in ["LANG", "LC_ALL", "TERM", "COLORTERM", "NO_COLOR"] {
            assert!(allowed_variable(name), "{name}");
        }
        for name in ["PATH", "LD_PRELOAD", "HOME", "LANGUAGE", "", &format!("LC_{}", "X".repeat(64))] {
            assert!(!allowed_variable(name), "{name}");
        }
    }
}
