//! The python buildpack, run the way a lifecycle runs it.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic, and says where; one that skips says why"
)]

macro_rules! platform {
    () => {
        match uv() {
            Some(uv) => Platform::new(&uv),
            None => return,
        }
    };
    (wheels) => {
        match uv() {
            Some(uv) => Platform::with_wheels(&uv),
            None => return,
        }
    };
}

mod failures;
mod locks;
mod platform;
mod requirements;
mod versions;
mod web;
mod wheel;

use std::fs;
use std::io::{BufRead, BufReader, Write};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use platform::{PROGRAM, Platform, SOABI, VERSION, ask_python, uv};

#[test]
fn detects() {
    let platform = platform!();
    assert_eq!(platform.detect().status.code(), Some(100));
    platform.file("requirements.txt", "");
    assert_eq!(platform.detect().status.code(), Some(0));
}

#[test]
fn requirements_become_an_environment() {
    let platform = platform!();
    wheel::make(&platform.path("wheels"), "hello", "1.0", &["greeting>=1"]);
    wheel::make(&platform.path("wheels"), "greeting", "1.2", &[]);
    platform.file("requirements.txt", "hello==1.0\n").file("Procfile", "web: hello\n");
    let build = platform.build();
    insta::assert_snapshot!(build.text, @"
    -----> Python app detected
    -----> Using Python [PYTHON]
    -----> Installing dependencies using 'uv pip install -r requirements.txt'
           Resolved 2 packages in [TIME]
           Prepared 2 packages in [TIME]
           Installed 2 packages in [TIME]
           + greeting==1.2
           + hello==1.0
    ");
    assert_eq!(platform.read("layers/env/requirements.lock"), "greeting==1.2\nhello==1.0\n");
    // Its programs carry the path inside, and find the environment by it and by the layer's.
    let shebang = format!("#!{}\n", platform.path("home/env/bin/python").display());
    assert!(platform.read("layers/env/bin/hello").starts_with(&shebang));
    assert_eq!(platform.launched("hello", &[]).trim(), platform.path("home/env").to_str().unwrap());
    let prefix = platform.launched("python", &["-c", "import hello, sys; print(hello.VERSION, sys.prefix)"]);
    assert_eq!(prefix.trim(), format!("1.0 {}", platform.path("layers/env").display()));
    // Bytecode is there, and no file's time counts for it (PEP 552: bit 0 set, bit 1 clear).
    let flags = "import hello; print(open(hello.__cached__, 'rb').read(8)[4])";
    assert_eq!(platform.launched("python", &["-c", flags]).trim(), "1");
}

#[test]
fn an_unchanged_environment_is_kept_without_starting_anything() {
    let mut platform = platform!();
    let started = platform.note_programs(&["uv", "python3"]);
    wheel::make(&platform.path("wheels"), "hello", "1.0", &[]);
    platform.file("requirements.txt", "hello\n");
    for (name, what) in [("BP_PYTHON", PROGRAM), ("BP_PYTHON_VERSION", VERSION), ("BP_PYTHON_SOABI", SOABI)] {
        platform.env.insert(name.to_owned(), ask_python(what));
    }
    assert!(platform.build().ok);
    assert!(started.exists());
    fs::remove_file(&started).unwrap();
    let kept = platform.restore();

    let build = platform.build();
    insta::assert_snapshot!(build.text, @"
    -----> Python app detected
    -----> Using Python [PYTHON]
    -----> Using the environment of the previous release: its requirements are unchanged
    ");
    assert!(!started.exists());
    assert!(!platform.path("layers/env").exists() && kept.exists());
    assert!(platform.read("layers/env.toml").contains("launch = true"));
    assert!(platform.read("layers/cache.toml").contains("cache = true"));

    platform.restore();
    platform.file("requirements.txt", "hello\n# changed\n");
    let build = platform.build();
    assert!(build.text.contains("Installing dependencies"), "{}", build.text);
}

#[test]
fn compiled_modules_are_kept_for_the_next_environment() {
    let platform = platform!();
    wheel::make(&platform.path("wheels"), "hello", "1.0", &[]);
    platform.file("requirements.txt", "hello\n");
    assert!(platform.build().ok);
    // To be told from what compiling would give.
    let kept = platform.path("layers/cache/compiled/0");
    let mut marked = fs::read(&kept).unwrap();
    let version = marked.windows(3).position(|bytes| bytes == b"1.0").unwrap();
    marked[version + 1] = b'!';
    fs::write(&kept, marked).unwrap();
    platform.restore();

    platform.file("requirements.txt", "hello\n# changed\n");
    assert!(platform.build().ok);
    assert_eq!(platform.launched("python", &["-c", "import hello; print(hello.VERSION)"]).trim(), "1!0");
}

#[test]
fn a_wsgi_module_is_served_by_gunicorn() {
    let platform = platform!();
    wheel::make(&platform.path("wheels"), "gunicorn", "99.0", &[]);
    platform.file("wsgi.py", "def application(environ, start_response):\n    pass\n");
    assert_eq!(platform.detect().status.code(), Some(0));
    insta::assert_snapshot!(platform.build().text, @"
    -----> Python app detected
    -----> Using Python [PYTHON]
    -----> Installing dependencies using 'uv pip install gunicorn'
           Resolved 1 package in [TIME]
           Prepared 1 package in [TIME]
           Installed 1 package in [TIME]
           + gunicorn==99.0
    -----> Serving wsgi:application of wsgi.py with gunicorn, which the requirements do not bring
           web: gunicorn wsgi:application --bind 0.0.0.0:$PORT --threads 8 --forwarded-allow-ips '*'
    ");
    insta::assert_snapshot!(platform.read("layers/launch.toml"), @r#"
    [[processes]]
    type = "web"
    command = ["sh", "-c"]
    args = ["exec gunicorn wsgi:application --bind 0.0.0.0:$PORT --threads 8 --forwarded-allow-ips '*'"]
    default = true
    "#);
}

#[test]
fn the_newest_of_each_requirement_is_chosen() {
    let platform = platform!();
    let wheels = platform.path("wheels");
    for (version, requires) in [("0.1", &[][..]), ("2.0", &["dates<3"]), ("2.1", &["dates<3"])] {
        wheel::make(&wheels, "cloud", version, requires);
    }
    for version in ["1.0", "2.5", "3.0"] {
        wheel::make(&wheels, "dates", version, &[]);
    }
    for requirements in ["dates\ncloud\n", "cloud\ndates\n"] {
        platform.file("requirements.txt", requirements);
        assert!(platform.build().ok);
        assert_eq!(platform.read("layers/env/requirements.lock"), "cloud==2.1\ndates==2.5\n", "{requirements}");
    }
}

#[test]
fn progress_is_shown_as_it_comes() {
    let mut platform = platform!();
    let go = platform.path("go");
    mkfifo(&go, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    // Open for both, so that neither side waits for the other to open it.
    let mut go_on = fs::File::options().read(true).write(true).open(&go).unwrap();
    let wait = format!("timeout 20 head -n1 '{}'", go.display());
    platform.program("uv", &format!("#!/bin/sh\necho 'Resolved 1 package in 1ms' >&2\n{wait}\n"));
    platform.file("requirements.txt", "hello\n");

    let mut build = platform.start_build();
    let lines: Vec<_> = BufReader::new(build.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap)
        .inspect(|line| {
            if line.contains("Resolved") {
                writeln!(go_on).unwrap();
            }
        })
        .collect();
    // Had the line come at the end only, uv would have waited in vain.
    assert!(build.wait().unwrap().success(), "{lines:?}");
    let expected = [
        "-----> Installing dependencies using 'uv pip install -r requirements.txt'",
        "       Resolved 1 package in 1ms",
    ];
    assert_eq!(lines[2..], expected);
}

/// Each run of uv that is not told to stay offline asks the index for every package again.
#[test]
fn the_index_is_asked_once() {
    let mut platform = platform!();
    let started = platform.note_programs(&["uv"]);
    for name in ["hello", "greeting"] {
        wheel::make(&platform.path("wheels"), name, "1.0", &[]);
        wheel::make(&platform.path("wheels"), name, "2.0", &[]);
    }
    platform.file("requirements.txt", "hello\ngreeting\n");
    let build = platform.build();
    assert!(build.ok, "{}", build.text);
    let runs = fs::read_to_string(started).unwrap();
    assert_eq!(runs.lines().filter(|run| !run.contains(" --offline")).count(), 1, "{runs}");
    assert_eq!(platform.read("layers/env/requirements.lock"), "greeting==2.0\nhello==2.0\n");
}

#[test]
fn hashes_are_checked() {
    let platform = platform!();
    wheel::make(&platform.path("wheels"), "hello", "1.0", &[]);
    platform.file("requirements.txt", &format!("hello==1.0 --hash=sha256:{}\n", "0".repeat(64)));
    insta::assert_snapshot!(platform.build().text, @"
    -----> Python app detected
    -----> Using Python [PYTHON]
    -----> Installing dependencies using 'uv pip install -r requirements.txt'
           Resolved 1 package in [TIME]
     !     Error: Hash mismatch for hello==1.0
     !
     !     The file that the index delivers is not the one whose hash the requirements name.
     !
     !     What to do, one of:
     !     1. If you changed the version, update its hashes, for example with: uv pip compile --generate-hashes
     !     2. If you did not, find out why the file changed before you trust it.
     !
     !     The tool's own words:
     !       error: Failed to download `hello==1.0`
     !         cause: Hash mismatch for `hello==1.0`
     !
     !                Expected:
     !                  sha256:0000000000000000000000000000000000000000000000000000000000000000
     !
     !                Computed:
     !                  sha256:7338249e4b6ed7cc6b4a7d356029bda08e27be7b41deca4c5cd571348d65c5aa
    ");
}

#[test]
fn failures_name_what_is_wrong_and_what_to_do() {
    let platform = platform!();
    let wheels = platform.path("wheels");
    wheel::make(&wheels, "hello", "1.0", &["greeting>=2"]);
    wheel::make(&wheels, "greeting", "1.0", &[]);
    wheel::make(&wheels, "greeting", "2.0", &[]);
    let failure = |requirements: &str| {
        platform.file("requirements.txt", requirements);
        let build = platform.build();
        assert!(!build.ok);
        build.text.split_once(" !     ").unwrap().1.to_owned()
    };
    insta::assert_snapshot!(failure("hello\nno-such-package\n"), @"
    Error: There is no package no-such-package
     !
     !     None of the places that packages may come from has no-such-package; an index is not among them.
     !
     !     What to do, one of:
     !     1. Check the spelling in the requirements.
     !     2. If the app brings its wheels, add this one: pip wheel --wheel-dir wheelhouse -r requirements.txt
     !
     !     The tool's own words:
     !       error: No solution found when resolving dependencies
     !         cause: Because no-such-package was not found in the provided package locations and you require no-such-package, we can conclude that your requirements are unsatisfiable.
    ");
    insta::assert_snapshot!(failure("hello==7\n"), @"
    Error: No such version: hello==7
     !
     !     The package index knows the package, but no such version of it for this Python and machine. There are: 1.0.
     !
     !     What to do, one of:
     !     1. Ask for a version that exists.
     !     2. Ask for a Python that the version supports, in .python-version.
     !
     !     The tool's own words:
     !       error: No solution found when resolving dependencies
     !         cause: Because there is no version of hello==7 and you require hello==7, we can conclude that your requirements are unsatisfiable.
    ");
    insta::assert_snapshot!(failure("hello\ngreeting<2\n"), @"
    Error: The requirements contradict each other
     !
     !     There are no versions that fit all of them:
     !       hello needs greeting>=2
     !       the app asks for hello
     !       the app asks for greeting<2
     !
     !     What to do, one of:
     !     1. Loosen one of the requirements that are named.
     !     2. Remove the version from the one that matters least.
     !
     !     The tool's own words:
     !       error: No solution found when resolving dependencies
     !         cause: Because all versions of hello depend on greeting>=2 and you require hello, we can conclude that you require greeting>=2.
     !                And because you require greeting<2, we can conclude that your requirements are unsatisfiable.
    ");
    insta::assert_snapshot!(failure("hello\nfoo bar baz\n"), @"
    Error: Syntax error in the requirements
     !
     !     requirements.txt, line 2: this is no requirement:
     !       foo bar baz
     !
     !     Write one requirement a line, such as: flask>=3.0
     !
     !     The tool's own words:
     !       error: Couldn't parse requirement in `requirements.txt` at position 6
     !         cause: Expected one of `@`, `(`, `<`, `=`, `>`, `~`, `!`, `;`, found `b`
     !                foo bar baz
     !                    ^
    ");
    insta::assert_snapshot!(failure("-r other.txt\n"), @"
    Error: A requirements file is missing
     !
     !     The requirements include other.txt, which is not in what was pushed.
     !
     !     What to do, one of:
     !     1. Commit the file, and push again.
     !     2. Remove the line that includes it.
     !
     !     The tool's own words:
     !       error: Error parsing included file in `requirements.txt` at position 0
     !         cause: failed to read from file `[T]/app/other.txt`: No such file or directory (os error 2)
    ");
}

#[test]
fn another_python_is_an_error_that_says_what_is_there() {
    let platform = platform!();
    platform.file("requirements.txt", "").file(".python-version", "3.99\n");
    insta::assert_snapshot!(platform.build().text, @"
    -----> Python app detected
     !     Error: Python 3.99 is not available
     !
     !     .python-version asks for Python 3.99. Available on this server: [PYTHON].
     !
     !     What to do, one of:
     !     1. Ask for a version that is there: write [MINOR] into .python-version.
     !     2. Delete .python-version to use the server's Python.
     !     3. Install Python 3.99 on the server.
    ");
}

#[test]
fn pip_installs_where_there_is_no_uv() {
    let mut platform = platform!();
    if !platform.without_uv() {
        println!("skipped: this Python has no pip");
        return;
    }
    wheel::make(&platform.path("wheels"), "hello", "1.0", &[]);
    platform.file("requirements.txt", "hello\n");
    insta::assert_snapshot!(platform.build().text, @"
    -----> Python app detected
    -----> Using Python [PYTHON]
    -----> Installing dependencies using 'pip install -r requirements.txt'
           Successfully installed hello-1.0
    ");
    assert_eq!(platform.launched("hello", &[]).trim(), platform.path("home/env").to_str().unwrap());
    platform.file("requirements.txt", "hello\nno-such-package\n");
    insta::assert_snapshot!(platform.build().text, @"
    -----> Python app detected
    -----> Using Python [PYTHON]
    -----> Installing dependencies using 'pip install -r requirements.txt'
     !     Error: There is no package no-such-package
     !
     !     The package index does not know no-such-package.
     !
     !     What to do, one of:
     !     1. Check the spelling in the requirements.
     !     2. If it comes from an index of your own, name that with --extra-index-url, and user and password if it wants them.
     !
     !     The tool's own words:
     !       ERROR: Could not find a version that satisfies the requirement no-such-package (from versions: none)
     !       ERROR: No matching distribution found for no-such-package
    ");
}

#[test]
fn no_requirements_need_nothing() {
    let mut platform = platform!();
    for (name, what) in [("BP_PYTHON_VERSION", VERSION), ("BP_PYTHON_SOABI", SOABI)] {
        platform.env.insert(name.to_owned(), ask_python(what));
    }
    let started = platform.note_programs(&["uv", "pip", "python3"]);
    platform.env.insert("BP_PYTHON".to_owned(), platform.path("notes/python3").display().to_string());
    platform
        .file("requirements.txt", "# flask, some day\r\n\r\n")
        .file("Procfile", "web: python -m http.server $PORT\n");
    insta::assert_snapshot!(platform.build().text, @"
    -----> Python app detected
    -----> Using Python [PYTHON]
    -----> Nothing to install: no requirements
    ");
    assert!(!started.exists(), "{}", fs::read_to_string(&started).unwrap());
    assert_eq!(platform.read("layers/env/requirements.lock"), "");
    assert!(platform.path("layers/env/bin/python").is_symlink());
}

/// pip itself is always there.
#[test]
fn what_the_host_has_installed_is_no_part_of_the_environment() {
    let mut platform = platform!();
    if !platform.without_uv() {
        println!("skipped: this Python has no pip");
        return;
    }
    wheel::make(&platform.path("wheels"), "hello", "1.0", &["pip"]);
    wheel::make(&platform.path("wheels"), "pip", "99.0", &[]);
    platform.file("requirements.txt", "hello\n");
    let build = platform.build();
    assert!(build.ok, "{}", build.text);
    assert_eq!(platform.read("layers/env/requirements.lock"), "hello==1.0\npip==99.0\n", "{}", build.text);
}

#[test]
fn a_uv_lock_is_installed_as_it_is() {
    let platform = platform!();
    wheel::make(&platform.path("wheels"), "hello", "1.0", &[]);
    platform.file(
        "pyproject.toml",
        "[project]\nname = \"shop\"\nversion = \"1\"\nrequires-python = \">=3.8\"\ndependencies = [\"hello\"]\n",
    );
    platform.uv(&["lock"]);
    insta::assert_snapshot!(platform.build().text, @"
    -----> Python app detected
    -----> Using Python [PYTHON] (pyproject.toml asks for >=3.8)
    -----> Installing dependencies using 'uv sync --locked --no-default-groups'
           Resolved 1 package in [TIME]
           Prepared 1 package in [TIME]
           Installed 1 package in [TIME]
           + hello==1.0
    ");
    platform.file("pyproject.toml", "[project]\nname = \"shop\"\nversion = \"1\"\nrequires-python = \">=3.8\"\ndependencies = [\"hello\", \"more\"]\n");
    insta::assert_snapshot!(platform.build().text, @"
    -----> Python app detected
    -----> Using Python [PYTHON] (pyproject.toml asks for >=3.8)
    -----> Installing dependencies using 'uv sync --locked --no-default-groups'
     !     Error: There is no package more
     !
     !     None of the places that packages may come from has more; an index is not among them.
     !
     !     What to do, one of:
     !     1. Check the spelling in the requirements.
     !     2. If the app brings its wheels, add this one: pip wheel --wheel-dir wheelhouse -r requirements.txt
     !
     !     The tool's own words:
     !       error: No solution found when resolving dependencies
     !         cause: Because more was not found in the provided package locations and your project depends on more, we can conclude that your project's requirements are unsatisfiable.
    ");
}

/// The case that a resolver of its own order gets wrong (boto3 0.0.3), against the real index.
#[test]
fn boto3_is_current() {
    let platform = platform!().with_index();
    platform.file("requirements.txt", "python-dateutil\nboto3\n");
    let start = std::time::Instant::now();
    let build = platform.build();
    if build.text.contains("package index cannot be reached") {
        println!("skipped: no package index");
        return;
    }
    assert!(build.ok, "{}", build.text);
    let lock = platform.read("layers/env/requirements.lock");
    let boto3 = lock.lines().find_map(|line| line.strip_prefix("boto3==")).unwrap();
    let version: Vec<u32> = boto3.split('.').map(|part| part.parse().unwrap()).collect();
    assert!(version >= vec![1, 40], "{lock}");
    assert!(start.elapsed().as_secs() < 60, "{:?}", start.elapsed());
}

/// `3.11`
fn minor() -> String {
    let version = ask_python(VERSION);
    version.rsplit_once('.').unwrap().0.to_owned()
}
