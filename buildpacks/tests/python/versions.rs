//! Which Python an app gets.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::platform::{Platform, uv};

/// Programs that answer as a Python of these versions would.
fn pythons(platform: &Platform, versions: &[&str]) -> String {
    let programs = versions.iter().map(|version| {
        let minor = version.rsplit_once('.').unwrap().0;
        let program = platform.path(&format!("pythons/{version}/bin/python{minor}"));
        fs::create_dir_all(program.parent().unwrap()).unwrap();
        let soabi = format!("cpython-{}", minor.replace('.', ""));
        fs::write(&program, format!("#!/bin/sh\nprintf '%s\\n' {} {version} {soabi}\n", program.display())).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        program.display().to_string()
    });
    programs.collect::<Vec<_>>().join(":")
}

#[test]
fn what_an_app_asks_for() {
    let mut platform = platform!();
    let others = pythons(&platform, &["3.97.4", "3.98.1"]);
    platform.env.insert("BP_PYTHONS".to_owned(), others);
    insta::assert_snapshot!(platform.good(&[(".python-version", "3.97\n")]), @"
    -----> Python app detected
    -----> Using Python 3.97.4 specified in .python-version
    -----> Nothing to install: no requirements
    ");
    insta::assert_snapshot!(platform.good(&[("runtime.txt", "python-3.98.0\n")]), @"
    -----> Python app detected
    -----> Using Python 3.98.1 (runtime.txt asks for 3.98.0)
    -----> Nothing to install: no requirements
    ");
    insta::assert_snapshot!(platform.good(&[("requirements.txt", ""), ("pyproject.toml", "[project]\nname = 'a'\nrequires-python = '>=3.97'\n")]), @"
    -----> Python app detected
    -----> Using Python 3.98.1 (pyproject.toml asks for >=3.97)
    -----> Nothing to install: no requirements
    ");
    insta::assert_snapshot!(platform.good(&[("requirements.txt", ""), ("Pipfile", "[requires]\npython_version = '3.97'\n")]), @"
    -----> Python app detected
    -----> Using Python 3.97.4 specified in Pipfile
    -----> Nothing to install: no requirements
    ");
    insta::assert_snapshot!(platform.good(&[("requirements.txt", ""), (".python-version", &crate::minor())]), @"
    -----> Python app detected
    -----> Using Python [PYTHON] specified in .python-version
    -----> Nothing to install: no requirements
    ");
    insta::assert_snapshot!(platform.bad(&[(".python-version", "3.99\n")]), @"
    -----> Python app detected
     !     Error: Python 3.99 is not available
     !
     !     .python-version asks for Python 3.99. Available on this server: [PYTHON], 3.98, 3.97.
     !
     !     What to do, one of:
     !     1. Ask for a version that is there: write [MINOR] into .python-version.
     !     2. Delete .python-version to use the server's Python.
     !     3. Install Python 3.99 on the server.
    ");
    insta::assert_snapshot!(platform.bad(&[("pyproject.toml", "[project]\nname = 'a'\nrequires-python = '<3.5'\n")]), @"
    -----> Python app detected
     !     Error: Python <3.5 is not available
     !
     !     pyproject.toml asks for Python <3.5. Available on this server: [PYTHON], 3.98, 3.97.
     !
     !     What to do, one of:
     !     1. Loosen what pyproject.toml asks for, if the app runs with what is there.
     !     2. Write a version that is there into .python-version, which comes first.
     !     3. Install Python <3.5 on the server.
    ");
    insta::assert_snapshot!(platform.bad(&[("runtime.txt", "pypy3.10-v7.3\n")]), @r#"
    -----> Python app detected
     !     Error: Unknown Python version
     !
     !     runtime.txt: "pypy3.10-v7.3" is no Python version.
     !
     !     Write a version such as 3.12, or delete the file to use the server's Python.
    "#);
    insta::assert_snapshot!(platform.bad(&[("pyproject.toml", "[project]\nname = 'a'\nrequires-python = 'three'\n")]), @r#"
    -----> Python app detected
     !     Error: Unknown Python version
     !
     !     pyproject.toml: "three" is no Python version.
     !
     !     Write a version such as 3.12, or delete the file to use the server's Python.
    "#);
}

#[test]
fn the_previous_releases_python_stays() {
    let mut platform = platform!();
    let programs = pythons(&platform, &["3.97.4", "3.98.1"]);
    let (old, new) = programs.split_once(':').unwrap();
    let default = |platform: &mut Platform, program: &str, version: &str| {
        for (name, value) in [("BP_PYTHON", program), ("BP_PYTHON_VERSION", version), ("BP_PYTHON_SOABI", version)] {
            platform.env.insert(name.to_owned(), value.to_owned());
        }
    };
    platform.file("requirements.txt", "");
    default(&mut platform, old, "3.97.4");
    assert!(platform.build().ok);
    platform.restore();
    // The server has a newer one now, and still the old one.
    default(&mut platform, new, "3.98.1");
    platform.env.insert("BP_PYTHONS".to_owned(), old.to_owned());
    insta::assert_snapshot!(platform.build().text, @"
    -----> Python app detected
    -----> Using Python 3.97.4
           As in the previous release; the server's is now 3.98. Write 3.97 or 3.98 into .python-version.
    -----> Using the environment of the previous release: its requirements are unchanged
    ");
    platform.restore();
    platform.env.insert("BP_PYTHONS".to_owned(), "none".to_owned());
    insta::assert_snapshot!(platform.build().text, @"
    -----> Python app detected
    -----> Using Python 3.98.1 (the previous release had 3.97)
    -----> Nothing to install: no requirements
    ");
}
