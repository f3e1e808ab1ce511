//! Buildpacks of others: in the app's repository, installed on the server, composed of each other.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::harness::{App, INTERNET, PATIENCE, PRIVATE, Server, run, skipped, wait_until, with_outside};
use crate::network::may_connect;

/// How long compiling a small program may take, with all that it needs.
const COMPILATION: Duration = Duration::from_secs(600);

/// A directory of buildpacks of the kind that `buildpacks/samples` has.
fn samples() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/buildpacks")
}

/// An archive of one of them, packed by the machine's own tar.
fn archive(name: &str) -> Vec<u8> {
    let mut tar = Command::new("tar");
    run(tar.arg("-C").arg(samples()).args(["-cz", name]), b"", PATIENCE).ok().stdout
}

/// Copies some of them into an app's repository.
pub fn bring(app: &App<'_>, names: &[&str]) {
    let to = app.directory.join("buildpacks");
    std::fs::create_dir_all(&to).unwrap();
    for name in names {
        run(Command::new("cp").arg("-Rp").arg(samples().join(name)).arg(&to), b"", PATIENCE).ok();
    }
}

const SERVER: &str = "\
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        names = self.path.strip('/').split(',')
        self.wfile.write('\\n'.join(f'{name}={os.environ.get(name)}' for name in names).encode())
http.server.HTTPServer(('', int(os.environ['PORT'])), Handler).serve_forever()
";

#[test]
fn an_app_brings_its_buildpacks_and_says_so_in_project_toml() {
    apps_own_buildpacks(&Server::start());
}

pub fn apps_own_buildpacks(server: &Server) {
    let project = "\
[_]
schema-version = '0.2'
[io.buildpacks]
exclude = ['secret.txt', '/docs']
[[io.buildpacks.group]]
uri = 'buildpacks/layers'
[[io.buildpacks.group]]
uri = './buildpacks/environment'
[[io.buildpacks.group]]
uri = './buildpacks/hello-processes'
[[io.buildpacks.group]]
id = 'inline/script'
[io.buildpacks.group.script]
api = '0.10'
shell = '/bin/bash'
inline = 'echo \"---> Inline in ${BASH_VERSION:0:1}x\" | tr 0-9 N'
[[io.buildpacks.build.env]]
name = 'SAMPLE_VARIABLE'
value = 'set'
";
    let files = [
        ("project.toml", project),
        ("server.py", SERVER),
        ("secret.txt", "s"),
        ("docs/a.md", "a"),
        (".profile", "export FROM_APP=\"$FROM_PROFILE, then the app\"\n"),
    ];
    let app = App::new(server.client(), "blog", &files);
    bring(&app, &["layers", "environment", "hello-processes"]);
    app.commit("Bring buildpacks");
    let push = app.push().ok();
    for line in [
        "-----> Buildpacks of project.toml: test/layers@1.0.0, test/environment@1.0.0, samples/hello-processes@0.0.1, inline/script@0.0.0",
        "---> Build number 1, stack known",
        "---> The compiler says: compiled",
        "---> The variable is set",
        "---> Inline in Nx",
        "       Default types for buildpack -> server, sys-info, web",
    ] {
        push.position(line);
    }
    let names = "FROM_LAYER,GREETING,ONLY_WEB,FROM_PROFILE";
    let page = server.http.get("blog.localhost", &format!("/{names}")).ok().body;
    // The web process is direct: nothing of profile.d.
    assert_eq!(page, "FROM_LAYER=from a layer\nGREETING=hello nobody in web.1\nONLY_WEB=yes\nFROM_PROFILE=None");

    let client = server.client();
    let show = "sh -c 'echo $FROM_LAYER, $GREETING, $ONLY_WEB, $FROM_APP'";
    let one_off = client.airstrip(&format!("run blog {show}")).ok().line();
    assert!(one_off.starts_with("from a layer, hello nobody in run."), "{one_off}");
    assert!(one_off.contains(", , hello nobody in run."), "{one_off}");
    assert!(one_off.ends_with(" by profile, then the app"), "{one_off}");
    let inside = client.ssh("blog", &["echo $GREETING, $ONLY_WEB, $FROM_APP; ls code"]).ok().out();
    assert!(
        inside.starts_with("hello nobody in web.1, yes, hello nobody in web.1 by profile, then the app\n"),
        "{inside}"
    );
    assert!(!inside.contains("secret.txt") && !inside.contains("docs"), "{inside}");

    client.airstrip("config:set blog WHOM=world").ok();
    assert!(server.http.get("blog.localhost", "/GREETING").ok().body.contains("hello world in web.1"));
    app.push_file("message", "two").ok().position("---> Build number 2, stack known");
    let bill = server.home().join("apps/blog/releases/v3/sbom/launch/test_layers/runtime/sbom.cdx.json");
    assert!(std::fs::read_to_string(bill).unwrap().contains("CycloneDX"));
}

#[test]
fn mistakes_in_project_toml_are_named_with_their_line() {
    let server = Server::start();
    let app = App::new(server.client(), "blog", &[("project.toml", "[[io.buildpacks.group]]\nid = 'a b'\n")]);
    app.push().rejected(&["project.toml: line 2", "\"a b\" names no buildpack"]);
    app.write("project.toml", "[[io.buildpacks.group]]\nid = 'nowhere/to-be-found'\n");
    app.commit("Another");
    app.push().rejected(&["there is no buildpack nowhere/to-be-found", "buildpacks:install"]);
    app.write("project.toml", "[[io.buildpacks.group]]\nuri = './link'\n");
    std::os::unix::fs::symlink("/etc", app.directory.join("link")).unwrap();
    app.commit("A link out");
    app.push().rejected(&["./link"]);
}

#[test]
fn buildpacks_are_installed_chosen_and_explained() {
    let server = Server::start();
    let client = server.client();
    let app = App::new(client, "blog", &[("server.py", SERVER)]);
    client.airstrip("apps:create blog").ok();
    client
        .airstrip("buildpacks:add blog samples/hello-universe")
        .fails(1, &["no buildpack samples/hello-universe", "buildpacks:install"]);
    for name in ["hello-world", "hello-moon", "hello-universe", "hello-processes"] {
        client
            .ssh_with("airstrip", &["buildpacks:install"], &archive(name))
            .ok()
            .line()
            .strip_prefix("-----> Installed samples/hello-")
            .unwrap();
    }
    client
        .ssh_with("airstrip", &["buildpacks:install"], &archive("hello-moon"))
        .fails(1, &["is installed already", "--replace"]);
    client.ssh_with("airstrip", &["buildpacks:install --replace"], &archive("hello-moon")).ok();
    client.ssh_with("airstrip", &["buildpacks:install"], b"nonsense").fails(1, &["cannot be read"]);
    let listed = client.airstrip("buildpacks --json").ok().json();
    let universe = listed.as_array().unwrap().iter().find(|row| row["id"] == "samples/hello-universe").unwrap();
    assert_eq!(universe["composed_of"][1], "samples/hello-moon@0.0.1");

    client.airstrip("buildpacks:add blog samples/hello-processes").ok();
    client.airstrip("buildpacks:add blog samples/hello-universe@0.0.1 --index 1").ok();
    let push = app.push().ok();
    assert!(push.position("---> Hello World buildpack") < push.position("---> Hello Moon buildpack"));
    push.position("     phase = \"full\"");
    assert_eq!(server.http.get("blog.localhost", "/HOME").ok().body, "HOME=/home/app");

    let chosen = client.airstrip("buildpacks blog --json").ok().json();
    assert_eq!(chosen[0]["buildpack"], "samples/hello-universe@0.0.1");
    client.airstrip("buildpacks:set blog samples/hello-world --index 1").ok();
    client.airstrip("buildpacks:remove blog samples/hello-moon").fails(1, &["is not chosen"]);
    assert!(client.airstrip("ps:rebuild blog").ok().out().contains("---> Hello World buildpack"));

    app.git(&["mv", "server.py", "other.py"]).ok();
    app.commit("Nothing for hello-processes");
    app.push().rejected(&["no buildpack recognises this app", "buildpacks:detect blog"]);
    let explained = client.airstrip("buildpacks:detect blog").ok().out();
    let would = "-----> samples/hello-world@0.0.1, samples/hello-processes@0.0.1 would build\n";
    assert!(explained.ends_with(would), "{explained}");
    let uninstall = |name: &str| client.airstrip(&format!("buildpacks:uninstall {name}"));
    uninstall("samples/hello-world")
        .fails(1, &["is used by the app blog, samples/hello-universe@0.0.1", "buildpacks:remove"]);
    client.airstrip("buildpacks:clear blog").ok();
    uninstall("samples/hello-moon").fails(1, &["is used by samples/hello-universe@0.0.1"]);
    assert_eq!(uninstall("samples/hello-universe").ok().line(), "-----> Uninstalled samples/hello-universe@0.0.1");
    uninstall("samples/hello-moon@0.0.1").ok();
    uninstall("samples/hello-moon").fails(1, &["there is no buildpack samples/hello-moon", "`buildpacks` lists them"]);
    uninstall("airstrip/python").fails(1, &["one of the built-in buildpacks"]);
    let explained = client.airstrip("buildpacks:detect blog").ok().out();
    assert!(explained.contains("the built-in buildpacks"), "{explained}");
    assert!(explained.contains("airstrip/python@"), "{explained}");
    assert_eq!(client.airstrip("buildpacks:detect blog --json").ok().json()[0]["group"], 1);
}

/// The detects of all built-in buildpacks up to the last one run at the same time then; those that are not needed leave nothing behind.
#[test]
fn an_app_changes_its_kind_and_changes_it_back() {
    let server = Server::start();
    let app = App::new(server.client(), "blog", &[("index.html", "static")]);
    app.push().ok();
    assert_eq!(server.http.get("blog.localhost", "/").ok().body, "static");
    let settled = server.processes().len();
    app.write("requirements.txt", "");
    app.write("server.py", SERVER);
    app.write("Procfile", "web: python3 server.py\n");
    app.commit("Be an app");
    app.push().ok().position("-----> Python app detected");
    assert_eq!(server.http.get("blog.localhost", "/HOME").ok().body, "HOME=/home/app");
    app.git(&["revert", "--no-edit", "HEAD"]).ok();
    app.push().ok();
    assert_eq!(server.http.get("blog.localhost", "/").ok().body, "static");
    wait_until("nothing else is left", PATIENCE, || server.processes().len() == settled);
}

#[test]
fn a_buildpack_is_fetched_from_a_git_repository() {
    with_outside(|outside| {
        let repository = outside.directory.path().join("git/hello.git");
        let work = outside.directory.path().join("work");
        let git = |arguments: &[&str]| run(Command::new("git").args(arguments), b"", PATIENCE).ok();
        let copy =
            |name: &str| run(Command::new("cp").arg("-R").arg(samples().join(name)).arg(&work), b"", PATIENCE).ok();
        let [there, path] = [&work, &repository].map(|path| path.to_str().unwrap());
        let person = ["-c", "user.name=a", "-c", "user.email=a@example.org"];
        let commit = |name: &str| {
            git(&["-C", there, "add", "-A"]);
            git(&[&["-C", there][..], &person, &["commit", "-qm", name]].concat());
        };
        copy("hello-world");
        git(&["init", "-q", "-b", "main", there]);
        commit("hello world");
        git(&["-C", there, "tag", "first"]);
        std::fs::write(work.join("buildpack.toml"), "this is no buildpack").unwrap();
        commit("broken");
        git(&["clone", "-q", "--bare", there, path]);

        let server = Server::start();
        let client = server.client();
        client.airstrip("apps:create blog").ok();
        if !may_connect(&server) {
            return;
        }
        let install = |from: &str| client.airstrip(&format!("buildpacks:install {from}"));
        let url = format!("http://{INTERNET}/git/hello.git");
        install(&url).fails(1, &["this is no buildpack: buildpack.toml: line 1"]);
        let said = install(&format!("{url}#first")).ok().out();
        assert_eq!(said, format!("-----> Fetching {url}#first\n-----> Installed samples/hello-world@0.0.1\n"));
        install(&format!("{url}#first")).fails(1, &["is installed already", "--replace"]);
        let said =
            install(&format!("{url}#nowhere")).fails(1, &["git exited with status 128", "buildpacks:install"]).out();
        assert!(said.contains("Remote branch nowhere not found"), "{said}");
        let said = install(&format!("http://{INTERNET}/git/none.git")).fails(1, &["git exited with status 128"]).out();
        assert!(said.contains("not found"), "{said}");
        install(&format!("http://{PRIVATE}/git/hello.git")).fails(1, &["git exited with status 128"]);
        for refused in [path, &format!("file://{path}"), "ext::id", "--upload-pack=id", "https://me:secret@host/x"] {
            assert_eq!(install(refused).status, 2, "{refused}");
        }
        let left = std::fs::read_dir(server.home().join("buildpacks")).unwrap();
        let left: Vec<_> =
            left.map(|entry| entry.unwrap().file_name()).filter(|name| !name.to_string_lossy().contains('_')).collect();
        assert!(left.is_empty(), "{left:?}");
    });
}

#[test]
fn a_profile_of_the_app_is_read_before_its_procfile_processes() {
    let server = Server::start();
    let files = [
        ("server.py", SERVER),
        (".profile", "export GREETING=hello\n"),
        ("Procfile", "release: test \"$GREETING\" = hello && echo greeted\nweb: python3 -u server.py\n"),
    ];
    let app = App::new(server.client(), "blog", &files);
    app.push().ok().position("       greeted");
    assert_eq!(server.http.get("blog.localhost", "/GREETING").ok().body, "GREETING=hello");
}

/// What comes later is read from a copy: an earlier build can neither change it nor put a link to the host in its place.
#[test]
fn a_build_cannot_change_the_buildpacks_after_it() {
    let server = Server::start();
    let project = "\
[[io.buildpacks.group]]
id = 'test/hostile'
[io.buildpacks.group.script]
api = '0.10'
inline = 'rm -rf buildpacks/hello-world && ln -s /root buildpacks/hello-world && ! touch $CNB_BUILDPACK_DIR/x 2>/dev/null'
[[io.buildpacks.group]]
uri = 'buildpacks/hello-world'
";
    let app = App::new(server.client(), "blog", &[("project.toml", project), ("Procfile", "worker: sleep 86399\n")]);
    bring(&app, &["hello-world"]);
    app.commit("Bring it");
    app.push().ok().position("---> Hello World buildpack");
}

#[test]
fn what_was_deployed_as_an_archive_is_explained_too() {
    let server = Server::start();
    let client = server.client();
    let files =
        [("server.py", SERVER), ("project.toml", "[[io.buildpacks.group]]\nuri = 'buildpacks/hello-processes'\n")];
    let app = App::new(client, "blog", &files);
    client.airstrip("apps:create blog").ok();
    client.airstrip("buildpacks:detect blog").fails(1, &["blog has no release"]);
    bring(&app, &["hello-processes"]);
    app.commit("Bring it");
    let archive = app.git(&["archive", "HEAD"]).ok().stdout;
    client.ssh_with("airstrip", &["deploy blog"], &archive).ok();
    let explained = client.airstrip("buildpacks:detect blog").ok().out();
    assert!(explained.starts_with("=====> blog: the code of v1; Buildpacks of project.toml: "), "{explained}");
    assert!(explained.contains("-----> samples/hello-processes@0.0.1 would build\n"), "{explained}");
    client.airstrip("buildpacks:set blog ./buildpacks/none").ok();
    client.airstrip("buildpacks:detect blog").fails(1, &["./buildpacks/none"]);
}

/// A buildpack's directory with the program of `tests/buildpacks/lines`, which is compiled first.
fn compiled_buildpack() -> tempfile::TempDir {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let mut compile = Command::new(env!("CARGO"));
    compile.args(["build", "--quiet", "--offline", "--example", "lines", "--target-dir"]).arg(target);
    run(compile.current_dir(env!("CARGO_MANIFEST_DIR")), b"", COMPILATION).ok();
    let program = target.join("debug/examples/lines");
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("lines");
    std::fs::create_dir_all(directory.join("bin")).unwrap();
    std::fs::copy(samples().join("lines/buildpack.toml"), directory.join("buildpack.toml")).unwrap();
    std::fs::copy(program, directory.join("bin/build")).unwrap();
    std::os::unix::fs::symlink("build", directory.join("bin/detect")).unwrap();
    place
}

#[test]
fn a_buildpack_made_with_libcnb_is_installed_and_builds() {
    let server = Server::start();
    let client = server.client();
    let files = [("server.py", SERVER), ("lines", "web: exec python3 server.py\nworker: sleep 86396\n")];
    let app = App::new(client, "blog", &files);
    let place = compiled_buildpack();
    let packed = run(Command::new("tar").arg("-C").arg(place.path()).args(["-cz", "lines"]), b"", PATIENCE).ok();
    client.ssh_with("airstrip", &["buildpacks:install"], &packed.stdout).ok();
    client.airstrip("apps:create blog").ok();
    client.airstrip("buildpacks:add blog test/lines").ok();
    let push = app.push().ok();
    assert!(push.position("[Lines of linux]") < push.position("       Default types for buildpack -> web, worker"));
    assert_eq!(server.http.get("blog.localhost", "/AIRSTRIP_PROCESS").ok().body, "AIRSTRIP_PROCESS=web.1");
    app.push_file("lines", "web\n").rejected(&["[Error: line 1 has no colon]", "build failed: test/lines exited"]);
    app.git(&["mv", "lines", "other"]).ok();
    app.commit("Nothing for it");
    app.push().rejected(&["no buildpack recognises this app"]);
}

const APT: &str =
    "[[io.buildpacks.group]]\nuri = 'buildpacks/apt'\n[[io.buildpacks.group]]\nuri = 'buildpacks/hello-processes'\n";

/// What it finds on its `PATH` by the path of the request.
const RUNS: &str = "\
import http.server, os, subprocess
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(subprocess.run([self.path.strip('/')], capture_output=True).stdout)
http.server.HTTPServer(('', int(os.environ['PORT'])), Handler).serve_forever()
";

/// A package with a program that needs its own directory of libraries to be known.
fn debian_package(to: &Path) -> bool {
    let root = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write(
        "DEBIAN/control",
        "Package: greeting\nVersion: 1\nArchitecture: all\nMaintainer: A <a@example.com>\nDescription: greets\n",
    );
    write("usr/bin/greeting", "#!/bin/sh\necho greetings, $LD_LIBRARY_PATH\n");
    run(Command::new("chmod").arg("755").arg(root.path().join("usr/bin/greeting")), b"", PATIENCE).ok();
    let mut pack = Command::new("dpkg-deb");
    pack.arg("--root-owner-group").arg("--build").arg(root.path()).arg(to);
    pack.output().is_ok_and(|output| output.status.success())
}

#[test]
fn debian_packages_of_the_tree_are_unpacked_into_a_layer() {
    let server = Server::start();
    let files = [("server.py", RUNS), ("project.toml", APT), ("Aptfile", "# ours\npackages/greeting.deb\n")];
    let app = App::new(server.client(), "blog", &files);
    std::fs::create_dir(app.directory.join("packages")).unwrap();
    if !debian_package(&app.directory.join("packages/greeting.deb")) {
        return skipped("there is no dpkg-deb here");
    }
    bring(&app, &["apt", "hello-processes"]);
    app.commit("Bring a package");
    app.push().ok().position("       Unpacking greeting.deb");
    let page = server.http.get("blog.localhost", "/greeting").ok().body;
    assert!(page.starts_with("greetings, /layers/test_apt/apt/usr/lib/"), "{page}");
    app.push_file("note", "").ok().position("-----> Debian packages are as they were");
    assert_eq!(server.http.get("blog.localhost", "/greeting").ok().body, page);
}

/// With the machine's own sources, keys and list of what is installed.
#[test]
fn debian_packages_are_fetched_by_apt() {
    let server = Server::start();
    let files = [("server.py", RUNS), ("project.toml", APT), ("Aptfile", "hello\n")];
    let app = App::new(server.client(), "blog", &files);
    bring(&app, &["apt", "hello-processes"]);
    app.commit("Bring it");
    if !debian_is_reachable() {
        return skipped("apt-get reaches no packages from here");
    }
    app.push().ok().position("-----> Fetching Debian packages: hello");
    assert_eq!(server.http.get("blog.localhost", "/hello").ok().body, "Hello, world!\n");
    app.push_file("Aptfile", "no-such-package-anywhere\n").rejected(&[
        "Unable to locate package no-such-package-anywhere",
        "build failed: test/apt exited with status 100",
    ]);
}

fn debian_is_reachable() -> bool {
    let place = tempfile::tempdir().unwrap();
    let root = place.path().display();
    for part in ["state/lists/partial", "cache/archives/partial"] {
        std::fs::create_dir_all(place.path().join(part)).unwrap();
    }
    let apt = |arguments: &[&str]| {
        let mut apt = Command::new("timeout");
        apt.args([
            "60",
            "apt-get",
            "-qq",
            "-o",
            "Dir::State::status=/var/lib/dpkg/status",
            "-o",
            "APT::Sandbox::User=",
        ]);
        apt.args([format!("-oDir::State={root}/state"), format!("-oDir::Cache={root}/cache")]);
        apt.args(arguments).current_dir(&place).output().is_ok_and(|output| output.status.success())
    };
    apt(&["update"]) && apt(&["download", "hello"])
}
