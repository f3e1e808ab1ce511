//! What serves is replaced, moved, multiplied and killed under a load that never pauses, and no request is lost.
//!
//! `AIRSTRIP_TEST_STEADY` sets how many restarts and deaths there are, a fifth of it how many deploys and rollbacks, a tenth how
//! many upgrades of the server (5, with 3 upgrades; the figure of the long suite is 100).

use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::{App, Client, Load, PATIENCE, Server, wait_until};

fn rounds() -> usize {
    std::env::var("AIRSTRIP_TEST_STEADY").map_or(5, |count| count.parse().unwrap())
}

fn assert_none_lost(load: Load, during: &str) {
    let tally = load.stop();
    assert_eq!(tally.failures, Vec::<String>::new(), "{} were served during {during}", tally.served);
    eprintln!("{} requests during {during}", tally.served);
}

#[test]
fn restarts_lose_no_request() {
    let server = Server::start();
    App::probe(server.client(), "blog").push().ok();
    let load = Load::start(server.http, "blog.localhost", "/instance", 8);
    for _ in 0..rounds() {
        server.client().airstrip("restart blog").ok();
        load.goes_on();
    }
    assert_none_lost(load, &format!("{} restarts", rounds()));
}

#[test]
fn deploys_and_rollbacks_lose_no_request() {
    let server = Server::start();
    let app = App::probe(server.client(), "blog");
    app.push().ok();
    let load = Load::start(server.http, "blog.localhost", "/instance", 8);
    let rounds = rounds().div_ceil(5);
    for number in 0..rounds {
        app.push_file("message", number.to_string()).ok();
        load.goes_on();
        server.client().airstrip("rollback blog").ok();
        load.goes_on();
    }
    assert_none_lost(load, &format!("{rounds} deploys and as many rollbacks"));
}

#[test]
fn scaling_up_and_down_loses_no_request() {
    let server = Server::start();
    App::probe(server.client(), "blog").push().ok();
    let load = Load::start(server.http, "blog.localhost", "/instance", 8);
    for count in (2..=6).chain((1..6).rev()).chain([6, 1]) {
        server.client().airstrip(&format!("ps:scale blog web={count}")).ok();
        load.goes_on();
    }
    assert_none_lost(load, "scaling from 1 to 6 and back, twice");
}

/// The instances stay the same.
#[test]
fn upgrades_lose_no_request() {
    let mut server = Server::start();
    App::probe(server.client(), "blog").push().ok();
    server.client().airstrip("ps:scale blog web=2").ok();
    let before = up(server.client());
    let load = Load::start(server.http, "blog.localhost", "/instance", 8);
    let rounds = (rounds() / 10).max(3);
    for round in 1..=rounds {
        let daemon = server.daemon_pid();
        load.goes_on();
        server.upgrade().ok();
        assert_ne!(server.daemon_pid(), daemon);
        let now = up(server.client());
        assert!(
            now.iter().map(|one| one.1).eq(before.iter().map(|one| one.1)),
            "{before:?} {now:?} in upgrade {round}"
        );
    }
    load.goes_on();
    server.client().airstrip("restart blog").ok();
    assert_none_lost(load, &format!("{rounds} upgrades"));
    App::opened(server.client(), "blog").push_file("message", "two").ok();
    assert_eq!(server.http.get("blog.localhost", "/").ok().body, "two");
    server.wait_for_replaced();
}

/// One a second. Every request of this load may be asked twice: the router asks another instance.
#[test]
fn killed_instances_take_no_request_with_them() {
    let server = Server::start();
    App::probe(server.client(), "blog").push().ok();
    server.client().airstrip("ps:scale blog web=6").ok();
    let load = Load::start(server.http, "blog.localhost", "/instance", 8);
    for _ in 0..rounds() {
        let next = Instant::now() + Duration::from_secs(1);
        let victim = longest_up(server.client());
        kill(Pid::from_raw(victim.try_into().unwrap()), Signal::SIGKILL).unwrap();
        wait_until("the death is seen", PATIENCE, || up(server.client()).iter().all(|(_, pid)| *pid != victim));
        load.goes_on();
        sleep(next.saturating_duration_since(Instant::now()));
    }
    assert_none_lost(load, &format!("{} deaths", rounds()));
}

/// The one that has been up for longest, when there are others.
fn longest_up(client: &Client) -> i64 {
    let mut instances = Vec::new();
    wait_until("several instances are up", PATIENCE, || {
        instances = up(client);
        instances.len() >= 3
    });
    instances.into_iter().min().unwrap().1
}

/// Since when each instance is up, and its process. One that has just died has none.
fn up(client: &Client) -> Vec<(String, i64)> {
    let listed = client.airstrip("ps blog --json").ok().json();
    let up = listed.as_array().unwrap().iter().filter(|one| one["state"] == "up");
    up.filter_map(|one| Some((one["since"].as_str()?.to_owned(), one["pid"].as_i64()?))).collect()
}
