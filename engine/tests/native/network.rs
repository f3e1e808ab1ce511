//! The network of a sandbox, and the relay that connects it with the host's.

use std::fs;
use std::sync::Arc;

use engine::{Exit, Spec};

use crate::outside::{self, INTERNET};
use crate::world::{HOST_UID, World, cases, children, describe, root, until};

cases![a_network_of_its_own, ends_of_connections_out, many_connections_out, a_relay_without_privileges,];

fn python(world: &World, script: &str) -> Spec {
    let mut spec = world.spec("");
    spec.command.argv = ["/usr/bin/python3", "-c", script].map(str::to_owned).to_vec();
    spec
}

async fn says(world: &World, spec: &Spec) -> String {
    let seen = world.run(spec).await;
    assert_eq!((seen.exit, seen.stderr.as_str()), (Exit::Status(0), ""), "{}", seen.stdout);
    seen.stdout
}

async fn a_network_of_its_own(world: Arc<World>) {
    let script = "import os; print(os.listdir('/sys/class/net') if os.path.exists('/sys/class/net') else '-')
print([l.split(':')[0].strip() for l in open('/proc/net/dev') if ':' in l])
print(os.readlink('/proc/self/ns/net'))";
    let seen = says(&world, &python(&world, script)).await;
    let lines: Vec<&str> = seen.lines().collect();
    assert_eq!((lines[0], lines[1]), ("-", "['lo']"));
    assert_ne!(lines[2], fs::read_link("/proc/self/ns/net").unwrap().to_string_lossy());
}

/// Each side can say that it is done while the other goes on, and a large answer arrives whole.
async fn ends_of_connections_out(world: Arc<World>) {
    if !outside::there() {
        return;
    }
    let script = format!(
        "import hashlib, os, socket, threading
data=os.urandom(30_000_000); s=socket.create_connection(('{INTERNET}', 7))
def write(): s.sendall(data); s.shutdown(socket.SHUT_WR)
threading.Thread(target=write).start()
got=hashlib.sha256()
while True:
    b=s.recv(1<<16)
    if not b: break
    got.update(b)
print(got.digest()==hashlib.sha256(data).digest())"
    );
    assert_eq!(says(&world, &python(&world, &script)).await, "True\n");
}

async fn many_connections_out(world: Arc<World>) {
    if !outside::there() {
        return;
    }
    let script = format!(
        "import socket
from concurrent.futures import ThreadPoolExecutor as P
def ask(_):
    with socket.create_connection(('{INTERNET}', 7), 10) as s: s.sendall(b'hello'); return s.recv(100)
with P(50) as p: print(set(p.map(ask, range(1000))))
all=[socket.create_connection(('{INTERNET}', 7)) for _ in range(300)]
for s in all: s.sendall(b'a')
print({{s.recv(1) for s in all}})"
    );
    assert_eq!(says(&world, &python(&world, &script)).await, "{b'hello'}\n{b'a'}\n");
}

fn relays() -> Vec<u32> {
    children(std::process::id()).into_iter().filter(|pid| describe(*pid).contains("airstrip-relay")).collect()
}

async fn a_relay_without_privileges(world: Arc<World>) {
    world.launch("a", "exec sleep 86471").await;
    until(|| relays().len() == 1).await;
    let status = || fs::read_to_string(format!("/proc/{}/status", relays()[0])).unwrap();
    // Set up while the program starts already.
    until(|| status().contains("Seccomp:\t2")).await;
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert!(status().contains(&format!("{set}:\t0000000000000000\n")), "{}", status());
    }
    if root() {
        assert!(status().contains(&format!("Uid:\t{HOST_UID}\t{HOST_UID}\t{HOST_UID}\t{HOST_UID}\n")), "{}", status());
    }
}
