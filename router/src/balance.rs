//! Which of a service's targets a request goes to.
//!
//! Of two targets the one with fewer requests in flight (one of them in turn, the other by chance): nearly as even as
//! the fewest of all, and many threads that look at the same moment do not all choose the same one.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use hyper::header::{self, HeaderMap, HeaderValue};

use crate::head::Client;
use crate::table::Service;
use crate::target::{InFlight, Target};

/// The cookie that says which target a browser's requests go to.
const COOKIE: &str = "airstrip-instance";

/// What the choice depends on besides the targets.
pub(crate) struct Choice {
    /// Counts requests.
    pub(crate) turn: usize,
    /// The target that the client's cookie names.
    pub(crate) wanted: Option<u64>,
    /// How often another target was chosen after the first.
    retries: AtomicU64,
}

impl Choice {
    pub(crate) fn new(turn: usize, wanted: Option<u64>) -> Self {
        Self { turn, wanted, retries: AtomicU64::default() }
    }

    pub(crate) fn retries(&self) -> u64 {
        self.retries.load(Ordering::Relaxed)
    }
}

/// One of the targets that are not in `tried` and do not drain. Those that failed lately are asked only if there are no
/// others.
pub(crate) fn choose(targets: &[Arc<Target>], choice: &Choice, tried: &[usize]) -> Option<(usize, InFlight)> {
    if let [only] = targets {
        return if tried.contains(&0) { None } else { only.enter().map(|in_flight| (0, in_flight)) };
    }
    let left: Vec<usize> =
        (0..targets.len()).filter(|index| !tried.contains(index) && !targets[*index].is_draining()).collect();
    let index = wanted(targets, choice, &left).or_else(|| better(targets, choice.turn, left))?;
    match targets[index].enter() {
        Some(in_flight) => {
            if !tried.is_empty() {
                choice.retries.fetch_add(1, Ordering::Relaxed);
            }
            Some((index, in_flight))
        }
        // It began to drain just now.
        None => choose(targets, choice, tried),
    }
}

fn wanted(targets: &[Arc<Target>], choice: &Choice, left: &[usize]) -> Option<usize> {
    let wanted = choice.wanted?;
    let now = Instant::now();
    left.iter().copied().find(|index| tag(&targets[*index]) == wanted && targets[*index].circuit().admits(now))
}

/// Looks for a pair again as long as the better one of it does not admit.
fn better(targets: &[Arc<Target>], turn: usize, mut left: Vec<usize>) -> Option<usize> {
    let any = *left.get(turn % left.len().max(1))?;
    if left.len() == 1 {
        return Some(any);
    }
    let now = Instant::now();
    while !left.is_empty() {
        let place = better_of_two(targets, turn, &left);
        if targets[left[place]].circuit().admits(now) {
            return Some(left[place]);
        }
        left.remove(place);
    }
    Some(any)
}

fn better_of_two(targets: &[Arc<Target>], turn: usize, left: &[usize]) -> usize {
    let one = turn % left.len();
    let other = (one + 1 + scramble(turn) % left.len().saturating_sub(1).max(1)) % left.len();
    if targets[left[other]].in_flight() < targets[left[one]].in_flight() { other } else { one }
}

/// As good as chance here: the finalizer of splitmix.
fn scramble(turn: usize) -> usize {
    let mut bits = (turn as u64).wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    usize::try_from((bits ^ (bits >> 31)) >> 1).unwrap_or(turn)
}

/// The target that a request's cookie names.
pub(crate) fn wanted_by(headers: &HeaderMap) -> Option<u64> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let (_, value) = pairs.find(|(name, _)| *name == COOKIE)?;
    u64::from_str_radix(value, 16).ok()
}

/// Makes a browser come back to this target, if the service wants that and it did not come for it.
pub(crate) fn stick(service: &Service, wanted: Option<u64>, target: &Target, client: &Client, headers: &mut HeaderMap) {
    if service.settings.sticky
        && wanted != Some(tag(target))
        && let Some(cookie) = cookie(target, client.is_secure())
    {
        headers.append(header::SET_COOKIE, cookie);
    }
}

fn cookie(target: &Target, secure: bool) -> Option<HeaderValue> {
    let secure = if secure { "; Secure" } else { "" };
    HeaderValue::try_from(format!("{COOKIE}={:016x}; Path=/; HttpOnly; SameSite=Lax{secure}", tag(target))).ok()
}

/// Says which target this is, and nothing about it.
fn tag(target: &Target) -> u64 {
    let mut hasher = DefaultHasher::new();
    target.name().hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::time::Duration;

    use async_trait::async_trait;
    use proptest::prelude::*;
    use tokio::net::TcpStream;

    use super::*;
    use crate::Dial;

    struct Nowhere;

    #[async_trait]
    impl Dial for Nowhere {
        async fn dial(&self) -> io::Result<TcpStream> {
            Err(io::ErrorKind::NotConnected.into())
        }
    }

    fn targets(count: usize) -> Vec<Arc<Target>> {
        (0..count).map(|number| Arc::new(Target::new(format!("web.{number}"), Nowhere))).collect()
    }

    fn turn(turn: usize) -> Choice {
        Choice::new(turn, None)
    }

    #[test]
    fn requests_that_stay_are_spread_evenly() {
        let targets = targets(5);
        let held: Vec<_> = (0..1000).map(|number| choose(&targets, &turn(number), &[]).unwrap()).collect();
        for target in &targets {
            assert!((190..=210).contains(&target.in_flight()), "{}", target.in_flight());
        }
        drop(held);
    }

    #[test]
    fn a_slow_target_gets_less() {
        let targets = targets(3);
        let slow: Vec<_> = (0..20).map(|_| targets[0].enter().unwrap()).collect();
        let chosen = (0..1000).filter(|number| choose(&targets, &turn(*number), &[]).unwrap().0 == 0).count();
        assert_eq!(chosen, 0, "one of each pair is less busy");
        drop(slow);
    }

    #[test]
    fn one_that_fails_is_left_alone_unless_it_is_the_only_one() {
        let targets = targets(2);
        for _ in 0..10 {
            targets[0].circuit().failed(Instant::now());
        }
        assert!((0..100).all(|number| choose(&targets, &turn(number), &[]).unwrap().0 == 1));
        assert_eq!(choose(&targets, &turn(0), &[1]).unwrap().0, 0);
        assert_eq!(choose(&targets[..1], &turn(0), &[]).unwrap().0, 0);
    }

    #[test]
    fn a_cookie_leads_back_while_its_target_is_there() {
        let targets = targets(4);
        let set = cookie(&targets[2], true).unwrap();
        let text = set.to_str().unwrap();
        assert!(text.ends_with("; Path=/; HttpOnly; SameSite=Lax; Secure"), "{text}");
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, format!("a=b; {}", text.split(';').next().unwrap()).parse().unwrap());
        let wanted = wanted_by(&headers);
        assert_eq!(wanted, Some(tag(&targets[2])));
        let choice = |turn| Choice::new(turn, wanted);
        assert!((0..20).all(|number| choose(&targets, &choice(number), &[]).unwrap().0 == 2));
        assert_ne!(choose(&targets, &choice(0), &[2]).unwrap().0, 2);
    }

    proptest! {
        /// Whoever is left over is found, and nobody else.
        #[test]
        fn somebody_is_chosen_if_there_is_anybody(
            count in 0..6_usize, number: usize, tried in proptest::collection::vec(0..6_usize, 0..6), wanted: Option<u64>,
        ) {
            let targets = targets(count);
            let chosen = choose(&targets, &Choice::new(number, wanted), &tried);
            prop_assert_eq!(chosen.is_some(), (0..count).any(|index| !tried.contains(&index)));
            prop_assert!(chosen.is_none_or(|(index, _)| !tried.contains(&index)));
        }
    }

    /// What happens to a service.
    #[derive(Debug, Clone)]
    enum Event {
        Ask,
        /// One of those in flight ends.
        End(proptest::sample::Index),
        /// One of the targets is replaced.
        Replace(proptest::sample::Index),
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            6 => Just(Event::Ask),
            4 => any::<proptest::sample::Index>().prop_map(Event::End),
            1 => any::<proptest::sample::Index>().prop_map(Event::Replace),
        ]
    }

    /// A model: the targets of the table, those that drain, and what is in flight to each.
    #[derive(Default)]
    struct Model {
        table: Vec<Arc<Target>>,
        draining: Vec<(Arc<Target>, tokio::task::JoinHandle<()>)>,
        in_flight: Vec<InFlight>,
    }

    impl Model {
        fn to(&self, target: &Arc<Target>) -> usize {
            self.in_flight.iter().filter(|in_flight| Arc::ptr_eq(in_flight.target(), target)).count()
        }

        fn happen(&mut self, number: usize, event: &Event) {
            match event {
                // As if the table had been read before the last replacement.
                Event::Ask => {
                    let stale = self.draining.last().map(|(target, _)| Arc::clone(target));
                    let seen: Vec<_> = self.table.iter().cloned().chain(stale).collect();
                    let (index, in_flight) = choose(&seen, &turn(number), &[]).unwrap();
                    assert!(index < self.table.len(), "a target that drains was chosen");
                    self.in_flight.push(in_flight);
                }
                Event::End(one) if !self.in_flight.is_empty() => {
                    self.in_flight.swap_remove(one.index(self.in_flight.len()));
                }
                Event::End(_) => {}
                Event::Replace(one) => {
                    let new = Arc::new(Target::new("new", Nowhere));
                    let place = one.index(self.table.len());
                    let old = std::mem::replace(&mut self.table[place], new);
                    let draining = Arc::clone(&old);
                    let drain = tokio::spawn(async move { draining.drain(Duration::from_secs(3600)).await });
                    self.draining.push((old, drain));
                }
            }
        }

        /// All that is in flight is counted, and a drain has ended when nothing is, and not before.
        async fn holds(&self) {
            for _ in 0..4 {
                tokio::task::yield_now().await;
            }
            for target in &self.table {
                assert_eq!(target.in_flight(), self.to(target));
            }
            for (target, drain) in &self.draining {
                assert_eq!(target.in_flight(), self.to(target));
                assert_eq!(drain.is_finished(), self.to(target) == 0, "{} in flight", self.to(target));
            }
        }
    }

    proptest! {
        /// Whatever happens in whatever order: nothing goes to a target that drains, and no drain misses its end.
        #[test]
        fn a_drain_ends_when_the_last_one_does(count in 1_usize..5, events in proptest::collection::vec(event(), 0..60)) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            runtime.block_on(async {
                let mut model = Model { table: targets(count), ..Model::default() };
                for (number, event) in events.iter().enumerate() {
                    model.happen(number, event);
                    model.holds().await;
                }
                model.in_flight.clear();
                model.holds().await;
            });
        }

        /// Nobody is left out, however many there are and wherever the count of requests begins.
        #[test]
        fn nobody_starves(count in 1_usize..12, first in 0_usize..1_000_000, held in 0_usize..200) {
            let targets = targets(count);
            let asked = |number| choose(&targets, &turn(first + number), &[]).unwrap();
            let _held: Vec<_> = (0..held).map(asked).collect();
            // Each takes as many as its share, about: what is held is spread, and what ends at once goes round.
            let mut chosen = vec![0_usize; count];
            (held..held + 20 * count).for_each(|number| chosen[asked(number).0] += 1);
            let load: Vec<usize> = targets.iter().map(|target| target.in_flight()).collect();
            prop_assert!(load.iter().max().unwrap() - load.iter().min().unwrap() <= 3, "{load:?}");
            let least = *load.iter().min().unwrap();
            for (chosen, load) in chosen.iter().zip(&load) {
                prop_assert!(*chosen > 0 || *load > least, "none of {} for one that is least busy", 20 * count);
            }
        }
    }
}
