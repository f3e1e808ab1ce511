//! Environments that apps share: made once, out of every app's reach.

use std::fs;
use std::path::Path;

use crate::harness::{App, Server};

const LOCK: &str = "click==8.1.7\nitsdangerous==2.2.0\n";
const FOUND: &str = "Using the environment that was made for the same lock before";

fn app<'s>(server: &'s Server, name: &str, requirements: &str) -> App<'s> {
    let app = App::probe(server.client(), name);
    app.write("requirements.txt", requirements);
    app.commit("Ask for packages");
    app
}

/// Names of the environments that are known.
fn known(server: &Server) -> Vec<String> {
    let records = fs::read_dir(server.home().join("shared/layers")).into_iter().flatten();
    records.map(|record| record.unwrap().file_name().into_string().unwrap()).collect()
}

fn layers(server: &Server) -> usize {
    let names = fs::read_dir(server.home().join("layers")).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_string_lossy().starts_with("sha256-") && !name.to_string_lossy().contains('.')).count()
}

#[test]
fn the_same_lock_costs_once() {
    let server = Server::start();
    let first = app(&server, "one", LOCK).push().ok();
    assert!(first.reply.err().contains("Installed 2 packages"), "{}", first.reply);
    assert_eq!(first.reply.err().matches("Python app detected").count(), 1, "{}", first.reply);
    let before = layers(&server);
    let second = app(&server, "two", LOCK).push().ok();
    assert!(second.reply.err().contains(FOUND) && !second.reply.err().contains("Installing"), "{}", second.reply);
    assert_eq!((layers(&server), known(&server).len()), (before, 1));
    for name in ["one", "two"] {
        server.client().ssh(name, &["python -c 'import click, itsdangerous'"]).ok();
    }
    let clean = app(&server, "three", LOCK).push_with(&["-o", "no-cache", "airstrip", "main"]).ok();
    assert!(clean.reply.err().contains("Installed 2 packages"), "{}", clean.reply);
    assert_eq!(layers(&server), before, "made apart or not, it is the same");
}

#[test]
fn what_leaves_a_choice_is_each_apps_own() {
    let server = Server::start();
    let cases = [
        ("open", "itsdangerous\n", None),
        // flask needs others.
        ("partial", "flask==3.0.3\n", None),
        ("settings", LOCK, Some(("uv.toml", "offline = false\n"))),
        (
            "own",
            "itsdangerous==2.2.0\n./lib\n",
            Some(("lib/setup.py", "import setuptools\nsetuptools.setup(name='own')\n")),
        ),
    ];
    for (name, requirements, more) in cases {
        let app = App::probe(server.client(), name);
        app.write("requirements.txt", requirements);
        if let Some((file, text)) = more {
            app.write(file, text);
        }
        app.commit("Ask for packages");
        let push = app.push().ok();
        assert!(push.reply.err().contains("Installing dependencies"), "{}", push.reply);
        assert_eq!(known(&server), [""; 0], "{name}: {}", push.reply);
    }
}

/// A package whose `.pth` file is run by every Python that finds it.
fn make_spy(directory: &Path) {
    let script = r#"
import sys, zipfile
with zipfile.ZipFile(sys.argv[1] + '/spy-1-py3-none-any.whl', 'w') as wheel:
    wheel.writestr('spy.py', 'import os\nfor place in ("/cnb/shared", "/layers/airstrip_python/env", "/tmp"):\n    try:\n        open(place + "/spied", "w").close()\n    except OSError:\n        pass\n')
    wheel.writestr('spy.pth', 'import spy\n')
    wheel.writestr('spy-1.dist-info/METADATA', 'Metadata-Version: 2.1\nName: spy\nVersion: 1\n')
    wheel.writestr('spy-1.dist-info/WHEEL', 'Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n')
    wheel.writestr('spy-1.dist-info/RECORD', 'spy.py,,\nspy.pth,,\nspy-1.dist-info/METADATA,,\nspy-1.dist-info/WHEEL,,\nspy-1.dist-info/RECORD,,\n')
"#;
    fs::create_dir(directory).unwrap();
    assert!(
        std::process::Command::new("/usr/bin/python3").args(["-c", script]).arg(directory).status().unwrap().success()
    );
}

/// Paths below `directory` of files with this name.
fn named(directory: &Path, name: &str, found: &mut Vec<String>) {
    for entry in fs::read_dir(directory).into_iter().flatten() {
        let entry = entry.unwrap();
        if entry.file_name() == name {
            found.push(entry.path().display().to_string());
        }
        if entry.file_type().unwrap().is_dir() {
            named(&entry.path(), name, found);
        }
    }
}

#[test]
fn nothing_that_a_package_brings_runs_where_environments_are_made() {
    let wheels = tempfile::tempdir().unwrap();
    fs::set_permissions(wheels.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let links = wheels.path().join("links");
    make_spy(&links);
    let server = Server::start_with_variables(&[("PIP_NO_INDEX", "1"), ("PIP_FIND_LINKS", links.to_str().unwrap())]);
    let push = app(&server, "spied", "spy==1\n").push().ok();
    assert!(push.reply.err().contains("Installed 1 package"), "{}", push.reply);
    assert_eq!(known(&server).len(), 1, "{}", push.reply);
    let mut spied = Vec::new();
    for place in ["shared", "layers"] {
        named(&server.home().join(place), "spied", &mut spied);
    }
    assert_eq!(spied, [""; 0]);
    // It does run in the app.
    server.client().ssh("spied", &["python -c 'import sys; assert \"spy\" in sys.modules'; test -e /tmp/spied"]).ok();
    server.client().ssh("spied", &["test ! -e /cnb/shared"]).ok();
}
