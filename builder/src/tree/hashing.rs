//! Hashing many files on all processors, while somebody else finds them.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::{Scope, ScopedJoinHandle};

use sha2::{Digest as _, Sha256};

use crate::blocking::Cancel;

/// More do not help: somebody has to find the files.
const MOST_WORKERS: usize = 4;
/// Open files that wait for their turn.
const WAITING: usize = 32;

/// Of a file: the hash of its bytes, and how many they are.
pub(super) type Hashed = io::Result<([u8; 32], u64)>;

/// A file, and the number that its result is to have.
type Job = (usize, File);

/// Where files wait to be hashed.
pub(super) struct Queue(Mutex<Receiver<Job>>);

/// Hands files to threads, and collects what comes of them.
pub(super) struct Hashers<'scope> {
    files: SyncSender<Job>,
    workers: Vec<ScopedJoinHandle<'scope, Vec<(usize, Hashed)>>>,
}

impl Queue {
    /// With the end that files are put in.
    pub(super) fn new() -> (SyncSender<Job>, Self) {
        let (files, queue) = sync_channel(WAITING);
        (files, Self(Mutex::new(queue)))
    }

    fn next(&self) -> Option<Job> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
    }

    fn work(&self, cancel: &Cancel) -> Vec<(usize, Hashed)> {
        let mut buffer = vec![0; 128 * 1024];
        std::iter::from_fn(|| self.next()).map(|(number, file)| (number, hash(file, &mut buffer, cancel))).collect()
    }
}

impl<'scope> Hashers<'scope> {
    /// Starts the threads.
    pub(super) fn start(
        scope: &'scope Scope<'scope, '_>,
        files: SyncSender<Job>,
        queue: &'scope Queue,
        cancel: &'scope Cancel,
    ) -> Self {
        let count = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(MOST_WORKERS);
        Self { files, workers: (0..count).map(|_| scope.spawn(|| queue.work(cancel))).collect() }
    }

    /// Has a file hashed; waits while many do.
    pub(super) fn hash(&self, number: usize, file: File) -> io::Result<()> {
        self.files.send((number, file)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    /// The results, in any order.
    pub(super) fn finish(self) -> Vec<(usize, Hashed)> {
        drop(self.files);
        let ended = self.workers.into_iter().map(ScopedJoinHandle::join);
        ended.flat_map(|results| results.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    }
}

fn hash(mut file: File, buffer: &mut [u8], cancel: &Cancel) -> Hashed {
    let length = file.metadata()?.size();
    let (mut sha, mut seen) = (Sha256::new(), 0);
    loop {
        if cancel.is_cancelled() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let count = match file.read(buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        seen += count as u64;
        sha.update(&buffer[..count]);
    }
    if seen == length {
        Ok((sha.finalize().into(), length))
    } else {
        Err(io::Error::other("changed while it was read"))
    }
}
