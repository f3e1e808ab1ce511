//! A small internet for the cases about networks: the whole suite runs in a network namespace of its own, which plays the
//! host's network, with one other machine beyond it, which is a thread here.
//!
//! The other machine has an address on "the internet", one in a private range, and that of a cloud's metadata service. On all
//! of them TCP and UDP port 7 send back what they get; of TCP, port 8 breaks off, 9 counts what it gets, and 19 sends without
//! end. Where the host's name servers would be, somebody knows one name.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::mpsc::channel;
use std::thread;

use nix::sched::{CloneFlags, unshare};
use socket2::SockRef;

/// The other machine's.
pub(crate) const INTERNET: &str = "203.0.113.7";
pub(crate) const PRIVATE: &str = "10.9.0.2";
pub(crate) const METADATA: &str = "169.254.169.254";
/// The same in the other version of IP.
pub(crate) const INTERNET6: &str = "2001:db8:7::7";
pub(crate) const PRIVATE6: &str = "fd09::2";
/// The host's own.
pub(crate) const HOST6: &str = "2001:db8:1::1";
/// Known to the name server, as [`INTERNET`]'s.
pub(crate) const NAME: &str = "shop.example";
/// The host's own, besides loopback.
pub(crate) const HOST: [&str; 2] = ["198.51.100.1", "10.9.0.1"];

const IN_ENVIRONMENT: &str = "AIRSTRIP_TEST_OUTSIDE";
static THERE: OnceLock<()> = OnceLock::new();

/// Enters the host's network and starts the other machine, before there are other threads. A copy of this binary that is started by it finds
/// itself there already.
pub(crate) fn enter() {
    if std::env::var_os(IN_ENVIRONMENT).is_some() {
        let _ = THERE.set(());
    } else if nix::unistd::Uid::effective().is_root() {
        match build() {
            Ok(()) => drop(THERE.set(())),
            Err(error) => println!("skipped: cases about the outside: {error}"),
        }
    }
}

/// False where the cases about the outside cannot be tried; says so.
pub(crate) fn there() -> bool {
    let there = THERE.get().is_some();
    if !there {
        println!("skipped: no network to play the outside (only root can make one)");
    }
    there
}

/// To be in the environment of a copy of this binary.
pub(crate) fn environment() -> Option<(&'static str, &'static str)> {
    THERE.get().map(|()| (IN_ENVIRONMENT, "yes"))
}

fn build() -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    ip("link set lo up")?;
    let (tell, told) = channel();
    let (go, may_go) = channel();
    thread::Builder::new().name("outside".to_owned()).spawn(move || {
        let there = unshare(CloneFlags::CLONE_NEWNET).map(|()| nix::unistd::gettid());
        let _ = tell.send(there);
        // The rest of this thread is the other machine.
        let Ok(()) = may_go.recv() else { return };
        serve().expect("the other machine");
        loop {
            thread::park();
        }
    })?;
    let other = told.recv().map_err(io::Error::other)??;
    ip(&format!("link add host0 type veth peer name out0 netns {other}"))?;
    for address in HOST {
        ip(&format!("address add {address}/24 dev host0"))?;
    }
    for address in [HOST6, "fd09::1"] {
        // Without the search for others that have it, which would take a second.
        ip(&format!("address add {address}/64 dev host0 nodad"))?;
    }
    ip("link set host0 up")?;
    ip(&format!("route add default via {GATEWAY}"))?;
    ip(&format!("route add default via {GATEWAY6}"))?;
    go.send(()).map_err(io::Error::other)
}

const GATEWAY: &str = "198.51.100.2";
const GATEWAY6: &str = "2001:db8:1::2";

fn ip(arguments: &str) -> io::Result<()> {
    let done = Command::new("ip").args(arguments.split(' ')).output()?;
    let error = || io::Error::other(format!("ip {arguments}: {}", String::from_utf8_lossy(&done.stderr).trim()));
    done.status.success().then_some(()).ok_or_else(error)
}

fn serve() -> io::Result<()> {
    let servers = name_servers();
    for command in ["link set lo up", "link set out0 up"] {
        ip(command)?;
    }
    for address in [GATEWAY, PRIVATE] {
        ip(&format!("address add {address}/24 dev out0"))?;
    }
    for address in [GATEWAY6, PRIVATE6] {
        ip(&format!("address add {address}/64 dev out0 nodad"))?;
    }
    ip(&format!("address add {INTERNET6}/128 dev out0 nodad"))?;
    for address in [INTERNET, METADATA].map(str::to_owned).into_iter().chain(servers.iter().map(IpAddr::to_string)) {
        ip(&format!("address add {address}/32 dev out0"))?;
    }
    tcp(7, |mut stream| {
        let _ = io::copy(&mut stream.try_clone()?, &mut stream);
        stream.shutdown(Shutdown::Write)
    })?;
    tcp(8, |mut stream| {
        stream.read_exact(&mut [0])?;
        SockRef::from(&stream).set_linger(Some(std::time::Duration::ZERO))
    })?;
    tcp(19, |mut stream| {
        let bytes = vec![b'x'; 1 << 18];
        loop {
            stream.write_all(&bytes)?;
        }
    })?;
    // Says nothing until the other side has said everything, then how much that was.
    tcp(9, |mut stream| {
        let length = io::copy(&mut stream, &mut io::sink())?;
        write!(stream, "{length}")
    })?;
    for address in [INTERNET, PRIVATE, METADATA, INTERNET6, PRIVATE6] {
        udp((address, 7), |packet| Some(packet.to_vec()))?;
    }
    servers.into_iter().try_for_each(|server| udp((server, 53), answer))
}

fn name_servers() -> Vec<IpAddr> {
    let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let named = text.lines().filter_map(|line| line.strip_prefix("nameserver ")?.trim().parse().ok());
    named.filter(|ip: &IpAddr| ip.is_ipv4() && !ip.is_loopback()).collect()
}

/// Whether the host's name server is one that this module can play.
pub(crate) fn has_names() -> bool {
    !name_servers().is_empty()
}

fn tcp(port: u16, talk: fn(TcpStream) -> io::Result<()>) -> io::Result<()> {
    let listener = TcpListener::bind(("::", port))?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || talk(stream));
        }
    });
    Ok(())
}

fn udp(at: impl std::net::ToSocketAddrs, answer: fn(&[u8]) -> Option<Vec<u8>>) -> io::Result<()> {
    let socket = UdpSocket::bind(at)?;
    thread::spawn(move || {
        let mut buffer = vec![0; 65_536];
        loop {
            match socket.recv_from(&mut buffer) {
                Ok((length, from)) => {
                    let _ = answer(&buffer[..length]).map(|packet| socket.send_to(&packet, from));
                }
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
                Err(_) => return,
            }
        }
    });
    Ok(())
}

/// Answers a question about the address of [`NAME`] (RFC 1035): for other names and kinds, that there is nothing.
fn answer(question: &[u8]) -> Option<Vec<u8>> {
    let length = |label: &str| u8::try_from(label.len()).unwrap_or_default();
    let name: Vec<u8> = NAME.split('.').flat_map(|label| [&[length(label)], label.as_bytes()].concat()).collect();
    let asked = question.get(12..)?;
    let end = 12 + asked.iter().position(|byte| *byte == 0)? + 5;
    let known = asked.starts_with(&name);
    let address = known && question.get(end - 4..end)? == [0, 1, 0, 1];
    let mut answer = question.get(..end)?.to_vec();
    answer[2..12].copy_from_slice(&[0x81, if known { 0x80 } else { 0x83 }, 0, 1, 0, u8::from(address), 0, 0, 0, 0]);
    if address {
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        answer.extend(INTERNET.parse::<std::net::Ipv4Addr>().ok()?.octets());
    }
    Some(answer)
}
