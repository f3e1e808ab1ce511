//! Writes a pack to a client. Blocking.

use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::AtomicBool;

use tokio::io::AsyncWrite;
use tokio_util::io::SyncIoBridge;

use super::{Failure, Plan, collect};
use crate::objects::Objects;
use crate::packing;
use crate::pktline::{self, Band};
use crate::refs::{self, Refs};

/// Bytes sent in one packet at most.
const BUFFER: usize = 32 * 1024;

type Stdout = Box<dyn AsyncWrite + Send + Unpin>;

/// Sends what the client lacks on the data band; the output is handed back.
pub(super) fn send(repository: &Path, plan: &Plan, limit: usize, stdout: Stdout) -> (Result<(), Failure>, Stdout) {
    let mut band = BandWriter { stdout: SyncIoBridge::new(stdout), side_band: plan.side_band, packets: Vec::new() };
    let sent = write(repository, plan, limit, &mut band);
    (sent, band.stdout.into_inner())
}

fn write(repository: &Path, plan: &Plan, limit: usize, band: &mut BandWriter) -> Result<(), Failure> {
    let objects = Objects::open(&repository.join("objects"), limit)?;
    let tags = Refs::open(repository).all()?.into_iter().filter(|(name, _)| !refs::is_branch(name)).map(|(_, id)| id);
    let contents = collect::missing(&objects, plan, &tags.collect::<Vec<_>>())?;
    let output = io::BufWriter::with_capacity(BUFFER, band);
    Ok(packing::write(&objects, &contents, output, &AtomicBool::new(false))?)
}

/// Wraps bytes into packets of the data band, if the client has bands.
struct BandWriter {
    stdout: SyncIoBridge<Stdout>,
    side_band: bool,
    packets: Vec<u8>,
}

impl Write for BandWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.side_band {
            return self.stdout.write(bytes);
        }
        self.packets.clear();
        pktline::band(&mut self.packets, Band::Data, bytes);
        self.stdout.write_all(&self.packets)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stdout.flush()
    }
}
