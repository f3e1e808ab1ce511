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

/// False where this cannot be tried; says so.
fn can_be_tried(world: &World) -> bool {
    if !Path::new(PYTHON).exists() {
        println!("skipped: there is no {PYTHON}");
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
s=socket.create_connection(('{INTERNET}', 9)); s.sendall(b'x'*1000000); s.shutdown(socket.SHUT_WR); print(s.recv(100))"
    );
    let expected = "hello ECONNREFUSED ECONNRESET\nb'1000000'\n";
    assert_eq!(says(&world, &python(&world, &script)).await, expected);
}

async fn datagrams_out(world: Arc<World>) {
    if !can_be_tried(&world) {
        return;
    }
    let script = format!("print(datagram('{INTERNET}', 7), datagram('{INTERNET}', 6), datagram('{}', 7))", HOST[0]);
    assert_eq!(says(&world, &python(&world, &script)).await, "hello ECONNREFUSED EHOSTUNREACH\n");
}

async fn names(world: Arc<World>) {
    if !can_be_tried(&world) || !outside::has_names() {
        return;
    }
    let script = format!("print(socket.gethostbyname('{NAME}'), attempt('{NAME}', 7))");
    assert_eq!(says(&world, &python(&world, &script)).await, format!("{INTERNET} hello\n"));
}

async fn the_other_version_of_ip(world: Arc<World>) {
    if !can_be_tried(&world) {
        return;
    }
    let script = format!(
        "print(*[attempt6('{INTERNET6}', port) for port in (7, 6, 8)], attempt6('{INTERNET6}', 7, socket.SOCK_DGRAM))
print(*[attempt6(host, 7) for host in ('{PRIVATE6}', '{HOST6}', '::1')])"
    );
    let expected = "hello ECONNREFUSED ECONNRESET hello\nEACCES EACCES ECONNREFUSED\n";
    assert_eq!(says(&world, &python(&world, &script)).await, expected);
}

/// Whether somebody listens there or not.
async fn the_hosts_own_addresses_are_closed(world: Arc<World>) {
    if !can_be_tried(&world) {
        return;
    }
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let script = format!(
        "print(*[attempt(host, {port}) for host in ('{}', '{}', '{METADATA}', '127.0.0.1')])",
        HOST[0], HOST[1]
    );
    for egress in [Egress::Internet, Egress::Private] {
        let spec = Spec { egress, ..python(&world, &script) };
        let expected = "EHOSTUNREACH EHOSTUNREACH EHOSTUNREACH ECONNREFUSED\n";
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
    if !Path::new(PYTHON).exists() {
        println!("skipped: there is no {PYTHON}");
        return;
    }
    let script = format!("print(attempt('{INTERNET}', 7), attempt('{PRIVATE}', 7), attempt('127.0.0.1', 7))");
    let spec = Spec { egress: Egress::None, ..python(&world, &script) };
    assert_eq!(says(&world, &spec).await, "ENETUNREACH ENETUNREACH ECONNREFUSED\n");
}

async fn exceptions(world: Arc<World>) {
    if !can_be_tried(&world) {
        return;
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let answering = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.read_exact(&mut [0; 5]).await.unwrap();
            stream.write_all(b"index").await.unwrap();
        }
    });
    let script = format!("print(attempt('{PRIVATE}', 7), attempt('{PRIVATE}', 9), attempt('127.0.0.1', {port}))");
    let mut spec = python(&world, &script);
    spec.egress_exceptions = vec![format!("{PRIVATE}:7").parse().unwrap(), ([127, 0, 0, 1], port).into()];
    assert_eq!(says(&world, &spec).await, "hello EHOSTUNREACH index\n");
    answering.abort();
}

/// Nor are the relay's own sockets, by those who may not.
async fn neighbours_are_not_reached(world: Arc<World>) {
    if !can_be_tried(&world) {
        return;
    }
    let script = "s=socket.create_server(('0.0.0.0',5000)); print('ready', flush=True); s.accept()";
    world.engine.launch(&id("neighbour"), &python(&world, script), "").await.unwrap();
    world.logged("ready").await;
    let script = "print(attempt('127.0.0.1', 5000), attempt('10.0.2.100', 5000), attempt('10.0.2.2', 1))";
    let seen = world.run(&python(&world, script)).await;
    assert_eq!(seen.stdout, "ECONNREFUSED ECONNREFUSED EHOSTUNREACH\n", "{seen:?}");
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
    let old = relays()[0];
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(old.cast_signed()), nix::sys::signal::SIGKILL).unwrap();
    until(|| relays().first().is_some_and(|pid| *pid != old)).await;
    let spec = python(&world, &format!("print(attempt('{INTERNET}', 7))"));
    let joined = world.engine.exec(&id, &spec.command, None).await.unwrap();
    assert_eq!(crate::world::output(joined).await.stdout, "hello\n");
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
