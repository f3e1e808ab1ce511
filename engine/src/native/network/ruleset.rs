//! The packet filter of a sandbox's network: five rules, in the kernel's own encoding; the same again for IPv6.
//!
//! ```text
//! table ip airstrip {
//!     chain outgoing {
//!         type filter hook prerouting priority mangle; policy drop;
//!         ip daddr 127.0.0.0/8 accept
//!         ip daddr 10.0.2.100 accept
//!         ip protocol tcp tcp flags & (fin|syn|rst|ack) == syn meta mark != MARK drop
//!         ip protocol tcp tproxy to RELAY accept
//!         ip protocol udp tproxy to RELAY accept
//!     }
//! }
//! ```

use std::net::Ipv6Addr;

use super::netlink::{Attributes, Batch};
use super::packet::{self, TCP, UDP};
use super::{ADDRESS, ADDRESS6, MARK, RELAY, RELAY6};

const NAME: &str = "airstrip";
const CHAIN: &str = "outgoing";
const MANGLE: i32 = -150;

const REGISTER: u32 = libc::NFT_REG_1.cast_unsigned();
const SECOND: u32 = libc::NFT_REG_2.cast_unsigned();
const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;
const EQUAL: u32 = 0;
const NOT_EQUAL: u32 = 1;
const META_MARK: u32 = 3;
const ACCEPT: u32 = 1;
const DROP: u32 = 0;

/// Attribute numbers of `linux/netfilter/nf_tables.h`, where `libc` has no names for them.
mod number {
    pub(super) const TABLE_NAME: u16 = 1;
    pub(super) const CHAIN_TABLE: u16 = 1;
    pub(super) const CHAIN_NAME: u16 = 3;
    pub(super) const CHAIN_HOOK: u16 = 4;
    pub(super) const CHAIN_POLICY: u16 = 5;
    pub(super) const CHAIN_TYPE: u16 = 7;
    pub(super) const HOOK_NUMBER: u16 = 1;
    pub(super) const HOOK_PRIORITY: u16 = 2;
    pub(super) const RULE_TABLE: u16 = 1;
    pub(super) const RULE_CHAIN: u16 = 2;
    pub(super) const RULE_EXPRESSIONS: u16 = 4;
    pub(super) const ELEMENT: u16 = 1;
    pub(super) const NAME: u16 = 1;
    pub(super) const DATA: u16 = 2;
    pub(super) const VALUE: u16 = 1;
    pub(super) const VERDICT: u16 = 2;
    pub(super) const VERDICT_CODE: u16 = 1;
}

/// What differs between the two versions of IP.
struct Version {
    number: i32,
    /// Where in a packet its destination is, and the number of what follows the header.
    destination: u32,
    protocol: u32,
    /// The sandbox's own addresses.
    own: [Network; 2],
    relay: Vec<u8>,
    port: u16,
}

/// An address, and the bits of it that count.
struct Network {
    address: Vec<u8>,
    mask: Vec<u8>,
}

impl Network {
    fn of(address: &[u8], bits: usize) -> Self {
        let mask = (0..address.len()).map(|at| if at * 8 < bits { 0xff } else { 0 }).collect();
        Self { address: address.to_vec(), mask }
    }
}

fn version_4() -> Version {
    Version {
        number: libc::NFPROTO_IPV4,
        destination: 16,
        protocol: 9,
        own: [Network::of(&[127, 0, 0, 0], 8), Network::of(&ADDRESS.octets(), 32)],
        relay: RELAY.ip().octets().to_vec(),
        port: RELAY.port(),
    }
}

fn version_6() -> Version {
    Version {
        number: libc::NFPROTO_IPV6,
        destination: 24,
        protocol: 6,
        own: [Network::of(&Ipv6Addr::LOCALHOST.octets(), 128), Network::of(&ADDRESS6.octets(), 128)],
        relay: RELAY6.ip().octets().to_vec(),
        port: RELAY6.port(),
    }
}

/// The whole set, as one transaction.
pub(super) fn ruleset(ipv6: bool) -> Batch {
    let mut batch = Batch::default();
    batch.message(edge(libc::NFNL_MSG_BATCH_BEGIN), 0, &header(0, libc::NFNL_SUBSYS_NFTABLES), |_| {});
    for version in [Some(version_4()), ipv6.then(version_6)].into_iter().flatten() {
        add_table(&mut batch, &version);
    }
    batch.message(edge(libc::NFNL_MSG_BATCH_END), 0, &header(0, libc::NFNL_SUBSYS_NFTABLES), |_| {});
    batch
}

fn add_table(batch: &mut Batch, version: &Version) {
    push(batch, version, libc::NFT_MSG_NEWTABLE, |table| table.text(number::TABLE_NAME, NAME));
    push(batch, version, libc::NFT_MSG_NEWCHAIN, |chain| {
        chain.text(number::CHAIN_TABLE, NAME);
        chain.text(number::CHAIN_NAME, CHAIN);
        chain.nest(number::CHAIN_HOOK, |hook| {
            hook.number(number::HOOK_NUMBER, libc::NF_INET_PRE_ROUTING.cast_unsigned());
            hook.number(number::HOOK_PRIORITY, MANGLE.cast_unsigned());
        });
        chain.number(number::CHAIN_POLICY, DROP);
        chain.text(number::CHAIN_TYPE, "filter");
    });
    for own in &version.own {
        rule(batch, version, |rule| {
            rule.destination(version, own);
            rule.verdict(ACCEPT);
        });
    }
    rule(batch, version, |rule| {
        rule.protocol(version, TCP);
        rule.payload(TRANSPORT_HEADER, 13, 1);
        rule.mask(&[packet::FLAGS]);
        rule.compare(EQUAL, &[packet::SYN]);
        rule.mark();
        rule.compare(NOT_EQUAL, &MARK.to_ne_bytes());
        rule.verdict(DROP);
    });
    for protocol in [TCP, UDP] {
        rule(batch, version, |rule| {
            rule.protocol(version, protocol);
            rule.redirect(version);
            rule.verdict(ACCEPT);
        });
    }
}

fn edge(kind: i32) -> u16 {
    u16::try_from(kind).unwrap_or(0)
}

/// Family, version, and the part of the packet filter that is meant.
fn header(family: i32, resource: i32) -> [u8; 4] {
    let [high, low] = u16::try_from(resource).unwrap_or(0).to_be_bytes();
    [u8::try_from(family).unwrap_or(0), 0, high, low]
}

fn push(batch: &mut Batch, version: &Version, message: i32, attributes: impl FnOnce(&mut Attributes<'_>)) {
    let kind = u16::try_from(libc::NFNL_SUBSYS_NFTABLES << 8 | message).unwrap_or(0);
    let flags = libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_APPEND;
    batch.message(kind, flags, &header(version.number, 0), attributes);
}

fn rule(batch: &mut Batch, version: &Version, expressions: impl FnOnce(&mut Rule<'_, '_>)) {
    push(batch, version, libc::NFT_MSG_NEWRULE, |rule| {
        rule.text(number::RULE_TABLE, NAME);
        rule.text(number::RULE_CHAIN, CHAIN);
        rule.nest(number::RULE_EXPRESSIONS, |list| expressions(&mut Rule(list)));
    });
}

/// The expressions of a rule being written.
struct Rule<'a, 'b>(&'a mut Attributes<'b>);

impl Rule<'_, '_> {
    fn expression(&mut self, name: &str, data: impl FnOnce(&mut Attributes<'_>)) {
        self.0.nest(number::ELEMENT, |element| {
            element.text(number::NAME, name);
            element.nest(number::DATA, data);
        });
    }

    fn destination(&mut self, version: &Version, network: &Network) {
        self.payload(NETWORK_HEADER, version.destination, u32::try_from(network.address.len()).unwrap_or(0));
        self.mask(&network.mask);
        self.compare(EQUAL, &network.address);
    }

    fn protocol(&mut self, version: &Version, protocol: u8) {
        self.payload(NETWORK_HEADER, version.protocol, 1);
        self.compare(EQUAL, &[protocol]);
    }

    /// Loads a part of the packet.
    fn payload(&mut self, base: u32, offset: u32, length: u32) {
        self.expression("payload", |payload| {
            for (kind, value) in [(1, REGISTER), (2, base), (3, offset), (4, length)] {
                payload.number(kind, value);
            }
        });
    }

    fn mark(&mut self) {
        self.expression("meta", |meta| {
            meta.number(1, REGISTER);
            meta.number(2, META_MARK);
        });
    }

    fn mask(&mut self, mask: &[u8]) {
        let length = u32::try_from(mask.len()).unwrap_or(0);
        self.expression("bitwise", |bitwise| {
            for (kind, value) in [(1, REGISTER), (2, REGISTER), (3, length)] {
                bitwise.number(kind, value);
            }
            bitwise.nest(4, |data| data.put(number::VALUE, mask));
            bitwise.nest(5, |data| data.put(number::VALUE, &vec![0; mask.len()]));
        });
    }

    fn compare(&mut self, operation: u32, value: &[u8]) {
        self.expression("cmp", |compare| {
            compare.number(1, REGISTER);
            compare.number(2, operation);
            compare.nest(3, |data| data.put(number::VALUE, value));
        });
    }

    fn immediate(&mut self, register: u32, data: impl FnOnce(&mut Attributes<'_>)) {
        self.expression("immediate", |immediate| {
            immediate.number(1, register);
            immediate.nest(2, data);
        });
    }

    fn verdict(&mut self, code: u32) {
        self.immediate(libc::NFT_REG_VERDICT.cast_unsigned(), |data| {
            data.nest(number::VERDICT, |verdict| verdict.number(number::VERDICT_CODE, code));
        });
    }

    fn redirect(&mut self, version: &Version) {
        self.immediate(REGISTER, |data| data.put(number::VALUE, &version.relay));
        self.immediate(SECOND, |data| data.put(number::VALUE, &version.port.to_be_bytes()));
        self.expression("tproxy", |tproxy| {
            tproxy.number(1, version.number.cast_unsigned());
            tproxy.number(2, REGISTER);
            tproxy.number(3, SECOND);
        });
    }
}
