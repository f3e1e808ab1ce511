//! Releases as things: what is on disk of them, kept and taken away, carried to another server.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::buildpacks::bring;
use crate::harness::{App, DockerEngine, Live, PATIENCE, Reply, Server, run, skipped, tool, wait_until};

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

/// Without git: the tree itself, plain or packed.
#[test]
fn a_tar_of_a_tree_is_deployed() {
    let server = Server::start();
    let app = App::probe(server.client(), "unused");
    for (mode, message) in [("c", "plain"), ("cz", "packed")] {
        app.write("message", message);
        let mut tar = Command::new("tar");
        let tar = run(tar.arg(mode).arg("-C").arg(&app.directory).args(["--exclude=.git", "."]), b"", PATIENCE);
        server.client().ssh_with("airstrip", &["deploy blog"], &tar.ok().stdout).ok();
        assert_eq!(server.http.get("blog.localhost", "/").ok().body, message);
    }
    server.client().ssh_with("airstrip", &["deploy blog"], b"nonsense").fails(1, &["the archive cannot be read"]);
    server.client().ssh_with("airstrip", &["deploy blog"], b"").fails(1, &["the archive is empty"]);
    assert_eq!(server.http.get("blog.localhost", "/").ok().body, "packed");
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

/// Names below the releases of an app.
fn kept(server: &Server, app: &str) -> Vec<String> {
    let entries = fs::read_dir(server.home().join(format!("apps/{app}/releases"))).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn releases_before_the_last_builds_are_taken_away_with_their_layers() {
    let mut server = Server::start();
    let app = App::new(server.client(), "blog", LOCAL_PACKAGE);
    let airstrip = |server: &Server, line: &str| server.client().airstrip(line);
    app.push().ok();
    airstrip(&server, "releases:keep blog 0").fails(2, &["is not a number of builds"]);
    airstrip(&server, "releases:keep blog 2").ok();
    let first = layers(&server);
    app.push_file("lib/greeting.py", "TEXT = 'second'\n").ok();
    airstrip(&server, "config:set blog A=1").ok();
    airstrip(&server, "config:set blog A=2").ok();
    assert_eq!(kept(&server, "blog"), ["v1", "v2"], "configuration pushes no build out");
    app.push_file("lib/greeting.py", "TEXT = 'third'\n").ok();
    wait_until("the first build is gone", PATIENCE, || kept(&server, "blog") == ["v2", "v5"]);
    wait_until("its layer too", PATIENCE, || layers(&server).len() == 2 && !layers(&server).contains(&first[0]));
    airstrip(&server, "rollback blog v1").fails(1, &["the code of blog v1 has been removed", "releases:keep blog"]);
    airstrip(&server, "releases:verify blog v1").fails(1, &["has been removed"]);
    airstrip(&server, "rollback blog v3").ok();
    airstrip(&server, "run blog python -c 'import greeting; assert greeting.TEXT == \"second\"'").ok();
    let listed = airstrip(&server, "releases blog --json").ok().json().as_array().unwrap().len();
    assert_eq!(listed, 6, "history stays");

    // What a crash leaves in the middle of it goes at the next start.
    server.crash();
    let releases = server.home().join("apps/blog/releases");
    fs::rename(releases.join("v5"), releases.join(".gone-v5-1")).unwrap();
    fs::create_dir_all(server.home().join("layers/.gone-x/y")).unwrap();
    server.start_again();
    wait_until("nothing is left of it", PATIENCE, || {
        kept(&server, "blog") == ["v2"] && !server.home().join("layers/.gone-x").exists()
    });

    // The cache of an app that was not built for long.
    let cache = server.home().join("apps/blog/cache");
    let entries = || fs::read_dir(&cache).map_or(0, Iterator::count);
    assert!(entries() > 0);
    for entry in fs::read_dir(&cache).unwrap() {
        run(Command::new("touch").args(["-d", "40 days ago"]).arg(entry.unwrap().path()), b"", PATIENCE).ok();
    }
    server.client().airstrip("releases:keep blog 2").ok();
    wait_until("the cache is empty", PATIENCE, || entries() == 0 && cache.is_dir());
    server.client().airstrip("apps:destroy blog --force").ok();
    wait_until("no layer is left", PATIENCE, || layers(&server).is_empty());
}

#[test]
fn a_release_in_use_stays_until_its_end() {
    let server = Server::start();
    let app = App::new(server.client(), "blog", LOCAL_PACKAGE);
    app.push().ok();
    server.client().airstrip("releases:keep blog 1").ok();
    let wait = "echo begun; until test -e ../data/go; do sleep 0.1; done; cat page; python -c \"import greeting; print(greeting.TEXT)\"";
    let line = format!("run blog sh -c '{wait}'");
    let mut run = Live::start(&mut server.client().ssh_command("airstrip", &[&line]));
    run.wait_for("begun", PATIENCE);
    app.write("page", "two");
    app.push_file("lib/greeting.py", "TEXT = 'second'\n").ok();
    app.push_file("lib/greeting.py", "TEXT = 'third'\n").ok();
    wait_until("what nobody uses is gone", PATIENCE, || kept(&server, "blog") == ["v1", "v3"]);
    server.client().airstrip("run blog touch ../data/go").ok();
    run.wait_for("onehello", PATIENCE);
    assert_eq!(run.finish(PATIENCE).status, 0);
    wait_until("it is gone, too", PATIENCE, || kept(&server, "blog") == ["v3"] && layers(&server).len() == 1);
}

/// Builds reuse each other's layers while others take them away.
#[test]
fn concurrent_builds_lose_no_layer() {
    let server = Server::start();
    let names = ["one", "two", "three"];
    let apps = names.map(|name| App::new(server.client(), name, LOCAL_PACKAGE));
    std::thread::scope(|scope| {
        for (number, app) in apps.iter().enumerate() {
            let client = server.client();
            scope.spawn(move || {
                app.push().ok();
                client.airstrip(&format!("releases:keep {} 1", names[number])).ok();
                for round in 0..4 {
                    let text = format!("TEXT = '{}'\n", (round + number) % 2);
                    app.push_file("lib/greeting.py", text).ok();
                    client.airstrip(&format!("releases:verify {}", names[number])).ok();
                }
            });
        }
    });
    for name in names {
        server.client().airstrip(&format!("releases:verify {name}")).ok();
    }
    wait_until("only what serves is left", PATIENCE, || {
        layers(&server).len() <= 2 && names.iter().all(|name| kept(&server, name).len() == 1)
    });
}

#[test]
fn a_release_is_carried_to_another_server_and_runs_there_without_a_build() {
    let (one, other) = (Server::start(), Server::start());
    let mut files = LOCAL_PACKAGE.to_vec();
    files.push(("single", "a single file"));
    let app = App::new(one.client(), "blog", &files);
    app.push().ok();
    one.client().airstrip("config:set blog SECRET=shown-to-nobody").ok();
    let export = |line: &str| one.client().airstrip(&format!("releases:export blog {line}")).ok().stdout;
    let archive = export("--format tar");
    assert!(archive == export("v2 --format tar"), "equal releases make equal archives");
    let text = String::from_utf8_lossy(&archive);
    assert!(!text.contains("shown-to-nobody") && text.contains("BEGIN SSH SIGNATURE"));

    let deploy = |archive: &[u8]| other.client().ssh_with("airstrip", &["deploy shop"], archive);
    deploy(&archive).fails(1, &["signed with a key that is not trusted here: SHA256:", "releases:trust NAME"]);
    assert!(other.client().airstrip("releases shop --json").ok().json().as_array().unwrap().is_empty());
    let key = one.client().airstrip("releases:key").ok();
    other.client().ssh_with("airstrip", &["releases:trust first"], &key.stdout).ok();
    let trusted = other.client().airstrip("releases:trusted --json").ok().json();
    assert_eq!(trusted[0]["name"], "first");

    let mut broken = archive.clone();
    let at = broken.windows(13).position(|window| window == b"a single file").unwrap();
    broken[at] = b'o';
    deploy(&broken).fails(1, &["single is not what the list of files says"]);
    deploy(&archive[..archive.len() / 2]).fails(1, &["the archive of the release cannot be read"]);
    assert!(layers(&other).is_empty(), "nothing is placed before all is checked");

    let reply = deploy(&archive).ok();
    let said = reply.out();
    assert!(said.contains("Checking v2 of blog") && said.contains("shop v1 is live"), "{said}");
    assert!(!said.contains("Installing"), "nothing is built: {said}");
    assert_eq!(other.http.get("shop.localhost", "/page").ok().body, "one");
    other.client().airstrip("run shop python -c 'import greeting; assert greeting.TEXT == \"hello\"'").ok();
    other.client().airstrip("releases:verify shop").ok();
    assert_eq!(layers(&one)[0].file_name(), layers(&other)[0].file_name());
    let listed = other.client().airstrip("releases shop --json").ok().json();
    assert_eq!(listed[0]["commit"], app.head());
    assert_eq!(listed[0]["description"], "Deploy v2 of blog, built elsewhere");

    other.client().airstrip("releases:distrust first").ok();
    deploy(&archive).fails(1, &["not trusted here"]);
    let own = other.client().airstrip("releases:export shop --format tar").ok().stdout;
    deploy(&own).ok();
    assert_eq!(layers(&other).len(), 1, "what is there already is not stored again");
}

#[test]
fn bills_of_material_are_verified_and_carried_along() {
    let server = Server::start();
    let project = "[[io.buildpacks.group]]\nuri = 'buildpacks/layers'\n";
    let app = App::new(server.client(), "blog", &[("project.toml", project), ("Procfile", "worker: sleep 1000\n")]);
    bring(&app, &["layers"]);
    app.commit("Bring a buildpack");
    app.push().ok();
    let bill = "launch/test_layers/runtime/sbom.cdx.json";
    let of = |app: &str| server.home().join(format!("apps/{app}/releases/v1/sbom")).join(bill);
    let verify = |app: &str| server.client().airstrip(&format!("releases:verify {app} --json"));
    verify("blog").ok();
    let archive = server.client().airstrip("releases:export blog --format tar").ok().stdout;
    server.client().ssh_with("airstrip", &["deploy shop"], &archive).ok();
    assert_eq!(fs::read(of("blog")).unwrap(), fs::read(of("shop")).unwrap());
    verify("shop").ok();
    fs::write(of("shop"), "{}").unwrap();
    let fault = &verify("shop").fails(1, &["is not as it was made"]).json()[0];
    assert_eq!((&fault["part"], &fault["path"], &fault["fault"]), (&"sbom".into(), &bill.into(), &"changed".into()));
    server.client().airstrip("releases:export shop").fails(1, &["is not as it was made"]);
}

/// What a base image would have (images are asked for on the server itself: a development build encrypts slowly): the machine's own system.
const SYSTEM: [&str; 4] = ["/usr", "/bin", "/lib", "/lib64"];

fn docker(engine: &DockerEngine, arguments: &[&str], stdin: &[u8]) -> Reply {
    run(Command::new("docker").arg("--host").arg(engine.host()).args(arguments), stdin, PATIENCE * 4)
}

/// `docker run` with the machine's own system and no network.
fn docker_run(engine: &DockerEngine, arguments: &[&str]) -> Reply {
    let system = SYSTEM.map(|path| format!("--volume={path}:{path}:ro"));
    let options = ["run", "--network=none"].into_iter().chain(system.iter().map(String::as_str));
    docker(engine, &options.chain(arguments.iter().copied()).collect::<Vec<_>>(), b"")
}

/// A server whose interpreter is the system's: it is not part of images, and is shown in containers as in instances.
fn server_with_systems_python() -> Option<Server> {
    let (Some(installer), true) = (tool("uv", "uv"), PathBuf::from("/usr/bin/python3").exists()) else {
        skipped("no python3 in /usr, or no installer");
        return None;
    };
    let path = format!("/usr/bin:/bin:{}", installer.parent().unwrap().display());
    Some(Server::start_with_variables(&[("PATH", &path)]))
}

#[test]
fn an_exported_image_runs_in_docker() {
    let Some(engine) = DockerEngine::start() else { return };
    let Some(server) = server_with_systems_python() else { return };
    App::new(server.client(), "blog", LOCAL_PACKAGE).push().ok();
    let tar = run(Command::new("tar").args(["c", "-C", "/etc", "hostname"]), b"", PATIENCE).ok().stdout;
    docker(&engine, &["import", "-", "base:1"], &tar).ok();
    let base = docker(&engine, &["save", "base:1"], b"").ok().stdout;
    let image = server.local_with(&["releases:export", "blog", "--base", "-"], &base).ok().stdout;
    let again = server.local_with(&["releases:export", "blog", "v1", "--base", "-"], &base).ok().stdout;
    assert!(image == again, "equal releases make equal images");
    docker(&engine, &["load"], &image).ok();
    let ask = "import greeting, os; print(greeting.TEXT, open('page').read(), os.getuid(), os.environ['PORT'], os.path.exists('/hostname'))";
    let words = ["--rm", "--entrypoint=launcher", "blog:v1", "--", "python", "-c", ask];
    assert_eq!(docker_run(&engine, &words).ok().line(), "hello one 1000 5000 True");
    let inspected = docker(&engine, &["inspect", "blog:v1"], b"").ok().json();
    let config = &inspected[0]["Config"];
    assert_eq!(config["Entrypoint"], serde_json::json!(["/cnb/process/web"]));
    let metadata = config["Labels"]["io.buildpacks.build.metadata"].as_str().unwrap();
    let metadata: Value = serde_json::from_str(metadata).unwrap();
    assert_eq!(metadata["processes"][0]["args"], serde_json::json!(["-c", "python -m http.server $PORT"]));
    assert_eq!(metadata["buildpacks"][0]["id"], "airstrip/python");
    server
        .client()
        .ssh_with("airstrip", &["releases:export blog --base -"], b"nonsense")
        .fails(1, &["the base image cannot be read"]);
}

#[test]
fn an_exported_image_prepares_its_processes_as_instances_are() {
    let Some(engine) = DockerEngine::start() else { return };
    let server = Server::start();
    let show = "echo \"$FROM_LAYER; $GREETING; $ONLY_WEB; $FROM_APP; $PWD\"";
    let procfile = format!(
        "web: {show}; test -n \"$ONCE\" || exec python3 -m http.server $PORT\nworker: {show}; exec sleep 1000\n"
    );
    let project =
        "[[io.buildpacks.group]]\nuri = 'buildpacks/layers'\n[[io.buildpacks.group]]\nuri = 'buildpacks/environment'\n";
    let script = "export FROM_APP=\"$FROM_PROFILE, then the app\"\n";
    let files = [("Procfile", procfile.as_str()), ("project.toml", project), (".profile", script)];
    let app = App::new(server.client(), "blog", &files);
    bring(&app, &["layers", "environment"]);
    app.commit("Bring buildpacks");
    app.push().ok();
    docker(&engine, &["load"], &server.local(&["releases:export", "blog"]).ok().stdout).ok();
    let shown = |arguments: &[&str]| docker_run(&engine, &[&["--rm", "--env=ONCE=1"], arguments].concat()).ok().line();
    let place = "then the app; /home/app/code";
    let web = |whom: &str| format!("from a layer; hello {whom} in ; yes; hello {whom} in  by profile, {place}");
    assert_eq!(shown(&["blog:v1"]), web("nobody"));
    assert_eq!(shown(&["--env=WHOM=world", "blog:v1"]), web("world"));
    let by_line = shown(&["--entrypoint=launcher", "blog:v1", show]);
    assert_eq!(by_line, web("nobody").replace("yes", ""));
    let direct = shown(&["--entrypoint=/cnb/lifecycle/launcher", "blog:v1", "--", "sh", "-c", show]);
    assert_eq!(direct, "from a layer; hello nobody in ; ; ; /home/app/code");
    let unknown = docker_run(&engine, &["--rm", "--env=CNB_PROCESS_TYPE=clock", "--entrypoint=launcher", "blog:v1"]);
    unknown.fails(126, &["there is no process type clock; there are: web, worker"]);
}

#[test]
fn an_exported_static_site_is_served() {
    let Some(engine) = DockerEngine::start() else { return };
    let server = Server::start();
    App::new(server.client(), "site", &[("index.html", "home\n"), ("404.html", "nothing here\n")]).push().ok();
    docker(&engine, &["load"], &server.local(&["releases:export", "site"]).ok().stdout).ok();
    docker_run(&engine, &["--detach", "--name=site", "site:v1"]).ok();
    let ask = "import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:5000/').read().decode())";
    let asked = || docker(&engine, &["exec", "site", "/usr/bin/python3", "-c", ask], b"");
    wait_until("the site answers", PATIENCE, || asked().out().starts_with("home\n"));
    docker(&engine, &["rm", "--force", "site"], b"").ok();
}

#[test]
fn skopeo_takes_an_exported_image() {
    let Ok(skopeo) = Command::new("skopeo").arg("--version").output().map(|_| "skopeo") else {
        return skipped("there is no skopeo on this machine");
    };
    let server = Server::start();
    App::new(server.client(), "site", &[("index.html", "home\n")]).push().ok();
    let image = server.operator_home().join("site.tar");
    fs::write(&image, server.local(&["releases:export", "site"]).ok().stdout).unwrap();
    for transport in ["oci-archive", "docker-archive"] {
        let mut inspect = Command::new(skopeo);
        let inspect = inspect.args(["inspect", "--config", &format!("{transport}:{}:site:v1", image.display())]);
        let config = run(inspect, b"", PATIENCE).ok().json();
        assert_eq!(config["config"]["Entrypoint"], serde_json::json!(["/cnb/process/web"]), "{transport}");
    }
}
