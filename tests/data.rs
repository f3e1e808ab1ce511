//! An app's data as a whole: `data:export` and `data:import`.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::harness::{App, Client, PATIENCE, Server, run, wait_until};

const LIMIT: Duration = Duration::from_secs(60);

/// A tar of a directory with these files.
fn tar(client: &Client, files: &[(&str, &str)], options: &[&str]) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    for (name, content) in files {
        fs::write(directory.path().join(name), content).unwrap();
    }
    run(client.command("tar").arg("c").args(options).arg("-C").arg(directory.path()).arg("."), b"", LIMIT).ok().stdout
}

/// What stands beside an app's data in the server's home.
fn asides(server: &Server) -> Vec<PathBuf> {
    let entries = fs::read_dir(server.home().join("apps/blog")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with('.')).collect()
}

#[test]
fn data_goes_out_and_comes_back() {
    let server = Server::start();
    let client = server.client();
    App::probe(client, "blog").push().ok();
    client.ssh("blog", &["mkdir -p data/a; echo one > data/a/file; ln -s file data/a/link; ln data/a/file data/hard; mkfifo data/fifo"]).ok();
    let exported = client.airstrip("data:export blog").ok();
    assert!(exported.err().contains("left out fifo"), "{exported}");
    let listed = run(client.command("tar").arg("tv"), &exported.stdout, LIMIT).ok().out();
    let names: Vec<&str> = listed.lines().filter_map(|line| line.splitn(6, ' ').last()).collect();
    for expected in ["./", "a/", "a/file", "a/link -> file", "hard link to a/file"] {
        assert!(names.iter().any(|name| name.ends_with(expected)), "{expected}: {listed}");
    }
    // Into another app, which has none of it and was never deployed.
    client.airstrip("apps:create other").ok();
    client.ssh_with("airstrip", &["data:import other"], &exported.stdout).ok();
    App::probe(client, "other").push().ok();
    assert_eq!(
        client.ssh("other", &["cat data/a/file data/a/link data/hard; stat -c %u data/a"]).ok().line(),
        "one\none\none\n1000"
    );
    // And over what is there, with gzip: the app sees the new data at once, and nothing of the old.
    let packed = tar(client, &[("only", "this")], &["-z"]);
    let before = server.http.get("blog.localhost", "/instance").ok().body;
    client.ssh_with("airstrip", &["data:import blog"], &packed).ok();
    assert_eq!(client.ssh("blog", &["ls -A data"]).ok().line(), "only");
    assert_eq!(server.http.get("blog.localhost", "/read?name=only").ok().body, "this");
    assert_ne!(server.http.get("blog.localhost", "/instance").ok().body, before);
    assert_eq!(asides(&server), Vec::<PathBuf>::new());
}

#[test]
fn a_bad_archive_changes_nothing() {
    let server = Server::start();
    let client = server.client();
    App::probe(client, "blog").push().ok();
    client.ssh("blog", &["echo kept > data/file"]).ok();
    let instance = server.http.get("blog.localhost", "/instance").ok().body;
    let good = tar(client, &[("file", "new")], &[]);
    let escaping = tar(client, &[("file", "new")], &["--transform=s,^./file,../../file,", "-P"]);
    let device = run(client.command("tar").args(["c", "-C", "/dev", "null"]), b"", LIMIT).ok().stdout;
    for (archive, expected) in [
        (&b""[..], "the archive is empty"),
        (b"nonsense".repeat(100).as_slice(), "the archive cannot be read"),
        (&good[..1536], "cut short"),
        (&escaping, "leads out of data/"),
        (&device, "only files, directories and links"),
    ] {
        client.ssh_with("airstrip", &["data:import blog"], archive).fails(1, &[expected]);
    }
    assert_eq!(server.http.get("blog.localhost", "/read?name=file").ok().body, "kept\n");
    assert_eq!(server.http.get("blog.localhost", "/instance").ok().body, instance, "nothing was restarted");
    assert_eq!(asides(&server), Vec::<PathBuf>::new());
}

#[test]
fn data_with_which_the_app_does_not_start_is_not_kept() {
    let server = Server::start();
    let client = server.client();
    let app = App::probe(client, "blog");
    app.write("Procfile", "web: test ! -e /home/app/data/bad && exec python -u server.py\n");
    app.commit("Mind the data");
    app.push().ok();
    client.ssh("blog", &["echo kept > data/file"]).ok();
    let reply = client.ssh_with("airstrip", &["data:import blog"], &tar(client, &[("bad", "")], &[]));
    let reply = reply.fails(1, &["web.1 exited with status 1"]);
    assert!(reply.out().contains("Putting the old data back"), "{reply}");
    wait_until("the app serves again", PATIENCE, || server.http.get("blog.localhost", "/instance").status == 200);
    assert_eq!(client.ssh("blog", &["ls -A data; cat data/file"]).ok().line(), "file\nkept");
    assert_eq!(asides(&server), Vec::<PathBuf>::new());
}

/// Whatever an import had begun when the daemon was killed, the next start removes it.
#[test]
fn what_a_killed_import_leaves_is_removed() {
    let mut server = Server::start();
    App::probe(server.client(), "blog").push().ok();
    server.client().ssh("blog", &["echo kept > data/file"]).ok();
    server.crash();
    let left = server.home().join("apps/blog/.data-left");
    fs::create_dir_all(left.join("below")).unwrap();
    server.start_again();
    assert!(!left.exists());
    assert_eq!(server.client().ssh("blog", &["cat data/file"]).ok().line(), "kept");
}

#[test]
fn only_admins_of_the_app_may() {
    let server = Server::start();
    let client = server.client();
    client.airstrip("apps:create blog").ok();
    let deployer = server.client_with_key("deployer", &["--app", "blog", "--role", "deploy"]);
    for line in ["data:export blog", "data:import blog"] {
        deployer.airstrip(line).fails(1, &["may not do that"]);
    }
}
