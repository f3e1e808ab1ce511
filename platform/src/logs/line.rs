//! One line of a log: as it is kept, and as it is shown.

use crate::names::{Process, Version};

/// The text behind `TIME TAG ` comes from an app: anything may be in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// RFC 3339, UTC, milliseconds: as text it sorts by time.
    pub(super) time: String,
    pub(super) version: Version,
    pub(super) process: Process,
    pub(super) source: Source,
    pub(super) text: String,
}

/// Who wrote a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    App,
    Platform,
    /// The platform's router, about a request.
    Router,
}

/// ORIGIN of the platform's own lines.
const PLATFORM: &str = "airstrip";
/// ORIGIN of the access log's lines, and the name of its file.
pub(super) const ROUTER: &str = "router";

impl Line {
    /// A line without its end. None if it is not of the form: a crash may have torn it.
    pub(super) fn parse(line: &[u8]) -> Option<Self> {
        let mut words = line.splitn(3, |byte| *byte == b' ');
        let time = std::str::from_utf8(words.next()?).ok().filter(|time| is_time(time))?;
        let mut tag = std::str::from_utf8(words.next()?).ok()?.splitn(3, ':');
        Some(Self {
            time: time.to_owned(),
            version: tag.next()?.parse().ok()?,
            process: tag.next()?.parse().ok()?,
            source: match tag.next()? {
                PLATFORM => Source::Platform,
                ROUTER => Source::Router,
                _ => Source::App,
            },
            text: String::from_utf8_lossy(words.next().unwrap_or_default()).into_owned(),
        })
    }

    /// As it is kept, with its end.
    pub(super) fn ours(time: &str, version: Version, process: &Process, text: &str) -> String {
        format!("{time} {version}:{process}:{PLATFORM} {text}\n")
    }

    /// As it is kept, with its end: a line of the access log. Its process is one that no app has by default.
    pub(super) fn routers(time: &str, version: Version, text: &str) -> String {
        format!("{time} {version}:{ROUTER}.1:{ROUTER} {text}\n")
    }

    /// Appends it as it is shown, with its end.
    pub(super) fn show(&self, colours: bool, to: &mut String) {
        let (source, process) = match self.source {
            Source::App => ("app", self.process.to_string()),
            Source::Platform => (PLATFORM, self.process.to_string()),
            Source::Router => (PLATFORM, ROUTER.to_owned()),
        };
        to.extend([self.time.as_str(), " ", source, "[", &process, "]: "]);
        show_text(self.text.trim_end_matches('\r'), colours, to);
        to.push('\n');
    }
}

/// `2026-11-20T21:00:00.000Z`
fn is_time(text: &str) -> bool {
    const FORM: &[u8] = b"0000-00-00T00:00:00.000Z";
    let fits = |(byte, form): (u8, &u8)| if *form == b'0' { byte.is_ascii_digit() } else { byte == *form };
    text.len() == FORM.len() && text.bytes().zip(FORM).all(fits)
}

/// An app must not be able to move the reader's cursor, rewrite lines above, set a title or make the terminal type: control
/// characters are shown escaped. Colours do no harm and are common: they pass to a terminal, each line ending in the
/// terminal's own colour, and are left out elsewhere, where they would only hide the text from `grep`.
fn show_text(text: &str, colours: bool, to: &mut String) {
    let mut rest = text;
    let mut coloured = false;
    while let Some(character) = rest.chars().next() {
        let length = colour(rest).unwrap_or(character.len_utf8());
        let (piece, behind) = rest.split_at(length);
        match character {
            '\x1b' if length > 1 && colours => {
                to.push_str(piece);
                coloured = true;
            }
            '\x1b' if length > 1 => {}
            '\t' => to.push('\t'),
            _ if character.is_control() => to.extend(character.escape_default()),
            _ => to.push(character),
        }
        rest = behind;
    }
    if coloured {
        to.push_str("\x1b[0m");
    }
}

/// The length of the colour sequence (`ESC [ 1 ; 31 m`) with which the text begins.
fn colour(text: &str) -> Option<usize> {
    let parameters = text.strip_prefix("\x1b[")?;
    let end = parameters.find(|c: char| !c.is_ascii_digit() && c != ';' && c != ':')?;
    parameters.get(end..)?.starts_with('m').then_some(end + 3)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(line: &[u8], colours: bool) -> String {
        let mut text = String::new();
        Line::parse(line).unwrap().show(colours, &mut text);
        text
    }

    #[test]
    fn lines() {
        let line = b"2026-11-20T21:00:00.000Z v12:web.1:3f2a \x1b[1;31mred\x1b[m\tand \x1b]0;title\x07\x1b[2J\xff\r\r";
        assert_eq!(
            shown(line, false),
            "2026-11-20T21:00:00.000Z app[web.1]: red\tand \\u{1b}]0;title\\u{7}\\u{1b}[2J\u{fffd}\n"
        );
        assert!(shown(line, true).contains("\x1b[1;31mred\x1b[m\tand \\u{1b}]0;"));
        assert!(shown(line, true).ends_with("\x1b[0m\n"));
        assert_eq!(
            shown(b"2026-11-20T21:00:00.000Z v1:a.1:airstrip ", false),
            "2026-11-20T21:00:00.000Z airstrip[a.1]: \n"
        );
        assert_eq!(
            shown(b"2026-11-20T21:00:00.000Z v1:router.1:router text", false),
            "2026-11-20T21:00:00.000Z airstrip[router]: text\n"
        );
        assert_eq!(shown(b"2026-11-20T21:00:00.000Z v1:a.1:x", false), "2026-11-20T21:00:00.000Z app[a.1]: \n");
    }

    #[test]
    fn what_is_no_line() {
        let table: [&[u8]; 7] = [
            b"",
            b"text",
            b"2026-11-20T21:00:00Z v1:a.1:x text",
            b"2026-11-20T21:00:00.000Z",
            b"2026-11-20T21:00:00.000Z v1:a.1 text",
            b"2026-11-20T21:00:00.000Z v0:a.1:x text",
            b"2026-11-20T21:00:00.000Z v1:a:x text",
        ];
        for line in table {
            assert_eq!(Line::parse(line), None, "{}", String::from_utf8_lossy(line));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(line in any::<Vec<u8>>()) {
            let _line = Line::parse(&line);
        }

        #[test]
        fn nothing_that_controls_a_terminal_passes(text in "([\\x00-\\x1f\\x1b\\[m0-9;A-Z\u{80}-\u{9f}é]|\\x1b\\[31m)*") {
            let mut kept = b"2026-11-20T21:00:00.000Z v12:web.1:x ".to_vec();
            kept.extend(text.bytes());
            let plain = shown(&kept, false);
            prop_assert!(plain.trim_end_matches('\n').chars().all(|c| c == '\t' || !c.is_control()));
            let mut colourful = shown(&kept, true);
            while let Some(at) = colourful.find('\x1b') {
                let length = colour(&colourful[at..]);
                prop_assert!(length.is_some(), "{colourful:?}");
                colourful.replace_range(at..at + length.unwrap(), "");
            }
            prop_assert_eq!(colourful, plain);
        }

        #[test]
        fn what_we_write_is_read(version in 1..u32::MAX, number in 1..u32::MAX, text in "[^\\n\\r]*") {
            let process = Process { kind: "web".parse().unwrap(), number };
            let kept = Line::ours("2026-11-20T21:00:00.000Z", Version(version), &process, &text);
            let line = Line::parse(kept.trim_end_matches('\n').as_bytes()).unwrap();
            prop_assert_eq!((line.version, line.process, line.source, line.text), (Version(version), process, Source::Platform, text));
        }
    }
}
