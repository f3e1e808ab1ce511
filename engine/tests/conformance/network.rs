//! What a sandbox reaches. Each script is run as a one-off, in an instance, and beside an instance's program.

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use engine::{Egress, Exit, Spec};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::outside::{self, HOST, HOST6, INTERNET, INTERNET6, METADATA, NAME, PRIVATE, PRIVATE6};
use crate::world::{World, cases, id, until};

cases![
    connections_out,
    datagrams_out,
    names,
    the_other_version_of_ip,
    the_hosts_own_addresses_are_closed,
    private_ranges_are_closed_unless_wanted,
    nowhere,
    internal_names,
    exceptions,
    neighbours_are_not_reached,
    the_way_out_is_repaired,
    the_way_out_ends_with_its_sandbox,
];

const PYTHON: &str = "/usr/bin/python3";
/// `attempt(address, port)` says how an attempt to speak to somebody ends.
const PRELUDE: &str = "
import errno, socket
def attempt(host, port, kind=socket.SOCK_STREAM, family=socket.AF_INET):
    with socket.socket(family, kind) as s:
        s.settimeout(10)
        try:
            s.connect((host, port))
            s.sendall(b'hello')
            return s.recv(100).decode()
        except OSError as error:
            return errno.errorcode.get(error.errno, str(error))
def datagram(host, port): return attempt(host, port, socket.SOCK_DGRAM)
def attempt6(host, port, kind=socket.SOCK_STREAM): return attempt(host, port, kind, socket.AF_INET6)
";

fn has_python() -> bool {
    let there = Path::new(PYTHON).exists();
    if !there {
        println!("skipped: there is no {PYTHON}");
    }
    there
}

/// False where this cannot be tried; says so.
fn can_be_tried(world: &World) -> bool {
    if !has_python() {
        return false;
    }
    let ability = world.engine.abilities().egress;
    let _ = ability.as_ref().map_err(|reason| println!("skipped: {reason}"));
    outside::there() && ability.is_ok()
}

fn python(world: &World, script: &str) -> Spec {
    let mut spec = world.spec("");
    let script = format!("{PRELUDE}{script}");
    spec.command.argv = [PYTHON, "-c", &script].map(str::to_owned).to_vec();
    spec
}

/// What the program of `spec` says, however it is run.
async fn says(world: &World, spec: &Spec) -> String {
    let one_off = world.run(spec).await;
    assert_eq!((one_off.exit, one_off.stderr.as_str()), (Exit::Status(0), ""), "{}", one_off.stdout);
    let mut waiting = spec.clone();
    if let Some(script) = waiting.command.argv.last_mut() {
        script.push_str("\nprint('done', flush=True)\nimport time; time.sleep(86400)");
    }
    let id = id("a");
    world.engine.launch(&id, &waiting, "").await.unwrap();
    world.logged("done").await;
    let texts = world.texts();
    let said: Vec<&str> = texts.iter().map(String::as_str).filter(|line| *line != "done").collect();
    assert_eq!(said, one_off.stdout.lines().collect::<Vec<_>>(), "an instance, and a one-off");
    let joined = world.engine.exec(&id, &spec.command, None).await.unwrap();
    assert_eq!(crate::world::output(joined).await, one_off, "an exec, and a one-off");
    world.engine.stop(&id, Duration::ZERO).await.unwrap();
    world.engine.remove(&id).await.unwrap();
    std::fs::remove_file(world.path("log")).unwrap();
    one_off.stdout
}

async fn connections_out(world: Arc<World>) {
    if !can_be_tried(&world) {
        return;
    }
    let script = format!(
        "print(*[attempt('{INTERNET}', port) for port in (7, 6, 8)])
s=socket.create_connection(('{INTERNET}', 7)); print(s.getpeername(), s.getsockname()[0])
s=socket.create_connection(('{INTERNET}', 9)); s.sendall(b'x'*1000000); s.shutdown(socket.SHUT_WR); print(s.recv(100))"
    );
    let expected = format!("hello ECONNREFUSED ECONNRESET\n('{INTERNET}', 7) 10.0.2.100\nb'1000000'\n");
    assert_eq!(says(&world, &python(&world, &script)).await, expected);
}

async fn datagrams_out(world: Arc<World>) {
    if !can_be_tried(&world) {
        return;
    }
    let script = format!(
        "print(datagram('{INTERNET}', 7), datagram('{INTERNET}', 6), datagram('{}', 7))
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
    if !can_be_tried(&world) || !outside::has_names() {
        return;
    }
    let script = format!(
        "print(socket.gethostbyname('{NAME}'), attempt('{NAME}', 7))
try: socket.gethostbyname('nobody.example')
except socket.gaierror as e: print(e.errno == socket.EAI_NONAME)"
    );
    assert_eq!(says(&world, &python(&world, &script)).await, format!("{INTERNET} hello\nTrue\n"));
}

async fn the_other_version_of_ip(world: Arc<World>) {
    if !can_be_tried(&world) {
        return;
    }
    let script = format!(
        "import os, threading
print(*[attempt6('{INTERNET6}', port) for port in (7, 6, 8)], attempt6('::1', 7))
print(*[attempt6('{INTERNET6}', port, socket.SOCK_DGRAM) for port in (7, 6)])
print(*[attempt6(host, 7, kind) for host in ('{PRIVATE6}', '{HOST6}', '64:ff9b::a9fe:a9fe') for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM)])
s=socket.create_connection(('{INTERNET6}', 7))
data=os.urandom(3_000_000)
threading.Thread(target=lambda: (s.sendall(data), s.shutdown(socket.SHUT_WR))).start()
print(s.getpeername()[0], s.makefile('rb').read() == data)
s=socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); s.settimeout(10)
for length in (0, 1, 1400, 9000, 60000):
    s.sendto(b'x'*length, ('{INTERNET6}', 7)); print(len(s.recvfrom(65536)[0]))"
    );
    let expected = format!(
        "hello ECONNREFUSED ECONNRESET ECONNREFUSED\nhello ECONNREFUSED\n{}{INTERNET6} True\n0\n1\n1400\n9000\n60000\n",
        "EACCES EACCES EACCES EACCES EACCES EACCES\n"
    );
    assert_eq!(says(&world, &python(&world, &script)).await, expected);
}

/// Whether somebody listens there or not.
async fn the_hosts_own_addresses_are_closed(world: Arc<World>) {
    if !has_python() {
        return;
    }
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // The host's, never anybody's, and the sandbox's own.
    let hosts: &[&str] = if can_be_tried(&world) { &[HOST[0], HOST[1], METADATA] } else { &[] };
    let closed =
        hosts.iter().chain(&["169.254.0.9", "240.0.0.1"]).flat_map(|address| [(*address, port), (*address, 7)]);
    let own = ["127.0.0.1", "127.9.9.9", "0.0.0.0"].map(|address| (address, port));
    let told: Vec<_> = closed.map(|at| (at, "EHOSTUNREACH")).chain(own.map(|at| (at, "ECONNREFUSED"))).collect();
    let script: Vec<_> =
        told.iter().map(|((address, port), _)| format!("print(attempt('{address}', {port}))\n")).collect();
    let script = script.concat();
    let expected: Vec<_> = told.iter().map(|(_, told)| format!("{told}\n")).collect();
    let expected = expected.concat();
    for egress in [Egress::Internet, Egress::Private] {
        let spec = Spec { egress, ..python(&world, &script) };
        assert_eq!(says(&world, &spec).await, expected, "{egress:?}");
    }
    listener.set_nonblocking(true).unwrap();
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

async fn private_ranges_are_closed_unless_wanted(world: Arc<World>) {
    if !can_be_tried(&world) {
        return;
    }
    let spec = python(&world, &format!("print(attempt('{PRIVATE}', 7), datagram('{PRIVATE}', 7))"));
    assert_eq!(says(&world, &spec).await, "EHOSTUNREACH EHOSTUNREACH\n");
    let spec = Spec { egress: Egress::Private, ..spec };
    assert_eq!(says(&world, &spec).await, "hello hello\n");
}

/// Whatever this machine permits.
async fn nowhere(world: Arc<World>) {
    if !has_python() {
        return;
    }
    let script = format!("print(attempt('{INTERNET}', 7), attempt('{PRIVATE}', 7), attempt('127.0.0.1', 7))");
    let spec = Spec { egress: Egress::None, ..python(&world, &script) };
    assert_eq!(says(&world, &spec).await, "ENETUNREACH ENETUNREACH ECONNREFUSED\n");
    let spec = Spec { egress: Egress::None, ..world.spec("exec sleep 86476") };
    world.engine.launch(&id("a"), &spec, "").await.unwrap();
    assert_eq!(relays(), Vec::<u32>::new());
}

async fn internal_names(world: Arc<World>) {
    if !has_python() {
        return;
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answering = tokio::spawn(answer(listener, "shop"));
    let script = format!(
        "print(attempt('shop.internal', 80), attempt('shop.internal', 81), attempt('127.0.0.1', {}))",
        address.port()
    );
    let spec = Spec { internal: Some(address), ..python(&world, &script) };
    assert_eq!(says(&world, &spec).await, "shop EHOSTUNREACH ECONNREFUSED\n");
    answering.abort();
}

/// To everybody who says something.
async fn answer(listener: tokio::net::TcpListener, text: &str) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read_exact(&mut [0; 5]).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
    }
}

async fn exceptions(world: Arc<World>) {
    if !can_be_tried(&world) {
        return;
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let answering = tokio::spawn(answer(listener, "index"));
    let script = format!("print(attempt('{PRIVATE}', 7), attempt('{PRIVATE}', 9), attempt('127.0.0.1', {port}))");
    let mut spec = python(&world, &script);
    spec.egress_exceptions = vec![format!("{PRIVATE}:7").parse().unwrap(), ([127, 0, 0, 1], port).into()];
    assert_eq!(says(&world, &spec).await, "hello EHOSTUNREACH index\n");
    answering.abort();
}

/// Neither by address nor by an abstract name, nor are the relay's own sockets.
async fn neighbours_are_not_reached(world: Arc<World>) {
    if !can_be_tried(&world) {
        return;
    }
    let script =
        "s=socket.create_server(('0.0.0.0',5000)); u=socket.socket(socket.AF_UNIX); u.bind('\\0neighbour'); u.listen()
print('ready', flush=True); s.accept()";
    world.engine.launch(&id("neighbour"), &python(&world, script), "").await.unwrap();
    world.logged("ready").await;
    let script = "print(attempt('127.0.0.1', 5000), attempt('10.0.2.100', 5000), attempt('10.0.2.2', 1))
u=socket.socket(socket.AF_UNIX)
try: u.connect('\\0neighbour')
except ConnectionRefusedError: print('refused')";
    let seen = world.run(&python(&world, script)).await;
    assert_eq!(seen.stdout, "ECONNREFUSED ECONNREFUSED EHOSTUNREACH\nrefused\n", "{seen:?}");
}

fn relays() -> Vec<u32> {
    let is_relay =
        |pid: &u32| std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with(b"airstrip-relay"));
    crate::world::children(std::process::id()).into_iter().filter(is_relay).collect()
}

async fn the_way_out_is_repaired(world: Arc<World>) {
    if !can_be_tried(&world) {
        return;
    }
    let id = world.launch("a", "exec sleep 86473").await;
    until(|| relays().len() == 1).await;
    for _ in 0..2 {
        let old = relays()[0];
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(old.cast_signed()), nix::sys::signal::SIGKILL).unwrap();
        until(|| relays().first().is_some_and(|pid| *pid != old)).await;
        let spec = python(&world, &format!("print(attempt('{INTERNET}', 7))"));
        let joined = world.engine.exec(&id, &spec.command, None).await.unwrap();
        assert_eq!(crate::world::output(joined).await.stdout, "hello\n");
    }
}

async fn the_way_out_ends_with_its_sandbox(world: Arc<World>) {
    if !can_be_tried(&world) {
        return;
    }
    let id = world.launch("a", "exec sleep 86474").await;
    let one_off = world.engine.attach(&crate::world::id("run"), &world.spec("exec sleep 86475"), None).await.unwrap();
    until(|| relays().len() == 2).await;
    drop(one_off);
    until(|| relays().len() == 1).await;
    world.engine.stop(&id, Duration::ZERO).await.unwrap();
    until(|| relays().is_empty()).await;
}
