//! What serves is replaced, moved, multiplied and killed under a load that never pauses, and no request is lost.
//!
//! `AIRSTRIP_TEST_STEADY` sets how many restarts and deaths there are, and a fifth of it how many deploys and rollbacks (5; the
//! figure of the long suite is 100).

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

/// Every request of this load may be asked twice: the router asks another instance.
#[test]
fn a_killed_instance_takes_no_request_with_it() {
    let server = Server::start();
    App::probe(server.client(), "blog").push().ok();
    server.client().airstrip("ps:scale blog web=6").ok();
    let load = Load::start(server.http, "blog.localhost", "/instance", 8);
    for round in 0..rounds() {
        let victim = wait_for_instance(server.client(), round);
        kill(victim, Signal::SIGKILL).unwrap();
        load.goes_on();
    }
    assert_none_lost(load, &format!("{} deaths", rounds()));
}

/// One of those that are up, when there are others.
fn wait_for_instance(client: &Client, number: usize) -> Pid {
    let mut up = Vec::new();
    wait_until("several instances are up", PATIENCE, || {
        let listed = client.airstrip("ps blog --json").ok().json();
        let listed = listed.as_array().unwrap().iter();
        up = listed.filter(|one| one["state"] == "up").map(|one| one["pid"].as_i64().unwrap()).collect();
        up.len() >= 3
    });
    Pid::from_raw(up[number % up.len()].try_into().unwrap())
}
