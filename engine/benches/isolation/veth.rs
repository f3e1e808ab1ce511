//! What engines of containers do as root: a pair of devices, and a masquerade by the host's packet filter. All of it is in
//! networks of this program's own, and gone with them.

use std::io;
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use nix::sched::{CloneFlags, unshare};

use crate::outbound::forget_closed_connections;

/// How a command is run, for what it prints.
type Run = fn(&mut Command) -> Result<String, String>;

/// A network behind such a pair, in the hands of a thread: what it starts is in there, too.
pub(crate) struct Veth {
    jobs: Sender<(Command, Run)>,
    printed: Receiver<Result<String, String>>,
}

const MASQUERADE: &str =
    "table ip bench { chain out { type nat hook postrouting priority 100; ip saddr 10.77.0.0/24 masquerade; }; }";

impl Veth {
    pub(crate) fn new() -> io::Result<Self> {
        let (jobs, theirs) = channel();
        let (tell, printed) = channel();
        let (here, there) = channel();
        thread::Builder::new().name("veth".to_owned()).spawn(move || {
            let entered = unshare(CloneFlags::CLONE_NEWNET).map_err(io::Error::from);
            let ready = entered.and_then(|()| forget_closed_connections()).map(|()| nix::unistd::gettid());
            let _ = here.send(ready);
            work(&theirs, &tell);
        })?;
        let network = there.recv().map_err(io::Error::other)??;
        ip(&format!("link add bench0 type veth peer name inside0 netns {network}"))?;
        ip("address add 10.77.0.1/24 dev bench0")?;
        ip("link set bench0 up")?;
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
        let veth = Self { jobs, printed };
        for line in ["link set lo up", "address add 10.77.0.2/24 dev inside0", "link set inside0 up"] {
            veth.ip_inside(line)?;
        }
        veth.ip_inside("route add default via 10.77.0.1")?;
        Ok(veth)
    }

    /// Runs a command in this network. The rules are there only for so long: with them the kernel keeps account of every
    /// connection, of the other ways', too.
    pub(crate) fn inside(&self, command: Command, how: Run) -> Result<String, String> {
        run("nft", &[MASQUERADE]).map_err(|error| error.to_string())?;
        let printed = self.run_inside(command, how);
        run("nft", &["delete table ip bench"]).map_err(|error| error.to_string())?;
        printed
    }

    fn run_inside(&self, command: Command, how: Run) -> Result<String, String> {
        self.jobs.send((command, how)).map_err(|error| error.to_string())?;
        self.printed.recv().map_err(|error| error.to_string())?
    }

    fn ip_inside(&self, line: &str) -> io::Result<()> {
        let mut command = Command::new("ip");
        command.args(line.split(' '));
        let run = |command: &mut Command| command.status().map(|_| String::new()).map_err(|error| error.to_string());
        self.run_inside(command, run).map(drop).map_err(io::Error::other)
    }
}

fn work(jobs: &Receiver<(Command, Run)>, printed: &Sender<Result<String, String>>) {
    for (mut command, run) in jobs {
        if printed.send(run(&mut command)).is_err() {
            return;
        }
    }
}

fn ip(line: &str) -> io::Result<()> {
    run("ip", &line.split(' ').collect::<Vec<_>>())
}

fn run(program: &str, arguments: &[&str]) -> io::Result<()> {
    let done = Command::new(program).args(arguments).output();
    let done = done.map_err(|error| io::Error::new(error.kind(), format!("{program}: {error}")))?;
    let error =
        || io::Error::other(format!("{program} {arguments:?}: {}", String::from_utf8_lossy(&done.stderr).trim()));
    done.status.success().then_some(()).ok_or_else(error)
}
