//! What the engine knows of its instances: it keeps no list. The run directory has a directory of each, and whether one lives
//! its shim says, by being there.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use nix::sys::signal::Signal;

use super::cgroup::Bounds;
use super::channel::{self, Channel};
use super::protocol::{Reply, Request};
use super::record::{self, Record};
use super::{ANSWER_LIMIT, BUSY_PAUSE, Native, doing, sys};
use crate::{EngineError, Exit, InstanceId, Listed};

impl Native {
    /// Removes what launches left that an earlier daemon did not live to see through.
    pub(super) fn sweep(&self) -> io::Result<()> {
        for id in self.ids()? {
            let dir = self.dir(&id);
            if Record::read(&dir)?.is_none() && !channel::has_shim(&dir)? {
                fs::remove_dir_all(dir)?;
            }
        }
        Ok(())
    }

    /// The names of all directories that can be an instance's.
    pub(super) fn ids(&self) -> io::Result<Vec<InstanceId>> {
        let mut ids = Vec::new();
        for entry in fs::read_dir(&self.run_dir)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                ids.extend(entry.file_name().into_string().ok().and_then(|name| InstanceId::new(name).ok()));
            }
        }
        Ok(ids)
    }

    /// The socket of the instance's shim; `None` if the instance has ended.
    pub(super) async fn shim(&self, id: &InstanceId) -> Result<Option<Channel>, EngineError> {
        let dir = self.dir(id);
        if !dir.exists() {
            return Err(EngineError::Unknown(id.clone()));
        }
        let begin = Instant::now();
        loop {
            match Channel::connect(&dir) {
                // So many call at the same time that it has not got round to all of them.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && begin.elapsed() < ANSWER_LIMIT => {
                    tokio::time::sleep(BUSY_PAUSE).await;
                }
                connected => return connected.map_err(doing("reach the shim in", &dir)),
            }
        }
    }

    /// Pid of the first process, and the namespaces, of a running instance.
    pub(super) async fn find(&self, id: &InstanceId) -> Result<(i32, Vec<OwnedFd>), EngineError> {
        let dir = self.dir(id);
        let gone = || EngineError::NotRunning(id.clone());
        let shim = self.shim(id).await?.ok_or_else(gone)?;
        shim.send(Request::Find).map_err(|_| gone())?;
        let answer = tokio::time::timeout(ANSWER_LIMIT, shim.receive::<Reply>()).await;
        let answer = answer.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        match answer.map_err(doing("ask the shim in", &dir))? {
            Some((Reply::Running { pid }, namespaces)) => Ok((pid, namespaces)),
            _ => Err(gone()),
        }
    }

    /// What everything in the instance is held to.
    pub(super) fn bounds(&self, id: &InstanceId) -> Result<Bounds, EngineError> {
        let dir = self.dir(id);
        Bounds::read(&dir).map_err(doing("read the limits in", &dir))
    }

    /// The end of an instance that has no shim any more.
    pub(super) async fn ended(&self, id: &InstanceId) -> Result<Exit, EngineError> {
        let dir = self.dir(id);
        let failed = || doing("read", &dir);
        if let Some(exit) = record::read_exit(&dir).map_err(failed())? {
            return Ok(exit);
        }
        let record = Record::read(&dir).map_err(failed())?.ok_or_else(|| EngineError::Unknown(id.clone()))?;
        if let Some(pid) = record.living() {
            // Its shim was killed and the kernel is about to end it, once it is thawed; see it through.
            let _ = self.bounds(id)?.group.thaw();
            if let Ok(pidfd) = sys::open_pidfd(pid) {
                let _ = sys::signal_pidfd(pidfd.as_fd(), Signal::SIGKILL);
                let ended = sys::watch(pidfd).map_err(failed())?;
                let _ = ended.readable().await.map_err(failed())?;
            }
        }
        Ok(Exit::Lost)
    }

    /// One line of the list; `None` for what has gone meanwhile, or was never started.
    pub(super) async fn listed(&self, id: InstanceId) -> Result<Option<Listed>, EngineError> {
        let dir = self.dir(&id);
        let failed = || doing("read", &dir);
        let Some(record) = Record::read(&dir).map_err(failed())? else { return Ok(None) };
        // No shim is asked: one that somebody has stopped must not keep the others from being listed.
        let ended = record::read_exit(&dir).map_err(failed())?.is_some();
        let (pid, exit) = if !ended && channel::has_shim(&dir).map_err(failed())? {
            (record.pid(), None)
        } else {
            match self.ended(&id).await {
                Ok(exit) => (None, Some(exit)),
                Err(EngineError::Unknown(_)) => return Ok(None),
                Err(error) => return Err(error),
            }
        };
        Ok(Some(Listed { id, labels: record.labels, pid, exit, started_at_ms: record.started_at_ms }))
    }
}
