//! What happens to one request.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use arc_swap::ArcSwap;
use hyper::header::{self, HeaderValue};
use hyper::upgrade::OnUpgrade;
use hyper::{Request, Response, StatusCode, Version};
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

use crate::admit;
use crate::balance::{self, Choice};
use crate::body::{AnswerBody, BodyError, Incoming, RequestBody};
use crate::certificates::Certificates;
use crate::compress::{Packed, Wish};
use crate::head::{self, Client, Malformed};
use crate::limits::Limits;
use crate::page::{Form, Refusal};
use crate::queue::Patience;
use crate::request_id::{RequestIds, X_REQUEST_ID};
use crate::sight::{Seen, Sight};
use crate::table::{Service, State, Table};
use crate::tunnel;
use crate::upstream::{Failed, Failure, Lease, Upstream};

/// Where a certificate authority asks (RFC 8555, 8.3).
const CHALLENGES: &str = "/.well-known/acme-challenge/";

/// What all threads of a router see.
pub(crate) struct Shared {
    pub(crate) table: Arc<ArcSwap<Table>>,
    /// Told of each new one.
    pub(crate) changed: Arc<Notify>,
    /// They know the answers to a certificate authority's questions, too.
    pub(crate) certificates: Option<Arc<Certificates>>,
    /// Where HTTPS is spoken, if it is.
    pub(crate) https_port: Option<u16>,
    pub(crate) tunnels: TaskTracker,
}

/// One thread's view of the router.
pub(crate) struct Edge {
    shared: Arc<Shared>,
    upstream: Upstream,
    /// Counts requests, to rotate between equally loaded targets.
    turn: AtomicUsize,
    ids: RequestIds,
}

impl Edge {
    pub(crate) fn new(shared: Arc<Shared>, limits: Limits, thread: usize) -> Self {
        Self { shared, upstream: Upstream { limits, thread }, turn: AtomicUsize::new(0), ids: RequestIds::default() }
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.upstream.limits
    }

    /// The app's answer, or a page that says why there is none.
    pub(crate) async fn answer(&self, client: &Client, request: Request<hyper::body::Incoming>) -> Response<Seen> {
        let (form, wish) = (Form::wanted(request.headers()), Wish::of(&request));
        let last = request.version() != Version::HTTP_2 && head::ends_connection(request.headers());
        let mut sight = Sight::new(self.ids.of(request.headers()), client.ip);
        let passed = self.pass(client, request, &mut sight).await;
        let mut response = passed.unwrap_or_else(|refusal| refusal.response(form));
        if last && response.status() != StatusCode::SWITCHING_PROTOCOLS {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response.headers_mut().insert(X_REQUEST_ID, sight.id().clone());
        let response = if sight.compresses() { wish.pack(response) } else { response.map(Packed::plain) };
        sight.watch(response)
    }

    /// Closes connections to apps that have been idle for too long.
    pub(crate) fn sweep(&self) {
        for service in self.shared.table.load().hosts.values() {
            service.targets().iter().for_each(|target| target.pool().sweep(self.upstream.thread));
        }
    }

    async fn pass(
        &self,
        client: &Client,
        mut request: Request<hyper::body::Incoming>,
        sight: &mut Sight,
    ) -> Result<Response<AnswerBody>, Refusal> {
        if let Some(answer) = self.proof(request.uri().path()) {
            return Ok(answer);
        }
        let upgrade = head::wanted_upgrade(&request).map(|protocol| (protocol, hyper::upgrade::on(&mut request)));
        let (mut parts, body) = request.into_parts();
        let body = RequestBody::new(body, parts.headers.contains_key(header::EXPECT), self.limits().stall);
        let host = head::check(&parts).map_err(Refusal::Malformed)?;
        let service = self.service(&host)?;
        sight.asks(&service, &parts);
        if let Some(redirect) = admit::redirect(&service, client, self.shared.https_port, &host, &parts) {
            return Ok(redirect);
        }
        let place = admit::admit(&service, client, &parts.headers)?;
        let body = body.at_most(service.settings.body);
        let wanted = if service.settings.sticky { balance::wanted_by(&parts.headers) } else { None };
        let (protocol, upgrade) = upgrade.unzip();
        head::to_app(&mut parts, host.clone(), client, protocol);
        parts.headers.insert(X_REQUEST_ID, sight.id().clone());
        let request = Request::from_parts(parts, body);
        let (service, mut response, mut lease) = self.send(&host, service, wanted, request, sight).await?;
        lease.hold(place);
        sight.answered_by(lease.target());
        head::to_client(&mut response);
        admit::promise(&service, client, response.headers_mut());
        balance::stick(&service, wanted, lease.target(), client, response.headers_mut());
        self.relay(&service, response, lease, upgrade)
    }

    /// The answer to a certificate authority that asks whether a name is ours. It comes before everything else: there may
    /// be no service yet.
    fn proof(&self, path: &str) -> Option<Response<AnswerBody>> {
        let token = path.strip_prefix(CHALLENGES)?;
        let answer = self.shared.certificates.as_ref()?.key_authorization(token)?;
        Some(Response::new(AnswerBody::page(answer.into())))
    }

    /// The service at a host.
    fn service(&self, host: &HeaderValue) -> Result<Arc<Service>, Refusal> {
        let name = head::host_name(host).map_err(Refusal::Malformed)?;
        match self.shared.table.load().hosts.get(&*name) {
            Some(service) => Ok(Arc::clone(service)),
            None => Err(Refusal::UnknownHost(name.into_owned())),
        }
    }

    /// Sends to the service; reads the table again if it was replaced in between, or if the request may wait.
    async fn send(
        &self,
        host: &HeaderValue,
        mut service: Arc<Service>,
        wanted: Option<u64>,
        mut request: Request<RequestBody>,
        sight: &mut Sight,
    ) -> Result<(Arc<Service>, Response<Incoming>, Lease), Refusal> {
        let mut patience = Patience::default();
        loop {
            let mut changed = pin!(self.shared.changed.notified());
            changed.as_mut().enable();
            let failed = match self.attempt(&service, wanted, request, sight).await {
                Ok((response, lease)) => return Ok((service, response, lease)),
                Err(failed) => failed,
            };
            let Some(unsent) = failed.request else { return Err(self.refusal(&service, &failed.failure)) };
            let drained = matches!(failed.failure, Failure::Drained);
            let again = (drained && patience.rereads()) || patience.wait(&service, changed).await;
            if !again {
                return Err(self.refusal(&service, &failed.failure));
            }
            request = *unsent;
            service = self.service(host)?;
        }
    }

    async fn attempt(
        &self,
        service: &Service,
        wanted: Option<u64>,
        request: Request<RequestBody>,
        sight: &mut Sight,
    ) -> Result<(Response<Incoming>, Lease), Failed> {
        match &service.state {
            State::Unavailable(why) => Err(Failure::Unavailable(why.clone()).into()),
            State::Starting(why) => {
                Err(Failed { failure: Failure::Unavailable(why.clone()), request: Some(Box::new(request)) })
            }
            State::Serving(targets) => {
                let choice = Choice::new(self.turn.fetch_add(1, Ordering::Relaxed), wanted);
                let sent = Instant::now();
                let outcome = self.upstream.send(targets, &choice, request).await;
                sight.waited(sent.elapsed());
                service.meter.counters().retried(choice.retries());
                outcome
            }
        }
    }

    fn refusal(&self, service: &Service, failure: &Failure) -> Refusal {
        let app = service.name.clone();
        if !matches!(failure, Failure::Client(_) | Failure::Unavailable(_)) {
            tracing::warn!(app, %failure, "no answer");
        }
        match failure {
            Failure::Unavailable(why) => Refusal::Unavailable { app, why: why.clone() },
            Failure::Drained => Refusal::Unavailable { app, why: "it is being replaced".to_owned() },
            Failure::Connect(_) => Refusal::Unreachable { app },
            Failure::Closed(_) => Refusal::Silent { app },
            Failure::Garbled(_) => Refusal::Garbled { app },
            Failure::Client(_) => body_refusal(failure.of_body()),
            Failure::Late => Refusal::Late { app, seconds: self.limits().answer.as_secs() },
        }
    }

    /// Makes the app's answer ours: its body with the lease, or a tunnel if it switches protocols.
    fn relay(
        &self,
        service: &Service,
        response: Response<Incoming>,
        lease: Lease,
        upgrade: Option<OnUpgrade>,
    ) -> Result<Response<AnswerBody>, Refusal> {
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(response.map(|body| AnswerBody::passing(body, lease)));
        }
        let Some(upgrade) = upgrade else { return Err(Refusal::Garbled { app: service.name.clone() }) };
        let (parts, body) = response.into_parts();
        let Some((app, said)) = body.into_switched() else {
            return Err(Refusal::Garbled { app: service.name.clone() });
        };
        self.shared.tunnels.spawn(tunnel::run(upgrade, app, said, lease.into_in_flight()));
        Ok(Response::from_parts(parts, AnswerBody::empty()))
    }
}

/// What is wrong with a body that ended early.
fn body_refusal(error: Option<&BodyError>) -> Refusal {
    match error {
        Some(BodyError::Stalled(_)) => Refusal::Stalled,
        Some(BodyError::TooLong(most)) => Refusal::TooLong(*most),
        _ => Refusal::Malformed(Malformed::Body),
    }
}
