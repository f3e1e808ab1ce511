//! The access log: the router's lines in an app's log, one for each request.
//!
//! The router's threads put records into a bounded queue and never wait; a task writes them. What comes faster than it can be
//! written is dropped, and counted in a line of its own. `router.log` is apart from `platform.log`, so that many requests
//! do not push out what is said about instances.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use router::Record;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::line::Line;
use super::note::append;
use crate::clock::timestamp;
use crate::names::Version;

/// Records that wait to be written: some megabytes if all of them are as long as they may be.
const QUEUE: usize = 4096;
/// Records written at once.
const BATCH: usize = 512;
/// Bound of one file.
const MAX_BYTES: u64 = 5 << 20;

/// How a request is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccessFormat {
    /// An object.
    Json,
    /// The Common Log Format of web servers, then the request's seconds, the app's, the instance and the request's id.
    Common,
}

/// Where and how requests are logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessTerms {
    /// The file.
    pub path: PathBuf,
    /// How.
    pub format: AccessFormat,
    /// The release that serves: of requests that no instance answered.
    pub version: Version,
}

/// The log of one app's requests.
#[derive(Debug)]
pub struct AccessLog {
    terms: AccessTerms,
    records: mpsc::Sender<Record>,
    dropped: Arc<AtomicU64>,
    closed: CancellationToken,
}

impl AccessLog {
    /// Opens it; a task of `tasks` writes until it is closed or nobody has it any more. What is dropped is counted in `dropped`.
    pub fn open(terms: AccessTerms, dropped: Arc<AtomicU64>, tasks: &TaskTracker) -> Arc<Self> {
        let (records, queue) = mpsc::channel(QUEUE);
        let closed = CancellationToken::new();
        let before = dropped.load(Ordering::Relaxed);
        tasks.spawn(write(terms.clone(), queue, (dropped.clone(), before), closed.clone()));
        Arc::new(Self { terms, records, dropped, closed })
    }

    /// Where and how it is written.
    pub fn terms(&self) -> &AccessTerms {
        &self.terms
    }

    /// What has been taken will be written, and nothing else.
    pub fn close(&self) {
        self.closed.cancel();
    }
}

impl router::Log for AccessLog {
    fn take(&self, record: Record) {
        if self.records.try_send(record).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

async fn write(
    terms: AccessTerms,
    mut queue: mpsc::Receiver<Record>,
    (dropped, mut told): (Arc<AtomicU64>, u64),
    closed: CancellationToken,
) {
    let mut batch = Vec::new();
    loop {
        let received = closed.run_until_cancelled(queue.recv_many(&mut batch, BATCH)).await;
        if received.is_none() {
            queue.close();
            while batch.len() < QUEUE
                && let Ok(record) = queue.try_recv()
            {
                batch.push(record);
            }
        }
        let dropped = dropped.load(Ordering::Relaxed);
        let lines = lines(&terms, &batch, dropped - told);
        told = dropped;
        batch.clear();
        let path = terms.path.clone();
        let written = tokio::task::spawn_blocking(move || append(&path, lines.as_bytes(), MAX_BYTES)).await;
        match written {
            // The app is being destroyed, or has another name.
            Ok(Err(error)) if error.kind() == ErrorKind::NotFound => {}
            Ok(Err(error)) => tracing::warn!(%error, log = %terms.path.display(), "writing an access log"),
            Ok(Ok(())) | Err(_) => {}
        }
        if received.is_none_or(|count| count == 0) {
            return;
        }
    }
}

fn lines(terms: &AccessTerms, records: &[Record], dropped: u64) -> String {
    let mut lines: String = records.iter().map(|record| terms.line(record)).collect();
    if dropped > 0 {
        let text = format!("{dropped} more requests: they came faster than they could be logged");
        lines.push_str(&Line::routers(&timestamp(Timestamp::now()), terms.version, &text));
    }
    lines
}

impl AccessTerms {
    fn line(&self, record: &Record) -> String {
        let time = Timestamp::try_from(record.time).unwrap_or_default();
        let (version, instance) = record.target.as_deref().and_then(|label| label.split_once(':')).unzip();
        let text = match self.format {
            AccessFormat::Json => json(record, time, instance),
            AccessFormat::Common => common(record, time, instance),
        };
        let version = version.and_then(|version| version.parse().ok()).unwrap_or(self.version);
        Line::routers(&timestamp(time), version, &text)
    }
}

#[derive(Serialize)]
struct Entry<'a> {
    time: String,
    client: String,
    method: &'a str,
    path: &'a str,
    protocol: &'a str,
    status: u16,
    bytes: u64,
    duration: f64,
    upstream: Option<f64>,
    instance: Option<&'a str>,
    request_id: &'a str,
}

fn json(record: &Record, time: Timestamp, instance: Option<&str>) -> String {
    let entry = Entry {
        time: timestamp(time),
        client: record.client.to_string(),
        method: &record.method,
        path: &record.path,
        protocol: record.protocol,
        status: record.status,
        bytes: record.bytes,
        duration: seconds(record.duration),
        upstream: record.upstream.map(seconds),
        instance,
        request_id: &record.id,
    };
    serde_json::to_string(&entry).unwrap_or_default()
}

/// Rounded to microseconds.
fn seconds(duration: std::time::Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e6
}

fn common(record: &Record, time: Timestamp, instance: Option<&str>) -> String {
    let Record { client, method, protocol, status, bytes, duration, id, .. } = record;
    let time = time.strftime("%d/%b/%Y:%H:%M:%S +0000");
    let path = record.path.replace('\\', "\\\\").replace('"', "\\\"");
    let upstream = record.upstream.map_or_else(|| "-".to_owned(), |time| format!("{:.6}", time.as_secs_f64()));
    let (duration, instance) = (duration.as_secs_f64(), instance.unwrap_or("-"));
    format!(
        "{client} - - [{time}] \"{method} {path} {protocol}\" {status} {bytes} {duration:.6} {upstream} {instance} {id}"
    )
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use router::Log;

    use super::*;

    fn record() -> Record {
        Record {
            time: SystemTime::UNIX_EPOCH + Duration::from_millis(1_800_000_000_123),
            client: "2001:db8::1".parse().unwrap(),
            method: "GET".to_owned(),
            path: "/a\"b\\c".to_owned(),
            protocol: "HTTP/2",
            status: 200,
            bytes: 5,
            duration: Duration::from_micros(12_345),
            upstream: Some(Duration::from_nanos(11_000_400)),
            target: Some("v3:web.2".to_owned()),
            id: "abc".to_owned(),
        }
    }

    fn terms(format: AccessFormat, path: PathBuf) -> AccessTerms {
        AccessTerms { path, format, version: Version(7) }
    }

    #[test]
    fn forms() {
        let refused = Record { status: 503, upstream: None, target: None, ..record() };
        for (format, expected) in [
            (
                AccessFormat::Json,
                [
                    r#"2027-01-15T08:00:00.123Z v3:router.1:router {"time":"2027-01-15T08:00:00.123Z","client":"2001:db8::1","method":"GET","path":"/a\"b\\c","protocol":"HTTP/2","status":200,"bytes":5,"duration":0.012345,"upstream":0.011,"instance":"web.2","request_id":"abc"}"#,
                    r#"2027-01-15T08:00:00.123Z v7:router.1:router {"time":"2027-01-15T08:00:00.123Z","client":"2001:db8::1","method":"GET","path":"/a\"b\\c","protocol":"HTTP/2","status":503,"bytes":5,"duration":0.012345,"upstream":null,"instance":null,"request_id":"abc"}"#,
                ],
            ),
            (
                AccessFormat::Common,
                [
                    r#"2027-01-15T08:00:00.123Z v3:router.1:router 2001:db8::1 - - [15/Jan/2027:08:00:00 +0000] "GET /a\"b\\c HTTP/2" 200 5 0.012345 0.011000 web.2 abc"#,
                    r#"2027-01-15T08:00:00.123Z v7:router.1:router 2001:db8::1 - - [15/Jan/2027:08:00:00 +0000] "GET /a\"b\\c HTTP/2" 503 5 0.012345 - - abc"#,
                ],
            ),
        ] {
            let terms = terms(format, PathBuf::new());
            let lines = [terms.line(&record()), terms.line(&refused)];
            assert_eq!(lines, expected.map(|line| format!("{line}\n")));
        }
    }

    #[tokio::test]
    async fn what_does_not_fit_is_dropped_and_counted() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("router.log");
        let tasks = TaskTracker::new();
        // Nothing is written before this test waits: there is one thread.
        let log = AccessLog::open(terms(AccessFormat::Common, path.clone()), Arc::default(), &tasks);
        for _ in 0..QUEUE + 3 {
            log.take(record());
        }
        log.close();
        tasks.close();
        tokio::time::timeout(Duration::from_secs(20), tasks.wait()).await.unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), QUEUE + 1);
        assert!(text.ends_with(" v7:router.1:router 3 more requests: they came faster than they could be logged\n"));
    }

    #[tokio::test]
    async fn it_ends_when_nobody_has_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("router.log");
        let tasks = TaskTracker::new();
        let log = AccessLog::open(terms(AccessFormat::Json, path.clone()), Arc::default(), &tasks);
        log.take(record());
        drop(log);
        tasks.close();
        tokio::time::timeout(Duration::from_secs(20), tasks.wait()).await.unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 1);
    }
}
