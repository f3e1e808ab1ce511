//! Which addresses the processes of an instance listen on: `/proc/PID/net/tcp`, matched with the sockets they hold where the
//! instance shares the host's network.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::network::is_relay;
use super::record::Stat;

/// The `st` column of a listening socket.
const LISTEN: &str = "0A";

/// The TCP addresses on which `first` or one of its descendants listens; `own`: it has a network of its own.
pub(super) fn addresses(first: i32, own: bool) -> io::Result<Vec<SocketAddr>> {
    let held = if own { HashSet::new() } else { descendants(first)?.into_iter().flat_map(sockets).collect() };
    let mut all = Vec::new();
    for table in ["tcp", "tcp6"] {
        // Without IPv6 there is no second table.
        let text = fs::read_to_string(format!("/proc/{first}/net/{table}")).unwrap_or_default();
        let found = text.lines().filter_map(listening).filter(|(_, inode)| own || held.contains(inode));
        all.extend(found.map(|(at, _)| at).filter(|at| !is_relay(*at)));
    }
    all.sort_unstable();
    all.dedup();
    Ok(all)
}

/// A process and all that descend from it. Orphans inside a sandbox become children of its first process.
fn descendants(first: i32) -> io::Result<HashSet<i32>> {
    let all = Stat::all()?;
    let mut found = HashSet::from([first]);
    loop {
        let before = found.len();
        found.extend(
            all.iter().filter(|(_, stat)| found.contains(&stat.parent)).map(|(pid, _)| *pid).collect::<Vec<_>>(),
        );
        if found.len() == before {
            return Ok(found);
        }
    }
}

/// The inodes of the sockets a process holds. It may end while it is being looked at.
fn sockets(pid: i32) -> Vec<u64> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return Vec::new() };
    let links = entries.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
    links.filter_map(|link| link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()).collect()
}

/// Address and inode of a line of `/proc/net/tcp` or `tcp6` that listens.
fn listening(line: &str) -> Option<(SocketAddr, u64)> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    if *fields.get(3)? != LISTEN {
        return None;
    }
    let (address, port) = fields.get(1)?.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    Some((SocketAddr::new(address_of(address)?, port), fields.get(9)?.parse().ok()?))
}

/// Hexadecimal 32-bit words in the machine's byte order.
fn address_of(hex: &str) -> Option<IpAddr> {
    let word = |index: usize| u32::from_str_radix(hex.get(index * 8..index * 8 + 8)?, 16).ok().map(u32::to_ne_bytes);
    match hex.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let bytes = [word(0)?, word(1)?, word(2)?, word(3)?].concat();
            Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn lines() {
        let rest = "00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 8217 1 0 100 0 0 10 0";
        for (line, expected) in [
            (format!("   0: 0100007F:1F90 {rest}"), Some("127.0.0.1:8080")),
            (format!("   1: 00000000:0050 {rest}"), Some("0.0.0.0:80")),
            (format!("   2: 00000000000000000000000001000000:0016 {rest}"), Some("[::1]:22")),
            (format!("   3: 0100007F:1F90 {}", rest.replace("0A", "01")), None),
            ("  sl  local_address rem_address   st tx_queue".to_owned(), None),
        ] {
            let expected = expected.map(|at| (at.parse().unwrap(), 8217));
            assert_eq!(listening(&line), expected, "{line}");
        }
    }

    #[test]
    fn an_own_listener_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(addresses(own, false).unwrap().contains(&listener.local_addr().unwrap()));
    }

    proptest! {
        #[test]
        fn no_line_panics(line in "[ -~é]{0,120}") {
            let _ = listening(&line);
        }
    }
}
