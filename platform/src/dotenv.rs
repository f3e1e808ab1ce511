//! Files of `NAME=VALUE` lines, as the dotenv tools of most languages read them, without expansion.
//!
//! Blank lines and lines that begin with `#` are skipped; `export ` before a name is allowed. A value is
//! - bare: to the end of the line or to a `#` behind a blank, blanks around it removed;
//! - in single quotes: as it is, over several lines too;
//! - in double quotes: the same, but `\n`, `\r`, `\t`, `\\`, `\"` and `\$` mean what they mean in C and in shells.
//!
//! Errors name lines, never what stands in them: it may be secret.

use crate::names::ConfigKey;

/// A file that is not of the form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct DotenvError {
    /// Counted from 1; where a value begins, for one over several lines.
    pub line: usize,
    /// What is wrong there.
    pub problem: Problem,
}

/// What can be wrong with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// No `=`.
    #[error("expected NAME=VALUE")]
    NoEquals,
    /// A name outside the rules.
    #[error("what stands before '=' is not a variable name: use letters, digits and '_', not starting with a digit")]
    Name,
    /// A quote is opened and not closed.
    #[error("a quoted value without its closing quote")]
    Unclosed,
    /// Something other than a comment behind a closing quote.
    #[error("text behind the closing quote")]
    Trailing,
    /// A NUL character, which no environment can hold.
    #[error("a NUL character")]
    Nul,
}

/// The variables in the order of the file. A name may come twice: the last one counts.
pub fn parse(text: &str) -> Result<Vec<(ConfigKey, String)>, DotenvError> {
    let mut reader = Reader { rest: text.strip_prefix('\u{feff}').unwrap_or(text), line: 1 };
    let mut variables = Vec::new();
    while !reader.rest.is_empty() {
        let line = reader.line;
        variables.extend(reader.entry().map_err(|problem| DotenvError { line, problem })?);
    }
    Ok(variables)
}

/// What has not been read yet.
struct Reader<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> Reader<'a> {
    /// Reads one line, or as many as its value has.
    fn entry(&mut self) -> Result<Option<(ConfigKey, String)>, Problem> {
        let line = self.rest.lines().next().unwrap_or_default();
        let start = line.trim_start();
        if start.is_empty() || start.starts_with('#') {
            self.take_line();
            return Ok(None);
        }
        let (name, _) = line.split_once('=').ok_or(Problem::NoEquals)?;
        self.rest = self.rest.get(name.len() + 1..).unwrap_or_default();
        let key = key(name)?;
        let value = self.value()?;
        if value.contains('\0') { Err(Problem::Nul) } else { Ok(Some((key, value))) }
    }

    fn value(&mut self) -> Result<String, Problem> {
        let value = self.rest.trim_start_matches([' ', '\t']);
        match value.chars().next() {
            Some(quote @ ('\'' | '"')) => {
                self.rest = value;
                self.quoted(quote)
            }
            _ => Ok(bare(self.take_line()).to_owned()),
        }
    }

    fn quoted(&mut self, quote: char) -> Result<String, Problem> {
        let mut value = String::new();
        let mut characters = self.rest.char_indices().skip(1);
        while let Some((at, character)) = characters.next() {
            match character {
                _ if character == quote => {
                    self.line += value_lines(self.rest, at);
                    self.rest = self.rest.get(at + 1..).unwrap_or_default();
                    let behind = self.take_line().trim();
                    return if behind.is_empty() || behind.starts_with('#') {
                        Ok(value)
                    } else {
                        Err(Problem::Trailing)
                    };
                }
                '\\' if quote == '"' => escaped(characters.next().map(|(_, c)| c), &mut value),
                _ => value.push(character),
            }
        }
        Err(Problem::Unclosed)
    }

    /// The rest of the line, without its end.
    fn take_line(&mut self) -> &'a str {
        let (line, rest) = self.rest.split_once('\n').unwrap_or((self.rest, ""));
        self.rest = rest;
        self.line += 1;
        line.strip_suffix('\r').unwrap_or(line)
    }
}

fn key(name: &str) -> Result<ConfigKey, Problem> {
    let name = name.trim();
    let exported = name.strip_prefix("export").filter(|rest| rest.starts_with([' ', '\t']));
    exported.unwrap_or(name).trim().parse().map_err(|_| Problem::Name)
}

fn value_lines(text: &str, end: usize) -> usize {
    text.bytes().take(end).filter(|byte| *byte == b'\n').count()
}

/// A value without quotes: ends at a comment.
fn bare(line: &str) -> &str {
    let behind_blank = |(at, _): &(usize, &str)| line.get(..*at).is_some_and(|before| before.ends_with([' ', '\t']));
    let comment = line.match_indices('#').find(behind_blank).map_or(line.len(), |(at, _)| at);
    line.get(..comment).unwrap_or(line).trim()
}

/// What a backslash and the character behind it mean in double quotes.
fn escaped(character: Option<char>, value: &mut String) {
    match character {
        Some('n') => value.push('\n'),
        Some('r') => value.push('\r'),
        Some('t') => value.push('\t'),
        Some(same @ ('\\' | '"' | '$' | '`')) => value.push(same),
        Some(other) => value.extend(['\\', other]),
        None => value.push('\\'),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        let parsed = parse(text).unwrap();
        parsed.into_iter().map(|(key, value)| (key.to_string(), value)).collect()
    }

    #[test]
    fn one_line_each() {
        let table = [
            ("A=1", "1"),
            ("A=", ""),
            ("export A = b c  ", "b c"),
            ("A=a#b # comment", "a#b"),
            ("A=#fff", "#fff"),
            ("A= # comment", ""),
            ("A='a # b' # comment", "a # b"),
            ("A=\"a\\nb\\\\ \\\"q\\\" \\$x \\d\"", "a\nb\\ \"q\" $x \\d"),
            ("A='no \\n escape'", "no \\n escape"),
            ("A=$B/${C}", "$B/${C}"),
            ("A=b=c==", "b=c=="),
            ("A=it's", "it's"),
            ("\u{feff}A=1\r", "1"),
            ("A='1'\r\n", "1"),
        ];
        for (text, value) in table {
            assert_eq!(pairs(text), [("A".to_owned(), value.to_owned())], "{text:?}");
        }
    }

    #[test]
    fn a_whole_file() {
        let text = "# settings\n\nA=1\r\n  \nKEY=\"-----BEGIN\nabc\n-----END\"\nexport B='x\ny'\nC=3\nC=4";
        let expected = [("A", "1"), ("KEY", "-----BEGIN\nabc\n-----END"), ("B", "x\ny"), ("C", "3"), ("C", "4")];
        assert_eq!(pairs(text), expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }

    #[test]
    fn errors_name_the_line_and_nothing_else() {
        let table = [
            ("A=1\nsecret", 2, Problem::NoEquals),
            ("A='x\ny'\nB C=secret", 3, Problem::Name),
            ("1A=secret", 1, Problem::Name),
            ("=secret", 1, Problem::Name),
            ("\n\nA=\"secret\nsecret", 3, Problem::Unclosed),
            ("A='a\nb' secret", 1, Problem::Trailing),
            ("exportA B=secret", 1, Problem::Name),
            ("A=\0secret", 1, Problem::Nul),
        ];
        for (text, line, problem) in table {
            let error = parse(text).unwrap_err();
            assert_eq!(error, DotenvError { line, problem }, "{text:?}");
            assert!(!error.to_string().contains("secret"));
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in any::<String>()) {
            let _result = parse(&text);
        }

        #[test]
        fn double_quotes_hold_any_value(values in prop::collection::vec("[^\\x00]*", 0..5)) {
            let quote = |value: &String| value.replace('\\', "\\\\").replace('"', "\\\"");
            let lines: Vec<String> = values.iter().map(|value| format!("A=\"{}\"\n", quote(value))).collect();
            let text = lines.concat();
            let read: Vec<String> = parse(&text).unwrap().into_iter().map(|(_, value)| value).collect();
            prop_assert_eq!(read, values);
        }

        #[test]
        fn line_numbers_lie_within_the_text(text in "[A-C=\"' #\\n\\\\x]*") {
            if let Err(error) = parse(&text) {
                prop_assert!((1..=text.lines().count().max(1)).contains(&error.line));
            }
        }
    }
}
