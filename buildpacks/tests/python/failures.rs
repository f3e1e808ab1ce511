//! Requirements that cannot be installed, and what their authors are told.

use std::io::{Read, Write};
use std::net::TcpListener;

use crate::platform::{Platform, uv};

/// What stands above the tool's own words, which change with its versions.
fn told(platform: &Platform, requirements: &str) -> String {
    let text = platform.bad(&[("requirements.txt", requirements)]);
    let told = text.split_once(" !     ").unwrap().1;
    told.split(" !\n !     The tool's own words").next().unwrap().to_owned()
}

#[test]
fn names_and_versions() {
    let platform = platform!(wheels);
    insta::assert_snapshot!(told(&platform, "reqeusts\n"), @"
    Error: There is no package reqeusts
     !
     !     None of the places that packages may come from has reqeusts; an index is not among them.
     !
     !     What to do, one of:
     !     1. Did you mean requests? Correct the requirements.
     !     2. If the app brings its wheels, add this one: pip wheel --wheel-dir wheelhouse -r requirements.txt
    ");
    insta::assert_snapshot!(told(&platform, "sklearn\n"), @"
    Error: There is no package sklearn
     !
     !     None of the places that packages may come from has sklearn; an index is not among them.
     !
     !     What to do, one of:
     !     1. Did you mean scikit-learn? Correct the requirements.
     !     2. If the app brings its wheels, add this one: pip wheel --wheel-dir wheelhouse -r requirements.txt
    ");
    insta::assert_snapshot!(told(&platform, "sqlite3\n"), @"
    Error: There is no package sqlite3
     !
     !     sqlite3 is a part of Python itself: nothing needs to be installed for it.
     !
     !     Remove it from the requirements.
    ");
    insta::assert_snapshot!(told(&platform, "greeting==2.0.5\n"), @"
    Error: No such version: greeting==2.0.5
     !
     !     The package index knows the package, but no such version of it for this Python and machine. There are: 2.0, 2.1.
     !
     !     What to do, one of:
     !     1. Ask for a version that exists.
     !     2. Ask for a Python that the version supports, in .python-version.
    ");
    insta::assert_snapshot!(told(&platform, "greeting==7\n"), @"
    Error: No such version: greeting==7
     !
     !     The package index knows the package, but no such version of it for this Python and machine. There are: 2.1.
     !
     !     What to do, one of:
     !     1. Ask for a version that exists.
     !     2. Ask for a Python that the version supports, in .python-version.
    ");
    insta::assert_snapshot!(told(&platform, "needs-newer-python\n"), @"
    Error: needs-newer-python==2.0 needs another Python
     !
     !     It runs with Python >=3.99 only.
     !
     !     What to do, one of:
     !     1. Write a Python that it runs with into .python-version.
     !     2. Ask for another version of it, one that runs with this Python.
    ");
    insta::assert_snapshot!(told(&platform, "needs-old\nneeds-new\n"), @"
    Error: The requirements contradict each other
     !
     !     There are no versions that fit all of them:
     !       needs-new needs greeting>=2
     !       needs-old needs greeting<2
     !       the app asks for needs-old
     !
     !     What to do, one of:
     !     1. Loosen one of the requirements that are named.
     !     2. Remove the version from the one that matters least.
    ");
    insta::assert_snapshot!(told(&platform, "hello @ file:///home/me/hello-1.0-py3-none-any.whl\n"), @"
    Error: A package is on another machine
     !
     !     The requirements name file:///home/me/hello-1.0-py3-none-any.whl, a file of the machine where they were written.
     !
     !     What to do, one of:
     !     1. Replace the path by a version, such as flask==3.0.
     !     2. Add the file to the tree, and name it by its path there.
    ");
}

#[test]
fn sources_that_cannot_be_built() {
    let platform = platform!(wheels);
    insta::assert_snapshot!(told(&platform, "no-compiler\n"), @"
    Error: no-compiler==1.0 cannot be built without a C compiler
     !
     !     There is no ready-made file of it for this Python and machine, and the server lacks what it takes to build it.
     !
     !     What to do, one of:
     !     1. Install what it takes on the server, on Debian: apt-get install gcc python3-dev
     !     2. Ask for a version that has a wheel for this Python (a newer one, often).
    ");
    insta::assert_snapshot!(told(&platform, "psycopg2\n"), @"
    Error: psycopg2==2.9 cannot be built without PostgreSQL's library
     !
     !     There is no ready-made file of it for this Python and machine, and the server lacks what it takes to build it.
     !
     !     What to do, one of:
     !     1. Ask for psycopg2-binary instead, which is ready-made.
     !     2. Install what it takes on the server, on Debian: apt-get install libpq-dev gcc python3-dev
     !     3. Ask for a version that has a wheel for this Python (a newer one, often).
    ");
    insta::assert_snapshot!(told(&platform, "no-headers\n"), @"
    Error: no-headers==1.0 cannot be built without Python's headers
     !
     !     There is no ready-made file of it for this Python and machine, and the server lacks what it takes to build it.
     !
     !     What to do, one of:
     !     1. Install what it takes on the server, on Debian: apt-get install python3-dev
     !     2. Ask for a version that has a wheel for this Python (a newer one, often).
    ");
    insta::assert_snapshot!(told(&platform, "no-rust\n"), @"
    Error: no-rust==1.0 cannot be built without a Rust compiler
     !
     !     There is no ready-made file of it for this Python and machine, and the server lacks what it takes to build it.
     !
     !     What to do, one of:
     !     1. Install what it takes on the server, on Debian: apt-get install cargo
     !     2. Ask for a version that has a wheel for this Python (a newer one, often).
    ");
    insta::assert_snapshot!(told(&platform, "old-code\n"), @"
    Error: old-code==1.0 is too old for this Python
     !
     !     Building it asks for the module imp, which this Python does not have any more.
     !
     !     What to do, one of:
     !     1. Ask for a newer version of it.
     !     2. Ask for an older Python, in .python-version.
    ");
}

#[test]
fn files_that_cannot_be_read() {
    let platform = platform!(wheels);
    insta::assert_snapshot!(told(&platform, "flask=3.0\n"), @"
    Error: Syntax error in the requirements
     !
     !     requirements.txt, line 1: this is no requirement:
     !       flask=3.0
     !
     !     Write one requirement a line, such as: flask>=3.0
    ");
    insta::assert_snapshot!(told(&platform, &format!("hello==1.0 --hash={}\ngreeting\n", crate::wheel::hash("hello-1.0-py3-none-any.whl"))), @"
    Error: No hash for greeting
     !
     !     Some requirements have a hash, so every package that is installed must have one.
     !
     !     What to do, one of:
     !     1. List all packages with hashes: uv pip compile --generate-hashes
     !     2. Remove all hashes.
    ");
    platform.fresh(&[]);
    std::fs::write(platform.path("app/requirements.txt"), b"\xff\xfef\0l\0a\0s\0k\0").unwrap();
    insta::assert_snapshot!(platform.build().text, @"
    -----> Python app detected
    -----> Using Python [PYTHON]
     !     Error: requirements.txt cannot be read
     !
     !     It is UTF-16, as PowerShell writes it; installers read UTF-8.
     !
     !     Correct the file.
    ");
}

/// An index that answers everything with this status, a few times.
fn index(status: &'static str) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for connection in listener.incoming().take(20) {
            let Ok(mut connection) = connection else { return };
            let _request = connection.read(&mut [0; 4096]);
            let _gone = write!(connection, "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        }
    });
    address
}

#[test]
fn indexes_that_refuse_or_are_not_there() {
    let mut platform = platform!(wheels);
    platform.env.remove("PIP_NO_INDEX");
    platform.env.insert("UV_HTTP_RETRIES".to_owned(), "0".to_owned());
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (address, expected) in [(index("401 Unauthorized"), "user and password"), (nobody, "cannot be reached")] {
        platform.env.insert("PIP_INDEX_URL".to_owned(), format!("http://me:secret@{address}/simple"));
        let text = platform.bad(&[("requirements.txt", "private-package\n")]);
        assert!(text.contains(expected), "{text}");
        assert!(!text.contains("secret"), "{text}");
    }
}
