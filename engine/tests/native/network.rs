//! What reaches a sandbox, and what a sandbox reaches.

use std::fs;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use engine::{Egress, Engine, Exit, InstanceId, Spec};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::outside::{self, HOST, HOST6, INTERNET, INTERNET6, METADATA, NAME, PRIVATE, PRIVATE6};
use crate::world::{HOST_UID, World, children, describe, id, root, stories, until};

stories![
    a_network_of_its_own,
    connections_in,
    many_connections_in,
    listening_is_seen,
    connections_out,
    ends_of_connections_out,
    many_connections_out,
    datagrams_out,
    names,
    internal_names,
    the_other_version_of_ip,
    the_hosts_own_addresses_are_closed,
    private_ranges_are_closed_unless_wanted,
    nowhere,
    exceptions,
    a_relay_without_privileges,
    a_relay_that_ends_is_replaced,
    joined_programs_share_the_network,
    other_sandboxes_are_not_reached,
];

/// What every script below begins with: `attempt(address, port)` says how an attempt to connect ends.
const PRELUDE: &str = "
import errno, socket, sys, threading, time
def attempt(host, port, kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_INET, kind) as s:
        s.settimeout(10)
        try:
            s.connect((host, port))
            s.sendall(b'hello')
            return s.recv(100).decode()
        except OSError as error:
            return errno.errorcode.get(error.errno, str(error))
";

fn python(world: &World, script: &str) -> Spec {
    let mut spec = world.spec("");
    let script = format!("{PRELUDE}{script}");
    spec.command.argv = ["/usr/bin/python3", "-c", &script].map(str::to_owned).to_vec();
    spec
}

async fn says(world: &World, spec: &Spec) -> String {
    let seen = world.run(spec).await;
    assert_eq!((seen.exit, seen.stderr.as_str()), (Exit::Status(0), ""), "{}", seen.stdout);
    seen.stdout
}

/// Starts an instance with a server; `port` is a listener's.
async fn server(world: &World, name: &str, family: &str, at: &str) -> InstanceId {
    let script = format!(
        "s=socket.create_server(('{at}',5000), family=socket.{family}); print('ready', flush=True)
while True:
    c,_=s.accept(); c.sendall(c.recv(100).upper()); c.close()"
    );
    let id = id(name);
    world.engine.launch(&id, &python(world, &script), "").await.unwrap();
    world.logged("ready").await;
    id
}

async fn ask(world: &World, id: &InstanceId) -> String {
    let mut stream = world.engine.connect(id, 5000).await.unwrap();
    stream.write_all(b"hello").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
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

async fn connections_in(world: Arc<World>) {
    for (name, family, at) in
        [("four", "AF_INET", "127.0.0.1"), ("any", "AF_INET", "0.0.0.0"), ("six", "AF_INET6", "::1")]
    {
        let id = server(&world, name, family, at).await;
        assert_eq!(ask(&world, &id).await, "HELLO", "{at}");
        let refused = world.engine.connect(&id, 5001).await.unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused, "{at}");
        world.engine.stop(&id, Duration::ZERO).await.unwrap();
        world.engine.connect(&id, 5000).await.unwrap_err();
        world.engine.remove(&id).await.unwrap();
        fs::remove_file(world.path("log")).unwrap();
    }
}

async fn many_connections_in(world: Arc<World>) {
    let id = server(&world, "a", "AF_INET", "127.0.0.1").await;
    for _ in 0..10 {
        let asked = (0..50).map(|_| ask(&world, &id));
        assert!(futures_util::future::join_all(asked).await.iter().all(|answer| answer == "HELLO"));
    }
}

async fn listening_is_seen(world: Arc<World>) {
    let id = server(&world, "a", "AF_INET", "127.0.0.1").await;
    assert_eq!(world.engine.listening(&id).await.unwrap(), ["127.0.0.1:5000".parse().unwrap()]);
}

async fn connections_out(world: Arc<World>) {
    if !outside::there() {
        return;
    }
    let script = format!(
        "print(attempt('{INTERNET}', 7), attempt('{INTERNET}', 6), attempt('{INTERNET}', 8))
s=socket.create_connection(('{INTERNET}', 7))
print(s.getpeername(), s.getsockname()[0])"
    );
    let expected = format!("hello ECONNREFUSED ECONNRESET\n('{INTERNET}', 7) 10.0.2.100\n");
    assert_eq!(says(&world, &python(&world, &script)).await, expected);
}

/// Each side can say that it is done while the other goes on, and a large answer arrives whole.
async fn ends_of_connections_out(world: Arc<World>) {
    if !outside::there() {
        return;
    }
    let script = format!(
        "import hashlib, os
s=socket.create_connection(('{INTERNET}', 9)); s.sendall(b'x'*1000000); s.shutdown(socket.SHUT_WR); print(s.recv(100))
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
    assert_eq!(says(&world, &python(&world, &script)).await, "b'1000000'\nTrue\n");
}

async fn many_connections_out(world: Arc<World>) {
    if !outside::there() {
        return;
    }
    let script = format!(
        "from concurrent.futures import ThreadPoolExecutor as P
with P(50) as p: print(set(p.map(lambda _: attempt('{INTERNET}', 7), range(1000))))
all=[socket.create_connection(('{INTERNET}', 7)) for _ in range(300)]
for s in all: s.sendall(b'a')
print({{s.recv(1) for s in all}})"
    );
    assert_eq!(says(&world, &python(&world, &script)).await, "{'hello'}\n{b'a'}\n");
}

async fn datagrams_out(world: Arc<World>) {
    if !outside::there() {
        return;
    }
    let script = format!(
        "print(attempt('{INTERNET}', 7, socket.SOCK_DGRAM), attempt('{INTERNET}', 6, socket.SOCK_DGRAM), attempt('{}', 7, socket.SOCK_DGRAM))
s=socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(10)
for length in (0, 1, 1400, 9000, 60000):
    s.sendto(b'x'*length, ('{INTERNET}', 7)); data, sender = s.recvfrom(65536); print(len(data), sender)",
        HOST[0]
    );
    let lengths = [0, 1, 1400, 9000, 60_000].map(|length| format!("{length} ('{INTERNET}', 7)\n")).concat();
    let expected = format!("hello ECONNREFUSED EHOSTUNREACH\n{lengths}");
    assert_eq!(says(&world, &python(&world, &script)).await, expected);
}

async fn names(world: Arc<World>) {
    if !outside::there() || !outside::has_names() {
        return;
    }
    let script = format!(
        "print(socket.gethostbyname('{NAME}'), attempt('{NAME}', 7))
try: socket.gethostbyname('nobody.example')
except socket.gaierror as e: print(e.errno == socket.EAI_NONAME)"
    );
    assert_eq!(says(&world, &python(&world, &script)).await, format!("{INTERNET} hello\nTrue\n"));
}

async fn internal_names(world: Arc<World>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answering = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read_exact(&mut [0; 5]).await.unwrap();
        stream.write_all(b"shop").await.unwrap();
    });
    let script = format!(
        "print(attempt('shop.internal', 80), attempt('shop.internal', 81), attempt('127.0.0.1', {}))",
        address.port()
    );
    let spec = Spec { internal: Some(address), ..python(&world, &script) };
    assert_eq!(says(&world, &spec).await, "shop EHOSTUNREACH ECONNREFUSED\n");
    answering.await.unwrap();
}

async fn the_other_version_of_ip(world: Arc<World>) {
    if !outside::there() {
        return;
    }
    let script = format!(
        "import hashlib, os
def attempt6(host, port, kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_INET6, kind) as s:
        s.settimeout(10)
        try:
            s.connect((host, port)); s.sendall(b'hello'); return s.recv(100).decode()
        except OSError as error: return errno.errorcode.get(error.errno, str(error))
print(*[attempt6('{INTERNET6}', port) for port in (7, 6, 8)])
print(*[attempt6('{INTERNET6}', port, socket.SOCK_DGRAM) for port in (7, 6)])
print(*[attempt6(host, 7, kind) for host in ('{PRIVATE6}', '{HOST6}', '64:ff9b::a9fe:a9fe') for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM)])
s=socket.create_connection(('{INTERNET6}', 7))
data=os.urandom(3_000_000)
threading.Thread(target=lambda: (s.sendall(data), s.shutdown(socket.SHUT_WR))).start()
print(s.getpeername()[0], s.makefile('rb').read() == data)
s=socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); s.settimeout(10)
for length in (0, 1, 1400, 9000, 60000):
    s.sendto(b'x'*length, ('{INTERNET6}', 7)); print(len(s.recvfrom(65536)[0]), end=' ')"
    );
    let expected = format!(
        "hello ECONNREFUSED ECONNRESET\nhello ECONNREFUSED\n{}{INTERNET6} True\n0 1 1400 9000 60000 ",
        "EACCES EACCES EACCES EACCES EACCES EACCES\n"
    );
    assert_eq!(says(&world, &python(&world, &script)).await, expected);
}

/// Whether somebody listens there or not.
async fn the_hosts_own_addresses_are_closed(world: Arc<World>) {
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // Never anybody's, the host's, and the sandbox's own.
    let outside: &[&str] = if outside::there() { &[HOST[0], HOST[1], METADATA] } else { &[] };
    let closed =
        outside.iter().chain(&["169.254.0.9", "240.0.0.1"]).flat_map(|address| [(*address, port), (*address, 7)]);
    let own = ["127.0.0.1", "127.9.9.9", "0.0.0.0"].map(|address| (address, port));
    let expected: Vec<_> = closed.map(|at| (at, "EHOSTUNREACH")).chain(own.map(|at| (at, "ECONNREFUSED"))).collect();
    let script: Vec<_> =
        expected.iter().map(|((address, port), _)| format!("print(attempt('{address}', {port}))\n")).collect();
    let script = script.concat();
    let expected: Vec<_> = expected.iter().map(|(_, told)| format!("{told}\n")).collect();
    let expected = expected.concat();
    for egress in [Egress::Internet, Egress::Private] {
        let spec = Spec { egress, ..python(&world, &script) };
        assert_eq!(says(&world, &spec).await, expected, "{egress:?}");
    }
    listener.set_nonblocking(true).unwrap();
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

async fn private_ranges_are_closed_unless_wanted(world: Arc<World>) {
    if !outside::there() {
        return;
    }
    let script = format!("print(attempt('{PRIVATE}', 7), attempt('{PRIVATE}', 7, socket.SOCK_DGRAM))");
    let spec = python(&world, &script);
    assert_eq!(says(&world, &spec).await, "EHOSTUNREACH EHOSTUNREACH\n");
    let spec = Spec { egress: Egress::Private, ..spec };
    assert_eq!(says(&world, &spec).await, "hello hello\n");
}

async fn nowhere(world: Arc<World>) {
    let script = format!("print(attempt('{INTERNET}', 7), attempt('{PRIVATE}', 7), attempt('127.0.0.1', 7))");
    let spec = Spec { egress: Egress::None, ..python(&world, &script) };
    assert_eq!(says(&world, &spec).await, "ENETUNREACH ENETUNREACH ECONNREFUSED\n");
    let id = id("a");
    let spec = Spec { egress: Egress::None, ..world.spec("exec sleep 86470") };
    world.engine.launch(&id, &spec, "").await.unwrap();
    assert!(relays().is_empty());
}

async fn exceptions(world: Arc<World>) {
    if !outside::there() {
        return;
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let answering = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read_exact(&mut [0; 5]).await.unwrap();
        stream.write_all(b"index").await.unwrap();
    });
    let script = format!("print(attempt('{PRIVATE}', 7), attempt('{PRIVATE}', 9), attempt('127.0.0.1', {port}))");
    let mut spec = python(&world, &script);
    spec.egress_exceptions = vec![format!("{PRIVATE}:7").parse().unwrap(), ([127, 0, 0, 1], port).into()];
    assert_eq!(says(&world, &spec).await, "hello EHOSTUNREACH index\n");
    answering.await.unwrap();
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

async fn a_relay_that_ends_is_replaced(world: Arc<World>) {
    if !outside::there() {
        return;
    }
    let id = world.launch("a", "exec sleep 86472").await;
    until(|| relays().len() == 1).await;
    for _ in 0..2 {
        let old = relays()[0];
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(old.cast_signed()), nix::sys::signal::SIGKILL).unwrap();
        until(|| relays().first().is_some_and(|pid| *pid != old)).await;
        let spec = python(&world, &format!("print(attempt('{INTERNET}', 7))"));
        let seen = world.engine.exec(&id, &spec.command, None).await.unwrap();
        assert_eq!(crate::world::output(seen).await.stdout, "hello\n");
    }
}

async fn joined_programs_share_the_network(world: Arc<World>) {
    let id = server(&world, "a", "AF_INET", "127.0.0.1").await;
    let spec = python(&world, "print(attempt('127.0.0.1', 5000))");
    let seen = world.engine.exec(&id, &spec.command, None).await.unwrap();
    assert_eq!(crate::world::output(seen).await.stdout, "HELLO\n");
}

/// Neither by address nor by an abstract name.
async fn other_sandboxes_are_not_reached(world: Arc<World>) {
    let script =
        "s=socket.create_server(('0.0.0.0',5000)); u=socket.socket(socket.AF_UNIX); u.bind('\\0neighbour'); u.listen()
print('ready', flush=True)
time.sleep(86400)";
    world.engine.launch(&id("a"), &python(&world, script), "").await.unwrap();
    world.logged("ready").await;
    let script = "print(attempt('127.0.0.1', 5000), attempt('10.0.2.100', 5000), attempt('10.0.2.2', 1))
u=socket.socket(socket.AF_UNIX)
try: u.connect('\\0neighbour')
except ConnectionRefusedError: print('refused')";
    let seen = says(&world, &python(&world, script)).await;
    assert_eq!(seen, "ECONNREFUSED ECONNREFUSED EHOSTUNREACH\nrefused\n");
}
