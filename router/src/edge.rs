//! What happens to one request.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use arc_swap::ArcSwap;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Version};
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

use crate::admit;
use crate::balance::{self, Choice};
use crate::body::{AnswerBody, BodyError, Incoming, RequestBody};
use crate::certificates::Certificates;
use crate::clock::Clock;
use crate::compress::{Packed, Wish};
use crate::head::{self, Asked, Client, Has, Malformed};
use crate::limits::Limits;
use crate::onward::{self, Onward};
use crate::page::{Form, Refusal};
use crate::queue::Patience;
use crate::request_id::{RequestIds, X_REQUEST_ID};
use crate::sight::{Seen, Sight};
use crate::switch::Switch;
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

/// A request as it has come. While an app works it lies where it was put first: requests that wait together are many, and what they touch
/// is not in the processor's caches any more when their answers come.
pub(crate) struct Heard {
    asked: Asked,
    body: RequestBody,
    switch: Option<Box<Switch>>,
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
        let clock = Clock::new(&limits);
        Self {
            shared,
            upstream: Upstream { limits, thread, clock },
            turn: AtomicUsize::new(0),
            ids: RequestIds::default(),
        }
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.upstream.limits
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.upstream.clock
    }

    /// What there is to know of a request before anybody is asked.
    pub(crate) fn hear(&self, client: &Client, mut request: Request<hyper::body::Incoming>) -> Heard {
        let has = Has::of(request.headers());
        let connect = request.method() == Method::CONNECT;
        let switch = if has.upgrade || connect { Switch::wanted(&mut request, || self.ids.make()) } else { None };
        let (mut parts, body) = request.into_parts();
        if parts.version == Version::HTTP_2 {
            onward::join_cookies(&mut parts.headers);
        }
        let body = RequestBody::new(body, has.expect, self.limits().stall);
        let behind = self.limits().proxies.behind(client, &parts.headers).map(Box::new);
        let id = if has.request_id { self.ids.of(&parts.headers) } else { self.ids.make() };
        Heard { asked: Asked { parts, has, id, behind }, body, switch: switch.map(Box::new) }
    }

    /// The app's answer, or a page that says why there is none, to what has come over the connection of this client.
    pub(crate) async fn answer(&self, client: &Client, heard: &mut Heard) -> Response<Seen> {
        let Heard { asked, body, switch } = heard;
        let mut sight = Sight::new();
        let body = std::mem::take(body);
        let passed = self.pass(asked.client(client), asked, body, switch.take(), &mut sight).await;
        finish(asked, passed, sight)
    }

    /// Closes connections to apps that have been idle for too long.
    pub(crate) fn sweep(&self) {
        let round = self.clock().now();
        for service in self.shared.table.load().hosts.values() {
            service.targets().iter().for_each(|target| target.pool().sweep(self.upstream.thread, round));
        }
    }

    async fn pass(
        &self,
        client: &Client,
        asked: &Asked,
        body: RequestBody,
        switch: Option<Box<Switch>>,
        sight: &mut Sight,
    ) -> Result<Response<AnswerBody>, Refusal> {
        let parts = &asked.parts;
        if let Some(answer) = self.proof(parts.uri.path()) {
            return Ok(answer);
        }
        let host = head::check(parts, asked.has).map_err(Refusal::Malformed)?;
        let service = self.service(&host)?;
        sight.asks(&service, asked, client);
        if let Some(redirect) = admit::redirect(&service, client, self.shared.https_port, &host, parts) {
            return Ok(redirect);
        }
        let place = admit::admit(&service, client, &parts.headers)?;
        if let Some(wake) = &service.wake {
            wake.asked();
        }
        let body = body.counted(&service.meter, service.settings.body);
        let wish = switch.as_ref().map(|switch| &switch.wanted);
        let mut onward = Onward::new(asked, client, body, &host, wish);
        onward.wanted = if service.settings.sticky { balance::wanted_by(&parts.headers) } else { None };
        let (service, mut response, mut lease) = self.send(service, &mut onward, sight).await?;
        lease.hold(place);
        sight.answered_by(lease.target());
        admit::promise(&service, client, response.headers_mut());
        balance::stick(&service, onward.wanted, lease.target(), client, response.headers_mut());
        self.relay(&service, response, lease, switch)
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
        mut service: Arc<Service>,
        onward: &mut Onward<'_>,
        sight: &mut Sight,
    ) -> Result<(Arc<Service>, Response<Incoming>, Lease), Refusal> {
        let mut patience = Patience::default();
        loop {
            let failed = match self.attempt(&service, onward, sight).await {
                Ok((response, lease)) => return Ok((service, response, lease)),
                Err(failed) => failed,
            };
            if !failed.again {
                return Err(self.refusal(&service, &failed.failure));
            }
            let drained = matches!(failed.failure, Failure::Drained);
            let again = (drained && patience.rereads()) || Box::pin(self.wait(&mut patience, &service, onward)).await;
            if !again {
                return Err(self.refusal(&service, &failed.failure));
            }
            service = self.service(onward.host())?;
        }
    }

    /// Waits until it is worth asking the service that is now at the host; at once, if it is another one than that which
    /// was asked. False if the request may not wait (any longer).
    async fn wait(&self, patience: &mut Patience, asked: &Arc<Service>, onward: &Onward<'_>) -> bool {
        let mut changed = pin!(self.shared.changed.notified());
        changed.as_mut().enable();
        let replaced = self.service(onward.host()).is_ok_and(|service| !Arc::ptr_eq(&service, asked));
        patience.wait(asked, changed, replaced).await
    }

    async fn attempt(
        &self,
        service: &Service,
        onward: &mut Onward<'_>,
        sight: &mut Sight,
    ) -> Result<(Response<Incoming>, Lease), Failed> {
        match &service.state {
            State::Unavailable(why) => Err(Failure::Unavailable(why.clone()).into()),
            State::Starting(why) => Err(Failed::unsent(Failure::Unavailable(why.clone()))),
            State::Serving(targets) => {
                let choice = Choice::new(self.turn.fetch_add(1, Ordering::Relaxed), onward.wanted);
                let sent = Instant::now();
                let outcome = self.upstream.send(targets, &choice, onward).await;
                sight.waited(sent);
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
        mut lease: Lease,
        switch: Option<Box<Switch>>,
    ) -> Result<Response<AnswerBody>, Refusal> {
        let garbled = || Refusal::Garbled { app: service.name.clone() };
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            if head::is_stream(response.headers()) {
                lease.lasts();
            }
            let misunderstood = switch.is_some_and(|switch| switch.wanted.misunderstands(response.status()));
            let answer = (!misunderstood).then(|| response.map(|body| AnswerBody::passing(body, lease)));
            return answer.ok_or_else(garbled);
        }
        let Switch { wanted, connection } = *switch.ok_or_else(garbled)?;
        let (mut parts, body) = response.into_parts();
        let (app, said) = body.into_switched().ok_or_else(garbled)?;
        wanted.agree(&mut parts.status, &mut parts.headers);
        self.shared.tunnels.spawn(tunnel::run(connection, app, said, lease.into_in_flight()));
        Ok(Response::from_parts(parts, AnswerBody::empty()))
    }
}

/// Makes the answer that the client gets, and watches it.
fn finish(asked: &mut Asked, passed: Result<Response<AnswerBody>, Refusal>, sight: Sight) -> Response<Seen> {
    let parts = &asked.parts;
    let mut response = passed.unwrap_or_else(|refusal| {
        if refusal.is_the_services() {
            sight.failed();
        }
        refusal.response(Form::wanted(&parts.headers), sight.pages())
    });
    if asked.has.upgrade && response.status() != StatusCode::SWITCHING_PROTOCOLS && head::ends_connection(parts) {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    let response = if sight.compresses() { Wish::of(parts).pack(response) } else { response.map(Packed::plain) };
    let id = std::mem::replace(&mut asked.id, HeaderValue::from_static(""));
    let mut response = sight.watch(response);
    response.headers_mut().insert(X_REQUEST_ID, id);
    response
}

/// What is wrong with a body that ended early.
fn body_refusal(error: Option<&BodyError>) -> Refusal {
    match error {
        Some(BodyError::Stalled(_)) => Refusal::Stalled,
        Some(BodyError::TooLong(most)) => Refusal::TooLong(*most),
        _ => Refusal::Malformed(Malformed::Body),
    }
}

/// A model of the queue, with a clock that is only moved by what is waited for.
#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use tokio::time::{Instant, sleep};

    use super::*;
    use crate::settings::{Queue, Settings};
    use crate::table::HostName;

    const APP: &str = "app";

    fn table(state: State, queue: Queue, meter: &Arc<crate::Meter>) -> Table {
        let settings = Settings { queue: Some(queue), ..Settings::default() };
        let service = Service { settings, meter: Arc::clone(meter), ..Service::new(APP, state) };
        Table { hosts: [(HostName::new(APP).unwrap(), Arc::new(service))].into() }
    }

    /// How long a request waits from its arrival until it is clear what comes of it, and what does.
    async fn ask(edge: &Edge, asked: &Asked, arrives: Duration) -> (Duration, &'static str) {
        sleep(arrives).await;
        let began = Instant::now();
        let client = Client::new(([192, 0, 2, 1], 5).into(), HeaderValue::from(80), HeaderValue::from_static("http"));
        let host = HeaderValue::from_static(APP);
        let mut onward = Onward::new(asked, &client, RequestBody::default(), &host, None);
        let mut sight = Sight::new();
        let service = edge.service(&host).unwrap();
        let outcome = match edge.send(service, &mut onward, &mut sight).await {
            Err(Refusal::Unavailable { why, .. }) if why == "up" => "up",
            Err(Refusal::Unavailable { .. }) => "down",
            _ => "neither",
        };
        (began.elapsed(), outcome)
    }

    fn paused() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
    }

    proptest! {
        /// A request that waits is sent the moment that the table has somebody for it: no wake-up is lost. It waits for no
        /// longer than it may, and no more wait than may.
        #[test]
        fn what_waits_is_told_at_once(
            up in 0_u64..3_000,
            arrivals in proptest::collection::vec(0_u64..3_000, 1..12),
            patience in 1_u64..2_000,
            places in 1_usize..12,
            swaps in proptest::collection::vec(0_u64..3_000, 0..6),
        ) {
            let (up, patience) = (Duration::from_millis(up), Duration::from_millis(patience));
            let queue = Queue { places, patience };
            let meter = Arc::<crate::Meter>::default();
            let down = || table(State::Starting("down".to_owned()), queue, &meter);
            let shared = Arc::new(Shared {
                table: Arc::new(ArcSwap::from_pointee(down())),
                changed: Arc::default(),
                certificates: None,
                https_port: None,
                tunnels: TaskTracker::new(),
            });
            let edge = Edge::new(Arc::clone(&shared), Limits::default(), 0);
            let (parts, ()) = Request::new(()).into_parts();
            let asked = Asked { parts, has: Has::default(), id: HeaderValue::from(1), behind: None };
            let swap = async |at: Duration, table: Table| {
                sleep(at).await;
                shared.table.store(Arc::new(table));
                shared.changed.notify_waiters();
            };
            let outcomes = paused().block_on(async {
                let asking = arrivals.iter().map(|at| ask(&edge, &asked, Duration::from_millis(*at)));
                // Others that change nothing for these, before the one that does.
                let others = swaps.iter().map(|at| Duration::from_millis(*at)).filter(|at| *at < up);
                let others = futures_util::future::join_all(others.map(|at| swap(at, down())));
                let answering = table(State::Unavailable("up".to_owned()), queue, &meter);
                let all = futures_util::future::join_all(asking);
                tokio::join!(all, others, swap(up, answering)).0
            });
            for (at, (waited, outcome)) in arrivals.iter().zip(outcomes) {
                let at = Duration::from_millis(*at);
                let needed = up.saturating_sub(at);
                match outcome {
                    "up" => prop_assert_eq!(waited, needed, "it was told at once"),
                    "down" if waited.is_zero() => {
                        let others = arrivals.iter().filter(|other| Duration::from_millis(**other) <= at).count() - 1;
                        prop_assert!(others >= places, "there was a place");
                    }
                    "down" => prop_assert!(waited == patience && needed >= patience, "it waited for as long as it might"),
                    _ => prop_assert!(false, "{outcome}"),
                }
            }
            prop_assert_eq!(meter.waiting(), 0);
        }
    }
}
