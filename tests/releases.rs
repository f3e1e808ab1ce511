//! Releases as things: what is on disk of them, kept and taken away, carried to another server.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::harness::{App, Server};

/// A layer without packages from an index, so that these stories need none.
const LOCAL_PACKAGE: &[(&str, &str)] = &[
    ("requirements.txt", "./lib\n"),
    ("lib/setup.py", "from setuptools import setup\nsetup(name='greeting', version='1.0', py_modules=['greeting'])\n"),
    ("lib/greeting.py", "TEXT = 'hello'\n"),
    ("Procfile", "web: python -m http.server $PORT\n"),
    ("page", "one"),
];

fn code(server: &Server, app: &str, version: u32) -> PathBuf {
    server.home().join(format!("apps/{app}/releases/v{version}/code"))
}

/// The layers in the server's store.
fn layers(server: &Server) -> Vec<PathBuf> {
    let entries = fs::read_dir(server.home().join("layers")).unwrap().map(|entry| entry.unwrap().path());
    let mut layers: Vec<_> = entries.filter(|path| path.is_dir()).collect();
    layers.sort();
    layers
}

#[test]
fn verify_names_every_file_that_is_not_as_it_was() {
    let server = Server::start();
    App::new(server.client(), "blog", LOCAL_PACKAGE).push().ok();
    let verify = |line: &str| server.client().airstrip(&format!("releases:verify blog {line}"));
    let said = verify("").ok().out();
    assert!(said.starts_with("-----> v1 of blog is as it was made: "), "{said}");
    assert_eq!(verify("v1 --json").ok().json(), Value::Array(Vec::new()));
    verify("v7").fails(1, &["blog has no v7"]);

    let (code, layer) = (code(&server, "blog", 1), layers(&server).remove(0));
    fs::write(code.join("page"), "two").unwrap();
    fs::remove_file(code.join("Procfile")).unwrap();
    fs::create_dir(code.join("new")).unwrap();
    fs::set_permissions(code.join("lib/setup.py"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    fs::remove_file(layer.join("pyvenv.cfg")).unwrap();
    let found = verify("--json").fails(1, &["v1 of blog is not as it was made", "ps:rebuild blog"]).json();
    let faults: Vec<[&str; 3]> = found
        .as_array()
        .unwrap()
        .iter()
        .map(|fault| ["part", "path", "fault"].map(|key| fault[key].as_str().unwrap()))
        .collect();
    let expected = [
        ["code", "Procfile", "missing"],
        ["code", "lib/setup.py", "mode changed"],
        ["code", "new", "added"],
        ["code", "page", "changed"],
        ["airstrip/python:env", "pyvenv.cfg", "missing"],
    ];
    assert_eq!(faults, expected);
    fs::remove_dir_all(layer).unwrap();
    let said = verify("").fails(1, &["is not as it was made"]).out();
    assert!(said.contains("airstrip/python:env") && said.contains("missing"), "{said}");
}

/// The code and the layers of a release, as lists of files with their hashes.
fn lists(server: &Server, app: &str) -> Vec<String> {
    let code = fs::read_to_string(code(server, app, 1).with_file_name("code.files")).unwrap();
    let of_layers = layers(server).into_iter().map(|path| fs::read_to_string(path.with_extension("files")).unwrap());
    std::iter::once(code).chain(of_layers).collect()
}

#[test]
fn two_homes_make_the_same_of_the_same() {
    let build = |files: &[(&str, &str)]| {
        let server = Server::start();
        App::new(server.client(), "blog", files).push().ok();
        lists(&server, "blog")
    };
    let mut files = LOCAL_PACKAGE.to_vec();
    files[0].1 = "./lib\nflask==3.1.0\nmarkupsafe==3.0.2\nitsdangerous==2.2.0\n";
    let (one, other) = (build(&files), build(&files));
    assert_eq!(one.len(), other.len());
    for (one, other) in one.iter().zip(&other) {
        let differing: Vec<_> = one.lines().zip(other.lines()).filter(|(one, other)| one != other).collect();
        assert!(differing.is_empty(), "{differing:#?}");
        assert_eq!(one, other);
    }
}
