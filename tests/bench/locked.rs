//! Forty requirements and all that they need, pinned: installed by a push, by uv, and by pip.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::harness::{App, Server};
use crate::measured::{Measured, Target};
use crate::receipt::{phase, push};
use crate::times::{Times, timed};
use crate::tools::{Python, Uv};

const ROUNDS: usize = 3;

/// Options of `uv pip sync`.
const PLAIN: &[&str] = &[];
const COMPILING: &[&str] = &["--compile-bytecode"];

const REQUIREMENTS: &str = "aiohttp alembic attrs beautifulsoup4 boto3 celery click cryptography django fastapi flask gunicorn httpx \
    itsdangerous jinja2 lxml markdown marshmallow msgpack orjson paramiko pillow prometheus-client psycopg2-binary pydantic pygments \
    pytest python-dotenv pytz pyyaml redis requests rich sentry-sdk sqlalchemy structlog tenacity typer uvicorn werkzeug";

/// All take turns. What is cold has an empty cache on both sides, and the installer itself is there before; uv has two turns, as
/// airstrip compiles bytecode, too; pip, the slowest by far, has one.
pub fn measure(python: &Python, uv: &Uv) -> Vec<Measured> {
    let lock = Lock::resolve(python, uv);
    println!("{} requirements, {} packages", REQUIREMENTS.split_whitespace().count(), lock.packages());
    let [mut cold, mut warm, mut unchanged, mut other] = [const { Vec::new() }; 4];
    let mut by_hand = [const { [const { Vec::new() }; 2] }; 2];
    for _ in 0..ROUNDS {
        let server = Server::start();
        fetch_installer(&server);
        let app = lock.app(&server, "locked");
        cold.push(build_phase(&server, &app, "locked"));
        other.push(build_phase(&server, &lock.app(&server, "other"), "other"));
        app.write("requirements.txt", format!("{}# changed\n", lock.text));
        app.commit("Change a comment");
        warm.push(build_phase(&server, &app, "locked"));
        app.write("note", "changed");
        app.commit("Change something else");
        unchanged.push(build_phase(&server, &app, "locked"));
        for ([cold, warm], options) in by_hand.iter_mut().zip([PLAIN, COMPILING]) {
            let (first, second) = lock.by_uv(python, uv, options);
            cold.push(first);
            warm.push(second);
        }
    }
    let pip = lock.by_pip(python);
    println!("the same by `python -m venv` and `pip install -r`, which is what Piku runs: {:.1} s", pip.as_secs_f64());
    let [[cold_plain, warm_plain], [cold_compiling, warm_compiling]] = by_hand;
    let (cold_what, warm_what) = ("build with 40 requirements, cold", "build with 40 requirements, warm, another lock");
    let warm_again = warm_plain.clone();
    vec![
        beside(cold_what, &cold, "`uv venv`, `uv pip sync`, cold", cold_plain),
        beside(cold_what, &cold, "the same with `--compile-bytecode`", cold_compiling),
        beside(warm_what, &warm, "`uv venv`, `uv pip sync`, warm", warm_plain),
        beside(warm_what, &warm, "the same with `--compile-bytecode`", warm_compiling),
        beside(
            "build with 40 requirements, the same lock in another app",
            &other,
            "`uv venv`, `uv pip sync`, warm",
            warm_again,
        ),
        row("build with 40 requirements, unchanged", &unchanged, None, Target::AtMost(50.0)),
    ]
}

fn beside(what: &'static str, ours: &[Duration], peer: &'static str, theirs: Vec<Duration>) -> Measured {
    row(what, ours, Some((peer, theirs)), Target::Times(1.2))
}

fn row(what: &'static str, ours: &[Duration], peer: Option<(&'static str, Vec<Duration>)>, target: Target) -> Measured {
    let ours = Times::new(ours.to_vec());
    println!("{what}: {ours}");
    let peer = peer.map(|(name, times)| {
        let times = Times::new(times);
        println!("  {name}: {times}");
        (name, times.median())
    });
    Measured { what, figure: ours.median(), unit: "ms", peer, target }
}

/// The whole home, with repositories, code and caches.
pub fn disk(python: &Python, uv: &Uv) -> Measured {
    const APPS: usize = 20;
    let lock = Lock::resolve(python, uv);
    let server = Server::start();
    fetch_installer(&server);
    let sizes: Vec<f64> = (0..APPS)
        .map(|number| {
            let name = format!("app-{number}");
            build_phase(&server, &lock.app(&server, &name), &name);
            kilobytes(&server.home())
        })
        .collect();
    println!("home with one app: {} kB; with {APPS}: {} kB", sizes[0], sizes[APPS - 1]);
    Measured {
        what: "disk of 20 apps with the same lock, in that of one",
        figure: sizes[APPS - 1] / sizes[0],
        unit: "times",
        peer: None,
        target: Target::AtMost(1.1),
    }
}

fn kilobytes(path: &Path) -> f64 {
    let (_, output) = timed(Command::new("du").arg("-sk").arg(path));
    String::from_utf8(output.stdout).unwrap().split_whitespace().next().unwrap().parse().unwrap()
}

/// What a server does once in its life is no part of any build here.
fn fetch_installer(server: &Server) {
    let files = [("requirements.txt", "toolz\n"), ("Procfile", "web: python3 -m http.server $PORT\n")];
    let app = App::new(server.client(), "first", &files);
    push(server, &app, "first", "requirements.txt");
}

/// The pins, as of now.
struct Lock {
    text: String,
}

impl Lock {
    fn resolve(python: &Python, uv: &Uv) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let list = directory.path().join("requirements.in");
        std::fs::write(&list, REQUIREMENTS.replace(' ', "\n")).unwrap();
        let mut compile =
            uv.command(&["pip", "compile", "--no-header", "--no-annotate"], &directory.path().join("cache"));
        let (_, output) = timed(compile.arg("--python").arg(&python.executable).arg(&list));
        Self { text: String::from_utf8(output.stdout).unwrap() }
    }

    fn packages(&self) -> usize {
        self.text.lines().count()
    }

    fn app<'s>(&self, server: &'s Server, name: &str) -> App<'s> {
        let page =
            "import flask\n\napp = flask.Flask(__name__)\n\n\n@app.get(\"/\")\ndef page():\n    return \"locked\"\n";
        let files = [
            ("app.py", page),
            ("requirements.txt", &self.text),
            ("Procfile", "web: gunicorn --bind 127.0.0.1:$PORT app:app\n"),
        ];
        App::new(server.client(), name, &files)
    }

    /// With an empty cache, then again with what that left there.
    fn by_uv(&self, python: &Python, uv: &Uv, options: &[&str]) -> (Duration, Duration) {
        let directory = tempfile::tempdir().unwrap();
        let cache = directory.path().join("cache");
        let turn = |env: &Path| {
            let (venv, _) = timed(uv.command(&["venv", "--python"], &cache).arg(&python.executable).arg(env));
            let mut sync = uv.command(&[&["pip", "sync"], options, &["--python"]].concat(), &cache);
            // As airstrip: what one environment's owner changes must not show in another.
            sync.env("UV_LINK_MODE", "copy");
            let (sync, _) = timed(sync.arg(env.join("bin/python")).arg(self.file(directory.path())));
            venv + sync
        };
        (turn(&directory.path().join("first")), turn(&directory.path().join("second")))
    }

    fn by_pip(&self, python: &Python) -> Duration {
        let directory = tempfile::tempdir().unwrap();
        let env = directory.path().join("env");
        let (venv, _) = timed(Command::new(&python.executable).args(["-m", "venv"]).arg(&env));
        let mut install = Command::new(env.join("bin/pip"));
        install.args(["install", "--quiet", "--no-cache-dir", "-r"]).arg(self.file(directory.path()));
        venv + timed(&mut install).0
    }

    fn file(&self, directory: &Path) -> std::path::PathBuf {
        let file = directory.join("requirements.txt");
        std::fs::write(&file, &self.text).unwrap();
        file
    }
}

fn build_phase(server: &Server, app: &App<'_>, name: &str) -> Duration {
    let (_, receipt) = push(server, app, name, "locked");
    phase(&receipt, "build")
}
