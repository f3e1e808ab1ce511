//! `/etc/resolv.conf`: the host's, and the one shown inside.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};

use crate::Egress;

/// What the C library asks at most.
const MOST: usize = 3;

/// The host's name servers; the C library's choice if none is named.
pub(super) fn of_host() -> Vec<IpAddr> {
    parse(&std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default())
}

fn parse(text: &str) -> Vec<IpAddr> {
    let mut found: Vec<IpAddr> = words(text, "nameserver")
        .filter_map(|rest| rest.split_ascii_whitespace().next()?.parse().ok())
        .take(MOST)
        .collect();
    if found.is_empty() {
        found.push(Ipv4Addr::LOCALHOST.into());
    }
    found
}

/// The file inside: names are asked of the relay, and completed as on the host. Empty where nobody can be asked.
pub(crate) fn shown(egress: Egress) -> String {
    match egress {
        Egress::None => String::new(),
        _ => rewrite(&std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default()),
    }
}

fn rewrite(host: &str) -> String {
    let mut shown = format!("nameserver {}\n", super::NAME_SERVER);
    for keyword in ["search", "domain", "options"] {
        for rest in words(host, keyword) {
            let _ = writeln!(shown, "{keyword} {}", rest.trim());
        }
    }
    shown
}

/// What follows a keyword, line by line.
fn words<'a>(text: &'a str, keyword: &'a str) -> impl Iterator<Item = &'a str> {
    text.lines()
        .filter_map(move |line| line.trim_start().strip_prefix(keyword))
        .filter(|rest| rest.starts_with([' ', '\t']))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tables() {
        let host = "# by hand\nnameserver 127.0.0.53\nnameserver\t2001:db8::1 # second\nnameserver fe80::1%eth0\nsearch a.example b.example\n options edns0 ndots:2\nnameservers 1.1.1.1\n";
        let expected: [IpAddr; 2] = ["127.0.0.53".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        assert_eq!(parse(host), expected);
        assert_eq!(parse(""), [IpAddr::from([127, 0, 0, 1])]);
        assert_eq!(rewrite(host), "nameserver 10.0.2.3\nsearch a.example b.example\noptions edns0 ndots:2\n");
        assert_eq!(shown(Egress::None), "");
    }

    proptest! {
        #[test]
        fn no_file_panics(text in "(nameserver|search|options|[ -~é\n\t]){0,60}") {
            prop_assert!(!parse(&text).is_empty());
            prop_assert!(rewrite(&text).starts_with("nameserver"));
        }
    }
}
