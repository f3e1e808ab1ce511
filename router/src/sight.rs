//! What is seen of one request, from its head to the last byte of its answer, and who is told.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Response, StatusCode, Version};

use crate::compress::{Broken, Packed};
use crate::head::{Asked, Client};
use crate::page::Pages;
use crate::table::Service;
use crate::target::Target;

const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// Most bytes of a path that are logged.
const PATH_BYTES: usize = 2048;

/// What is logged of a request whose client went away before it was answered.
const CLIENT_GONE: u16 = 499;

/// Is told of each request of a service after its end.
pub trait Log: Send + Sync + std::fmt::Debug + 'static {
    /// Takes a record, or drops it: this is called by a thread that serves requests, and must not wait.
    fn take(&self, record: Record);
}

/// One request and its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// When it ended.
    pub time: SystemTime,
    /// Who asked.
    pub client: IpAddr,
    /// `GET`.
    pub method: String,
    /// What was asked for, without the query: that may hold secrets. The beginning, if it is long.
    pub path: String,
    /// `HTTP/1.1`, as the client speaks it.
    pub protocol: &'static str,
    /// 499 if the client went away before it was answered.
    pub status: u16,
    /// Of the answer's body, as they were sent.
    pub bytes: u64,
    /// From the end of the request's head to the end of the answer.
    pub duration: Duration,
    /// How long the app took until the head of its answer; None if it was not asked.
    pub upstream: Option<Duration>,
    /// [Label](Target::label) of the target that answered, if one did.
    pub target: Option<String>,
    /// `X-Request-Id`.
    pub id: String,
}

/// What is seen of one request so far. It ends when this is dropped.
pub(crate) struct Sight {
    began: Instant,
    service: Option<Arc<Service>>,
    /// What only the log wants.
    logged: Option<Box<Logged>>,
    upstream: Option<Waited>,
    status: Option<StatusCode>,
    bytes: u64,
}

/// When an app was asked, and when the head of its answer had come.
#[derive(Clone, Copy)]
struct Waited {
    from: Instant,
    to: Instant,
}

impl Waited {
    fn time(self) -> Duration {
        self.to - self.from
    }
}

struct Logged {
    client: IpAddr,
    method: String,
    path: String,
    protocol: &'static str,
    target: Option<String>,
    id: String,
}

impl Sight {
    pub(crate) fn new() -> Self {
        Self { began: Instant::now(), service: None, logged: None, upstream: None, status: None, bytes: 0 }
    }

    /// Which service was asked, for what, and by whom.
    pub(crate) fn asks(&mut self, service: &Arc<Service>, Asked { parts, id, .. }: &Asked, client: &Client) {
        self.service = Some(Arc::clone(service));
        self.logged = service.log.is_some().then(|| {
            Box::new(Logged {
                client: client.ip,
                method: parts.method.to_string(),
                path: beginning(parts.uri.path()).to_owned(),
                protocol: protocol(parts.version),
                target: None,
                id: id.to_str().unwrap_or_default().to_owned(),
            })
        });
    }

    /// The service's own pages.
    pub(crate) fn pages(&self) -> Option<&Pages> {
        self.service.as_ref()?.pages.as_deref()
    }

    /// Whether the service wants its answers compressed.
    pub(crate) fn compresses(&self) -> bool {
        self.service.as_ref().is_some_and(|service| service.settings.compress)
    }

    /// The head of the app's answer has come, or it is clear that there is none.
    pub(crate) fn waited(&mut self, from: Instant) {
        self.upstream = Some(Waited { from, to: Instant::now() });
    }

    pub(crate) fn answered_by(&mut self, target: &Target) {
        if let Some(logged) = &mut self.logged {
            logged.target = Some(target.label().to_owned());
        }
    }

    /// The answer is ours, because the service has none.
    pub(crate) fn failed(&self) {
        if let Some(service) = &self.service {
            service.meter.counters().failed();
        }
    }

    /// Watches the answer to its end.
    pub(crate) fn watch(mut self, mut response: Response<Packed>) -> Response<Seen> {
        self.status = Some(response.status());
        if let Some(service) = &self.service {
            // What was done since then hardly counts.
            let now = self.upstream.map_or_else(Instant::now, |waited| waited.to);
            let after = now - self.began;
            service.meter.counters().answered(response.status(), after);
            if service.settings.server_timing
                && let Some(timing) = timing(after, self.upstream.map(Waited::time))
            {
                response.headers_mut().append(SERVER_TIMING, timing);
            }
        }
        response.map(|body| Seen { body, sight: self })
    }

    fn record(&self, logged: Logged) -> Record {
        Record {
            time: SystemTime::now(),
            client: logged.client,
            method: logged.method,
            path: logged.path,
            protocol: logged.protocol,
            status: self.status.map_or(CLIENT_GONE, |status| status.as_u16()),
            bytes: self.bytes,
            duration: self.began.elapsed(),
            upstream: self.upstream.map(Waited::time),
            target: logged.target,
            id: logged.id,
        }
    }
}

impl Drop for Sight {
    fn drop(&mut self) {
        let Some(service) = self.service.take() else { return };
        match self.status {
            Some(_) => service.meter.counters().sent(self.bytes),
            None => service.meter.counters().abandoned(),
        }
        if let (Some(log), Some(logged)) = (&service.log, self.logged.take()) {
            log.take(self.record(*logged));
        }
    }
}

/// The body of an answer, counted.
pub(crate) struct Seen {
    body: Packed,
    sight: Sight,
}

impl Body for Seen {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(data) = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()) {
            self.sight.bytes += data.len() as u64;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Besides what the app says of itself: a browser shows all of them.
fn timing(after: Duration, upstream: Option<Duration>) -> Option<HeaderValue> {
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    let app = upstream.map_or_else(String::new, |time| format!("app;dur={:.3}, ", millis(time)));
    let router = after.saturating_sub(upstream.unwrap_or_default());
    HeaderValue::try_from(format!("{app}router;dur={:.3}", millis(router))).ok()
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_10 => "HTTP/1.0",
        _ => "HTTP/1.1",
    }
}

fn beginning(path: &str) -> &str {
    let mut end = path.len().min(PATH_BYTES);
    while !path.is_char_boundary(end) {
        end -= 1;
    }
    &path[..end]
}
