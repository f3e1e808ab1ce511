//! Pushes and fetches of large histories: `cargo bench -p gitd --bench against_git [-- OBJECTS…]`.
//!
//! The client is always the real git on loopback; the servers are this crate, its SSH with a spawned git behind it, and, where it is
//! installed (`SSHD=PATH` names it elsewhere), OpenSSH with git; in turn, in one run. Medians. Then the memory that a push of 100 MB takes of this process, which is the first server.
#![expect(clippy::unwrap_used, reason = "a measurement fails by panicking")]
#![expect(clippy::print_stdout, reason = "the figures are the output")]
#![expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "the figures are small")]

#[path = "against_git/history.rs"]
mod history;
#[path = "against_git/servers.rs"]
mod servers;

use std::path::{Path, PathBuf};
use std::time::Instant;

use history::{git, make, make_large, run};
use servers::{Peer, Servers};

const ROUNDS: usize = 3;
const TINY: usize = 15;
const COMMITS: usize = 300;

fn main() {
    let home = tempfile::tempdir().unwrap();
    let servers = Servers::start(home.path());
    let sizes: Vec<usize> = std::env::args().filter_map(|word| word.parse().ok()).collect();
    for objects in if sizes.is_empty() { vec![50_000, 200_000] } else { sizes } {
        println!("\n{objects} objects");
        measure(home.path(), &servers.peers, objects);
    }
    memory(home.path(), &servers.peers[0]);
}

fn measure(home: &Path, peers: &[Peer], objects: usize) {
    let bench = Bench { home: home.to_owned(), source: home.join(format!("source-{objects}")), objects };
    make(&bench.source, objects);
    in_turn("push of everything", "s", peers, ROUNDS, |peer, round| bench.push(peer, round));
    in_turn("clone", "s", peers, ROUNDS, |peer, round| bench.clone(peer, round));
    let fetched = |peer: &Peer, round| bench.fetch(peer, round);
    in_turn(&format!("fetch of {COMMITS} commits"), "s", peers, ROUNDS, |peer, round| fetched(peer, round).0);
    in_turn("its pack", "KiB", peers, 1, |peer, _| fetched(peer, ROUNDS).1);
    in_turn("push of one commit", "ms", peers, TINY, |peer, round| 1000.0 * bench.tiny(peer, round));
}

/// Prints each one's median, and the others' in terms of the first's.
fn in_turn(what: &str, unit: &str, peers: &[Peer], rounds: usize, one: impl Fn(&Peer, usize) -> f64) {
    let mut figures = vec![Vec::new(); peers.len()];
    for round in 0..rounds {
        for (peer, figures) in peers.iter().zip(&mut figures) {
            figures.push(one(peer, round));
        }
    }
    let medians: Vec<f64> = figures.iter_mut().map(|figures| median(figures)).collect();
    let shown = peers
        .iter()
        .zip(&medians)
        .map(|(peer, median)| format!("{} {median:.2} {unit} (airstrip: {:.2} of it)", peer.name, medians[0] / median));
    println!("{what}: {}", shown.collect::<Vec<_>>().join(", "));
}

struct Bench {
    home: PathBuf,
    source: PathBuf,
    objects: usize,
}

impl Bench {
    fn push(&self, peer: &Peer, round: usize) -> f64 {
        peer.make(&self.name(round));
        let url = peer.url(&self.name(round));
        timed(
            git(&self.source)
                .args(["push", "-q", &peer.receive_pack(), &url, "main"])
                .env("GIT_SSH_COMMAND", peer.ssh()),
        )
    }

    fn clone(&self, peer: &Peer, round: usize) -> f64 {
        let (to, url) = (self.home.join("clone"), peer.url(&self.name(round)));
        let mut command = git(&self.home);
        command.args(["clone", "-q", "--bare", &peer.upload_pack(), &url]).arg(&to);
        let time = timed(command.env("GIT_SSH_COMMAND", peer.ssh()));
        std::fs::remove_dir_all(to).unwrap();
        time
    }

    /// Seconds, and KiB.
    fn fetch(&self, peer: &Peer, round: usize) -> (f64, f64) {
        let (to, trace) = (self.home.join("old"), self.home.join("trace"));
        let begin = format!("main~{COMMITS}:refs/heads/main");
        run(git(&self.home).args(["init", "-q", "--bare", "-b", "main"]).arg(&to));
        run(git(&self.source).args(["push", "-q"]).arg(&to).arg(begin));
        let url = peer.url(&self.name(round % ROUNDS));
        let mut command = git(&to);
        command.args(["-c", "transfer.unpackLimit=1", "fetch", "-q", &peer.upload_pack(), &url, "main"]);
        command.env("GIT_SSH_COMMAND", peer.ssh());
        if round == ROUNDS {
            command.env("GIT_TRACE_PACKFILE", &trace);
        }
        let time = timed(&mut command);
        let size = std::fs::metadata(&trace).map_or(0, |metadata| metadata.len());
        let _no_trace = std::fs::remove_file(&trace);
        std::fs::remove_dir_all(to).unwrap();
        (time, size as f64 / 1024.0)
    }

    /// From the client's start to its end.
    fn tiny(&self, peer: &Peer, round: usize) -> f64 {
        let made = git(&self.source)
            .args(["commit-tree", "-p", "main", "-m"])
            .arg(format!("{round}"))
            .arg("main^{tree}")
            .output();
        let commit = String::from_utf8(made.unwrap().stdout).unwrap();
        let to = format!("{}:refs/heads/main", commit.trim());
        let url = peer.url(&self.name(0));
        timed(
            git(&self.source).args(["push", "-qf", &peer.receive_pack(), &url, &to]).env("GIT_SSH_COMMAND", peer.ssh()),
        )
    }

    fn name(&self, round: usize) -> String {
        format!("{}-{round}.git", self.objects)
    }
}

/// What a push of 100 MB adds to the most that this process has had of memory.
fn memory(home: &Path, peer: &Peer) {
    let source = home.join("large");
    make_large(&source, 100);
    // The most is from now on.
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = status("VmHWM:");
    let time =
        timed(git(&source).args(["push", "-q", &peer.url("large.git"), "main"]).env("GIT_SSH_COMMAND", peer.ssh()));
    let more = status("VmHWM:") - before;
    println!("\npush of 100 MB: {time:.2} s, {:.0} MB of memory above idle", more / 1024.0);
}

fn status(name: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn timed(command: &mut std::process::Command) -> f64 {
    let start = Instant::now();
    run(command);
    start.elapsed().as_secs_f64()
}

fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
