//! Files of a site: opened without leaving its root, named by their content, and read as fast as the client takes them.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use hyper::body::{Body, Bytes, Frame, SizeHint};
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::Mode;
use sha2::{Digest, Sha256};

/// What is read at once, and so held of an answer.
const CHUNK: u64 = 64 * 1024;
/// Larger files are named by their times, not by their content: reading them would keep others waiting.
const LARGEST_READ: u64 = 4 * 1024 * 1024;
/// So many names of contents are remembered.
const MOST_TAGS: usize = 20_000;
/// Times before this say nothing: tools set them to be the same always.
const FIRST_TIME: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// A site's root, opened.
#[derive(Debug)]
pub(super) struct Root {
    directory: OwnedFd,
    tags: HashMap<Identity, String>,
}

/// Changes when a file does.
type Identity = (u64, u64, u64, i64, i64);

/// An open file.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) file: File,
    pub(super) length: u64,
    /// An `ETag`.
    pub(super) tag: String,
    pub(super) modified: Option<SystemTime>,
}

/// What a path leads to.
#[derive(Debug)]
pub(super) enum Found {
    File(Opened),
    Directory,
    Nothing,
}

impl Root {
    /// The directory must be there.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let directory = open(path, OFlag::O_DIRECTORY | OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
        Ok(Self { directory, tags: HashMap::new() })
    }

    /// Looks below the root. A link that leads out of it leads nowhere.
    pub(super) fn find(&mut self, path: &str) -> io::Result<Found> {
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let how =
            OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        let path = if path.is_empty() { "." } else { path };
        let file = match openat2(&self.directory, path, how) {
            Ok(file) => File::from(file),
            Err(Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM | Errno::EIO) => return Err(io::Error::last_os_error()),
            // Not there, not ours, too long, no directory, a link that leads out.
            Err(_) => return Ok(Found::Nothing),
        };
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Ok(Found::Directory);
        }
        if !metadata.is_file() {
            return Ok(Found::Nothing);
        }
        let tag = self.tag(&file, &metadata)?;
        let modified = metadata.modified().ok().filter(|time| *time > SystemTime::UNIX_EPOCH + FIRST_TIME);
        Ok(Found::File(Opened { file, length: metadata.len(), tag, modified }))
    }

    fn tag(&mut self, file: &File, metadata: &std::fs::Metadata) -> io::Result<String> {
        let identity = (metadata.ino(), metadata.dev(), metadata.len(), metadata.ctime(), metadata.ctime_nsec());
        if let Some(tag) = self.tags.get(&identity) {
            return Ok(tag.clone());
        }
        let mut hash = Sha256::new();
        if metadata.len() <= LARGEST_READ {
            let mut content = vec![0; usize::try_from(metadata.len()).unwrap_or_default()];
            file.read_exact_at(&mut content, 0)?;
            hash.update(content);
        } else {
            hash.update(format!("{identity:?}"));
        }
        let tag = hash.finalize()[..12].iter().fold("\"".to_owned(), |text, byte| text + &format!("{byte:02x}")) + "\"";
        if self.tags.len() >= MOST_TAGS {
            self.tags.clear();
        }
        self.tags.insert(identity, tag.clone());
        Ok(tag)
    }
}

/// A part of a file, or a short text, on its way to a client.
#[derive(Debug)]
pub(super) enum Content {
    Text(Bytes),
    Part { file: File, at: u64, left: u64 },
}

impl Body for Content {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let next = match &mut *self {
            Self::Text(text) => Ok(std::mem::take(text)),
            Self::Part { file, at, left } => read(file, at, left),
        };
        match next {
            Ok(bytes) if bytes.is_empty() => Poll::Ready(None),
            other => Poll::Ready(Some(other.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.size_hint().exact() == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match self {
            Self::Text(text) => text.len() as u64,
            Self::Part { left, .. } => *left,
        })
    }
}

/// The files are on a local disk, mostly in memory: waiting for one costs less than handing it to another thread.
fn read(file: &File, at: &mut u64, left: &mut u64) -> io::Result<Bytes> {
    let mut chunk = vec![0; usize::try_from(CHUNK.min(*left)).unwrap_or_default()];
    file.read_exact_at(&mut chunk, *at)?;
    *at += chunk.len() as u64;
    *left -= chunk.len() as u64;
    Ok(chunk.into())
}
