//! Bounds on what clients can make the server hold or do. What passes one is refused with a reason that names the bound.

use std::time::Duration;

/// Bytes of a packet line that git's protocol knows at most.
pub(crate) const PACKET: usize = 65520;

/// All bounds of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one pack.
    pub pack_bytes: u64,
    /// Objects of one pack. While it is taken in, each takes up to 200 bytes of memory.
    pub pack_objects: u32,
    /// Bytes of all objects of one pack, unpacked.
    pub unpacked_bytes: u64,
    /// Bytes of one object, unpacked. A large one takes three times that of memory, with its delta and its base; there is one at a time.
    pub object_bytes: usize,
    /// Packs of one repository: when there are more, they become one.
    pub packs: usize,
    /// Refs of one repository; also wants and haves of one fetch.
    pub refs: usize,
    /// Refs that one push names.
    pub commands: usize,
    /// Bytes of one packet line, its length included. Git itself has no longer ones than 65520.
    pub packet_bytes: usize,
    /// Time in which a client in the middle of a push or fetch has to send or take something.
    pub stall: Duration,
    /// Connections at the same time.
    pub connections: usize,
    /// Those of one address (of IPv6: of one network of 64 bits).
    pub connections_per_address: usize,
    /// Those that have not authenticated yet. One address may have half of them.
    pub unauthenticated: usize,
    /// Keys that a client may try in vain; with the next one it is disconnected.
    pub tries: usize,
    /// Time a client has to authenticate.
    pub login: Duration,
}

impl Default for Limits {
    /// 2 GiB, 5 million objects, 64 GiB of them unpacked, 256 MiB, 50 packs, 250 000 refs, 1000 commands, 65520 bytes, 10 minutes; 256 connections, 128 of an address, 128
    /// without a key, 20 tries in 20 s.
    fn default() -> Self {
        Self {
            pack_bytes: 2 << 30,
            pack_objects: 5_000_000,
            unpacked_bytes: 64 << 30,
            object_bytes: 256 << 20,
            packs: 50,
            refs: 250_000,
            commands: 1000,
            packet_bytes: PACKET,
            stall: Duration::from_secs(600),
            connections: 256,
            connections_per_address: 128,
            unauthenticated: 128,
            tries: 20,
            login: Duration::from_secs(20),
        }
    }
}
