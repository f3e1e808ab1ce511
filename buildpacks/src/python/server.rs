//! The web server that serves an app which has a WSGI or ASGI module and no `web` process of its own.

use libcnb::data::launch::{Process, ProcessBuilder};
use libcnb::data::process_type;

use super::requirements::Requirements;
use super::web::{Interface, Module, Program};
use crate::output;

/// A web server and how it is started. All of them take the number of workers from `WEB_CONCURRENCY`, or have no workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Server {
    name: &'static str,
    /// `{}` stands for the module.
    command: &'static str,
    /// Whether the app asks for it.
    brought: bool,
}

/// In the order of preference. Only the platform's router reaches an instance, so what it says of the client is believed.
const WSGI: [(&str, &str); 3] = [
    ("gunicorn", "gunicorn {} --bind 0.0.0.0:$PORT --threads 8 --forwarded-allow-ips '*'"),
    ("granian", "granian --interface wsgi --host 0.0.0.0 --port $PORT --workers ${WEB_CONCURRENCY:-1} {}"),
    ("waitress", "waitress-serve --listen 0.0.0.0:$PORT {}"),
];
const ASGI: [(&str, &str); 5] = [
    ("uvicorn", "uvicorn {} --host 0.0.0.0 --port $PORT --forwarded-allow-ips '*'"),
    ("hypercorn", "hypercorn {} --bind 0.0.0.0:$PORT --workers ${WEB_CONCURRENCY:-1}"),
    ("granian", "granian --interface asgi --host 0.0.0.0 --port $PORT --workers ${WEB_CONCURRENCY:-1} {}"),
    ("daphne", "daphne --bind 0.0.0.0 --port $PORT {}"),
    ("gunicorn", "gunicorn {} --worker-class asgi --bind 0.0.0.0:$PORT --forwarded-allow-ips '*'"),
];

impl Server {
    /// The first that the app asks for, else gunicorn, which alone calls a function for the application.
    pub(super) fn choose(module: &Module, requirements: &Requirements) -> Self {
        let servers: &[(&'static str, &'static str)] = match module.interface {
            Interface::Wsgi if module.target.ends_with(')') => &WSGI[..1],
            Interface::Wsgi => &WSGI,
            Interface::Asgi => &ASGI,
        };
        let server = |&(name, command): &(&'static str, &'static str), brought| Self { name, command, brought };
        let found = servers.iter().find(|(name, _)| brings(requirements, name));
        let gunicorn = servers.iter().find(|(name, _)| *name == "gunicorn").unwrap_or(&WSGI[0]);
        found.map_or_else(|| server(gunicorn, false), |found| server(found, true))
    }

    /// The package to install because the app does not ask for it.
    pub(super) fn to_install(self) -> Option<&'static str> {
        (!self.brought).then_some(self.name)
    }

    /// The `web` process; says what was chosen and why.
    pub(super) fn process(self, module: &Module) -> Process {
        let target = &module.target;
        let target = if target.contains('(') { format!("'{target}'") } else { target.clone() };
        let why = if self.brought { "" } else { ", which the requirements do not bring" };
        output::step(&format!("Serving {} of {} with {}{why}", module.target, module.found_in, self.name));
        web(&self.command.replace("{}", &target))
    }
}

/// The `web` process of a framework that serves by itself.
pub(super) fn run(program: &Program) -> Process {
    output::step(&format!("Serving {} with {}, which it imports", program.found_in, program.name));
    web(&program.command)
}

fn web(command: &str) -> Process {
    output::detail(&format!("web: {command}"));
    let mut process = ProcessBuilder::new(process_type!("web"), ["sh", "-c"]);
    process.arg(format!("exec {command}")).default(true).build()
}

fn brings(requirements: &Requirements, server: &str) -> bool {
    let standard = |extras: &[String]| extras.iter().any(|extra| extra == "standard" || extra == "all");
    requirements.names(server)
        || (server == "uvicorn"
            && requirements.entries.iter().any(|entry| entry.name == "fastapi" && standard(&entry.extras)))
}

#[cfg(test)]
mod tests {
    use super::super::requirements::Entry;
    use super::*;

    #[test]
    fn the_apps_own_server_comes_first() {
        let cases = [
            (Interface::Wsgi, "flask", "gunicorn", false),
            (Interface::Wsgi, "gunicorn", "gunicorn", true),
            (Interface::Wsgi, "waitress==3", "waitress", true),
            (Interface::Wsgi, "uvicorn", "gunicorn", false),
            (Interface::Asgi, "fastapi", "gunicorn", false),
            (Interface::Asgi, "fastapi[standard]", "uvicorn", true),
            (Interface::Asgi, "hypercorn", "hypercorn", true),
        ];
        for (interface, requirement, name, brought) in cases {
            let requirements = Requirements { entries: vec![Entry::parse(requirement)], ..Requirements::default() };
            let module = Module { target: "a:b".to_owned(), interface, found_in: String::new() };
            let server = Server::choose(&module, &requirements);
            assert_eq!((server.name, server.brought), (name, brought), "{requirement}");
        }
    }
}
