//! The first push to a new server, of an app with three requirements, against installing these by hand.

use std::time::Duration;

use crate::harness::{App, Server};
use crate::measured::{Measured, Target};
use crate::receipt::{Receipt, phases, push};
use crate::times::{Times, timed};
use crate::tools::{Python, Uv};

const ROUNDS: usize = 5;

const PACKAGES: [&str; 3] = ["flask", "gunicorn", "requests"];

const FILES: [(&str, &str); 3] = [
    (
        "app.py",
        "import flask, requests\n\napp = flask.Flask(__name__)\n\n\n@app.get(\"/\")\ndef page():\n    return \"first\"\n",
    ),
    ("requirements.txt", "flask\ngunicorn\nrequests\n"),
    ("Procfile", "web: gunicorn --bind 127.0.0.1:$PORT app:app\n"),
];

/// Both take turns, and begin with empty caches each time; the installer is there on both sides.
pub fn measure(python: &Python, uv: &Uv) -> Measured {
    let (mut pushes, mut receipts, mut installs) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (took, receipt) = push_to_new_server();
        pushes.push(took);
        receipts.push(receipt);
        installs.push(install_by_hand(python, uv));
    }
    let (pushes, installs) = (Times::new(pushes), Times::new(installs));
    println!("first push of {}: {pushes}\n  {}\ninstalled by hand: {installs}", PACKAGES.join(" "), phases(&receipts));
    Measured {
        what: "first push of `flask gunicorn requests`, until it answers",
        figure: pushes.median(),
        unit: "ms",
        peer: Some(("`uv venv` and `uv pip install` by hand", installs.median())),
        target: Target::Times(1.3),
    }
}

fn push_to_new_server() -> (Duration, Receipt) {
    let server = Server::start();
    let app = App::new(server.client(), "first", &FILES);
    push(&server, &app, "first", "first")
}

fn install_by_hand(python: &Python, uv: &Uv) -> Duration {
    let directory = tempfile::tempdir().unwrap();
    let (cache, env) = (directory.path().join("cache"), directory.path().join("env"));
    let (venv, _) = timed(uv.command(&["venv", "--python"], &cache).arg(&python.executable).arg(&env));
    let mut install = uv.command(&["pip", "install", "--python"], &cache);
    let (install, _) = timed(install.arg(env.join("bin/python")).args(PACKAGES));
    venv + install
}
