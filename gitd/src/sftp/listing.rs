//! The line for people that goes with every name of a directory, as `ls -l` writes it.

use std::collections::HashMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

use nix::unistd::{Gid, Group, Uid, User};

/// Half a year, after which the year is shown and not the hour.
const RECENT: i64 = 182 * 24 * 60 * 60;

/// Names of users and groups that have been asked for.
#[derive(Debug, Default)]
pub(super) struct Names {
    users: HashMap<u32, String>,
    groups: HashMap<u32, String>,
}

impl Names {
    pub(super) fn line(&mut self, name: &[u8], metadata: &Metadata) -> Vec<u8> {
        let user = self.users.entry(metadata.uid()).or_insert_with_key(|id| user_name(*id));
        let group = self.groups.entry(metadata.gid()).or_insert_with_key(|id| group_name(*id));
        let (mode, links, size) = (mode(metadata.mode()), metadata.nlink(), metadata.size());
        let now = jiff::Timestamp::now().as_second();
        let mut line =
            format!("{mode} {links:>4} {user:<8} {group:<8} {size:>8} {} ", time(metadata.mtime(), now)).into_bytes();
        line.extend(name);
        line
    }
}

fn user_name(id: u32) -> String {
    User::from_uid(Uid::from_raw(id)).ok().flatten().map_or_else(|| id.to_string(), |user| user.name)
}

fn group_name(id: u32) -> String {
    Group::from_gid(Gid::from_raw(id)).ok().flatten().map_or_else(|| id.to_string(), |group| group.name)
}

fn time(seconds: i64, now: i64) -> String {
    let format = if (now - RECENT..=now).contains(&seconds) { "%b %e %H:%M" } else { "%b %e  %Y" };
    let time = jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    time.strftime(format).to_string()
}

/// `drwxr-sr-t`
fn mode(bits: u32) -> String {
    let kind = match bits & 0o170_000 {
        0o040_000 => 'd',
        0o120_000 => 'l',
        0o020_000 => 'c',
        0o060_000 => 'b',
        0o010_000 => 'p',
        0o140_000 => 's',
        _ => '-',
    };
    let mut text = String::from(kind);
    for (shift, special, letters) in [(6, 0o4000, ['s', 'S']), (3, 0o2000, ['s', 'S']), (0, 0o1000, ['t', 'T'])] {
        let bits_here = bits >> shift;
        text.push(if bits_here & 4 != 0 { 'r' } else { '-' });
        text.push(if bits_here & 2 != 0 { 'w' } else { '-' });
        text.push(match (bits_here & 1 != 0, bits & special != 0) {
            (true, false) => 'x',
            (false, false) => '-',
            (true, true) => letters[0],
            (false, true) => letters[1],
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{mode, time};

    #[test]
    fn modes() {
        for (bits, expected) in [
            (0o100_644, "-rw-r--r--"),
            (0o040_755, "drwxr-xr-x"),
            (0o120_777, "lrwxrwxrwx"),
            (0o104_755, "-rwsr-xr-x"),
            (0o042_700, "drwx--S---"),
            (0o041_777, "drwxrwxrwt"),
            (0o010_000, "p---------"),
        ] {
            assert_eq!(mode(bits), expected, "{bits:o}");
        }
    }

    #[test]
    fn times() {
        let now = 1_795_215_600;
        for (seconds, expected) in
            [(now - 60, "Nov 20 22:59"), (0, "Jan  1  1970"), (now + 60, "Nov 20  2026"), (i64::MAX, "Jan  1  1970")]
        {
            assert_eq!(time(seconds, now), expected, "{seconds}");
        }
    }
}
