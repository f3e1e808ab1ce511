//! A Django project's application: `manage.py` names the settings, and these the application.

use std::path::Path;

use super::source::{assigned, defines};
use super::{Interface, Module, read};
use crate::python::requirements::Requirements;

/// Modules of settings that import each other, at most.
const MOST: usize = 5;
/// Requirements that say that an app wants to be served asynchronously.
const ASYNCHRONOUS: [&str; 4] = ["daphne", "uvicorn", "hypercorn", "uvicorn-worker"];

pub(super) fn find(app: &Path, requirements: &Requirements) -> Option<Module> {
    let manage = read(app, "manage.py")?;
    let settings = settings(&manage)?;
    let wsgi = || named(app, settings, "WSGI_APPLICATION", Interface::Wsgi);
    let asgi = || named(app, settings, "ASGI_APPLICATION", Interface::Asgi);
    let package = settings.split('.').next()?;
    let beside = || {
        let module = |name, interface| module(app, &format!("{package}.{name}"), "application", interface);
        module("wsgi", Interface::Wsgi).or_else(|| module("asgi", Interface::Asgi))
    };
    let first = if ASYNCHRONOUS.iter().any(|name| requirements.names(name)) { asgi() } else { None };
    first.or_else(wsgi).or_else(asgi).or_else(beside)
}

/// `shop.settings` of `setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")`.
fn settings(manage: &str) -> Option<&str> {
    let module = manage.split("DJANGO_SETTINGS_MODULE").nth(1)?.split(['"', '\'']).nth(2)?;
    let is_identifier = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_alphanumeric() || c == '_');
    module.split('.').all(is_identifier).then_some(module)
}

/// The application that a setting names: `WSGI_APPLICATION = "shop.wsgi.application"`.
fn named(app: &Path, settings: &str, setting: &str, interface: Interface) -> Option<Module> {
    let mut modules = vec![settings.to_owned()];
    for at in 0..MOST {
        let text = source_of(app, modules.get(at)?)?.1;
        if let Some(value) = text.lines().find_map(|line| assigned(line, setting)) {
            let (name, object) = value.split(['"', '\'']).nth(1)?.rsplit_once('.')?;
            return module(app, name, object, interface);
        }
        let package = modules[at].rsplit_once('.').map_or("", |(package, _)| package).to_owned();
        modules.extend(text.lines().filter_map(|line| star_import(line, &package)));
    }
    None
}

/// `shop.settings.base` of `from .base import *`.
fn star_import(line: &str, package: &str) -> Option<String> {
    let module = line.strip_prefix("from ")?.split_once(" import *")?.0.trim();
    Some(match module.strip_prefix('.') {
        Some(relative) => format!("{package}.{relative}"),
        None => module.to_owned(),
    })
}

fn module(app: &Path, name: &str, object: &str, interface: Interface) -> Option<Module> {
    let (file, text) = source_of(app, name)?;
    let target = format!("{name}:{object}");
    defines(&text, object).then_some(Module { target, interface, found_in: file })
}

/// A module's file and text, or those of its package.
fn source_of(app: &Path, module: &str) -> Option<(String, String)> {
    let path = module.replace('.', "/");
    let places = [format!("{path}.py"), format!("{path}/__init__.py")];
    places.into_iter().find_map(|place| Some((place.clone(), read(app, &place)?)))
}

#[cfg(test)]
mod tests {
    use super::super::tests::tree;
    use super::*;
    use crate::python::requirements::Entry;
    use proptest::prelude::*;

    type Tree = &'static [(&'static str, &'static str)];
    const MANAGE: (&str, &str) = ("manage.py", "os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'shop.settings')\n");
    const DEV: (&str, &str) =
        ("manage.py", "os.environ.setdefault(\n    \"DJANGO_SETTINGS_MODULE\", \"shop.settings.dev\")\n");
    const WSGI: (&str, &str) = ("shop/wsgi.py", "application = get()\n");
    const ASGI: (&str, &str) = ("shop/asgi.py", "application = get()\n");
    const BOTH: &str = "WSGI_APPLICATION = 'shop.wsgi.application'\nASGI_APPLICATION = 'shop.asgi.application'\n";

    #[test]
    fn applications() {
        let cases: [(Tree, &str, Option<&str>); 8] = [
            (&[MANAGE, WSGI], "", Some("shop.wsgi:application")),
            (&[MANAGE, ASGI], "", Some("shop.asgi:application")),
            (&[MANAGE, ("shop/settings.py", BOTH), WSGI, ASGI], "", Some("shop.wsgi:application")),
            (&[MANAGE, ("shop/settings.py", BOTH), WSGI, ASGI], "daphne", Some("shop.asgi:application")),
            (
                &[
                    MANAGE,
                    ("shop/settings.py", "WSGI_APPLICATION = \"web.app.handler\"\n"),
                    ("web/app/__init__.py", "def handler(e, s):\n"),
                ],
                "",
                Some("web.app:handler"),
            ),
            (
                &[DEV, ("shop/settings/dev.py", "from .base import *\n"), ("shop/settings/base.py", BOTH), WSGI],
                "",
                Some("shop.wsgi:application"),
            ),
            (&[MANAGE], "", None),
            (&[("manage.py", "print('not of Django')\n"), WSGI], "", None),
        ];
        for (files, requirement, target) in cases {
            let requirements = Requirements { entries: vec![Entry::parse(requirement)], ..Requirements::default() };
            let found = find(tree(files).path(), &requirements);
            assert_eq!(found.map(|module| module.target).as_deref(), target, "{files:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in "\\PC*", line in "(from |\\.| import \\*|DJANGO_SETTINGS_MODULE|'|a){0,8}") {
            for text in [&text, &line] {
                settings(text);
                star_import(text, "a");
            }
        }
    }
}
