//! Trees, as bytes: what a parser would already have put right must be seen.

use std::collections::HashSet;

use super::{Problem, names};
use crate::ObjectId;

/// Bytes of an object's name.
const ID: usize = 20;
/// The longest name of an entry.
const NAME: usize = 4096;
const DIRECTORY: u32 = 0o40_000;
const SYMLINK: u32 = 0o120_000;
const TYPE: u32 = 0o170_000;

/// A file that git itself reads, wherever it is in a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::receive) enum Special {
    /// `.gitmodules`.
    Submodules,
    /// `.gitattributes`.
    Attributes,
}

/// Checks a tree and hands out the files in it that have to be looked at.
pub(in crate::receive) fn check_tree(
    mut content: &[u8],
    found: &mut dyn FnMut(ObjectId, Special),
) -> Result<(), Problem> {
    let mut order = Order::default();
    while !content.is_empty() {
        let (entry, rest) = Entry::split(content).ok_or(BAD_TREE)?;
        entry.check()?;
        if let Some(special) = entry.special()? {
            found(entry.id, special);
        }
        order.check(&entry)?;
        content = rest;
    }
    Ok(())
}

const BAD_TREE: Problem = Problem::new("badTree", "cannot be parsed as a tree");

#[derive(Clone, Copy)]
struct Entry<'a> {
    padded: bool,
    mode: u32,
    name: &'a [u8],
    id: ObjectId,
}

impl<'a> Entry<'a> {
    /// `MODE NAME\0ID`, and what follows.
    fn split(content: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let space = content.iter().position(|byte| *byte == b' ')?;
        let (digits, rest) = (content.get(..space)?, content.get(space + 1..)?);
        let end = rest.iter().position(|byte| *byte == 0)?;
        let (name, rest) = (rest.get(..end)?, rest.get(end + 1..)?);
        let (id, rest) = rest.split_at_checked(ID)?;
        let mode = parse_mode(digits)?;
        if name.is_empty() {
            return None;
        }
        let id = ObjectId::try_from(id).ok()?;
        Some((Self { padded: digits.starts_with(b"0"), mode, name, id }, rest))
    }

    fn is_directory(&self) -> bool {
        self.mode & TYPE == DIRECTORY
    }

    fn check(&self) -> Result<(), Problem> {
        let problem = |id, text| Err(Problem::new(id, text));
        match self.name {
            _ if self.id.is_null() => problem("nullSha1", "contains entries pointing to null sha1"),
            name if name.contains(&b'/') => problem("fullPathname", "contains full pathnames"),
            b"." => problem("hasDot", "contains '.'"),
            b".." => problem("hasDotdot", "contains '..'"),
            name if names::is_git(name) => problem("hasDotgit", "contains '.git'"),
            _ if self.padded => problem("zeroPaddedFilemode", "contains zero-padded file modes"),
            name if name.len() > NAME => problem("largePathname", "contains excessively large pathname"),
            _ => Ok(()),
        }
    }

    fn special(&self) -> Result<Option<Special>, Problem> {
        let link = self.mode & TYPE == SYMLINK;
        if names::is_submodules(self.name) {
            let refused = Err(Problem::new("gitmodulesSymlink", ".gitmodules is a symbolic link"));
            return if link { refused } else { Ok(Some(Special::Submodules)) };
        }
        Ok((!link && names::is_attributes(self.name)).then_some(Special::Attributes))
    }
}

/// Octal, as git reads it: any number of digits, but at least one.
fn parse_mode(digits: &[u8]) -> Option<u32> {
    let digit = |mode: u32, byte: &u8| match byte {
        b'0'..=b'7' => Some((mode & (u32::MAX >> 3)) << 3 | u32::from(byte - b'0')),
        _ => None,
    };
    if digits.is_empty() { None } else { digits.iter().try_fold(0, digit) }
}

/// The order of entries: by bytes, with a slash behind directories.
#[derive(Default)]
struct Order<'a> {
    last: Option<Entry<'a>>,
    /// Files before which a directory of the same name may still come, as `foo`, `foo.c`, `foo/`.
    files: HashSet<&'a [u8]>,
}

impl<'a> Order<'a> {
    fn check(&mut self, entry: &Entry<'a>) -> Result<(), Problem> {
        let Some(last) = self.last.replace(*entry) else { return Ok(()) };
        let duplicate = Problem::new("duplicateEntries", "contains duplicate file entries");
        if last.name == entry.name || entry.is_directory() && self.files.contains(entry.name) {
            return Err(duplicate);
        }
        if !last.is_directory()
            && entry.name.strip_prefix(last.name).and_then(<[u8]>::first).is_some_and(|byte| *byte < b'/')
        {
            self.files.insert(last.name);
        }
        if sort_key(&last).lt(sort_key(entry)) {
            return Ok(());
        }
        Err(Problem::new("treeNotSorted", "not properly sorted"))
    }
}

fn sort_key<'a>(entry: &Entry<'a>) -> impl Iterator<Item = u8> + use<'a> {
    entry.name.iter().copied().chain(entry.is_directory().then_some(b'/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tree(entries: &[(&str, &str)]) -> Vec<u8> {
        let entry = |(mode, name): &(&str, &str)| [mode.as_bytes(), b" ", name.as_bytes(), b"\0", &[1; ID]].concat();
        entries.iter().flat_map(entry).collect()
    }

    fn checked(content: &[u8]) -> Result<Vec<Special>, &'static str> {
        let mut special = Vec::new();
        check_tree(content, &mut |_, kind| special.push(kind)).map_err(|problem| problem.id)?;
        Ok(special)
    }

    #[test]
    fn sound_trees() {
        for entries in [
            vec![],
            vec![("100644", "a")],
            vec![("100644", "foo"), ("100644", "foo.c"), ("40000", "foo0")],
            vec![("40000", "foo"), ("100644", "foo0")],
            vec![("100644", "foo-"), ("40000", "foo"), ("160000", "sub"), ("120000", "symlink")],
        ] {
            assert_eq!(checked(&tree(&entries)), Ok(vec![]), "{entries:?}");
        }
        let special = tree(&[("100644", ".gitattributes"), ("100644", ".gitmodules")]);
        assert_eq!(checked(&special), Ok(vec![Special::Attributes, Special::Submodules]));
    }

    #[test]
    fn unsound_trees() {
        let long = "x".repeat(NAME + 1);
        for (entries, expected) in [
            (vec![("100644", "")], "badTree"),
            (vec![("", "a")], "badTree"),
            (vec![("100648", "a")], "badTree"),
            (vec![("100644", "a/b")], "fullPathname"),
            (vec![("40000", ".")], "hasDot"),
            (vec![("40000", "..")], "hasDotdot"),
            (vec![("40000", ".git")], "hasDotgit"),
            (vec![("40000", "GIT~1")], "hasDotgit"),
            (vec![("040000", "a")], "zeroPaddedFilemode"),
            (vec![("100644", long.as_str())], "largePathname"),
            (vec![("100644", "a"), ("100644", "a")], "duplicateEntries"),
            (vec![("100644", "foo"), ("100644", "foo.c"), ("40000", "foo")], "duplicateEntries"),
            (vec![("100644", "b"), ("100644", "a")], "treeNotSorted"),
            (vec![("40000", "foo"), ("100644", "foo-")], "treeNotSorted"),
            (vec![("120000", ".gitmodules")], "gitmodulesSymlink"),
        ] {
            assert_eq!(checked(&tree(&entries)), Err(expected), "{entries:?}");
        }
        let mut null = tree(&[("100644", "a")]);
        let start = null.len() - ID;
        null[start..].fill(0);
        assert_eq!(checked(&null), Err("nullSha1"));
        let cut = tree(&[("100644", "a")]);
        assert_eq!(checked(&cut[..cut.len() - 1]), Err("badTree"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_checked_without_panic(content in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = checked(&content);
        }

        #[test]
        fn any_name_is_checked_without_panic(name in "[^\0]{1,40}") {
            let _ = checked(&tree(&[("100644", &name)]));
        }
    }
}
