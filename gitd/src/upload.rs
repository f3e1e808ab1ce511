//! Clone and fetch, in protocol version 2 (gitprotocol-v2(5)), which git speaks since 2.26, and in those before
//! ([`classic`]).
//!
//! The client sends commands, each answered by itself: `ls-refs` for the refs, `fetch` for a pack.

mod classic;
mod collect;
mod pack;
mod request;
mod shallow;
pub(crate) mod walk;

use std::path::{Path, PathBuf};

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::task::{JoinError, spawn_blocking};

use crate::objects::Objects;
use crate::packing::PackingError;
use crate::refs::Refs;
use crate::server::Service;
use crate::{Access, Channel, Ended, ObjectId, Refusal, RepositoryError, Session, pktline, quarantine, stall};
use request::{Fetch, LsRefs, Request, RequestError};
use shallow::Shallow;
use walk::History;

const CAPABILITIES: [&str; 5] = [
    "version 2",
    concat!("agent=airstrip/", env!("CARGO_PKG_VERSION")),
    "ls-refs=unborn",
    "fetch=shallow filter",
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
    stall::bound(&mut channel, service.limits.stall);
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
    #[error("no commits selected for shallow requests")]
    NothingSelected,
    #[error("upload-pack: not our ref {0}")]
    NotOurRef(ObjectId),
    #[error("the repository cannot be read")]
    Repository(#[from] RepositoryError),
    #[error("the repository cannot be read")]
    Objects(#[from] gix::Error),
    #[error("the repository cannot be read")]
    Packing(#[from] PackingError),
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
    // Packs do not go away for as long.
    let reading = repository.clone();
    let _reading = spawn_blocking(move || quarantine::announce(&reading)).await??;
    let speaks = |version| protocol.split(':').any(|word| word == version);
    if !speaks("version=2") {
        return classic::serve(service, &repository, speaks("version=1"), channel).await;
    }
    channel.stdout.write_all(&lines(&CAPABILITIES)).await?;
    while let Some(request) = Request::read(&mut channel.stdin, &service.limits).await? {
        match request {
            Request::LsRefs(asked) => {
                let (repository, limit) = (repository.clone(), service.limits.object_bytes);
                let answer = spawn_blocking(move || list(&repository, &asked, limit)).await??;
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
fn list(repository: &Path, asked: &LsRefs, limit: usize) -> Result<Vec<u8>, Failure> {
    let refs = Refs::open(repository);
    let objects = Objects::open(&repository.join("objects"), limit)?;
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

/// What is to be sent.
#[derive(Debug)]
struct Plan {
    asked: Fetch,
    /// Commits that both sides have.
    common: Vec<ObjectId>,
    shallow: Shallow,
    /// Whether the pack is wrapped into packets.
    side_band: bool,
}

impl Plan {
    /// Where the clone is cut off from now on, and where no longer.
    fn shallow_lines(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (word, ids) in [("shallow", &self.shallow.newly), ("unshallow", &self.shallow.no_longer)] {
            for id in ids {
                pktline::data(&mut out, format!("{word} {id}").as_bytes());
            }
        }
        out
    }
}

/// Says what is common and, once the client has said enough, sends a pack.
async fn fetch(service: &Service, repository: &Path, asked: Fetch, channel: &mut Channel) -> Result<(), Failure> {
    let plan = plan(repository, asked, service.limits.object_bytes).await?;
    let mut head = Vec::new();
    if !plan.asked.done {
        acknowledge(&mut head, &plan.common);
        if plan.common.is_empty() {
            pktline::flush(&mut head);
            return Ok(channel.stdout.write_all(&head).await?);
        }
        pktline::delimiter(&mut head);
    }
    if plan.asked.deepen.asked() {
        pktline::data(&mut head, b"shallow-info\n");
        head.extend(plan.shallow_lines());
        pktline::delimiter(&mut head);
    }
    pktline::data(&mut head, b"packfile\n");
    channel.stdout.write_all(&head).await?;
    send_pack(service, repository.to_owned(), plan, channel).await
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

/// Refuses what is not here; finds what the client has that is, and where its clone is to be cut off.
async fn plan(repository: &Path, asked: Fetch, limit: usize) -> Result<Plan, Failure> {
    let repository = repository.to_owned();
    spawn_blocking(move || {
        let objects = Objects::open(&repository.join("objects"), limit)?;
        // Whoever may read the repository may read all of it, as in version 2 of git's own server.
        if let Some(stranger) = asked.wants.iter().find(|want| !objects.exists(**want)) {
            return Err(Failure::NotOurRef(*stranger));
        }
        let mut tips = Vec::new();
        for want in &asked.wants {
            tips.extend(collect::peel(&objects, *want)?);
        }
        let not = excluded(&repository, &objects, &asked)?;
        let shallow = Shallow::find(&objects, &tips, &asked.shallow, &asked.deepen, &not)?;
        let shallow = shallow.ok_or(Failure::NothingSelected)?;
        let common = History::new(&objects).known(&asked.haves);
        Ok(Plan { asked, common, shallow, side_band: true })
    })
    .await?
}

/// The commits of the refs that `deepen-not` names.
fn excluded(repository: &Path, objects: &Objects, asked: &Fetch) -> Result<Vec<ObjectId>, Failure> {
    let all = if asked.deepen.not.is_empty() { Vec::new() } else { Refs::open(repository).all()? };
    let mut commits = Vec::new();
    for name in &asked.deepen.not {
        let named = |prefix: &[u8]| all.iter().find(|(full, _)| full.as_bstr() == [prefix, name].concat());
        let (_, id) = [b"".as_slice(), b"refs/", b"refs/tags/", b"refs/heads/"]
            .into_iter()
            .find_map(named)
            .ok_or(RequestError::Malformed("deepen-not is not a ref"))?;
        commits.extend(collect::peel(objects, *id)?.last());
    }
    Ok(History::new(objects).known(&commits))
}

/// The pack goes out on a blocking thread, which gets the channel's output for as long.
async fn send_pack(service: &Service, repository: PathBuf, plan: Plan, channel: &mut Channel) -> Result<(), Failure> {
    let stdout = std::mem::replace(&mut channel.stdout, Box::new(tokio::io::sink()));
    let limit = service.limits.object_bytes;
    let side_band = plan.side_band;
    let (sent, mut stdout) = spawn_blocking(move || pack::send(&repository, &plan, limit, stdout)).await?;
    if sent.is_ok() && side_band {
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

/// Reads all requests of version 2, for the fuzz targets.
#[cfg(any(test, feature = "fuzz"))]
pub(crate) async fn read_requests(mut input: &[u8], limits: &crate::Limits) {
    while let Ok(Some(_)) = Request::read(&mut input, limits).await {}
}

/// Reads the wants of version 0, for the fuzz targets.
#[cfg(any(test, feature = "fuzz"))]
pub(crate) async fn read_wants(mut input: &[u8], limits: &crate::Limits) {
    let _read = classic::read_wants(limits, &mut input).await;
}
