//! A command line as words: split as a POSIX shell would, without expanding anything.

use crate::failure::{Failure, Result};

/// Splits a line at unquoted blanks; quotes and backslashes work as in a shell, `$`, `*` and `~` mean themselves.
pub fn split(line: &str) -> Result<Vec<String>> {
    if line.contains('\0') {
        return Err(Failure::plain("the command line contains a NUL character"));
    }
    shlex::split(line).ok_or_else(|| {
        Failure::new(
            "the command line has a quote without its partner, or ends in a backslash",
            "your own shell takes one layer of quotes away: quote twice, as in ssh … config:set blog 'GREETING=\"it is\"'",
        )
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::split;

    #[test]
    fn words_of_a_line() {
        let table: &[(&str, &[&str])] = &[
            ("", &[]),
            ("  apps  ", &["apps"]),
            ("run blog python -c 'print(1)'", &["run", "blog", "python", "-c", "print(1)"]),
            ("config:set blog A=\"a b\" B='c d'", &["config:set", "blog", "A=a b", "B=c d"]),
            ("echo $HOME * ~ `id` a\\ b ''", &["echo", "$HOME", "*", "~", "`id`", "a b", ""]),
            ("config:set blog C=#fff", &["config:set", "blog", "C=#fff"]),
            ("a;b|c&&d>e", &["a;b|c&&d>e"]),
        ];
        for (line, words) in table {
            assert_eq!(split(line).unwrap(), *words, "{line:?}");
        }
    }

    #[test]
    fn what_cannot_be_split_is_said() {
        for line in ["run blog 'x", "a \"b", "a\\", "a\0b"] {
            assert!(split(line).is_err(), "{line:?}");
        }
    }

    proptest! {
        #[test]
        fn quoting_is_undone(words in prop::collection::vec("[^\\x00]*", 0..6)) {
            let line = shlex::try_join(words.iter().map(String::as_str)).unwrap();
            prop_assert_eq!(split(&line).unwrap(), words);
        }

        #[test]
        fn no_line_panics(line in any::<String>()) {
            let _words = split(&line);
        }
    }
}
