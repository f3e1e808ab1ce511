//! What runs beside the daemon is killed or stopped, and the machine is started anew. What becomes of the daemon's own
//! work is told in `crash`.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use nix::sys::signal::Signal;

use crate::harness::{App, Found, PATIENCE, Server, wait_until};

/// Processes of the apps themselves.
fn apps(server: &Server) -> Vec<Found> {
    server.processes().into_iter().filter(|found| found.command.contains(".py")).collect()
}

/// The shims of the instances that this daemon has started.
fn shims(server: &Server) -> Vec<Found> {
    let daemon = Found::of(server.daemon_pid().cast_unsigned()).unwrap();
    daemon.children().into_iter().filter(|found| found.command.starts_with("airstrip-shim")).collect()
}

fn descendants(process: &Found) -> Vec<Found> {
    let children = process.children();
    children.iter().flat_map(descendants).chain(children.iter().cloned()).collect()
}

/// Somebody who asks again and again, whoever answers.
struct Visitor {
    stop: Arc<AtomicBool>,
    /// Numbers of the requests that were answered.
    answered: Arc<AtomicUsize>,
    thread: JoinHandle<Vec<String>>,
}

impl Visitor {
    fn start(server: &Server) -> Self {
        let (http, stop, answered) = (server.http, Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (until, count) = (stop.clone(), answered.clone());
        let thread = std::thread::spawn(move || {
            let mut said = Vec::new();
            for number in 0.. {
                let text = format!("visit-{number}-made");
                match http.get("blog.localhost", &format!("/say?text={text}")).status {
                    200 => said.push(text),
                    // Nobody there, or the connection was cut.
                    0 => {}
                    status => panic!("answered with {status}"),
                }
                count.store(said.len(), Ordering::Relaxed);
                if until.load(Ordering::Relaxed) {
                    break;
                }
            }
            said
        });
        Self { stop, answered, thread }
    }

    /// Waits until more requests have been answered.
    fn is_served(&self) {
        let before = self.answered.load(Ordering::Relaxed);
        wait_until("requests are answered", PATIENCE, || self.answered.load(Ordering::Relaxed) > before + 5);
    }

    fn leave(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

const TICKER: &str = "import time\nfor number in range(10 ** 9):\n    print('tick', number)\n    time.sleep(0.005)\n";

#[test]
fn killed_under_load_the_daemon_is_missed_by_nobody_inside() {
    the_daemon_is_killed_under_load(&mut Server::start());
}

pub fn the_daemon_is_killed_under_load(server: &mut Server) {
    let app = App::probe(server.client(), "blog");
    app.write("ticker.py", TICKER);
    app.push_file("Procfile", "web: exec python -u server.py\nticker: exec python -u ticker.py\n").ok();
    server.client().airstrip("ps:scale blog ticker=1").ok();
    let before = apps(server);
    let visitor = Visitor::start(server);
    for _ in 0..3 {
        visitor.is_served();
        server.crash();
        server.start_again();
        assert_eq!(server.http.get("blog.localhost", "/").ok().body, "one", "once it is ready it serves");
    }
    visitor.is_served();
    let said = visitor.leave();
    assert_eq!(apps(server), before, "they are the same");
    let logs = server.client().airstrip("logs blog -n 1000000").ok().out();
    let texts: Vec<&str> = logs.lines().filter_map(|line| Some(line.split_once("]: ")?.1)).collect();
    let logged: BTreeSet<&str> = texts.iter().copied().collect();
    assert_eq!(said.iter().filter(|text| !logged.contains(text.as_str())).count(), 0, "what was served is logged");
    let ticks: Vec<usize> = texts.iter().filter_map(|text| text.strip_prefix("tick ")?.parse().ok()).collect();
    assert!(ticks.len() > 100 && ticks.iter().copied().eq(0..ticks.len()), "{} ticks with gaps", ticks.len());
}

#[test]
fn an_instance_whose_shim_is_killed_is_replaced() {
    a_shim_is_killed(&Server::start());
}

pub fn a_shim_is_killed(server: &Server) {
    App::probe(server.client(), "blog").push().ok();
    server.client().airstrip("ps:scale blog web=2").ok();
    let (before, old) = (apps(server), shims(server));
    assert_eq!(old.len(), 2);
    let dying = descendants(&old[0]);
    old[0].kill();
    wait_until("its instance ends", PATIENCE, || !dying.iter().any(Found::lives));
    for _ in 0..10 {
        assert_eq!(server.http.get("blog.localhost", "/").ok().body, "one", "the other one serves");
    }
    wait_until("another one is there", PATIENCE, || shims(server).len() == 2 && !old[0].lives());
    wait_until("both are up", PATIENCE, || {
        let listed = server.client().airstrip("ps blog --json").ok().json();
        listed.as_array().unwrap().iter().all(|one| one["state"] == "up")
    });
    let after = apps(server);
    assert_eq!(after.len(), before.len());
    assert_eq!(after.iter().filter(|found| before.contains(found)).count() * 2, before.len(), "the other one went on");
    let logs = server.client().airstrip("logs blog").ok().out();
    assert!(logs.contains("airstrip[web."), "{logs}");
}

/// A process that has nothing to do with the server, and the number that an instance had before.
struct Bystander(Child);

impl Bystander {
    fn new() -> Self {
        Self(Command::new("sleep").arg("86382").spawn().unwrap())
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

fn records(server: &Server) -> Vec<PathBuf> {
    fs::read_dir(server.home().join("run")).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn a_reboot() {
    the_machine_is_started_anew(&mut Server::start());
}

pub fn the_machine_is_started_anew(server: &mut Server) {
    let app = App::probe(server.client(), "blog");
    app.write("ticker.py", TICKER);
    app.push_file("Procfile", "web: exec python -u server.py\nticker: exec python -u ticker.py\n").ok();
    server.client().airstrip("ps:scale blog ticker=1").ok();
    App::probe(server.client(), "shop").push().ok();
    let (old, before, count) = (shims(server), records(server), apps(server).len());
    assert_eq!((old.len(), before.len()), (3, 3));
    server.crash();
    old.iter().for_each(Found::kill);
    wait_until("all have ended", PATIENCE, || apps(server).is_empty());
    let mut bystander = Bystander::new();
    for path in &before {
        assert!(path.join("control").exists(), "a reboot leaves sockets");
        let record = path.join("instance.json");
        let mut content: serde_json::Value = serde_json::from_slice(&fs::read(&record).unwrap()).unwrap();
        content["pid"] = bystander.0.id().into();
        content["boot"] = "5a5ec2ea-0000-4000-8000-000000000000".into();
        fs::write(&record, content.to_string()).unwrap();
    }
    fs::write(before[0].join("instance.json"), "").unwrap();
    server.start_again();
    for host in ["blog.localhost", "shop.localhost"] {
        wait_until("it serves again", PATIENCE, || server.http.get(host, "/").status == 200);
    }
    wait_until("all run again", PATIENCE, || apps(server).len() == count);
    wait_until("the old records are gone", PATIENCE, || {
        let now = records(server);
        now.len() == 3 && now.iter().all(|path| !before.contains(path))
    });
    assert!(bystander.0.try_wait().unwrap().is_none(), "it was killed for another's record");
}

#[test]
fn a_stopped_shim_keeps_nothing_else_from_starting() {
    a_shim_is_stopped(&mut Server::start());
}

pub fn a_shim_is_stopped(server: &mut Server) {
    App::probe(server.client(), "blog").push().ok();
    let [stopped] = &shims(server)[..] else { panic!("one instance has one shim") };
    App::probe(server.client(), "shop").push().ok();
    stopped.signal(Signal::SIGSTOP);
    server.crash();
    server.start_again();
    assert_eq!(server.http.get("shop.localhost", "/").ok().body, "one");
    assert!(stopped.lives());
    stopped.signal(Signal::SIGCONT);
    wait_until("it is reached again", PATIENCE, || server.http.get("blog.localhost", "/").status == 200);
    assert!(stopped.lives(), "it still is the same instance");
}
