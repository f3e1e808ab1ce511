//! Protocol versions 0 and 1: the refs come unasked, then one fetch with its negotiation. (gitprotocol-pack(5))

use std::path::Path;

use tokio::io::{AsyncRead, AsyncWriteExt};
use tokio::task::spawn_blocking;

use super::request::{Fetch, RequestError, most};
use super::{Failure, Plan, collect, plan};
use crate::objects::Objects;
use crate::pktline::{self, Packet};
use crate::refs::Refs;
use crate::server::Service;
use crate::{Channel, Limits, ObjectId};

const CAPABILITIES: &str = concat!(
    "multi_ack multi_ack_detailed side-band-64k thin-pack ofs-delta shallow deepen-since deepen-not deepen-relative no-progress ",
    "include-tag allow-tip-sha1-in-want allow-reachable-sha1-in-want filter object-format=sha1 agent=airstrip/",
    env!("CARGO_PKG_VERSION")
);

/// How haves are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Acknowledge {
    First,
    Continue,
    Detailed,
}

/// Serves one client to the end. `version_1`: it wants to see that word first.
pub(super) async fn serve(
    service: &Service,
    repository: &Path,
    version_1: bool,
    channel: &mut Channel,
) -> Result<(), Failure> {
    let (path, limit) = (repository.to_owned(), service.limits.object_bytes);
    let refs = spawn_blocking(move || advertise(&path, version_1, limit)).await??;
    channel.stdout.write_all(&refs).await?;
    let Some((asked, acknowledge, side_band)) = read_wants(&service.limits, &mut channel.stdin).await? else {
        return Ok(());
    };
    let deepens = asked.deepen.asked();
    let mut plan = plan(repository, asked, limit).await?;
    plan.side_band = side_band;
    if deepens {
        let mut lines = plan.shallow_lines();
        pktline::flush(&mut lines);
        channel.stdout.write_all(&lines).await?;
    }
    if !negotiate(&service.limits, repository, acknowledge, &mut plan, channel).await? {
        return Ok(());
    }
    super::send_pack(service, repository.to_owned(), plan, channel).await
}

fn advertise(repository: &Path, version_1: bool, limit: usize) -> Result<Vec<u8>, Failure> {
    let refs = Refs::open(repository);
    let objects = Objects::open(&repository.join("objects"), limit)?;
    let (all, mut lines, mut symref) = (refs.all()?, Vec::new(), String::new());
    if let Some(head) = refs.head()?
        && let Some((_, id)) = all.iter().find(|(name, _)| *name == head)
    {
        symref = format!(" symref=HEAD:{}", head.as_bstr());
        lines.push(format!("{id} HEAD"));
    }
    for (name, id) in &all {
        lines.push(format!("{id} {}", name.as_bstr()));
        if let Some(peeled) = collect::peel(&objects, *id)?.last().filter(|peeled| *peeled != id) {
            lines.push(format!("{peeled} {}^{{}}", name.as_bstr()));
        }
    }
    if lines.is_empty() {
        lines.push(format!("{} capabilities^{{}}", ObjectId::null(gix::hash::Kind::Sha1)));
    }
    let mut out = Vec::new();
    if version_1 {
        pktline::data(&mut out, b"version 1\n");
    }
    for (index, line) in lines.iter().enumerate() {
        let capabilities = if index == 0 { format!("\0{CAPABILITIES}{symref}") } else { String::new() };
        pktline::data(&mut out, format!("{line}{capabilities}\n").as_bytes());
    }
    pktline::flush(&mut out);
    Ok(out)
}

/// None: the client only wanted to see the refs.
pub(super) async fn read_wants(
    limits: &Limits,
    input: &mut (impl AsyncRead + Unpin),
) -> Result<Option<(Fetch, Acknowledge, bool)>, Failure> {
    let (mut asked, mut acknowledge, mut side_band) = (Fetch::default(), Acknowledge::First, false);
    for _ in 0..most(limits) {
        let Some(Packet::Data(line)) = pktline::read(input, limits.packet_bytes).await? else {
            return Ok((!asked.wants.is_empty()).then_some((asked, acknowledge, side_band)));
        };
        let line = Packet::text(&line);
        let mut words = line.splitn(3, |byte| *byte == b' ');
        let (word, value) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        match words.next() {
            Some(capabilities) if word == b"want" && asked.wants.is_empty() => {
                asked.add(&[b"want ", value].concat()).map_err(Failure::Request)?;
                for capability in capabilities.split(|byte| *byte == b' ') {
                    match capability {
                        b"multi_ack" => acknowledge = Acknowledge::Continue,
                        b"multi_ack_detailed" => acknowledge = Acknowledge::Detailed,
                        b"side-band-64k" => side_band = true,
                        b"include-tag" => asked.include_tags = true,
                        b"thin-pack" => asked.thin = true,
                        b"ofs-delta" => asked.distances = true,
                        b"deepen-relative" => asked.deepen.relative = true,
                        _ => {}
                    }
                }
            }
            _ => asked.add(line).map_err(Failure::Request)?,
        }
    }
    Err(Failure::Request(RequestError::TooMany(most(limits))))
}

/// Answers haves up to `done`. False if the client has gone.
async fn negotiate(
    limits: &Limits,
    repository: &Path,
    acknowledge: Acknowledge,
    plan: &mut Plan,
    channel: &mut Channel,
) -> Result<bool, Failure> {
    let mut haves = Vec::new();
    for _ in 0..most(limits) {
        let packet = pktline::read(&mut channel.stdin, limits.packet_bytes).await?;
        let line = match &packet {
            Some(Packet::Data(line)) => Packet::text(line),
            Some(_) => b"",
            None => return Ok(false),
        };
        if let Some(id) = line.strip_prefix(b"have ") {
            haves.push(ObjectId::from_hex(id).map_err(|_| RequestError::Malformed("bad object id"))?);
            continue;
        }
        let known = known(repository, std::mem::take(&mut haves), limits.object_bytes).await?;
        let done = line == b"done";
        let answer = answer(acknowledge, &plan.common, &known, done);
        plan.common.extend(known);
        channel.stdout.write_all(&answer).await?;
        if done {
            return Ok(true);
        }
    }
    Err(Failure::Request(RequestError::TooMany(most(limits))))
}

/// What is said after a batch of haves, of which `known` are here, and `before` in earlier ones.
fn answer(acknowledge: Acknowledge, before: &[ObjectId], known: &[ObjectId], done: bool) -> Vec<u8> {
    let mut out = Vec::new();
    let last = known.last().or(before.last());
    let mut line = |text: String| pktline::data(&mut out, text.as_bytes());
    match acknowledge {
        Acknowledge::First => {
            for id in known.iter().take(usize::from(before.is_empty())) {
                line(format!("ACK {id}\n"));
            }
        }
        Acknowledge::Continue => {
            for id in known {
                line(format!("ACK {id} continue\n"));
            }
        }
        Acknowledge::Detailed => {
            for id in known {
                line(format!("ACK {id} common\n"));
            }
            if let Some(id) = last.filter(|_| !done) {
                line(format!("ACK {id} ready\n"));
            }
        }
    }
    match last {
        Some(id) if done && acknowledge != Acknowledge::First => line(format!("ACK {id}\n")),
        None => line("NAK\n".to_owned()),
        Some(_) if !done && acknowledge != Acknowledge::First => line("NAK\n".to_owned()),
        Some(_) => {}
    }
    out
}

async fn known(repository: &Path, haves: Vec<ObjectId>, limit: usize) -> Result<Vec<ObjectId>, Failure> {
    if haves.is_empty() {
        return Ok(haves);
    }
    let objects = repository.join("objects");
    spawn_blocking(move || Ok(super::walk::History::new(&Objects::open(&objects, limit)?).known(&haves))).await?
}
