//! Finds the module that answers web requests.

use std::fs;
use std::path::Path;

/// How a server calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Interface {
    /// PEP 3333.
    Wsgi,
    /// Its asynchronous successor.
    Asgi,
}

/// Something that a server can serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Web {
    /// `wsgi:application`.
    pub(super) target: String,
    /// How it is called.
    pub(super) interface: Interface,
    /// The file that says so.
    pub(super) found_in: String,
}

/// The first that applies: `wsgi.py`, `asgi.py`, a Django project, a Flask or `FastAPI` application. None if the Procfile says what to run.
pub(super) fn find(app: &Path) -> Option<Web> {
    let procfile = read(app, "Procfile").unwrap_or_default();
    if procfile.trim_start_matches('\u{feff}').lines().any(|line| is_process(line, "web")) {
        return None;
    }
    module(app, "wsgi.py", Interface::Wsgi)
        .or_else(|| module(app, "asgi.py", Interface::Asgi))
        .or_else(|| django(app))
        .or_else(|| ["app.py", "main.py"].into_iter().find_map(|file| framework(app, file)))
}

fn is_process(line: &str, name: &str) -> bool {
    line.split_once(':').is_some_and(|(left, _)| left.trim() == name)
}

/// A module at the root that defines `application` or `app`.
fn module(app: &Path, file: &str, interface: Interface) -> Option<Web> {
    let text = read(app, file)?;
    let name = ["application", "app"].into_iter().find(|name| defines(&text, name))?;
    let module = file.strip_suffix(".py")?;
    Some(Web { target: format!("{module}:{name}"), interface, found_in: file.to_owned() })
}

/// `manage.py` names the settings; the WSGI (else ASGI) module stands beside them.
fn django(app: &Path) -> Option<Web> {
    let manage = read(app, "manage.py")?;
    let package = django_package(&manage)?;
    [("wsgi", Interface::Wsgi), ("asgi", Interface::Asgi)].into_iter().find_map(|(module, interface)| {
        let file = format!("{package}/{module}.py");
        let target = format!("{package}.{module}:application");
        defines(&read(app, &file)?, "application").then_some(Web { target, interface, found_in: file })
    })
}

/// `shop` of `setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")`.
fn django_package(manage: &str) -> Option<&str> {
    let settings = manage.split("DJANGO_SETTINGS_MODULE").nth(1)?.split(['"', '\'']).nth(2)?;
    settings.split('.').next().filter(|package| is_identifier(package))
}

/// A file at the root with an application object of a known framework.
fn framework(app: &Path, file: &str) -> Option<Web> {
    let text = read(app, file)?;
    let interface = framework_of(&text)?;
    let module = file.strip_suffix(".py")?;
    Some(Web { target: format!("{module}:app"), interface, found_in: file.to_owned() })
}

/// `app = Flask(…)` and the like.
fn framework_of(text: &str) -> Option<Interface> {
    let value = text.lines().find_map(|line| assigned(line, "app"))?;
    match value.split('(').next()?.trim().rsplit('.').next()? {
        "Flask" => Some(Interface::Wsgi),
        "FastAPI" | "Starlette" | "Quart" | "Litestar" => Some(Interface::Asgi),
        _ => None,
    }
}

/// Whether a module's top level binds a name, as far as its lines show.
fn defines(text: &str, name: &str) -> bool {
    text.lines().any(|line| assigned(line, name).is_some() || declared(line, name) || imported(line, name))
}

/// The right side of `name = …`, `name: T = …` or `a = name = …` at the left margin.
fn assigned<'a>(line: &'a str, name: &str) -> Option<&'a str> {
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

fn declared(line: &str, name: &str) -> bool {
    let line = line.strip_prefix("async ").unwrap_or(line);
    let rest = line.strip_prefix("def ").or(line.strip_prefix("class ")).and_then(|rest| rest.strip_prefix(name));
    rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
}

/// `from x import name`, `import y as name`.
fn imported(line: &str, name: &str) -> bool {
    let names = match line.split_once(" import ") {
        Some((from, names)) if from.starts_with("from ") => names,
        _ => line.strip_prefix("import ").unwrap_or_default(),
    };
    let names = names.split('#').next().unwrap_or_default();
    names.split([',', '(', ')']).any(|part| part.split_whitespace().next_back() == Some(name))
}

fn is_identifier(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || c == '_')
}

fn read(app: &Path, file: &str) -> Option<String> {
    fs::read(app.join(file)).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Tree = &'static [(&'static str, &'static str)];

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

    const MANAGE: &str = "os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'shop.settings')\n";
    const FLASK: (&str, &str) = ("app.py", "import flask\napp = flask.Flask(__name__)\n");

    #[test]
    fn the_first_that_applies() {
        let cases: [(Tree, Option<&str>); 9] = [
            (&[("Procfile", "web: x\n"), ("wsgi.py", "app = 1")], None),
            (&[("Procfile", "worker: x\n"), ("wsgi.py", "app = 1")], Some("wsgi:app")),
            (&[("wsgi.py", "app = application = 1"), FLASK], Some("wsgi:application")),
            (&[("asgi.py", "app = 1")], Some("asgi:app")),
            (&[("wsgi.py", "nothing = 1"), FLASK], Some("app:app")),
            (&[("main.py", "app: FastAPI = FastAPI(title='a=b')\n")], Some("main:app")),
            (&[("main.py", "app = Typer()\n")], None),
            (&[("manage.py", MANAGE), ("shop/wsgi.py", "application = 1")], Some("shop.wsgi:application")),
            (&[("manage.py", MANAGE)], None),
        ];
        for (files, target) in cases {
            let app = tempfile::tempdir().unwrap();
            for (name, text) in files {
                fs::create_dir_all(app.path().join(name).parent().unwrap()).unwrap();
                fs::write(app.path().join(name), text).unwrap();
            }
            assert_eq!(find(app.path()).map(|web| web.target).as_deref(), target, "{files:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in "\\PC*", line in "(app|=|:|\\(| |def|import|from){0,8}") {
            for text in [&text, &line] {
                defines(text, "app");
                is_process(text, "web");
                django_package(text);
                framework_of(text);
            }
        }
    }
}
