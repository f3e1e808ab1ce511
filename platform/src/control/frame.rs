//! What passes over the control socket: a kind, a length, as many bytes. See [`Frame`].

use std::io;

use gitd::{Ended, WindowSize};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Longest content of a frame. A command line is one frame; data come in smaller pieces.
pub(super) const LONGEST: usize = 1 << 20;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Frame {
    /// First of all, from the client.
    Hello(Hello),
    /// From the client, one for each [`Frame::Want`]: some of its standard input; empty at the end of it.
    Stdin(Vec<u8>),
    /// From the client: its terminal has another size.
    Resize(WindowSize),
    /// From the server: some more of the standard input is wanted. So a command that does not read leaves it alone.
    Want,
    /// From the server.
    Stdout(Vec<u8>),
    /// From the server.
    Stderr(Vec<u8>),
    /// From the server, last of all.
    Ended(Ended),
}

/// What is to be done, and where its output is seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hello {
    pub(super) words: Vec<String>,
    pub(super) env: Vec<(String, String)>,
    pub(super) terminal: Option<HelloTerminal>,
}

/// The client's terminal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct HelloTerminal {
    pub(super) term: String,
    pub(super) columns: u16,
    pub(super) rows: u16,
}

/// Reads a frame; None at the end of the stream.
pub(super) async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Frame>> {
    let kind = match from.read_u8().await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        kind => kind?,
    };
    let length = from.read_u32().await? as usize;
    if length > LONGEST {
        return Err(malformed("too long"));
    }
    let mut content = vec![0; length];
    from.read_exact(&mut content).await?;
    decode(kind, content).map(Some).ok_or_else(|| malformed("not understood"))
}

/// Writes a frame.
pub(super) async fn write(to: &mut (impl AsyncWrite + Unpin), frame: &Frame) -> io::Result<()> {
    to.write_all(&encode(frame)?).await
}

fn malformed(how: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("a frame is {how}"))
}

fn encode(frame: &Frame) -> io::Result<Vec<u8>> {
    let (kind, content) = match frame {
        Frame::Hello(hello) => (b'h', serde_json::to_vec(hello)?),
        Frame::Stdin(bytes) => (b'i', bytes.clone()),
        Frame::Resize(size) => (b'r', [size.columns.to_be_bytes(), size.rows.to_be_bytes()].concat()),
        Frame::Want => (b'w', Vec::new()),
        Frame::Stdout(bytes) => (b'o', bytes.clone()),
        Frame::Stderr(bytes) => (b'e', bytes.clone()),
        Frame::Ended(Ended::Status(status)) => (b'x', status.to_be_bytes().to_vec()),
        Frame::Ended(Ended::Signal(signal)) => (b's', signal.to_be_bytes().to_vec()),
    };
    let length = u32::try_from(content.len()).ok().filter(|_| content.len() <= LONGEST);
    let length = length.ok_or_else(|| malformed("too long"))?;
    Ok([&[kind], length.to_be_bytes().as_slice(), &content].concat())
}

fn decode(kind: u8, content: Vec<u8>) -> Option<Frame> {
    Some(match kind {
        b'h' => Frame::Hello(serde_json::from_slice(&content).ok()?),
        b'i' => Frame::Stdin(content),
        b'r' => {
            let [c1, c2, r1, r2] = content.try_into().ok()?;
            Frame::Resize(WindowSize { columns: u16::from_be_bytes([c1, c2]), rows: u16::from_be_bytes([r1, r2]) })
        }
        b'w' if content.is_empty() => Frame::Want,
        b'o' => Frame::Stdout(content),
        b'e' => Frame::Stderr(content),
        b'x' => Frame::Ended(Ended::Status(u32::from_be_bytes(content.try_into().ok()?))),
        b's' => Frame::Ended(Ended::Signal(i32::from_be_bytes(content.try_into().ok()?))),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use proptest::prelude::*;

    use super::*;

    fn hello() -> impl Strategy<Value = Frame> {
        let terminal =
            (".*", any::<u16>(), any::<u16>()).prop_map(|(term, columns, rows)| HelloTerminal { term, columns, rows });
        let env = prop::collection::vec((".*", ".*"), 0..3);
        (prop::collection::vec(".*", 0..5), env, prop::option::of(terminal))
            .prop_map(|(words, env, terminal)| Frame::Hello(Hello { words, env, terminal }))
    }

    fn frame() -> impl Strategy<Value = Frame> {
        prop_oneof![
            hello(),
            any::<Vec<u8>>().prop_map(Frame::Stdin),
            any::<(u16, u16)>().prop_map(|(columns, rows)| Frame::Resize(WindowSize { columns, rows })),
            Just(Frame::Want),
            any::<Vec<u8>>().prop_map(Frame::Stdout),
            any::<Vec<u8>>().prop_map(Frame::Stderr),
            any::<u32>().prop_map(|status| Frame::Ended(Ended::Status(status))),
            any::<i32>().prop_map(|signal| Frame::Ended(Ended::Signal(signal))),
        ]
    }

    /// Everything is there already: nothing has to be waited for.
    fn read_now(bytes: &mut &[u8]) -> io::Result<Option<Frame>> {
        read(bytes).now_or_never().unwrap()
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(frames in prop::collection::vec(frame(), 0..6)) {
            let bytes: Vec<u8> = frames.iter().flat_map(|frame| encode(frame).unwrap()).collect();
            let mut rest = bytes.as_slice();
            for frame in frames {
                prop_assert_eq!(read_now(&mut rest).unwrap(), Some(frame));
            }
            prop_assert_eq!(read_now(&mut rest).unwrap(), None);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in any::<Vec<u8>>(), kind in "[hirwoexs]") {
            let with_length = [kind.as_bytes(), &u32::try_from(bytes.len()).unwrap().to_be_bytes(), &bytes].concat();
            for bytes in [bytes, with_length] {
                let mut rest = bytes.as_slice();
                while let Ok(Some(_)) = read_now(&mut rest) {}
            }
        }
    }

    #[test]
    fn frames_are_bounded() {
        assert!(encode(&Frame::Stdout(vec![0; LONGEST + 1])).is_err());
        let endless = [b'o', 0xff, 0xff, 0xff, 0xff];
        assert_eq!(read_now(&mut endless.as_slice()).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
