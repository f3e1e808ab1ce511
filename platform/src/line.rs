//! An app's builds stand in line: one builds, the others wait and are told for whom, and any of them can be taken out.
//!
//! A line is of this process alone: no place in it outlives a crash. What is told of it afterwards is in the store.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gitd::Output;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::failure::{Failure, Result};

/// Most that wait.
const MOST: usize = 16;

/// The line of one app.
#[derive(Debug, Default)]
pub struct Line {
    state: Mutex<State>,
    /// Told whenever somebody comes to the head, or is stopped.
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    head: Option<Arc<Job>>,
    waiting: VecDeque<Arc<Job>>,
}

/// What is to be done at the head of the line.
#[derive(Debug)]
pub struct Job {
    /// Its number among the app's builds; None for what is no build.
    pub number: Option<u32>,
    /// Who wants it: a key's name.
    pub actor: String,
    /// What it is: `Deploy 1a2b3c4`.
    pub what: String,
    /// It takes the place of others like it that still wait.
    pub newest: bool,
    /// Cancelled when it is to end.
    pub token: CancellationToken,
    /// Cancelled when it has left the line.
    pub left: CancellationToken,
    fate: Mutex<Fate>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Fate {
    Open,
    Stopped(Stop),
    Kept,
}

/// Why a job was taken out of the line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// By whom.
    Cancelled(String),
    /// By which newer one.
    Superseded(String),
}

impl From<Stop> for Failure {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Cancelled(by) => Self::plain(format!("cancelled by {by}")),
            Stop::Superseded(by) => Self::plain(format!("superseded by {by}")),
        }
    }
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.number {
            Some(number) => write!(f, "build {number} of {} ({})", self.actor, self.what),
            None => f.write_str("another change of this app"),
        }
    }
}

impl Job {
    /// A job that ends when `token` is cancelled.
    pub fn new(number: Option<u32>, actor: &str, what: impl Into<String>, token: CancellationToken) -> Self {
        let (actor, what, fate) = (actor.to_owned(), what.into(), Mutex::new(Fate::Open));
        Self { number, actor, what, newest: false, token, left: CancellationToken::new(), fate }
    }

    /// Why it was taken out, if it was.
    pub fn stopped(&self) -> Option<Stop> {
        match &*self.fate() {
            Fate::Stopped(stop) => Some(stop.clone()),
            Fate::Open | Fate::Kept => None,
        }
    }

    /// From here on nobody takes it out any more.
    pub fn keep(&self) -> Result<()> {
        let mut fate = self.fate();
        if let Fate::Stopped(stop) = &*fate {
            return Err(stop.clone().into());
        }
        *fate = Fate::Kept;
        Ok(())
    }

    /// False if it is too late.
    fn stop(&self, stop: Stop) -> bool {
        let mut fate = self.fate();
        if *fate == Fate::Kept {
            return false;
        }
        if *fate == Fate::Open {
            *fate = Fate::Stopped(stop);
        }
        self.token.cancel();
        true
    }

    fn fate(&self) -> MutexGuard<'_, Fate> {
        self.fate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in the line, left when it is dropped.
#[derive(Debug)]
pub struct Place {
    line: Arc<Line>,
    /// What for.
    pub job: Arc<Job>,
}

impl Line {
    /// Takes the last place; older ones that this one is the newest of will not get to the head.
    pub fn join(self: &Arc<Self>, job: Job) -> Result<Place> {
        let mut state = self.state();
        let others = state.waiting.iter().filter(|other| job.newest && other.newest);
        let superseded = others.filter(|other| other.stop(Stop::Superseded(job.to_string()))).count();
        if state.waiting.len() - superseded >= MOST {
            let remedy = "wait until one has ended: see `builds`, `builds:cancel`";
            return Err(Failure::new(format!("{MOST} builds of this app are waiting already"), remedy));
        }
        let job = Arc::new(job);
        state.waiting.push_back(job.clone());
        state.advance();
        Ok(Place { line: self.clone(), job })
    }

    /// The head of the line, if nobody stands in it.
    pub fn join_empty(self: &Arc<Self>, job: Job) -> Option<Place> {
        let mut state = self.state();
        if state.head.is_some() {
            return None;
        }
        let job = Arc::new(job);
        state.head = Some(job.clone());
        Some(Place { line: self.clone(), job })
    }

    /// Takes a build out: the one of this number, or the one at the head.
    pub fn cancel(&self, number: Option<u32>, by: &str) -> Result<Arc<Job>> {
        let state = self.state();
        let mut all = state.head.iter().chain(&state.waiting).filter(|job| job.number.is_some());
        let found = all.find(|job| number.is_none() || job.number == number).cloned();
        let none =
            || number.map_or_else(|| "nothing is being built".into(), |number| format!("build {number} is over"));
        let job = found.ok_or_else(|| Failure::new(none(), "see `builds` for what was"))?;
        if !job.stop(Stop::Cancelled(by.to_owned())) {
            return Err(Failure::new(format!("{job} is going live already"), "`rollback` takes it back"));
        }
        Ok(job)
    }

    fn leave(&self, job: &Arc<Job>) {
        let mut state = self.state();
        state.head.take_if(|head| Arc::ptr_eq(head, job));
        state.waiting.retain(|other| !Arc::ptr_eq(other, job));
        state.advance();
        drop(state);
        job.left.cancel();
        self.changed.notify_waiters();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Fills the head from those that wait and were not taken out.
    fn advance(&mut self) {
        if self.head.is_none()
            && let Some(next) = self.waiting.iter().position(|job| job.stopped().is_none())
        {
            self.head = self.waiting.remove(next);
        }
    }
}

impl Place {
    /// Waits for the head of the line, and says for whom.
    pub async fn head(&self, output: &Output) -> Result<()> {
        let mut told = None;
        loop {
            let changed = self.line.changed.notified();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            if let Some(stop) = self.job.stopped() {
                return Err(stop.into());
            }
            let head = self.line.state().head.clone();
            if let Some(head) = head {
                if Arc::ptr_eq(&head, &self.job) {
                    return Ok(());
                }
                let said = head.to_string();
                if told.as_ref() != Some(&said) {
                    output.line(&format!("-----> Waiting for {said} to finish")).await;
                    told = Some(said);
                }
            }
            if self.job.token.run_until_cancelled(changed).await.is_none() {
                return Err(self.job.stopped().map_or_else(|| Failure::plain("cancelled while waiting"), Into::into));
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.line.leave(&self.job);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(number: u32, newest: bool) -> Job {
        let what = format!("Deploy {number}");
        Job { newest, ..Job::new(Some(number), "alice", what, CancellationToken::new()) }
    }

    fn output() -> (Output, tokio::sync::mpsc::Receiver<Vec<u8>>) {
        Output::new(CancellationToken::new())
    }

    #[tokio::test]
    async fn one_after_the_other_and_each_is_told_for_whom() {
        let (line, (output, mut text)) = (Arc::new(Line::default()), output());
        let places: Vec<Place> = (1..4).map(|number| line.join(job(number, false)).unwrap()).collect();
        let [one, two, three] = places.try_into().unwrap();
        one.head(&output).await.unwrap();
        let last = tokio::spawn(async move { three.head(&output).await.map(|()| drop(three)) });
        let mut said = async || String::from_utf8(text.recv().await.unwrap()).unwrap();
        assert_eq!(said().await, "-----> Waiting for build 1 of alice (Deploy 1) to finish\n");
        drop(one);
        assert_eq!(said().await, "-----> Waiting for build 2 of alice (Deploy 2) to finish\n");
        assert!(!last.is_finished());
        drop(two);
        last.await.unwrap().unwrap();
        assert!(line.join_empty(job(9, false)).is_some());
    }

    #[tokio::test]
    async fn a_newer_one_supersedes_those_like_it_that_wait_and_nobody_else() {
        let (line, (output, _text)) = (Arc::new(Line::default()), output());
        let running = line.join(job(1, true)).unwrap();
        let (older, other) = (line.join(job(2, true)).unwrap(), line.join(job(3, false)).unwrap());
        let newer = line.join(job(4, true)).unwrap();
        let failed = older.head(&output).await.unwrap_err();
        assert_eq!(failed.message, "superseded by build 4 of alice (Deploy 4)");
        assert_eq!(running.job.stopped(), None);
        drop(running);
        other.head(&output).await.unwrap();
        drop(other);
        newer.head(&output).await.unwrap();
    }

    #[tokio::test]
    async fn whoever_is_taken_out_holds_nobody_up() {
        let (line, (output, _text)) = (Arc::new(Line::default()), output());
        let (one, two) = (line.join(job(1, false)).unwrap(), line.join(job(2, false)).unwrap());
        let three = line.join(job(3, false)).unwrap();
        assert_eq!(line.cancel(Some(2), "bob").unwrap().number, Some(2));
        drop(one);
        three.head(&output).await.unwrap();
        assert_eq!(two.head(&output).await.unwrap_err().message, "cancelled by bob");
        assert_eq!(line.cancel(None, "bob").unwrap().number, Some(3));
        assert!(three.job.token.is_cancelled());
        assert_eq!(three.job.keep().unwrap_err().message, "cancelled by bob");
        drop((two, three));
        assert_eq!(line.cancel(None, "bob").unwrap_err().message, "nothing is being built");
    }

    #[test]
    fn what_goes_live_is_not_cancelled() {
        let line = Arc::new(Line::default());
        let one = line.join(job(1, false)).unwrap();
        one.job.keep().unwrap();
        let refused = line.cancel(Some(1), "bob").unwrap_err();
        assert_eq!(refused.message, "build 1 of alice (Deploy 1) is going live already");
        assert!(!one.job.token.is_cancelled());
    }

    #[test]
    fn the_line_is_bounded() {
        let line = Arc::new(Line::default());
        let places: Vec<_> = (0..40).map(|number| line.join(job(number, false))).collect();
        assert_eq!(places.iter().filter(|place| place.is_ok()).count(), 1 + MOST);
    }
}
