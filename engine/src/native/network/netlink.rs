//! Requests to the kernel about its network: messages of attributes, and the answers to them.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, sendto, setsockopt, socket,
    sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

const HEADER: usize = 16;
const NESTED: u16 = 0x8000;

/// Messages in one buffer, sent together.
#[derive(Debug, Default)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    sequence: u32,
    answers: usize,
}

impl Batch {
    /// Appends a message: `fixed` is what stands before the attributes.
    pub(super) fn message(
        &mut self,
        kind: u16,
        flags: i32,
        fixed: &[u8],
        attributes: impl FnOnce(&mut Attributes<'_>),
    ) {
        let start = self.bytes.len();
        self.sequence += 1;
        self.answers += usize::from(flags & libc::NLM_F_ACK != 0);
        let flags = u16::try_from(flags | libc::NLM_F_REQUEST).unwrap_or(0);
        self.bytes.extend([0; 4]);
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(flags.to_ne_bytes());
        self.bytes.extend(self.sequence.to_ne_bytes());
        self.bytes.extend([0; 4]);
        self.bytes.extend(fixed);
        attributes(&mut Attributes(&mut self.bytes));
        let length = u32::try_from(self.bytes.len() - start).unwrap_or(u32::MAX);
        self.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
    }
}

/// The attributes of a message being written.
pub(super) struct Attributes<'a>(&'a mut Vec<u8>);

impl Attributes<'_> {
    pub(super) fn put(&mut self, kind: u16, value: &[u8]) {
        self.write(kind, |bytes| bytes.extend(value));
    }

    /// A text with the zero byte that ends it.
    pub(super) fn text(&mut self, kind: u16, value: &str) {
        self.write(kind, |bytes| bytes.extend(value.bytes().chain([0])));
    }

    /// A number as the packet filter wants it.
    pub(super) fn number(&mut self, kind: u16, value: u32) {
        self.put(kind, &value.to_be_bytes());
    }

    pub(super) fn nest(&mut self, kind: u16, inner: impl FnOnce(&mut Attributes<'_>)) {
        self.write(kind | NESTED, |bytes| inner(&mut Attributes(bytes)));
    }

    fn write(&mut self, kind: u16, value: impl FnOnce(&mut Vec<u8>)) {
        let start = self.0.len();
        self.0.extend([0; 2]);
        self.0.extend(kind.to_ne_bytes());
        value(self.0);
        let length = u16::try_from(self.0.len() - start).unwrap_or(u16::MAX);
        self.0[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }
}

/// One message of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer<'a> {
    kind: u16,
    pub(super) body: &'a [u8],
}

impl Answer<'_> {
    /// What an acknowledgement says.
    fn status(&self) -> Option<Result<(), Errno>> {
        let code = self.body.first_chunk().filter(|_| i32::from(self.kind) == libc::NLMSG_ERROR);
        code.map(|code| match i32::from_ne_bytes(*code) {
            0 => Ok(()),
            code => Err(Errno::from_raw(code.saturating_neg())),
        })
    }
}

/// Splits what was received.
fn answers(mut bytes: &[u8]) -> Vec<Answer<'_>> {
    let mut all = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
        let length = usize::try_from(u32::from_ne_bytes(*length)).unwrap_or(usize::MAX);
        let (Some(kind), true) = (rest.first_chunk::<2>(), (HEADER..=bytes.len()).contains(&length)) else { break };
        all.push(Answer { kind: u16::from_ne_bytes(*kind), body: &bytes[HEADER..length] });
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    all
}

/// A socket to one part of the kernel.
#[derive(Debug)]
pub(super) struct Netlink(OwnedFd);

impl Netlink {
    pub(super) fn open(part: SockProtocol) -> io::Result<Self> {
        let fd = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, part)?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        // The kernel answers within the call; the limit is against waiting for ever for an answer that was lost.
        setsockopt(&fd, sockopt::ReceiveTimeout, &TimeVal::seconds(5))?;
        Ok(Self(fd))
    }

    /// Sends a batch and waits until all of it has been acknowledged, or one message refused.
    pub(super) fn apply(&self, batch: &Batch) -> io::Result<()> {
        self.send(batch)?;
        let mut open = batch.answers;
        let mut buffer = vec![0; 16 * 1024];
        while open > 0 {
            let length = recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
            for status in answers(&buffer[..length]).iter().filter_map(Answer::status) {
                status?;
                open = open.saturating_sub(1);
            }
        }
        Ok(())
    }

    /// Sends one question and gives the body of its answer to `read`.
    pub(super) fn ask<T>(&self, batch: &Batch, read: impl FnOnce(&[u8]) -> Option<T>) -> io::Result<T> {
        self.send(batch)?;
        let mut buffer = [0; 4096];
        let length = recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        let all = answers(&buffer[..length]);
        let first = all.first().ok_or(io::ErrorKind::InvalidData)?;
        match first.status() {
            Some(Err(error)) => Err(error.into()),
            _ => read(first.body).ok_or_else(|| io::ErrorKind::InvalidData.into()),
        }
    }

    fn send(&self, batch: &Batch) -> io::Result<()> {
        sendto(self.0.as_raw_fd(), &batch.bytes, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_message_is_read_back() {
        let mut batch = Batch::default();
        batch.message(7, libc::NLM_F_ACK, &[1, 2, 3, 4], |attributes| {
            attributes.text(1, "a");
            attributes.nest(2, |inner| inner.number(3, 5));
        });
        let found = answers(&batch.bytes);
        assert_eq!((found.len(), found[0].kind, batch.answers), (1, 7, 1));
        let [a, b, c, d] = [6_u16, 12, 2 | NESTED, 8].map(u16::to_ne_bytes);
        let expected =
            [&[1, 2, 3, 4][..], &a, &1_u16.to_ne_bytes(), b"a\0\0\0", &b, &c, &d, &3_u16.to_ne_bytes(), &[0, 0, 0, 5]];
        assert_eq!(found[0].body, expected.concat());
    }

    proptest! {
        #[test]
        fn no_answer_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for answer in answers(&bytes) {
                let _ = answer.status();
            }
        }
    }
}
