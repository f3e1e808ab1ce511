//! What `requirements.txt` may say.

use std::process::Command;

use crate::platform::{Platform, uv};
use crate::wheel::{self, hash};

use crate::locks::{BACKEND, LOCAL};

#[test]
fn includes_constraints_markers_and_hashes() {
    let platform = platform!(wheels);
    insta::assert_snapshot!(platform.good(&[
        ("requirements.txt", "\u{feff}-r deps/base.txt\r\n-c limits.txt\r\nflask ; sys_platform == 'win32'  # not here\r\n"),
        ("deps/base.txt", "hello==1.0\n"),
        ("limits.txt", "greeting<2.1\n"),
    ]), @"
    -----> Python app detected
    -----> Using Python [PYTHON]
    -----> Installing dependencies using 'uv pip install -r requirements.txt'
           Resolved 2 packages in [TIME]
           Prepared 2 packages in [TIME]
           Installed 2 packages in [TIME]
           + greeting==2.0
           + hello==1.0
    ");
    let hashed = format!(
        "hello==1.0 --hash={}\ngreeting==2.0 \\\n    --hash=sha256:{} \\\n    --hash={}\n",
        hash("hello-1.0-py3-none-any.whl"),
        "0".repeat(64),
        hash("greeting-2.0-py3-none-any.whl"),
    );
    insta::assert_snapshot!(platform.good(&[("requirements.txt", &hashed), ("wsgi.py", "app = 1\n")]), @"
    -----> Python app detected
    -----> Using Python [PYTHON]
    -----> Installing dependencies using 'uv pip install -r requirements.txt gunicorn'
           Resolved 2 packages in [TIME]
           Prepared 2 packages in [TIME]
           Installed 2 packages in [TIME]
           + greeting==2.0
           + hello==1.0
           Resolved 1 package in [TIME]
           Prepared 1 package in [TIME]
           Installed 1 package in [TIME]
           + gunicorn==99.0
    -----> Serving wsgi:app of wsgi.py with gunicorn, which the requirements do not bring
           web: gunicorn wsgi:app --bind 0.0.0.0:$PORT --threads 8 --forwarded-allow-ips '*'
    ");
}

#[test]
fn packages_of_the_tree() {
    let platform = platform!(wheels);
    let local = [
        ("lib/pyproject.toml", LOCAL),
        ("lib/backend.py", BACKEND),
        ("lib/local.py", "def main():\n    print('here')\n"),
    ];
    let with = |requirements| [("requirements.txt", requirements), local[0], local[1], local[2]];
    insta::assert_snapshot!(platform.good(&with("./lib\n")), @"
    -----> Python app detected
    -----> Using Python [PYTHON]
    -----> Installing dependencies using 'uv pip install -r requirements.txt'
           Resolved 1 package in [TIME]
           Building local @ file://[T]/app/lib
           Built local @ file://[T]/app/lib
           Prepared 1 package in [TIME]
           Installed 1 package in [TIME]
           + local==1.0 (from file://[T]/app/lib)
    ");
    insta::assert_snapshot!(platform.good(&with("-e ./lib\nhello\n")), @"
    -----> Python app detected
    -----> Using Python [PYTHON]
    -----> Installing dependencies using 'uv pip install -r requirements.txt'
           Resolved 3 packages in [TIME]
           Building local @ file://[T]/app/lib
           Built local @ file://[T]/app/lib
           Prepared 3 packages in [TIME]
           Installed 3 packages in [TIME]
           + greeting==2.1
           + hello==1.0
           + local==1.0 (from file://[T]/app/lib)
    ");
    platform.fresh(&with("-e ./lib\n"));
    assert!(platform.build().ok);
    assert_eq!(platform.launched("local", &[]), "here\n");
}

#[test]
fn wheels_that_an_app_brings() {
    let mut platform = platform!(wheels);
    // Without them nothing would be found.
    platform.env.remove("PIP_FIND_LINKS");
    let bundled = |directory: &str, files: &[(&str, &str)], wheels: &[&str]| {
        platform.fresh(files);
        std::fs::create_dir_all(platform.path("app").join(directory)).unwrap();
        for wheel in wheels {
            std::fs::copy(wheel::all().join(wheel), platform.path("app").join(directory).join(wheel)).unwrap();
        }
        platform.build().text
    };
    let hello = ["hello-1.0-py3-none-any.whl", "greeting-2.0-py3-none-any.whl"];
    insta::assert_snapshot!(bundled("wheelhouse", &[("requirements.txt", "hello\n")], &hello), @"
    -----> Python app detected
    -----> Using Python [PYTHON]
    -----> Using the wheels in wheelhouse/ and no package index
    -----> Installing dependencies using 'uv pip install -r requirements.txt'
           Resolved 2 packages in [TIME]
           Prepared 2 packages in [TIME]
           Installed 2 packages in [TIME]
           + greeting==2.0
           + hello==1.0
    ");
    insta::assert_snapshot!(bundled("dist", &[("pyproject.toml", "[project]\nname = 'shop'\nversion = '1'\ndependencies = ['hello']\n")], &hello), @"
    -----> Python app detected
    -----> Using Python [PYTHON]
    -----> Using the wheels in dist/ and no package index
    -----> Installing dependencies using 'uv pip install -r pyproject.toml'
           Resolved 2 packages in [TIME]
           Prepared 2 packages in [TIME]
           Installed 2 packages in [TIME]
           + greeting==2.0
           + hello==1.0
    ");
    insta::assert_snapshot!(bundled("wheelhouse", &[("requirements.txt", "hello\nflask\n")], &hello), @"
    -----> Python app detected
    -----> Using Python [PYTHON]
    -----> Using the wheels in wheelhouse/ and no package index
    -----> Installing dependencies using 'uv pip install -r requirements.txt'
     !     Error: There is no package flask
     !
     !     None of the places that packages may come from has flask; an index is not among them.
     !
     !     What to do, one of:
     !     1. Check the spelling in the requirements.
     !     2. If the app brings its wheels, add this one: pip wheel --wheel-dir wheelhouse -r requirements.txt
     !
     !     The tool's own words:
     !       error: No solution found when resolving dependencies
     !         cause: Because flask was not found in the provided package locations and you require flask, we can conclude that your requirements are unsatisfiable.
    ");
}

#[test]
fn what_the_buildpack_adds_need_not_be_in_a_bundle() {
    let platform = platform!(wheels);
    platform.fresh(&[("requirements.txt", "flask\n"), ("wsgi.py", "app = 1\n")]);
    std::fs::create_dir(platform.path("app/wheelhouse")).unwrap();
    let wheel = "flask-3.0-py3-none-any.whl";
    std::fs::copy(wheel::all().join(wheel), platform.path("app/wheelhouse").join(wheel)).unwrap();
    insta::assert_snapshot!(platform.build().text, @"
    -----> Python app detected
    -----> Using Python [PYTHON]
    -----> Using the wheels in wheelhouse/ and no package index
    -----> Installing dependencies using 'uv pip install -r requirements.txt gunicorn'
           Resolved 1 package in [TIME]
           Prepared 1 package in [TIME]
           Installed 1 package in [TIME]
           + flask==3.0
           Resolved 1 package in [TIME]
           Prepared 1 package in [TIME]
           Installed 1 package in [TIME]
           + gunicorn==99.0
    -----> Serving wsgi:app of wsgi.py with gunicorn, which the requirements do not bring
           web: gunicorn wsgi:app --bind 0.0.0.0:$PORT --threads 8 --forwarded-allow-ips '*'
    ");
}

#[test]
fn uvs_own_settings_count() {
    let mut platform = platform!(wheels);
    let links = platform.env.remove("PIP_FIND_LINKS").unwrap();
    platform.env.insert("UV_FIND_LINKS".to_owned(), links);
    insta::assert_snapshot!(platform.good(&[("requirements.txt", "greeting==1.0\n")]), @"
    -----> Python app detected
    -----> Using Python [PYTHON]
    -----> Installing dependencies using 'uv pip install -r requirements.txt'
           Resolved 1 package in [TIME]
           Prepared 1 package in [TIME]
           Installed 1 package in [TIME]
           + greeting==1.0
    ");
}

/// A repository with a package, at its first commit.
fn repository(platform: &Platform) -> Option<impl Fn(&[&str]) -> String> {
    let directory = platform.path("repository");
    std::fs::create_dir_all(&directory).unwrap();
    for (name, text) in
        [("pyproject.toml", LOCAL), ("backend.py", BACKEND), ("local.py", "def main():\n    print('one')\n")]
    {
        std::fs::write(directory.join(name), text).unwrap();
    }
    let git = move |arguments: &[&str]| {
        let mut git = Command::new("git");
        git.current_dir(&directory).env("GIT_CONFIG_NOSYSTEM", "1").env("HOME", &directory);
        git.args(["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main"])
            .args(arguments);
        let output = git.output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    git(&["init", "--quiet"])?;
    let git = move |arguments: &[&str]| git(arguments).unwrap();
    git(&["add", "."]);
    git(&["commit", "--quiet", "--message", "One"]);
    Some(git)
}

#[test]
fn a_branch_that_moves_is_followed() {
    let platform = platform!(wheels);
    let Some(git) = repository(&platform) else {
        println!("skipped: no git");
        return;
    };
    let url = format!("git+file://{}", platform.path("repository").display());
    let first = git(&["rev-parse", "HEAD"]);
    let requirements = format!("local @ {url}@main\n");
    let shown = |text: &str| text.replace(&first, "[FIRST]").replace(&first[..12], "[FIRST]");
    insta::assert_snapshot!(shown(&platform.good(&[("requirements.txt", &requirements)])), @"
    -----> Python app detected
    -----> Using Python [PYTHON]
           repository: main is [FIRST]
    -----> Installing dependencies using 'uv pip install -r requirements.txt'
           Resolved 1 package in [TIME]
           Building local @ git+file://[T]/repository@[FIRST]
           Built local @ git+file://[T]/repository@[FIRST]
           Prepared 1 package in [TIME]
           Installed 1 package in [TIME]
           + local==1.0 (from git+file://[T]/repository@[FIRST])
    ");
    platform.fresh(&[("requirements.txt", &requirements)]);
    assert!(platform.build().ok);
    assert_eq!(platform.launched("local", &[]), "one\n");
    platform.restore();

    std::fs::write(platform.path("repository/local.py"), "def main():\n    print('two')\n").unwrap();
    git(&["commit", "--quiet", "--all", "--message", "Two"]);
    let build = platform.build();
    assert!(build.ok && build.text.contains("Installing"), "{}", build.text);
    assert_eq!(platform.launched("local", &[]), "two\n");
    let second = git(&["rev-parse", "HEAD"]);
    assert_eq!(platform.read("layers/env/requirements.lock"), format!("local @ {url}@{second}\n"));

    let pinned = format!("local @ {url}@{first}\n");
    insta::assert_snapshot!(shown(&platform.good(&[("requirements.txt", &pinned)])), @"
    -----> Python app detected
    -----> Using Python [PYTHON]
    -----> Installing dependencies using 'uv pip install -r requirements.txt'
           Resolved 1 package in [TIME]
           Building local @ git+file://[T]/repository@[FIRST]
           Built local @ git+file://[T]/repository@[FIRST]
           Prepared 1 package in [TIME]
           Installed 1 package in [TIME]
           + local==1.0 (from git+file://[T]/repository@[FIRST])
    ");
    let missing = format!("local @ {url}@no-such-branch\n");
    let text = platform.bad(&[("requirements.txt", &missing)]);
    insta::assert_snapshot!(text.split("The tool's own words").next().unwrap(), @"
    -----> Python app detected
    -----> Using Python [PYTHON]
    -----> Installing dependencies using 'uv pip install -r requirements.txt'
     !     Error: No such branch, tag or commit
     !
     !     file://[T]/repository@no-such-branch has not what the requirements name.
     !
     !     Correct what stands behind the last @ of the requirement.
     !
     !
    ");
}
