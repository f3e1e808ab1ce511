//! What a server leaves behind: looked for when it is dropped, ended, and a failure of the story.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::Server;
use crate::harness::leftovers::{Found, processes_that_mention};
use crate::harness::reply::{run, wait};
use crate::harness::waiting::PATIENCE;

impl Server {
    /// Every process of the server but the daemon, and but commands given to it.
    pub fn processes(&self) -> Vec<Found> {
        let daemon = self.daemon.as_ref().map(|_| self.daemon_pid());
        let found = processes_that_mention(&self.mark()).into_iter().filter(|found| Some(found.pid) != daemon);
        found.filter(|found| self.first.as_ref().is_some_and(|first| found.is_not_older_than(first))).collect()
    }

    /// Every directory of the home that a deploy may make, for comparison. Git's own fan-out and caches do not count.
    pub fn directories(&self) -> Vec<String> {
        let mut find = Command::new("find");
        let ignored = ["*/objects/??", "*/cache", "*/data", "*/releases/v*/*", "*/layers/*/*"];
        find.current_dir(self.home()).arg(".").args(["-type", "d"]);
        for pattern in ignored {
            find.args(["-not", "-path", pattern, "-not", "-path", &format!("{pattern}/*")]);
        }
        let mut found: Vec<String> = run(&mut find, b"", PATIENCE).out().lines().map(str::to_owned).collect();
        found.sort();
        found
    }

    /// Ends everything the normal way, also when the daemon was ended before.
    fn end(&mut self) -> Result<(), String> {
        if self.daemon.is_none() {
            self.start_again();
        }
        let reply = self.stop_all();
        if reply.status == 0 { Ok(()) } else { Err(reply.to_string()) }
    }

    /// Kills what is left, and says what it was.
    fn sweep(&mut self) -> Vec<String> {
        if let Some(mut daemon) = self.daemon.take() {
            let _gone = daemon.kill();
            let _reaped = daemon.wait();
        }
        let mut left = Vec::new();
        let begin = Instant::now();
        loop {
            let processes = self.processes();
            if processes.is_empty() {
                break;
            }
            // What ends by itself just now is not left behind.
            if begin.elapsed() > Duration::from_secs(3) {
                left.extend(processes.iter().map(|found| format!("process {found}")));
                processes.iter().for_each(Found::kill);
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        left.extend(self.unmount());
        left.extend(entries(&self.scratch()).map(|path| format!("file {}", path.display())));
        left
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let failed = std::thread::panicking();
        if failed {
            eprintln!("--- the daemon's log\n{}---", self.log());
        }
        // A second panic while one is under way would abort the other stories.
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.end()));
        let left = self.sweep();
        if failed {
            eprintln!("--- left behind: {left:#?}");
            return;
        }
        assert!(matches!(ended, Ok(Ok(()))), "stop-all: {ended:?}\n{}", self.log());
        assert!(left.is_empty(), "left behind: {left:#?}");
    }
}

fn entries(directory: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path())
}

#[test]
fn what_is_left_behind_fails_the_story_and_is_ended() {
    let mut stray = None;
    let story = std::panic::AssertUnwindSafe(|| {
        let server = Server::start();
        stray = Some(Command::new("sleep").arg("86387").env("LEFT_BY", server.home()).spawn().unwrap());
    });
    assert!(std::panic::catch_unwind(story).is_err(), "the harness should notice a process that is left");
    wait(&mut stray.unwrap(), "sleep", PATIENCE);
}
