//! Clone and fetch, in protocol version 2 (gitprotocol-v2(5)), which git speaks since 2.26.
//!
//! The client sends commands, each answered by itself: `ls-refs` for the refs, `fetch` for a pack. Shallow and partial
//! clones are not offered, so a client that wants one gets the whole.

mod collect;
mod pack;
mod request;

use std::path::{Path, PathBuf};

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::task::{JoinError, spawn_blocking};

use crate::refs::Refs;
use crate::server::Service;
use crate::{Access, Channel, Ended, ObjectId, Refusal, RepositoryError, Session, objects, pktline};
use request::{Fetch, LsRefs, Request, RequestError};

const CAPABILITIES: [&str; 5] = [
    "version 2",
    concat!("agent=airstrip/", env!("CARGO_PKG_VERSION")),
    "ls-refs=unborn",
    "fetch",
    "object-format=sha1",
];

/// Serves `git-upload-pack PATH` on a channel. `protocol` is the client's `GIT_PROTOCOL`.
pub(crate) async fn upload_pack(
    service: &Service,
    session: &dyn Session,
    path: &str,
    protocol: &str,
    mut channel: Channel,
) -> Ended {
    match serve(service, session, path, protocol, &mut channel).await {
        Ok(()) => Ended::Status(0),
        Err(failure) => {
            let mut message = Vec::new();
            pktline::data(&mut message, format!("ERR {failure}").as_bytes());
            let _gone = channel.stdout.write_all(&message).await;
            Ended::Status(128)
        }
    }
}

/// Why a client gets an error instead of an answer.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    Refused(#[from] Refusal),
    #[error("{0}")]
    Request(#[from] RequestError),
    #[error("this server speaks protocol version 2 only: use git 2.26 or later")]
    Version,
    #[error("upload-pack: not our ref {0}")]
    NotOurRef(ObjectId),
    #[error("the repository cannot be read")]
    Repository(#[from] RepositoryError),
    #[error("the repository cannot be read")]
    Objects(#[from] gix::Error),
    #[error("internal error")]
    Panicked(#[from] JoinError),
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

async fn serve(
    service: &Service,
    session: &dyn Session,
    path: &str,
    protocol: &str,
    channel: &mut Channel,
) -> Result<(), Failure> {
    let repository = session.repository(Access::Read, path).await?;
    if !protocol.split(':').any(|word| word == "version=2") {
        return Err(Failure::Version);
    }
    channel.stdout.write_all(&lines(&CAPABILITIES)).await?;
    while let Some(request) = Request::read(&mut channel.stdin).await? {
        match request {
            Request::LsRefs(asked) => {
                let repository = repository.clone();
                let answer = spawn_blocking(move || list(&repository, &asked)).await??;
                channel.stdout.write_all(&answer).await?;
            }
            Request::Fetch(asked) => fetch(service, &repository, asked, channel).await?,
        }
    }
    Ok(())
}

/// Lines and a flush packet.
fn lines(lines: &[impl AsRef<str>]) -> Vec<u8> {
    let mut out = Vec::new();
    for line in lines {
        pktline::data(&mut out, format!("{}\n", line.as_ref()).as_bytes());
    }
    pktline::flush(&mut out);
    out
}

/// The refs that were asked for, `HEAD` first.
fn list(repository: &Path, asked: &LsRefs) -> Result<Vec<u8>, Failure> {
    let refs = Refs::open(repository);
    let objects = objects::open(&repository.join("objects"), None)?;
    let all = refs.all()?;
    let mut answer = Vec::new();
    if let Some(head) = refs.head()?.filter(|_| asked.wants(b"HEAD")) {
        let target = all.iter().find(|(name, _)| *name == head);
        let symref = if asked.symrefs { format!(" symref-target:{}", head.as_bstr()) } else { String::new() };
        match target {
            Some((_, id)) => answer.push(format!("{id} HEAD{symref}")),
            None if asked.unborn => answer.push(format!("unborn HEAD{symref}")),
            None => {}
        }
    }
    for (name, id) in all.iter().filter(|(name, _)| asked.wants(name.as_bstr())) {
        let peeled = collect::peel(&objects, *id)?.last().copied().filter(|peeled| asked.peel && peeled != id);
        let peeled = peeled.map(|peeled| format!(" peeled:{peeled}")).unwrap_or_default();
        answer.push(format!("{id} {}{peeled}", name.as_bstr()));
    }
    Ok(lines(&answer))
}

/// Says what is common and, once the client has said enough, sends a pack.
async fn fetch(service: &Service, repository: &Path, asked: Fetch, channel: &mut Channel) -> Result<(), Failure> {
    let (asked, common) = {
        let repository = repository.to_owned();
        spawn_blocking(move || check(&repository, asked)).await??
    };
    let mut head = Vec::new();
    if !asked.done {
        acknowledge(&mut head, &common);
        if common.is_empty() {
            pktline::flush(&mut head);
            return Ok(channel.stdout.write_all(&head).await?);
        }
        pktline::delimiter(&mut head);
    }
    pktline::data(&mut head, b"packfile\n");
    channel.stdout.write_all(&head).await?;
    send_pack(service, repository.to_owned(), asked, common, channel).await
}

/// One common commit is enough to begin: the pack may then be larger than it had to be.
fn acknowledge(out: &mut Vec<u8>, common: &[ObjectId]) {
    pktline::data(out, b"acknowledgments\n");
    if common.is_empty() {
        return pktline::data(out, b"NAK\n");
    }
    for id in common {
        pktline::data(out, format!("ACK {id}\n").as_bytes());
    }
    pktline::data(out, b"ready\n");
}

/// Refuses what no ref points to; finds what the client has that is here.
fn check(repository: &Path, asked: Fetch) -> Result<(Fetch, Vec<ObjectId>), Failure> {
    let objects = objects::open(&repository.join("objects"), None)?;
    let mut offered = std::collections::HashSet::new();
    for (_, id) in Refs::open(repository).all()? {
        offered.extend(collect::peel(&objects, id)?);
    }
    if let Some(stranger) = asked.wants.iter().find(|want| !offered.contains(*want)) {
        return Err(Failure::NotOurRef(*stranger));
    }
    let common = collect::known_commits(&objects, &asked.haves);
    Ok((asked, common))
}

/// The pack goes out on a blocking thread, which gets the channel's output for as long.
async fn send_pack(
    service: &Service,
    repository: PathBuf,
    asked: Fetch,
    common: Vec<ObjectId>,
    channel: &mut Channel,
) -> Result<(), Failure> {
    let stdout = std::mem::replace(&mut channel.stdout, Box::new(tokio::io::sink()));
    let limit = service.limits.object_bytes;
    let (sent, mut stdout) = spawn_blocking(move || pack::send(&repository, &asked, &common, limit, stdout)).await?;
    if sent.is_ok() {
        finish(&mut stdout).await?;
    }
    channel.stdout = stdout;
    sent
}

async fn finish(stdout: &mut (dyn AsyncWrite + Send + Unpin)) -> std::io::Result<()> {
    let mut end = Vec::new();
    pktline::flush(&mut end);
    stdout.write_all(&end).await
}
