//! Both bodies of an exchange on their way through.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, SizeHint};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::limits::LINGER;
use crate::meter::Meter;
use crate::upstream::{Answer, BodyBroken, Lease};

/// The body of an answer.
pub(crate) enum AnswerBody {
    /// One of our own pages.
    Page(Full<Bytes>),
    /// What the app sends.
    Passing(Passing),
}

/// An app's body, with its place in the target's count.
pub(crate) struct Passing {
    /// None: given back.
    incoming: Option<(Incoming, Lease)>,
    /// The end of the target's patience, listened to once something has to be waited for.
    cut: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    /// Why it ends early, until that is told.
    broken: Option<AnswerError>,
    ended: bool,
}

/// An app's body as it comes.
pub(crate) enum Incoming {
    /// With the connection it comes over.
    Http1(Answer),
    Http2(hyper::body::Incoming),
}

/// Why an answer breaks off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AnswerError {
    #[error(transparent)]
    Http1(#[from] BodyBroken),
    #[error(transparent)]
    Http2(#[from] hyper::Error),
    #[error("the instance was replaced, and the time to end is over")]
    Cut,
}

impl AnswerBody {
    pub(crate) fn page(text: Bytes) -> Self {
        Self::Page(Full::new(text))
    }

    pub(crate) fn empty() -> Self {
        Self::Page(Full::default())
    }

    pub(crate) fn passing(incoming: Incoming, lease: Lease) -> Self {
        Self::Passing(Passing { incoming: Some((incoming, lease)), cut: None, broken: None, ended: false })
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = AnswerError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        match self.get_mut() {
            Self::Page(page) => Pin::new(page).poll_frame(cx).map_err(|never| match never {}),
            Self::Passing(passing) => passing.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Page(page) => page.is_end_stream(),
            Self::Passing(passing) => passing.is_end(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Page(page) => page.size_hint(),
            Self::Passing(Passing { incoming: Some((incoming, _)), .. }) => incoming.size_hint(),
            Self::Passing(_) => SizeHint::with_exact(0),
        }
    }
}

impl Passing {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        if let Some(error) = self.broken.take() {
            return Poll::Ready(Some(Err(error)));
        }
        let frame = ready!(self.poll_uncut(cx));
        let Some(Err(error)) = frame else {
            self.ended |= frame.is_none();
            return Poll::Ready(frame);
        };
        // hyper throws away what it has not written when it is told of an error: let it write first.
        self.broken = Some(error);
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// What comes, unless the target is cut first.
    fn poll_uncut(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        let Some((incoming, lease)) = &mut self.incoming else { return Poll::Ready(None) };
        if let Poll::Ready(frame) = incoming.poll_frame(cx) {
            return Poll::Ready(frame);
        }
        let cut = self.cut.get_or_insert_with(|| Box::pin(lease.cut().clone().cancelled_owned()));
        cut.as_mut().poll(cx).map(|()| Some(Err(AnswerError::Cut)))
    }

    fn is_end(&self) -> bool {
        self.ended || self.incoming.as_ref().is_none_or(|(incoming, _)| incoming.is_end())
    }
}

impl Incoming {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        match self {
            Self::Http1(answer) => answer.poll_frame(cx).map_err(AnswerError::Http1),
            Self::Http2(incoming) => Pin::new(incoming).poll_frame(cx).map_err(AnswerError::Http2),
        }
    }

    fn is_end(&self) -> bool {
        match self {
            Self::Http1(answer) => answer.is_end(),
            Self::Http2(incoming) => incoming.is_end_stream(),
        }
    }

    /// The connection after a switch of protocols, and what has already come over it.
    pub(crate) fn into_switched(self) -> Option<(TcpStream, Bytes)> {
        match self {
            Self::Http1(answer) => answer.into_switched(),
            Self::Http2(_) => None,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(answer) => answer.size_hint(),
            Self::Http2(incoming) => incoming.size_hint(),
        }
    }
}

/// Only a body read to its end leaves a connection that another request may use; otherwise it closes here.
impl Drop for Passing {
    fn drop(&mut self) {
        if self.is_end()
            && let Some((incoming, lease)) = self.incoming.take()
        {
            lease.give_back(incoming);
        }
    }
}

/// The body of a request, as it is sent to the app. Most requests have none: they pay for a pointer.
#[derive(Default)]
pub(crate) struct RequestBody(Option<Box<Coming>>);

struct Coming {
    incoming: hyper::body::Incoming,
    /// The client waits for `100 Continue`, which hyper sends when the body is first read.
    expects: bool,
    stall: Duration,
    /// Most bytes that may come, and those that still may.
    limit: Option<(u64, u64)>,
    /// Counts the bytes that come.
    meter: Option<Arc<Meter>>,
    timer: Option<Pin<Box<Sleep>>>,
    progress: Progress,
}

/// Why a request's body ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("reading the request's body: {0}")]
    Client(#[from] hyper::Error),
    #[error("the client sent nothing of its body for {0:?}")]
    Stalled(Duration),
    #[error("the request's body is longer than {0} bytes")]
    TooLong(u64),
}

impl RequestBody {
    pub(crate) fn new(incoming: hyper::body::Incoming, expects: bool, stall: Duration) -> Self {
        if incoming.is_end_stream() {
            return Self::default();
        }
        let progress = Progress::new();
        Self(Some(Box::new(Coming { incoming, expects, stall, limit: None, meter: None, timer: None, progress })))
    }

    /// The same, counted by the service's meter, and of at most this many bytes.
    pub(crate) fn counted(mut self, meter: &Arc<Meter>, limit: Option<u64>) -> Self {
        if let Some(coming) = &mut self.0 {
            coming.limit = limit.map(|limit| (limit, limit));
            coming.meter = Some(Arc::clone(meter));
        }
        self
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// None if there is no body.
    pub(crate) fn progress(&self) -> Option<Progress> {
        self.0.as_ref().map(|coming| coming.progress.clone())
    }
}

impl Coming {
    /// An error, if this is more than may come.
    fn count(&mut self, frame: Option<&Result<Frame<Bytes>, hyper::Error>>) -> Option<BodyError> {
        let length = frame?.as_ref().ok()?.data_ref()?.len() as u64;
        if let Some(meter) = &self.meter {
            meter.counters().received(length);
        }
        let (limit, left) = self.limit.as_mut()?;
        match left.checked_sub(length) {
            Some(rest) => {
                *left = rest;
                None
            }
            None => Some(BodyError::TooLong(*limit)),
        }
    }

    /// Pending, unless nothing has come for too long.
    fn poll_stall(&mut self, cx: &mut Context<'_>) -> Poll<BodyError> {
        let stall = self.stall;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(stall)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(BodyError::Stalled(stall))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(coming) = &mut self.0 else { return Poll::Ready(None) };
        let polled = Pin::new(&mut coming.incoming).poll_frame(cx);
        coming.expects = false;
        let Poll::Ready(frame) = polled else { return coming.poll_stall(cx).map(|error| Some(Err(error))) };
        coming.timer = None;
        coming.progress.touch();
        if let Some(error) = coming.count(frame.as_ref()) {
            return Poll::Ready(Some(Err(error)));
        }
        if !matches!(frame, Some(Ok(_))) {
            self.0 = None;
        }
        Poll::Ready(frame.map(|frame| frame.map_err(BodyError::Client)))
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(|coming| coming.incoming.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(|| SizeHint::with_exact(0), |coming| coming.incoming.size_hint())
    }
}

/// What the app did not want is read and thrown away for a while, so that the client can read the answer.
impl Drop for RequestBody {
    fn drop(&mut self) {
        if let Some(coming) = self.0.take()
            && !coming.expects
            && !coming.incoming.is_end_stream()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(tokio::time::timeout(LINGER, discard(coming.incoming)));
        }
    }
}

async fn discard(mut body: hyper::body::Incoming) {
    while let Some(Ok(_)) = body.frame().await {}
}

/// When the last part of a request's body was passed on.
#[derive(Clone)]
pub(crate) struct Progress(Arc<Passed>);

struct Passed {
    began: Instant,
    /// Since then.
    millis: AtomicU64,
}

impl Progress {
    fn new() -> Self {
        Self(Arc::new(Passed { began: Instant::now(), millis: AtomicU64::new(0) }))
    }

    fn touch(&self) {
        let millis = u64::try_from(self.0.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.millis.store(millis, Ordering::Relaxed);
    }

    pub(crate) fn last(&self) -> Instant {
        self.0.began + Duration::from_millis(self.0.millis.load(Ordering::Relaxed))
    }
}
