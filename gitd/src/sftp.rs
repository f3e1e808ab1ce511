//! The file transfer subsystem: an SFTP server on standard input and output.
//!
//! Version 3 (draft-ietf-secsh-filexfer-02) with OpenSSH's extensions (its `PROTOCOL` file, section 4), which is what `sftp`,
//! `scp` and file managers speak. It serves whatever the process it runs in can see, with that process's rights: it is meant to be
//! started inside a sandbox. It is no part of the SSH server's process, has one thread, and holds no more than one packet.
//!
//! Names are bytes, not text. What arrives is bounded and checked before anything is done.

mod attributes;
mod handles;
mod listing;
mod reply;
mod request;
mod server;
mod wire;

use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};

use reply::Status;
use request::Request;
use server::Server;

/// The one argument that makes a process an SFTP server.
pub const ARGUMENT: &str = "sftp-server";

/// Longest packet either way: what OpenSSH's clients send and expect.
const LONGEST: usize = 256 * 1024;
/// Most bytes of a file in one packet: the rest is for its head.
const MOST_DATA: usize = LONGEST - 1024;

/// Serves on standard input and output and ends the process, if it was started for that; otherwise returns.
/// Call it first thing in `main`.
pub fn run_if_server() {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_none_or(|argument| argument != ARGUMENT) || arguments.next().is_some() {
        return;
    }
    let (input, output) =
        (BufReader::with_capacity(LONGEST, io::stdin()), BufWriter::with_capacity(LONGEST, io::stdout()));
    std::process::exit(i32::from(serve(input, output).is_err()))
}

/// Serves until the input ends. An error: the input is not SFTP, or one of the two is broken.
pub fn serve(mut input: BufReader<impl Read>, mut output: impl Write) -> io::Result<()> {
    let mut server = Server::default();
    let mut greeted = false;
    while let Some(packet) = read_packet(&mut input)? {
        let answer = match Request::parse(&packet) {
            Ok((_, Request::Init)) => reply::version(),
            // A client begins by saying which version it speaks.
            _ if !greeted => return Err(io::ErrorKind::InvalidData.into()),
            Ok((id, request)) => reply::packet(id, server.answer(request)),
            Err(id) => reply::packet(id, Err(Status::bad_message())),
        };
        greeted = true;
        output.write_all(&answer)?;
        if input.buffer().is_empty() {
            output.flush()?;
        }
    }
    output.flush()
}

/// One packet without its length; `None` at the end of the input.
fn read_packet(input: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    if input.fill_buf()?.is_empty() {
        return Ok(None);
    }
    let mut length = [0; 4];
    input.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    if length == 0 || length > LONGEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut packet = vec![0; length];
    input.read_exact(&mut packet)?;
    Ok(Some(packet))
}

#[cfg(test)]
mod tests;
