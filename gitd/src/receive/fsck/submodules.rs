//! `.gitmodules`: values that would make a client of some age run or overwrite what it should not.

use gix::bstr::ByteSlice;
use gix::config::file::Metadata;

use super::Problem;

/// Checks the file's bytes.
pub(in crate::receive) fn check(content: &[u8]) -> Result<(), Problem> {
    let options = gix::config::file::init::Options { lossy: true, ..Default::default() };
    // Git only notes it; but such a file is of no use, and might mean something to another parser.
    let file = gix::config::File::from_bytes_no_includes(content, Metadata::api(), options)
        .map_err(|_| Problem::new("gitmodulesParse", "could not parse gitmodules blob"))?;
    for section in file.sections_by_name("submodule").into_iter().flatten() {
        let Some(name) = section.header().subsection_name() else { continue };
        check_name(name)?;
        let values = |key| section.body().values(key);
        let any = |key, is: fn(&[u8]) -> bool| values(key).iter().any(|value| is(value));
        if any("url", is_hostile_url) {
            return Err(Problem::new("gitmodulesUrl", "disallowed submodule url"));
        }
        if any("path", is_option) {
            return Err(Problem::new("gitmodulesPath", "disallowed submodule path"));
        }
        if any("update", |value| value.starts_with(b"!")) {
            return Err(Problem::new("gitmodulesUpdate", "disallowed submodule update setting"));
        }
    }
    Ok(())
}

/// A submodule's name is a path below `.git/modules`.
fn check_name(name: &[u8]) -> Result<(), Problem> {
    let leaves = name.split(|byte| matches!(byte, b'/' | b'\\')).any(|part| part == b"..");
    if leaves || name.is_empty() {
        return Err(Problem::new("gitmodulesName", "disallowed submodule name"));
    }
    Ok(())
}

fn is_option(value: &[u8]) -> bool {
    value.starts_with(b"-")
}

/// An option; a line end, which ends up in a credential helper's input; a relative one that replaces the host.
fn is_hostile_url(url: &[u8]) -> bool {
    if is_option(url) {
        return true;
    }
    let relative = [b"./".as_slice(), b"../", b".\\", b"..\\"].iter().any(|prefix| url.starts_with(prefix));
    if relative || url.starts_with(b"git://") {
        return decode(url).contains(&b'\n') || escapes(url);
    }
    let url = strip_helper(url);
    let web = [b"http://".as_slice(), b"https://", b"ftp://", b"ftps://"];
    let Some(rest) = web.iter().find_map(|scheme| url.strip_prefix(*scheme)) else { return false };
    let host = rest.split(|byte| matches!(byte, b'/' | b'?' | b'#')).next().unwrap_or_default();
    host.is_empty() || host.starts_with(b":") || decode(url).contains(&b'\n')
}

/// `http::URL` and the like name the helper first.
fn strip_helper(url: &[u8]) -> &[u8] {
    let helpers = [b"http::".as_slice(), b"https::", b"ftp::", b"ftps::"];
    helpers.iter().find_map(|helper| url.strip_prefix(*helper)).unwrap_or(url)
}

/// Whether `../` after `../` leads to a colon or a slash.
fn escapes(url: &[u8]) -> bool {
    let (mut rest, mut up) = (url, false);
    loop {
        let separator = |rest: &[u8], dots: &[u8]| match rest.strip_prefix(dots)?.split_first()? {
            (b'/' | b'\\', _) => Some(dots.len() + 1),
            _ => None,
        };
        let step = separator(rest, b"..").inspect(|_| up = true).or_else(|| separator(rest, b"."));
        let Some(length) = step else { return up && matches!(rest.first(), Some(b':' | b'/')) };
        rest = rest.get(length..).unwrap_or_default();
    }
}

/// With `%0a` made a line end.
fn decode(url: &[u8]) -> Vec<u8> {
    url.replace("%0a", "\n").replace("%0A", "\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn files() {
        for (content, expected) in [
            ("", None),
            ("[core]\n\turl = -x\n", None),
            ("[submodule]\n\turl = -x\n", None),
            ("[submodule \"a\"]\n\tpath = a\n\turl = https://example.org/a.git\n\tupdate = rebase\n", None),
            ("[submodule \"a/b\"]\n\tpath = a\n\turl = ../a.git\n", None),
            ("[submodule \"a\"]\n\turl = git@example.org:a.git\n", None),
            ("[submodule \"../../x\"]\n\turl = a\n", Some("gitmodulesName")),
            ("[submodule \"x\\\\..\\\\y\"]\n\turl = a\n", Some("gitmodulesName")),
            ("[submodule \"a\"]\n\turl = -u./payload\n", Some("gitmodulesUrl")),
            ("[submodule \"a\"]\n\turl = \"-u./payload\"\n", Some("gitmodulesUrl")),
            ("[SubModule \"a\"]\n\tURL = --upload-pack=x\n", Some("gitmodulesUrl")),
            ("[submodule \"a\"]\n\turl = ../../../:x\n", Some("gitmodulesUrl")),
            ("[submodule \"a\"]\n\turl = \"./%0ahost=x/y\"\n", Some("gitmodulesUrl")),
            ("[submodule \"a\"]\n\turl = https://x/?%0ahost=y\n", Some("gitmodulesUrl")),
            ("[submodule \"a\"]\n\turl = https:///x\n", Some("gitmodulesUrl")),
            ("[submodule \"a\"]\n\turl = http::https://x/%0a\n", Some("gitmodulesUrl")),
            ("[submodule \"a\"]\n\turl = a\n\turl = -b\n", Some("gitmodulesUrl")),
            ("[submodule \"a\"]\n\tpath = --sub\n", Some("gitmodulesPath")),
            ("[submodule \"a\"]\n\tupdate = !rm x\n", Some("gitmodulesUpdate")),
            ("[submodule \"a\"\n", Some("gitmodulesParse")),
        ] {
            assert_eq!(check(content.as_bytes()).err().map(|problem| problem.id), expected, "{content:?}");
        }
    }

    proptest! {
        #[test]
        fn any_file_and_url_is_checked_without_panic(content in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = (check(&content), is_hostile_url(&content));
        }
    }
}
