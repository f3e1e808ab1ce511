//! Sends metrics to statsd or Graphite, as lines in datagrams. What is not taken at once is lost: nothing waits for it.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::net::UdpSocket;

use super::{Family, Kind, Sample, measure};
use crate::platform::Platform;

/// How often.
const EVERY: Duration = Duration::from_secs(10);
/// Most bytes of a datagram: what passes everywhere in one piece.
const DATAGRAM: usize = 1400;

/// What the receiver speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// `airstrip.http_requests_total.blog.2xx:3|c`: counters by how much they grew.
    StatsD,
    /// `airstrip.http_requests_total.blog.2xx 17 1795257000`: everything as it is.
    Graphite,
}

/// Sends until the server is to end, or another takes its place.
pub async fn push(platform: Arc<Platform>, protocol: Protocol, to: SocketAddr) {
    let mut before = HashMap::new();
    loop {
        let sent = match measure(&platform) {
            Ok(families) => send(&datagrams(&lines(protocol, &families, &mut before, now())), to).await,
            Err(error) => Err(io::Error::other(error)),
        };
        if let Err(error) = sent {
            tracing::debug!(%to, %error, "sending metrics");
        }
        if platform.duties.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_none() {
            return;
        }
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

/// A socket for each time: the machine's addresses may change.
async fn send(datagrams: &[String], to: SocketAddr) -> io::Result<()> {
    let any: SocketAddr = match to {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.writable().await?;
    for datagram in datagrams {
        socket.try_send_to(datagram.as_bytes(), to)?;
    }
    Ok(())
}

/// One line for each value. `before` is what counters were the last time, for statsd.
fn lines(protocol: Protocol, families: &[Family], before: &mut HashMap<String, f64>, time: u64) -> Vec<String> {
    let mut lines = Vec::new();
    for family in families {
        // The classes of a histogram are for Prometheus alone; its sum and its count are counters.
        for sample in family.samples.iter().filter(|sample| sample.suffix != "_bucket") {
            let (path, value) = (path(family, sample), sample.value);
            lines.push(match (protocol, family.kind) {
                (Protocol::Graphite, _) => format!("{path} {value} {time}"),
                (Protocol::StatsD, Kind::Gauge) => format!("{path}:{value}|g"),
                (Protocol::StatsD, Kind::Counter | Kind::Histogram) => {
                    // A counter that is less than it was belongs to another app of the same name.
                    let last = before.insert(path.clone(), value).filter(|last| *last <= value).unwrap_or(0.0);
                    format!("{path}:{}|c", value - last)
                }
            });
        }
    }
    lines
}

/// `airstrip.http_requests_total.blog.2xx`
fn path(family: &Family, sample: &Sample) -> String {
    let name = family.name.replacen('_', ".", 1) + sample.suffix;
    sample.labels.iter().fold(name, |path, (_, value)| {
        let part: String = value.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect();
        format!("{path}.{part}")
    })
}

/// Lines in as few datagrams as they fit into.
fn datagrams(lines: &[String]) -> Vec<String> {
    let mut datagrams: Vec<String> = Vec::new();
    for line in lines {
        match datagrams.last_mut().filter(|last| last.len() + line.len() < DATAGRAM) {
            Some(last) => last.extend([line.as_str(), "\n"]),
            None => datagrams.push(format!("{line}\n")),
        }
    }
    datagrams
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::add_latency;

    fn families(requests: f64) -> [Family; 3] {
        let mut total = Family::new("airstrip_http_requests_total", Kind::Counter, "Requests.");
        total.add(&[("app", "blog"), ("class", "2xx")], requests);
        let mut latency = Family::new("airstrip_http_request_duration_seconds", Kind::Histogram, "Time.");
        let counts = router::Counts { waited: Duration::from_millis(1500), ..Default::default() };
        add_latency(&mut latency, "blog", &counts);
        let mut state = Family::new("airstrip_instance_state", Kind::Gauge, "State.");
        state.add(&[("app", "blog"), ("process", "web.1"), ("state", "up")], 1.0);
        [total, latency, state]
    }

    #[test]
    fn graphite_is_told_everything_as_it_is() {
        let lines = lines(Protocol::Graphite, &families(17.0), &mut HashMap::new(), 1_795_257_000);
        insta::assert_snapshot!(lines.join("\n"), @r"
        airstrip.http_requests_total.blog.2xx 17 1795257000
        airstrip.http_request_duration_seconds_sum.blog 1.5 1795257000
        airstrip.http_request_duration_seconds_count.blog 0 1795257000
        airstrip.instance_state.blog.web_1.up 1 1795257000
        ");
    }

    #[test]
    fn statsd_is_told_how_much_counters_grew() {
        let mut before = HashMap::new();
        let mut said = |requests| lines(Protocol::StatsD, &families(requests), &mut before, 0);
        assert_eq!(said(17.0)[0], "airstrip.http_requests_total.blog.2xx:17|c");
        assert_eq!(said(20.0)[0], "airstrip.http_requests_total.blog.2xx:3|c");
        assert_eq!(said(4.0)[0], "airstrip.http_requests_total.blog.2xx:4|c", "another app of the name");
        let last = said(4.0);
        assert_eq!(last[0], "airstrip.http_requests_total.blog.2xx:0|c");
        assert_eq!(last[3], "airstrip.instance_state.blog.web_1.up:1|g");
    }

    #[test]
    fn datagrams_are_bounded_and_lose_nothing() {
        let lines: Vec<String> = (0..500).map(|number| format!("airstrip.number.{number}:{number}|g")).collect();
        let datagrams = datagrams(&lines);
        assert!(datagrams.len() > 5 && datagrams.iter().all(|datagram| datagram.len() <= DATAGRAM));
        assert_eq!(datagrams.concat().lines().collect::<Vec<_>>(), lines);
    }
}
