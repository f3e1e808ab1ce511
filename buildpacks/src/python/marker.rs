//! Environment markers (PEP 508): `python_version >= "3.9" and sys_platform == "linux"`.
//!
//! Lock files are translated for one interpreter on one machine, so a marker holds or does not. Extras are asked for by
//! nobody: `extra == "x"` does not hold.

use super::interpreter::Interpreter;
use super::specifier::{Specifier, Version};

/// Parentheses within parentheses, at most.
const DEEPEST: usize = 100;

/// What markers ask about.
#[derive(Debug, Clone)]
pub(super) struct Machine {
    /// `3.11.7`.
    python: String,
}

impl Machine {
    pub(super) fn of(interpreter: &Interpreter) -> Self {
        Self { python: interpreter.version.clone() }
    }

    #[cfg(test)]
    pub(super) fn with_python(version: &str) -> Self {
        Self { python: version.to_owned() }
    }

    /// Whether a marker holds. One that cannot be read does: the installer will see.
    pub(super) fn fits(&self, marker: &str) -> bool {
        let words = words(marker);
        let mut parser = Parser { machine: self, words: &words, depth: 0 };
        parser.any().unwrap_or(true)
    }

    /// Whether the Python is one of those that a specifier means.
    pub(super) fn has_python(&self, specifier: &str) -> bool {
        compare_versions(&self.python, "", specifier).unwrap_or(true)
    }

    fn value(&self, variable: &str) -> Option<String> {
        let machine = std::env::consts::ARCH;
        let text = match variable {
            "python_version" => return Some(self.python.split('.').take(2).collect::<Vec<_>>().join(".")),
            "python_full_version" | "implementation_version" => &self.python,
            "os_name" | "os.name" => "posix",
            "sys_platform" | "sys.platform" => "linux",
            "platform_system" => "Linux",
            "platform_machine" | "platform.machine" => machine,
            "implementation_name" => "cpython",
            "platform_python_implementation" | "platform.python_implementation" | "python_implementation" => "CPython",
            "extra" | "platform_release" | "platform_version" | "platform.version" => "",
            _ => return None,
        };
        Some(text.to_owned())
    }
}

/// Recursive descent over `any := all (or all)*`, `all := one (and one)*`, `one := ( any ) | value operator value`.
struct Parser<'a> {
    machine: &'a Machine,
    words: &'a [String],
    depth: usize,
}

impl<'a> Parser<'a> {
    fn any(&mut self) -> Option<bool> {
        let mut holds = self.all()?;
        while self.take("or") {
            holds |= self.all()?;
        }
        Some(holds)
    }

    fn all(&mut self) -> Option<bool> {
        let mut holds = self.one()?;
        while self.take("and") {
            holds &= self.one()?;
        }
        Some(holds)
    }

    fn one(&mut self) -> Option<bool> {
        if self.take("(") {
            self.depth += 1;
            let holds = if self.depth < DEEPEST { self.any() } else { None };
            return holds.filter(|_| self.take(")"));
        }
        let left = self.next()?;
        let operator = match self.next()? {
            "not" if self.take("in") => "not in",
            operator => operator,
        };
        let right = self.next()?;
        self.compare(left, operator, right)
    }

    fn compare(&self, left: &str, operator: &str, right: &str) -> Option<bool> {
        let is_version = [left, right].iter().any(|word| word.contains("version") && !word.starts_with(['"', '\'']));
        let (left, right) = (self.resolved(left)?, self.resolved(right)?);
        match operator {
            "in" => Some(right.contains(&left)),
            "not in" => Some(!right.contains(&left)),
            _ if is_version => compare_versions(&left, operator, &right),
            "==" | "===" => Some(left == right),
            "!=" => Some(left != right),
            _ => None,
        }
    }

    fn resolved(&self, word: &str) -> Option<String> {
        match word.strip_prefix(['"', '\'']) {
            Some(text) => Some(text.to_owned()),
            None => self.machine.value(word),
        }
    }

    fn next(&mut self) -> Option<&'a str> {
        let (first, rest) = self.words.split_first()?;
        self.words = rest;
        Some(first)
    }

    fn take(&mut self, word: &str) -> bool {
        let there = self.words.first().is_some_and(|next| next == word);
        if there {
            self.words = &self.words[1..];
        }
        there
    }
}

/// Whether `left operator right` holds, or `right` alone as a specifier.
fn compare_versions(left: &str, operator: &str, right: &str) -> Option<bool> {
    Some(Specifier::parse(&format!("{operator}{right}"))?.accepts(&Version::parse(left)?))
}

/// Strings keep their opening quote, to be told from variables.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let end = match first {
            '"' | '\'' => rest[1..].find(first).map_or(rest.len(), |at| at + 1),
            '(' | ')' => 1,
            '<' | '>' | '=' | '!' | '~' => rest.find(|c| !"<>=!~".contains(c)).unwrap_or(rest.len()),
            _ => rest.find(|c: char| c.is_whitespace() || "<>=!~()\"'".contains(c)).unwrap_or(rest.len()),
        };
        words.push(rest[..end].to_owned());
        let closed = if matches!(first, '"' | '\'') && end < rest.len() { end + 1 } else { end };
        rest = rest[closed..].trim_start();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn markers() {
        let machine = Machine { python: "3.11.7".to_owned() };
        let cases = [
            ("python_version >= '3.9'", true),
            ("python_version < \"3.9\"", false),
            ("python_full_version < '3.11.8'", true),
            ("'3.9' <= python_version", true),
            ("'3.12' <= python_version", false),
            ("sys_platform == 'win32' or os_name == 'posix'", true),
            ("python_version >= '3.9' and (sys_platform == 'win32' or platform_system == 'Windows')", false),
            ("extra == 'dev'", false),
            ("sys_platform not in 'win32 darwin'", true),
            ("platform_python_implementation != \"PyPy\"", true),
            ("python_version == '3.11.*'", true),
            ("python_version in '3.10 3.11'", true),
            ("colour == 'blue'", true),
            ("", true),
        ];
        for (marker, fits) in cases {
            assert_eq!(machine.fits(marker), fits, "{marker}");
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in "\\PC*", marker in "(python_version|and |or |not in |\\(|\\)|'3'|==|<|extra){0,12}") {
            let machine = Machine { python: "3.11.7".to_owned() };
            machine.fits(&text);
            machine.fits(&marker);
            machine.fits(&"(".repeat(100_000));
        }
    }
}
