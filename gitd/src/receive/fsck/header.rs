//! The lines in front of a commit's or a tag's message.

use gix::objs::Kind;

use super::Problem;
use crate::ObjectId;

/// Checks a commit.
pub(in crate::receive) fn check_commit(content: &[u8]) -> Result<(), Problem> {
    check_end(content)?;
    let mut lines = Lines(content);
    let tree = lines.take("tree ").ok_or(problem("missingTree", "invalid format - expected 'tree' line"))?;
    parse_id(tree).ok_or(problem("badTreeSha1", "invalid 'tree' line format - bad sha1"))?;
    while let Some(parent) = lines.take("parent ") {
        parse_id(parent).ok_or(problem("badParentSha1", "invalid 'parent' line format - bad sha1"))?;
    }
    let author = lines.take("author ").ok_or(problem("missingAuthor", "invalid format - expected 'author' line"))?;
    check_person(author)?;
    if let Some(another) = lines.take("author ") {
        check_person(another)?;
        return Err(problem("multipleAuthors", "invalid format - multiple 'author' lines"));
    }
    let committer = lines.take("committer ");
    check_person(committer.ok_or(problem("missingCommitter", "invalid format - expected 'committer' line"))?)?;
    if content.contains(&0) {
        return Err(problem("nulInCommit", "NUL byte in the commit object body"));
    }
    Ok(())
}

/// Checks a tag; what it points to, and as what.
pub(in crate::receive) fn check_tag(content: &[u8]) -> Result<(ObjectId, Kind), Problem> {
    check_end(content)?;
    let mut lines = Lines(content);
    let object = lines.take("object ").ok_or(problem("missingObject", "invalid format - expected 'object' line"))?;
    let id = parse_id(object).ok_or(problem("badObjectSha1", "invalid 'object' line format - bad sha1"))?;
    let kind = lines.take("type ").ok_or(problem("missingTypeEntry", "invalid format - expected 'type' line"))?;
    let kind = Kind::from_bytes(kind).map_err(|_| problem("badType", "invalid 'type' value"))?;
    lines.take("tag ").ok_or(problem("missingTagEntry", "invalid format - expected 'tag' line"))?;
    // Old tags have none.
    lines.take("tagger ").map_or(Ok(()), check_person)?;
    Ok((id, kind))
}

const fn problem(id: &'static str, text: &'static str) -> Problem {
    Problem::new(id, text)
}

/// The header ends before the first NUL, at an empty line or at the end.
fn check_end(content: &[u8]) -> Result<(), Problem> {
    let header = match content.windows(2).position(|pair| pair == b"\n\n") {
        Some(end) => content.get(..end).unwrap_or_default(),
        None if content.ends_with(b"\n") => content,
        None if content.contains(&0) => return Err(NUL),
        None => return Err(problem("unterminatedHeader", "unterminated header")),
    };
    if header.contains(&0) { Err(NUL) } else { Ok(()) }
}

const NUL: Problem = problem("nulInHeader", "unterminated header: NUL in it");

struct Lines<'a>(&'a [u8]);

impl<'a> Lines<'a> {
    /// The rest of the next line, if it begins with this.
    fn take(&mut self, prefix: &str) -> Option<&'a [u8]> {
        let rest = self.0.strip_prefix(prefix.as_bytes())?;
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        self.0 = rest.get(end + 1..)?;
        rest.get(..end)
    }
}

fn parse_id(hex: &[u8]) -> Option<ObjectId> {
    ObjectId::from_hex(hex).ok()
}

/// `NAME <EMAIL> SECONDS +ZONE`
fn check_person(line: &[u8]) -> Result<(), Problem> {
    let special = |byte: &u8| matches!(byte, b'<' | b'>');
    let (name, rest) = line.split_at(line.iter().position(special).unwrap_or(line.len()));
    let rest = match rest.split_first() {
        _ if line.starts_with(b"<") => return Err(MISSING_NAME),
        Some((b'>', _)) => return Err(problem("badName", "invalid author/committer line - bad name")),
        Some((b'<', rest)) => rest,
        _ => return Err(problem("missingEmail", "invalid author/committer line - missing email")),
    };
    if !name.ends_with(b" ") {
        return Err(MISSING_SPACE);
    }
    let bad_email = problem("badEmail", "invalid author/committer line - bad email");
    let end = rest.iter().position(special).ok_or(bad_email)?;
    let rest = rest.get(end..).and_then(|rest| rest.strip_prefix(b">")).ok_or(bad_email)?;
    let missing = problem("missingSpaceBeforeDate", "invalid author/committer line - missing space before date");
    check_date(rest.strip_prefix(b" ").ok_or(missing)?)
}

const MISSING_NAME: Problem =
    problem("missingNameBeforeEmail", "invalid author/committer line - missing space before email");
const MISSING_SPACE: Problem =
    problem("missingSpaceBeforeEmail", "invalid author/committer line - missing space before email");

/// `SECONDS +ZONE`
fn check_date(text: &[u8]) -> Result<(), Problem> {
    let bad_date = problem("badDate", "invalid author/committer line - bad date");
    let blank = text.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    let text = text.get(blank..).unwrap_or_default();
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (seconds, rest) = text.split_at(digits);
    if seconds.is_empty() {
        return Err(bad_date);
    }
    if seconds.starts_with(b"0") && text.get(1) != Some(&b' ') {
        return Err(problem("zeroPaddedDate", "invalid author/committer line - zero-padded date"));
    }
    if !std::str::from_utf8(seconds).is_ok_and(|seconds| seconds.parse::<i64>().is_ok()) {
        return Err(problem("badDateOverflow", "invalid author/committer line - date causes integer overflow"));
    }
    match rest.strip_prefix(b" ").ok_or(bad_date)? {
        [b'+' | b'-', zone @ ..] if zone.len() == 4 && zone.iter().all(u8::is_ascii_digit) => Ok(()),
        _ => Err(problem("badTimezone", "invalid author/committer line - bad time zone")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ID: &str = "1111111111111111111111111111111111111111";
    const A: &str = "A <a@b> 1 +0000";

    fn commit(content: &str) -> Result<(), &'static str> {
        check_commit(content.as_bytes()).map_err(|problem| problem.id)
    }

    #[test]
    fn commits() {
        for (content, expected) in [
            (format!("tree {ID}\nauthor {A}\ncommitter {A}\n"), Ok(())),
            (
                format!("tree {ID}\nparent {ID}\nparent {ID}\nauthor {A}\ncommitter {A}\ngpgsig x\n y\n\nmessage"),
                Ok(()),
            ),
            (format!("tree {ID}\nauthor {A}\ncommitter {A}"), Err("unterminatedHeader")),
            (format!("tree {ID}\nauthor {A}\0\ncommitter {A}\n"), Err("nulInHeader")),
            (format!("tree {ID}\nauthor {A}\ncommitter {A}\n\na\0b"), Err("nulInCommit")),
            (format!("author {A}\ncommitter {A}\n"), Err("missingTree")),
            (format!("tree {ID}1\nauthor {A}\ncommitter {A}\n"), Err("badTreeSha1")),
            (format!("tree {ID}\nparent x\nauthor {A}\ncommitter {A}\n"), Err("badParentSha1")),
            (format!("tree {ID}\ncommitter {A}\n"), Err("missingAuthor")),
            (format!("tree {ID}\nauthor {A}\nauthor {A}\ncommitter {A}\n"), Err("multipleAuthors")),
            (format!("tree {ID}\nauthor {A}\n"), Err("missingCommitter")),
        ] {
            assert_eq!(commit(&content), expected, "{content:?}");
        }
    }

    #[test]
    fn people() {
        for (line, expected) in [
            (A, Ok(())),
            (" <> 0 -1200", Ok(())),
            ("A <a@b>  1 +0000", Ok(())),
            ("<a@b> 1 +0000", Err("missingNameBeforeEmail")),
            ("A> <a@b> 1 +0000", Err("badName")),
            ("A a@b 1 +0000", Err("missingEmail")),
            ("A<a@b> 1 +0000", Err("missingSpaceBeforeEmail")),
            ("A <a@b 1 +0000", Err("badEmail")),
            ("A <a<b> 1 +0000", Err("badEmail")),
            ("A <a@b>1 +0000", Err("missingSpaceBeforeDate")),
            ("A <a@b> x +0000", Err("badDate")),
            ("A <a@b> ", Err("badDate")),
            ("A <a@b> 1", Err("badDate")),
            ("A <a@b> 01 +0000", Err("zeroPaddedDate")),
            ("A <a@b> 18446744073709551615 +0000", Err("badDateOverflow")),
            ("A <a@b> 1 0000", Err("badTimezone")),
            ("A <a@b> 1 +00000", Err("badTimezone")),
        ] {
            assert_eq!(check_person(line.as_bytes()).map_err(|problem| problem.id), expected, "{line:?}");
        }
    }

    #[test]
    fn tags() {
        for (content, expected) in [
            (format!("object {ID}\ntype commit\ntag v1\ntagger {A}\n\nx"), Ok(Kind::Commit)),
            (format!("object {ID}\ntype blob\ntag v 1\n"), Ok(Kind::Blob)),
            (format!("type commit\ntag v1\ntagger {A}\n"), Err("missingObject")),
            (format!("object x\ntype commit\ntag v1\ntagger {A}\n"), Err("badObjectSha1")),
            (format!("object {ID}\ntag v1\n"), Err("missingTypeEntry")),
            (format!("object {ID}\ntype thing\ntag v1\n"), Err("badType")),
            (format!("object {ID}\ntype commit\ntagger {A}\n"), Err("missingTagEntry")),
            (format!("object {ID}\ntype commit\ntag v1\ntagger A\n"), Err("missingEmail")),
        ] {
            let checked = check_tag(content.as_bytes()).map(|(_, kind)| kind).map_err(|problem| problem.id);
            assert_eq!(checked, expected, "{content:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_checked_without_panic(content in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = (check_commit(&content), check_tag(&content), check_person(&content));
        }
    }
}
