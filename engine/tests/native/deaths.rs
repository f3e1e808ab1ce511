//! Every order in which the processes of an instance, and the daemon that started it, can be killed.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use engine::native::Native;
use engine::{Engine, Exit};
use nix::sys::signal::Signal;

use crate::holder::Holder;
use crate::world::{World, alive, cases, children, describe, direct_children, id, send, until};

cases![every_order_of_deaths, deaths_that_have_been_noticed, a_daemon_killed_at_any_moment];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Daemon,
    Shim,
    Init,
    Relay,
    App,
}

use Role::{App, Daemon, Init, Relay, Shim};

const ROLES: [Role; 5] = [Daemon, Shim, Init, Relay, App];

/// Every sequence of up to `length` different roles.
fn orders(length: usize) -> Vec<Vec<Role>> {
    let Some(shorter) = length.checked_sub(1).map(orders) else { return vec![Vec::new()] };
    let longest = shorter.iter().filter(|order| order.len() == length - 1).flat_map(|order| {
        let rest = ROLES.iter().filter(|role| !order.contains(role));
        rest.map(|role| [order.as_slice(), &[*role]].concat())
    });
    shorter.iter().cloned().chain(longest.collect::<Vec<_>>()).collect()
}

/// What must come of it: `None` for an instance that lives on.
fn expected(order: &[Role]) -> Option<Vec<Exit>> {
    let end = order.iter().position(|role| ![Daemon, Relay].contains(role))?;
    let seen = Exit::Signal(9);
    // Whether a shim has written what it saw before it was killed itself is a matter of luck.
    Some(match order[end] {
        Shim => vec![Exit::Lost],
        _ if order[end..].contains(&Shim) => vec![seen, Exit::Lost],
        _ => vec![seen],
    })
}

/// An instance, the daemon that started it, and all their processes.
struct Cast {
    daemon: Option<Holder>,
    shim: u32,
    init: u32,
    relay: Option<u32>,
    app: u32,
    all: Vec<u32>,
}

impl fmt::Debug for Cast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.all.iter().filter(|pid| alive(**pid)).map(|pid| describe(*pid))).finish()
    }
}

fn relay_of(shim: u32) -> Option<u32> {
    direct_children(shim).into_iter().find(|pid| describe(*pid).contains("airstrip-relay"))
}

impl Cast {
    async fn start(world: &World) -> Self {
        let daemon = Holder::start(world, "launch");
        let init = world.engine.list().await.unwrap()[0].pid.unwrap();
        let all = children(daemon.pid());
        let shim = *all.iter().find(|pid| direct_children(**pid).contains(&init)).unwrap();
        let app = direct_children(init)[0];
        Self { shim, init, app, all, relay: relay_of(shim), daemon: Some(daemon) }
    }

    /// Kills one. With `settle` it waits until that has had its effect.
    async fn kill(&mut self, role: Role, settle: bool) {
        let pid = match role {
            Daemon => return self.daemon.take().unwrap().kill(),
            Shim => Some(self.shim),
            Init => Some(self.init),
            Relay => self.relay,
            App => Some(self.app),
        };
        if let Some(pid) = pid {
            send(pid, Signal::SIGKILL);
        }
        if settle && role != Relay {
            until(|| self.all.iter().all(|pid| !alive(*pid))).await;
        }
    }

    async fn lives_on(&self, world: &World) {
        assert!([self.shim, self.init, self.app].into_iter().all(alive), "{self:?}");
        assert_eq!(world.exec(&id("a"), "echo here").await.stdout, "here\n");
        if let Some(relay) = self.relay {
            until(|| relay_of(self.shim).is_some_and(|now| now != relay || alive(relay))).await;
        }
        assert_eq!(world.engine.stop(&id("a"), Duration::from_secs(20)).await.unwrap(), Exit::Signal(15));
    }
}

async fn tell(world: &World, order: &[Role], settle: bool) {
    let mut cast = Cast::start(world).await;
    for role in order {
        cast.kill(*role, settle).await;
    }
    match expected(order) {
        None => cast.lives_on(world).await,
        Some(exits) => {
            let exit = world.engine.wait(&id("a")).await.unwrap();
            assert!(exits.contains(&exit), "{order:?} ended with {exit:?}");
        }
    }
    until(|| !alive(cast.init) && !alive(cast.app)).await;
    let listed = world.engine.list().await.unwrap();
    assert!(listed.len() == 1 && listed[0].exit.is_some(), "{order:?}: {listed:?}");
    world.engine.remove(&id("a")).await.unwrap();
    let gone = tokio::time::timeout(Duration::from_secs(10), until(|| cast.all.iter().all(|pid| !alive(*pid))));
    assert!(gone.await.is_ok(), "{order:?} leaves {cast:?}");
    if let Some(daemon) = cast.daemon {
        daemon.kill();
    }
}

async fn every_order_of_deaths(world: Arc<World>) {
    let all = orders(3);
    assert_eq!(all.len(), 1 + 5 + 5 * 4 + 5 * 4 * 3);
    for order in all {
        tell(&world, &order, false).await;
    }
}

async fn deaths_that_have_been_noticed(world: Arc<World>) {
    for order in orders(2) {
        tell(&world, &order, true).await;
    }
}

/// What a launch that was cut off leaves is an instance that runs, or nothing. Of one-offs and joined programs nothing is left.
async fn a_daemon_killed_at_any_moment(world: Arc<World>) {
    let moments = (0..30).map(|number| (["keep launching", "keep attaching", "keep joining"][number % 3], number));
    for (what, moment) in moments.map(|(what, number)| (what, Duration::from_millis(number as u64 * 3))) {
        let holder = Holder::start(&world, what);
        tokio::time::sleep(moment).await;
        // It must start nothing while its children are counted.
        send(holder.pid(), Signal::SIGSTOP);
        until(|| describe(holder.pid()).contains(") T")).await;
        let all = children(holder.pid());
        holder.kill();
        if what == "keep joining" {
            // They end while the instance goes on.
            let listed = world.engine.list().await.unwrap();
            let first = listed[0].pid.unwrap();
            assert_eq!((listed.len(), listed[0].exit), (1, None));
            until(|| direct_children(first).len() == 1 && all.iter().filter(|pid| alive(**pid)).count() <= 4).await;
        }
        while !std::fs::read_dir(world.path("run")).unwrap().collect::<Vec<_>>().is_empty() {
            // A daemon's start removes what is half made.
            let again = Native::new(world.path("run")).unwrap();
            for left in again.list().await.unwrap() {
                let _ended_by_itself = again.stop(&left.id, Duration::from_secs(10)).await;
                let _went_by_itself = again.remove(&left.id).await;
            }
        }
        until(|| all.iter().all(|pid| !alive(*pid))).await;
    }
}
