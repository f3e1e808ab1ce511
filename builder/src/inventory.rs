//! What a tree holds, name by name: its digest is made of it, and a tree can be compared with it later.
//!
//! As text, `airstrip tree 2` and a line for everything below the root, parents first and the names of a directory in
//! bytewise order:
//!
//! | line | |
//! |---|---|
//! | `d PATH` | directory |
//! | `f SHA256 SIZE PATH` | file |
//! | `x SHA256 SIZE PATH` | file with any execute bit |
//! | `l TARGET PATH` | symbolic link |
//!
//! In paths and targets every byte but printable ASCII, and space and `\` too, is `\` and two hexadecimal digits. The digest
//! of a tree is the SHA-256 of this text. So whoever trusts the digest can check the text with it, and every file with
//! the text. Owners, times, other mode bits and which names are links to one file do not count. A text is accepted in
//! this one form only: it may come from outside.

use std::fmt::Write;

use std::io;
use std::path::PathBuf;

use sha2::{Digest as _, Sha256};

use crate::{Digest, blocking, tree};

const HEAD: &str = "airstrip tree 2\n";
/// Bounds of what is accepted: longest path, longest name, longest target of a link, deepest tree, and most names.
const LONGEST_PATH: usize = 4096;
const LONGEST_NAME: usize = 255;
const DEEPEST: usize = 256;
const MOST_ITEMS: usize = 2_000_000;
/// Longest text that is read.
pub const LONGEST_TEXT: u64 = 256 << 20;

/// What a tree holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inventory {
    items: Vec<Item>,
}

/// One name of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// From the root, `/` between parts. No part is empty, `.` or `..`.
    pub path: Vec<u8>,
    /// What is there.
    pub content: Content,
}

/// What stands under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A directory.
    Directory,
    /// A file.
    File {
        /// Hash of its bytes.
        sha256: [u8; 32],
        /// How many they are.
        size: u64,
        /// Whether it may be executed by anybody.
        executable: bool,
    },
    /// A symbolic link, and where it leads.
    Symlink(Vec<u8>),
}

/// How a name differs from what it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It should not be there.
    Added,
    /// It is not there.
    Missing,
    /// It holds something else.
    Changed,
    /// It holds the same, and only whether it can be executed has changed.
    Mode,
}

/// A name that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// From the root.
    pub path: Vec<u8>,
    /// In what way.
    pub change: Change,
}

/// Lists the tree at `root`. Dropping the future stops the work.
pub async fn of_tree(root: PathBuf) -> io::Result<Inventory> {
    let listed = blocking::run(move |cancel| tree::inventory(&root, cancel)).await;
    Ok(listed.ok_or(io::ErrorKind::Interrupted)??)
}

/// Text that is no inventory.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the list of files: {reason}")]
pub struct InvalidInventory {
    line: usize,
    reason: &'static str,
}

impl Inventory {
    /// Everything in it, in order.
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// Bytes of all its files together.
    pub fn bytes(&self) -> u64 {
        let sizes = self.items.iter().map(|item| if let Content::File { size, .. } = item.content { size } else { 0 });
        sizes.fold(0, u64::saturating_add)
    }

    /// In the order in which a tree is walked.
    pub(crate) fn push(&mut self, path: &[u8], content: Content) {
        self.items.push(Item { path: path.to_owned(), content });
    }

    /// Completes what was said of a file.
    pub(crate) fn describe_file(&mut self, number: usize, hash: [u8; 32], length: u64) {
        if let Some(Item { content: Content::File { sha256, size, .. }, .. }) = self.items.get_mut(number) {
            (*sha256, *size) = (hash, length);
        }
    }

    /// As text.
    pub fn to_text(&self) -> String {
        let mut text = HEAD.to_owned();
        for Item { path, content } in &self.items {
            match content {
                Content::Directory => text.push('d'),
                Content::File { sha256, size, executable } => {
                    text.push(if *executable { 'x' } else { 'f' });
                    let _infallible = write!(text, " {} {size}", hex(sha256));
                }
                Content::Symlink(target) => {
                    text.push_str("l ");
                    escape(target, &mut text);
                }
            }
            text.push(' ');
            escape(path, &mut text);
            text.push('\n');
        }
        text
    }

    /// The tree's digest.
    pub fn digest(&self) -> Digest {
        Self::digest_of(self.to_text().as_bytes())
    }

    /// The digest of the tree that a text describes.
    pub fn digest_of(text: &[u8]) -> Digest {
        Digest::from_sha256(&Sha256::digest(text))
    }

    /// Reads the text of an inventory.
    pub fn parse(text: &[u8]) -> Result<Self, InvalidInventory> {
        let at = |line| move |reason| InvalidInventory { line, reason };
        let lines = text.strip_prefix(HEAD.as_bytes()).ok_or("is not the beginning of one").map_err(at(1))?;
        let mut inventory = Self::default();
        let mut above: Vec<Vec<u8>> = Vec::new();
        let lines = lines.strip_suffix(b"\n").map(|lines| lines.split(|byte| *byte == b'\n'));
        for (number, line) in lines.into_iter().flatten().enumerate() {
            let item = item(line).map_err(at(number + 2))?;
            follows(inventory.items.last(), &item, &mut above).map_err(at(number + 2))?;
            if inventory.items.len() == MOST_ITEMS {
                return Err(at(number + 2)("there are too many"));
            }
            inventory.items.push(item);
        }
        // One way to write it, and no other: a last line without its end, upper-case digits and so on are not it.
        if inventory.to_text().as_bytes() != text {
            return Err(at(inventory.items.len() + 1)("is not written as it should be"));
        }
        Ok(inventory)
    }

    /// How a tree (`found`) differs from what it should be (`self`).
    pub fn compare(&self, found: &Self) -> Vec<Difference> {
        let mut differences = Vec::new();
        let (mut should, mut is) = (self.items.iter().peekable(), found.items.iter().peekable());
        loop {
            let order = match (should.peek(), is.peek()) {
                (None, None) => return differences,
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some(one), Some(other)) => parts(&one.path).cmp(parts(&other.path)),
            };
            let (one, other) = (
                should.next_if(|_| order != std::cmp::Ordering::Greater),
                is.next_if(|_| order != std::cmp::Ordering::Less),
            );
            let (path, change) = match (one, other) {
                (Some(one), Some(other)) => (&one.path, one.content.change_to(&other.content)),
                (Some(one), None) => (&one.path, Some(Change::Missing)),
                (None, Some(other)) => (&other.path, Some(Change::Added)),
                (None, None) => return differences,
            };
            differences.extend(change.map(|change| Difference { path: path.clone(), change }));
        }
    }
}

impl Content {
    fn change_to(&self, other: &Self) -> Option<Change> {
        match (self, other) {
            (one, other) if one == other => None,
            (Self::File { sha256, .. }, Self::File { sha256: now, .. }) if sha256 == now => Some(Change::Mode),
            _ => Some(Change::Changed),
        }
    }
}

fn parts(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/')
}

fn item(line: &[u8]) -> Result<Item, &'static str> {
    let fields: Vec<&[u8]> = line.splitn(5, |byte| *byte == b' ').collect();
    let (path, content) = match fields.as_slice() {
        [b"d", path] => (path, Content::Directory),
        [b"l", target, path] => (path, Content::Symlink(link_target(target)?)),
        [kind @ (b"f" | b"x"), sha256, size, path] => {
            (path, Content::File { sha256: sha256_of(sha256)?, size: number(size)?, executable: *kind == b"x" })
        }
        _ => return Err("is of no known form"),
    };
    Ok(Item { path: unescape(path)?, content })
}

fn link_target(text: &[u8]) -> Result<Vec<u8>, &'static str> {
    let target = unescape(text)?;
    let fits = !target.is_empty() && target.len() < LONGEST_PATH && !target.contains(&0);
    fits.then_some(target).ok_or("the target of the link is empty, too long or has a NUL byte")
}

fn sha256_of(text: &[u8]) -> Result<[u8; 32], &'static str> {
    let mut hash = [0; 32];
    let pairs = text.chunks(2);
    if text.len() != 64 {
        return Err("is without a SHA-256");
    }
    for (byte, pair) in hash.iter_mut().zip(pairs) {
        *byte = from_hex(pair).ok_or("is without a SHA-256")?;
    }
    Ok(hash)
}

fn number(text: &[u8]) -> Result<u64, &'static str> {
    let text = std::str::from_utf8(text).ok();
    text.and_then(|text| text.parse().ok()).ok_or("is without a size")
}

/// Whether an item may stand after this one; `above` are the directories that it may be in.
fn follows(before: Option<&Item>, item: &Item, above: &mut Vec<Vec<u8>>) -> Result<(), &'static str> {
    let path = &item.path;
    let names = parts(path).all(|name| !matches!(name, b"" | b"." | b"..") && name.len() <= LONGEST_NAME);
    if !names || path.contains(&0) || path.len() >= LONGEST_PATH {
        return Err("the path is not one of a file below a directory");
    }
    if before.is_some_and(|before| parts(&before.path).cmp(parts(path)) != std::cmp::Ordering::Less) {
        return Err("the path stands twice or in the wrong place");
    }
    let parent = path.iter().rposition(|byte| *byte == b'/').map_or(&b""[..], |slash| &path[..slash]);
    while above.last().is_some_and(|last| last != parent) {
        above.pop();
    }
    if above.is_empty() && !parent.is_empty() {
        return Err("the path is in no directory");
    }
    if item.content == Content::Directory {
        above.push(path.clone());
    }
    if above.len() > DEEPEST { Err("the path is too deep") } else { Ok(()) }
}

fn escape(bytes: &[u8], text: &mut String) {
    for byte in bytes {
        if byte.is_ascii_graphic() && *byte != b'\\' {
            text.push(char::from(*byte));
        } else {
            let _infallible = write!(text, "\\{byte:02x}");
        }
    }
}

fn unescape(text: &[u8]) -> Result<Vec<u8>, &'static str> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, others)) = rest.split_first() {
        rest = others;
        if *first != b'\\' {
            bytes.push(*first);
            continue;
        }
        let (digits, others) = rest.split_at_checked(2).ok_or("ends within a \\")?;
        bytes.push(from_hex(digits).ok_or("has no two hexadecimal digits after a \\")?);
        rest = others;
    }
    Ok(bytes)
}

fn from_hex(digits: &[u8]) -> Option<u8> {
    let value = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    match digits {
        [high, low] => Some(value(*high)? << 4 | value(*low)?),
        _ => None,
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _infallible = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests;
