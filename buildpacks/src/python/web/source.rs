//! Reads the source of Python modules as far as their lines show: nothing is imported, for that would run the app's code.

/// Whether a module's top level binds a name, as far as its lines show.
pub(super) fn defines(text: &str, name: &str) -> bool {
    text.lines().any(|line| assigned(line, name).is_some() || declared(line, name) || imported(line, name))
}

/// The right side of `name = …`, `name: T = …` or `a = name = …` at the left margin.
pub(super) fn assigned<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    if line.starts_with([' ', '\t', '#']) {
        return None;
    }
    let mut rest = line;
    while let Some((left, right)) = rest.split_once('=') {
        if right.starts_with('=') || left.contains('(') {
            return None;
        }
        if left.split(':').next().is_some_and(|left| left.trim() == name) {
            return Some(right.rsplit_once("= ").map_or(right, |(_, value)| value).trim());
        }
        rest = right;
    }
    None
}

pub(super) fn declared(line: &str, name: &str) -> bool {
    let line = line.strip_prefix("async ").unwrap_or(line);
    let rest = line.strip_prefix("def ").or(line.strip_prefix("class ")).and_then(|rest| rest.strip_prefix(name));
    rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
}

/// `from x import name`, `import y as name`.
pub(super) fn imported(line: &str, name: &str) -> bool {
    let names = match line.split_once(" import ") {
        Some((from, names)) if from.starts_with("from ") => names,
        _ => line.strip_prefix("import ").unwrap_or_default(),
    };
    let names = names.split('#').next().unwrap_or_default();
    names.split([',', '(', ')']).any(|part| part.split_whitespace().next_back() == Some(name))
}

/// Whether it imports a package or something of it, at the left margin.
pub(super) fn imports(text: &str, package: &str) -> bool {
    text.lines().any(|line| {
        let rest = line.strip_prefix("import ").or(line.strip_prefix("from "));
        let modules = rest.unwrap_or_default().split(" import ").next().unwrap_or_default();
        modules.split(',').any(|module| module.trim().split(['.', ' ']).next() == Some(package))
    })
}

/// Whether a line begins a function that can be called without arguments.
pub(super) fn is_factory(line: &str, name: &str) -> bool {
    let arguments = line.strip_prefix("def ").and_then(|rest| rest.strip_prefix(name)?.trim_start().strip_prefix('('));
    let required = |argument: &str| !argument.trim().is_empty() && !argument.contains(['=', '*']);
    arguments.and_then(|rest| Some(rest.split_once(')')?.0)).is_some_and(|list| !list.split(',').any(required))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn definitions() {
        let yes = [
            "application = Flask(__name__)",
            "app = application = make()",
            "application: Flask = make()",
            "def application(environ, start_response):",
            "async def application(scope, receive, send):",
            "class application:",
            "from site import application",
            "from site import (a, app as application)",
            "import a.b as application",
        ];
        let no = [
            "# application = 1",
            "    application = 1",
            "application == 1",
            "applications = 1",
            "def application_factory():",
            "from application import x",
            "print(application=1)",
            "x = application",
        ];
        for line in yes {
            assert!(defines(line, "application"), "{line}");
        }
        for line in no {
            assert!(!defines(line, "application"), "{line}");
        }
    }

    #[test]
    fn imports_and_factories() {
        for (line, is) in [
            ("import streamlit as st", true),
            ("import os, streamlit", true),
            ("from streamlit.x import y", true),
            ("import streamlit_x", false),
            ("    import streamlit", false),
        ] {
            assert_eq!(imports(line, "streamlit"), is, "{line}");
        }
        for (line, is) in
            [("def make():", true), ("def make(a=1, **more):", true), ("def make(a):", false), ("def maker():", false)]
        {
            assert_eq!(is_factory(line, "make"), is, "{line}");
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in "\\PC*", line in "(app|=|:|\\(|\\)| |def |import |from ){0,8}") {
            for text in [&text, &line] {
                defines(text, "app");
                imports(text, "app");
                is_factory(text, "app");
            }
        }
    }
}
