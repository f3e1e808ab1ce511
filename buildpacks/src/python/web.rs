//! Finds what answers web requests.

mod django;
mod source;

use std::fs;
use std::path::Path;

use super::requirements::Requirements;
use source::{assigned, defines, imports, is_factory};

/// How a server calls a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Interface {
    /// PEP 3333.
    Wsgi,
    /// Its asynchronous successor.
    Asgi,
}

/// Something that answers web requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Web {
    /// What a server serves.
    Module(Module),
    /// What serves by itself.
    Program(Program),
}

/// Something that a server can serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Module {
    /// `wsgi:application`; with parentheses it is to be called first.
    pub(super) target: String,
    /// How it is called.
    pub(super) interface: Interface,
    /// The file that says so.
    pub(super) found_in: String,
}

/// A framework that brings its own server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Program {
    /// The framework.
    pub(super) name: &'static str,
    /// The command line.
    pub(super) command: String,
    /// The script.
    pub(super) found_in: &'static str,
}

/// Files that may hold an application, with their modules.
const FILES: [(&str, &str); 4] =
    [("app.py", "app"), ("main.py", "main"), ("app/__init__.py", "app"), ("app/main.py", "app.main")];

/// Frameworks' classes, with the packages that they are imported from.
const FRAMEWORKS: [(&str, &str, Interface); 8] = [
    ("Flask", "flask", Interface::Wsgi),
    ("APIFlask", "apiflask", Interface::Wsgi),
    ("Bottle", "bottle", Interface::Wsgi),
    ("Dash", "dash", Interface::Wsgi),
    ("FastAPI", "fastapi", Interface::Asgi),
    ("Starlette", "starlette", Interface::Asgi),
    ("Quart", "quart", Interface::Asgi),
    ("Litestar", "litestar", Interface::Asgi),
];

/// Frameworks with a server of their own: package, and how a script (`{}`) is run.
const PROGRAMS: [(&str, &str); 2] = [
    (
        "streamlit",
        "streamlit run {} --server.port $PORT --server.address 0.0.0.0 --server.headless true --browser.gatherUsageStats false",
    ),
    ("gradio", "env GRADIO_SERVER_NAME=0.0.0.0 GRADIO_SERVER_PORT=$PORT python {}"),
];
const SCRIPTS: [&str; 4] = ["streamlit_app.py", "app.py", "main.py", "Home.py"];

/// The first that applies: `wsgi.py`, `asgi.py`, a Django project, an application of a known framework, a script of one that serves by
/// itself. None if the Procfile says what to run.
pub(super) fn find(app: &Path, requirements: &Requirements) -> Option<Web> {
    let procfile = read(app, "Procfile").unwrap_or_default();
    if procfile.trim_start_matches('\u{feff}').lines().any(|line| is_process(line, "web")) {
        return None;
    }
    module(app, "wsgi.py", Interface::Wsgi)
        .or_else(|| module(app, "asgi.py", Interface::Asgi))
        .or_else(|| django::find(app, requirements))
        .or_else(|| FILES.iter().find_map(|(file, module)| framework(app, file, module)))
        .map(Web::Module)
        .or_else(|| program(app).map(Web::Program))
}

fn is_process(line: &str, name: &str) -> bool {
    line.split_once(':').is_some_and(|(left, _)| left.trim() == name)
}

/// A module at the root that defines `application` or `app`.
fn module(app: &Path, file: &str, interface: Interface) -> Option<Module> {
    let text = read(app, file)?;
    let name = ["application", "app"].into_iter().find(|name| defines(&text, name))?;
    let module = file.strip_suffix(".py")?;
    Some(Module { target: format!("{module}:{name}"), interface, found_in: file.to_owned() })
}

/// A file with an application of a known framework.
fn framework(app: &Path, file: &str, module: &str) -> Option<Module> {
    let (object, interface) = application(&read(app, file)?)?;
    Some(Module { target: format!("{module}:{object}"), interface, found_in: file.to_owned() })
}

/// `app = Flask(…)` and the like, `app = create_app()` beside an import of a framework, or `def create_app():` of a Flask app.
fn application(text: &str) -> Option<(&'static str, Interface)> {
    let imported = FRAMEWORKS.iter().find(|(_, package, _)| imports(text, package));
    if let Some(value) = text.lines().find_map(|line| assigned(line, "app")) {
        let called = value.split('(').next()?.trim().rsplit('.').next()?;
        let (name, _, interface) = match FRAMEWORKS.iter().find(|(class, ..)| *class == called) {
            None if called.starts_with("create_") || called.starts_with("make_") => imported?,
            found => found?,
        };
        let has_server = *name == "Dash" && text.lines().any(|line| assigned(line, "server").is_some());
        return Some((if has_server { "server" } else { "app" }, *interface));
    }
    let factories = [("create_app", "create_app()"), ("make_app", "make_app()")];
    let factory = factories.iter().find(|(name, _)| text.lines().any(|line| is_factory(line, name)));
    let (_, call) = factory.filter(|_| imported.is_some_and(|(class, ..)| *class == "Flask"))?;
    Some((call, Interface::Wsgi))
}

fn program(app: &Path) -> Option<Program> {
    SCRIPTS.into_iter().find_map(|script| {
        let text = read(app, script)?;
        let (name, command) = PROGRAMS.into_iter().find(|(package, _)| imports(&text, package))?;
        Some(Program { name, command: command.replace("{}", script), found_in: script })
    })
}

fn read(app: &Path, file: &str) -> Option<String> {
    fs::read(app.join(file)).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Tree = &'static [(&'static str, &'static str)];

    pub(super) fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let app = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::create_dir_all(app.path().join(name).parent().unwrap()).unwrap();
            fs::write(app.path().join(name), text).unwrap();
        }
        app
    }

    const FLASK: (&str, &str) = ("app.py", "import flask\napp = flask.Flask(__name__)\n");
    const DJANGO: (&str, &str) = ("manage.py", "setdefault('DJANGO_SETTINGS_MODULE', 'shop.settings')\n");

    #[test]
    fn the_first_that_applies() {
        let cases: [(Tree, Option<&str>); 9] = [
            (&[("Procfile", "web: x\n"), ("wsgi.py", "app = 1")], None),
            (&[("Procfile", "worker: x\n"), ("wsgi.py", "app = 1")], Some("wsgi:app")),
            (&[("wsgi.py", "app = application = 1"), FLASK], Some("wsgi:application")),
            (&[("asgi.py", "app = 1")], Some("asgi:app")),
            (&[("wsgi.py", "nothing = 1"), FLASK], Some("app:app")),
            (&[DJANGO, ("shop/wsgi.py", "application = 1"), FLASK], Some("shop.wsgi:application")),
            (&[FLASK, ("main.py", "import streamlit\n")], Some("app:app")),
            (&[("app.py", "import gradio as gr\n")], Some("gradio")),
            (&[("app.py", "print('a script')\n")], None),
        ];
        for (files, expected) in cases {
            let found = find(tree(files).path(), &Requirements::default()).map(|web| match web {
                Web::Module(module) => module.target,
                Web::Program(program) => program.name.to_owned(),
            });
            assert_eq!(found.as_deref(), expected, "{files:?}");
        }
    }

    #[test]
    fn applications_of_frameworks() {
        let cases = [
            ("from flask import Flask\napp = Flask(__name__)\n", Some(("app", Interface::Wsgi))),
            ("app: FastAPI = FastAPI(title='a=b')\n", Some(("app", Interface::Asgi))),
            ("app = starlette.applications.Starlette(routes=[])\n", Some(("app", Interface::Asgi))),
            ("app = Quart(__name__)\n", Some(("app", Interface::Asgi))),
            ("app = Dash(__name__)\nserver = app.server\n", Some(("server", Interface::Wsgi))),
            ("app = Dash(__name__)\n", Some(("app", Interface::Wsgi))),
            ("from flask import Flask\napp = create_app()\n", Some(("app", Interface::Wsgi))),
            (
                "from flask import Flask\ndef create_app(config=None):\n    app = Flask(__name__)\n",
                Some(("create_app()", Interface::Wsgi)),
            ),
            ("from fastapi import FastAPI\ndef create_app():\n    return FastAPI()\n", None),
            ("app = Typer()\n", None),
            ("app = create_app()\n", None),
        ];
        for (text, expected) in cases {
            assert_eq!(application(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in "\\PC*", line in "(app|=|:|\\(| |def|import|from){0,8}") {
            for text in [&text, &line] {
                is_process(text, "web");
                application(text);
            }
        }
    }
}
