//! What a client is answered.

use std::fs::Metadata;
use std::io;

use nix::errno::Errno;
use nix::sys::statvfs::Statvfs;

use super::wire::Writer;
use super::{LONGEST, MOST_DATA, attributes, handles};

/// Extensions that are served, and their versions.
const EXTENSIONS: [(&str, &str); 8] = [
    ("posix-rename@openssh.com", "1"),
    ("statvfs@openssh.com", "2"),
    ("fstatvfs@openssh.com", "2"),
    ("hardlink@openssh.com", "1"),
    ("fsync@openssh.com", "1"),
    ("lsetstat@openssh.com", "1"),
    ("limits@openssh.com", "1"),
    ("expand-path@openssh.com", "1"),
];

/// An answer to a request that was carried out.
pub(super) enum Reply {
    Done,
    Handle(u32),
    Data(Vec<u8>),
    /// Names with a line for people and what is known of each.
    Names(Vec<(Vec<u8>, Vec<u8>, Option<Metadata>)>),
    Attributes(Metadata),
    FileSystem(Statvfs),
    Limits,
}

/// Why a request was not carried out: the protocol's number, and words.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Status {
    code: u32,
    text: String,
}

impl Status {
    pub(super) fn end() -> Self {
        Self { code: 1, text: "End of file".to_owned() }
    }

    pub(super) fn bad_message() -> Self {
        Self { code: 5, text: "Bad message".to_owned() }
    }

    pub(super) fn unsupported() -> Self {
        Self { code: 8, text: "Operation unsupported".to_owned() }
    }

    /// A handle that was never given, or has been closed.
    pub(super) fn no_handle() -> Self {
        Self { code: 4, text: "Invalid handle".to_owned() }
    }
}

impl From<io::Error> for Status {
    fn from(error: io::Error) -> Self {
        let code = match error.kind() {
            io::ErrorKind::NotFound => 2,
            io::ErrorKind::PermissionDenied => 3,
            _ => 4,
        };
        let text = error.raw_os_error().map_or_else(|| error.to_string(), |raw| Errno::from_raw(raw).desc().to_owned());
        Self { code, text }
    }
}

impl From<Errno> for Status {
    fn from(error: Errno) -> Self {
        io::Error::from(error).into()
    }
}

/// The answer to a client's first packet.
pub(super) fn version() -> Vec<u8> {
    let mut packet = Writer::default();
    packet.byte(2);
    packet.u32(3);
    for (name, version) in EXTENSIONS {
        packet.string(name.as_bytes());
        packet.string(version.as_bytes());
    }
    packet.framed()
}

/// The answer to request `id`.
pub(super) fn packet(id: u32, answer: Result<Reply, Status>) -> Vec<u8> {
    let mut packet = Writer::default();
    match answer {
        Ok(Reply::Done) => status(&mut packet, id, &Status { code: 0, text: "Success".to_owned() }),
        Err(why) => status(&mut packet, id, &why),
        Ok(Reply::Handle(handle)) => {
            head(&mut packet, 102, id);
            packet.string(&handle.to_be_bytes());
        }
        Ok(Reply::Data(data)) => {
            head(&mut packet, 103, id);
            packet.string(&data);
        }
        Ok(Reply::Names(names)) => {
            head(&mut packet, 104, id);
            write_names(&mut packet, &names);
        }
        Ok(Reply::Attributes(metadata)) => {
            head(&mut packet, 105, id);
            attributes::write(&metadata, &mut packet);
        }
        Ok(Reply::FileSystem(seen)) => {
            head(&mut packet, 201, id);
            write_file_system(&mut packet, &seen);
        }
        Ok(Reply::Limits) => {
            head(&mut packet, 201, id);
            for limit in [LONGEST, MOST_DATA, MOST_DATA, handles::MOST] {
                packet.u64(limit as u64);
            }
        }
    }
    packet.framed()
}

fn head(packet: &mut Writer, kind: u8, id: u32) {
    packet.byte(kind);
    packet.u32(id);
}

fn status(packet: &mut Writer, id: u32, status: &Status) {
    head(packet, 101, id);
    packet.u32(status.code);
    packet.string(status.text.as_bytes());
    packet.string(b"en");
}

fn write_names(packet: &mut Writer, names: &[(Vec<u8>, Vec<u8>, Option<Metadata>)]) {
    packet.u32(u32::try_from(names.len()).unwrap_or(u32::MAX));
    for (name, line, metadata) in names {
        packet.string(name);
        packet.string(line);
        match metadata {
            Some(metadata) => attributes::write(metadata, packet),
            None => packet.u32(0),
        }
    }
}

/// As `statvfs(3)` has it; of the flags the protocol knows the first two.
fn write_file_system(packet: &mut Writer, seen: &Statvfs) {
    for number in [
        seen.block_size(),
        seen.fragment_size(),
        seen.blocks(),
        seen.blocks_free(),
        seen.blocks_available(),
        seen.files(),
        seen.files_free(),
        seen.files_available(),
        seen.filesystem_id(),
        seen.flags().bits() & 3,
        seen.name_max(),
    ] {
        packet.u64(number);
    }
}
