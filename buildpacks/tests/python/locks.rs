//! Lock files of several tools, and projects that are packages.

use crate::platform::{Platform, uv};
use crate::wheel::hash;

/// A package of a lock of Poetry 2.
fn locked(name: &str, version: &str, more: &str) -> String {
    let file = format!("{}-{version}-py3-none-any.whl", name.replace('-', "_"));
    format!(
        "[[package]]\nname = \"{name}\"\nversion = \"{version}\"\noptional = false\npython-versions = \">=3.8\"\n\
         files = [{{file = \"{file}\", hash = \"{}\"}}]\n{more}\n",
        hash(&file)
    )
}

fn poetry_lock(format: &str, content_hash: &str, packages: &[String]) -> String {
    let packages = packages.concat();
    format!(
        "{packages}[metadata]\nlock-version = \"{format}\"\npython-versions = \">=3.8\"\ncontent-hash = \"{content_hash}\"\n"
    )
}

const POETRY_2: &str = "[project]\nname = 'shop'\nversion = '1'\nrequires-python = '>=3.8'\ndependencies = ['hello']\n[dependency-groups]\ndev = ['speed']\n";
const HASH_2: &str = "f69514c7ae347785bd34e1ad68c12906e231a698fc0bd6625bb0b62dbf987dbd";
const POETRY_1: &str = "[tool.poetry]\npackage-mode = false\n[tool.poetry.dependencies]\npython = '>=3.8'\nhello = '^1.0'\nflask = {version = '*', optional = true}\n[tool.poetry.group.dev.dependencies]\nspeed = '*'\n";
const HASH_1: &str = "27604f899065170927b3383e24f5871fb8dcaac818dbd625526748218860628b";

#[test]
fn poetrys_locks_need_no_poetry() {
    let platform = platform!(wheels);
    let main = "groups = [\"main\"]\n";
    let packages = [
        locked("greeting", "2.0", main),
        locked("hello", "1.0", main),
        locked("speed", "1.0", "groups = [\"dev\"]\n"),
        locked("flask", "3.0", "groups = [\"main\"]\nmarkers = \"sys_platform == 'win32'\"\n"),
    ];
    let lock = poetry_lock("2.1", HASH_2, &packages);
    insta::assert_snapshot!(platform.good(&[("pyproject.toml", POETRY_2), ("poetry.lock", &lock)]), @"
    -----> Python app detected
    -----> Using Python [PYTHON] (pyproject.toml asks for >=3.8)
    -----> Installing dependencies from poetry.lock using 'uv pip install'
           Resolved 2 packages in [TIME]
           Prepared 2 packages in [TIME]
           Installed 2 packages in [TIME]
           + greeting==2.0
           + hello==1.0
    ");
}

/// Of a format that does not say which package belongs to which group.
fn older_lock() -> String {
    let packages = [
        locked("greeting", "2.0", ""),
        locked("hello", "1.0", "[package.dependencies]\ngreeting = \">=1\"\n"),
        locked("speed", "1.0", ""),
        locked("flask", "3.0", ""),
    ];
    poetry_lock("2.0", HASH_1, &packages)
}

#[test]
fn older_locks_of_poetry() {
    let platform = platform!(wheels);
    let lock = older_lock();
    insta::assert_snapshot!(platform.good(&[("pyproject.toml", POETRY_1), ("poetry.lock", &lock)]), @"
    -----> Python app detected
    -----> Using Python [PYTHON] (pyproject.toml asks for >=3.8)
    -----> Installing dependencies from poetry.lock using 'uv pip install'
           Resolved 2 packages in [TIME]
           Prepared 2 packages in [TIME]
           Installed 2 packages in [TIME]
           + greeting==2.0
           + hello==1.0
    ");
    // Both: the lock counts.
    insta::assert_snapshot!(platform.good(&[("pyproject.toml", POETRY_1), ("poetry.lock", &lock), ("requirements.txt", "flask\n")]), @"
    -----> Python app detected
    -----> Using Python [PYTHON] (pyproject.toml asks for >=3.8)
    -----> Warning: poetry.lock is used, requirements.txt is not
    -----> Installing dependencies from poetry.lock using 'uv pip install'
           Resolved 2 packages in [TIME]
           Prepared 2 packages in [TIME]
           Installed 2 packages in [TIME]
           + greeting==2.0
           + hello==1.0
    ");
}

#[test]
fn what_is_wrong_with_locks_of_poetry() {
    let platform = platform!(wheels);
    let lock = older_lock();
    let changed = POETRY_1.replace("hello = '^1.0'", "hello = '^2.0'");
    insta::assert_snapshot!(platform.bad(&[("pyproject.toml", &changed), ("poetry.lock", &lock)]), @"
    -----> Python app detected
    -----> Using Python [PYTHON] (pyproject.toml asks for >=3.8)
     !     Error: poetry.lock is out of date
     !
     !     pyproject.toml was changed since poetry.lock was written.
     !
     !     Run poetry lock, commit poetry.lock, and push again.
    ");
    let wrong = lock.replace(&hash("hello-1.0-py3-none-any.whl"), &format!("sha256:{}", "0".repeat(64)));
    insta::assert_snapshot!(platform.bad(&[("pyproject.toml", POETRY_1), ("poetry.lock", &wrong)]), @"
    -----> Python app detected
    -----> Using Python [PYTHON] (pyproject.toml asks for >=3.8)
    -----> Installing dependencies from poetry.lock using 'uv pip install'
           Resolved 2 packages in [TIME]
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
     !                  sha256:8ca33daaa50074a7576e7b76c320cd6bbc0ae7295050fdb15b9132fe12734813
    ");
    insta::assert_snapshot!(platform.bad(&[("poetry.lock", &lock)]), @"
    -----> Python app detected
    -----> Using Python [PYTHON]
     !     Error: poetry.lock without pyproject.toml
     !
     !     poetry.lock does not say which of its packages the app asks for: that stands in pyproject.toml.
     !
     !     Commit it, too.
    ");
    insta::assert_snapshot!(platform.bad(&[("pyproject.toml", POETRY_1), ("poetry.lock", "[[package]\n")]), @"
    -----> Python app detected
    -----> Using Python [PYTHON] (pyproject.toml asks for >=3.8)
     !     Error: poetry.lock cannot be read
     !
     !     TOML parse error at line 1, column 11
     !       |
     !     1 | [[package]
     !       |           ^
     !     unclosed array table, expected `]`
     !
     !     Correct the file.
    ");
    insta::assert_snapshot!(platform.bad(&[("pyproject.toml", POETRY_1)]), @"
    -----> Python app detected
    -----> Using Python [PYTHON] (pyproject.toml asks for >=3.8)
     !     Error: pyproject.toml of Poetry without a lock
     !
     !     The app has pyproject.toml of Poetry, but neither a lock file of its tool nor a requirements.txt.
     !
     !     What to do, one of:
     !     1. Lock it, and commit the lock: poetry lock
     !     2. Write a requirements.txt and commit it.
    ");
}

const PIPFILE: &str = "[packages]\nhello = '*'\n[requires]\npython_version = 'MINOR'\n";

#[test]
fn pipenvs_locks_need_no_pipenv() {
    let platform = platform!(wheels);
    let package = |name: &str, version: &str, file: &str| {
        format!("\"{name}\": {{\"version\": \"=={version}\", \"hashes\": [\"{}\"], \"index\": \"pypi\"}}", hash(file))
    };
    let lock = format!(
        "{{\"_meta\": {{\"sources\": [{{\"name\": \"pypi\", \"url\": \"https://example.org/simple\", \"verify_ssl\": true}}]}},\n\"default\": {{{}, {},\n\
         \"flask\": {{\"version\": \"==3.0\", \"markers\": \"sys_platform == 'win32'\"}}, \"local\": {{\"path\": \"./local\", \"editable\": true}}}},\n\
         \"develop\": {{\"speed\": {{\"version\": \"==1.0\"}}}}}}\n",
        package("hello", "1.0", "hello-1.0-py3-none-any.whl"),
        package("greeting", "2.0", "greeting-2.0-py3-none-any.whl"),
    );
    let local = [("local/pyproject.toml", LOCAL), ("local/backend.py", BACKEND), ("local/local.py", "")];
    let mut files = vec![("Pipfile.lock", lock.as_str())];
    files.extend(local);
    insta::assert_snapshot!(platform.good(&files), @"
    -----> Python app detected
    -----> Using Python [PYTHON]
    -----> Installing dependencies from Pipfile.lock using 'uv pip install'
           Resolved 2 packages in [TIME]
           Prepared 2 packages in [TIME]
           Installed 2 packages in [TIME]
           + greeting==2.0
           + hello==1.0
           Resolved 1 package in [TIME]
           Building local @ file://[T]/app/local
           Built local @ file://[T]/app/local
           Prepared 1 package in [TIME]
           Installed 1 package in [TIME]
           + local==1.0 (from file://[T]/app/local)
    ");
    let stale = lock.replace("\"sources\"", "\"hash\": {\"sha256\": \"0\"}, \"sources\"");
    insta::assert_snapshot!(platform.bad(&[("Pipfile", PIPFILE.replace("MINOR", &crate::minor()).as_str()), ("Pipfile.lock", &stale)]), @"
    -----> Python app detected
    -----> Using Python [PYTHON] specified in Pipfile
     !     Error: Pipfile.lock is out of date
     !
     !     Pipfile was changed since Pipfile.lock was written.
     !
     !     Run pipenv lock, commit Pipfile.lock, and push again.
    ");
    insta::assert_snapshot!(platform.bad(&[("Pipfile", "[packages]\n")]), @"
    -----> Python app detected
    -----> Using Python [PYTHON]
     !     Error: Pipfile without a lock
     !
     !     The app has Pipfile, but neither a lock file of its tool nor a requirements.txt.
     !
     !     What to do, one of:
     !     1. Lock it, and commit the lock: pipenv lock
     !     2. Write a requirements.txt and commit it.
    ");
    insta::assert_snapshot!(platform.bad(&[("Pipfile.lock", "nonsense")]), @"
    -----> Python app detected
    -----> Using Python [PYTHON]
     !     Error: Pipfile.lock cannot be read
     !
     !     expected ident at line 1 column 2
     !
     !     Correct the file.
    ");
    insta::assert_snapshot!(platform.bad(&[("Pipfile.lock", "{}"), ("uv.lock", ""), ("poetry.lock", "")]), @"
    -----> Python app detected
    -----> Using Python [PYTHON]
     !     Error: Two lock files
     !
     !     The app has both uv.lock and poetry.lock, which belong to different tools.
     !
     !     Delete the one that is not kept up to date.
    ");
}

/// A build backend in the tree, so that none must be fetched.
pub(crate) const BACKEND: &str = include_str!("backend.py");
pub(crate) const LOCAL: &str = "[project]\nname = 'local'\nversion = '1.0'\n[project.scripts]\nlocal = 'local:main'\n[build-system]\nrequires = []\nbuild-backend = 'backend'\nbackend-path = ['.']\n";

#[test]
fn a_project_that_is_a_package_runs_where_it_is() {
    let platform = platform!(wheels);
    let pyproject = LOCAL.replace("version = '1.0'\n", "version = '1.0'\ndependencies = ['hello']\n");
    let files = [
        ("pyproject.toml", pyproject.as_str()),
        ("backend.py", BACKEND),
        ("local.py", "def main():\n    print('first')\n"),
    ];
    insta::assert_snapshot!(platform.good(&files), @"
    -----> Python app detected
    -----> Using Python [PYTHON]
    -----> Installing dependencies using 'uv pip install -r pyproject.toml'
           Resolved 2 packages in [TIME]
           Prepared 2 packages in [TIME]
           Installed 2 packages in [TIME]
           + greeting==2.1
           + hello==1.0
           Resolved 1 package in [TIME]
           Building local @ file://[T]/app
           Built local @ file://[T]/app
           Prepared 1 package in [TIME]
           Installed 1 package in [TIME]
           + local==1.0 (from file://[T]/app)
    ");
    platform.fresh(&files);
    assert!(platform.build().ok);
    platform.file("local.py", "def main():\n    print('changed')\n");
    assert_eq!(platform.launched("local", &[]), "changed\n");
    let pyproject = LOCAL
        .replace("backend-path", "# ext_modules\nbackend-path")
        .replace("version = '1.0'\n", "version = '1.0'\ndependencies = ['hello']\n");
    let files = [
        ("pyproject.toml", pyproject.as_str()),
        ("backend.py", BACKEND),
        ("local.py", "def main():\n    print('first')\n"),
    ];
    insta::assert_snapshot!(platform.good(&files), @"
    -----> Python app detected
    -----> Using Python [PYTHON]
    -----> Installing dependencies using 'uv pip install -r pyproject.toml'
           Resolved 2 packages in [TIME]
           Prepared 2 packages in [TIME]
           Installed 2 packages in [TIME]
           + greeting==2.1
           + hello==1.0
           Resolved 1 package in [TIME]
           Building local @ file://[T]/app
           Built local @ file://[T]/app
           Prepared 1 package in [TIME]
           Installed 1 package in [TIME]
           + local==1.0 (from file://[T]/app)
    ");
    platform.file("local.py", "def main():\n    print('changed')\n");
    let build = platform.build();
    assert!(build.text.contains("Installing"), "{}", build.text);
    assert_eq!(platform.launched("local", &[]), "changed\n");
}
