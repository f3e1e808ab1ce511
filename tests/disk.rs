//! A disk that is full.

use std::fs::File;
use std::io::Write;

use crate::harness::{App, PATIENCE, Server, noise, wait_until};

const DISK: u64 = 192 << 20;

/// Fills the server's disk but for `left` bytes until dropped.
struct Ballast(std::path::PathBuf);

impl Ballast {
    fn new(server: &Server, left: u64) -> Self {
        let path = server.home().join("ballast");
        let space = nix::sys::statvfs::statvfs(&server.home()).unwrap();
        let free = space.blocks_available() * space.fragment_size();
        let mut file = File::create(&path).unwrap();
        let block = vec![0; 1 << 16];
        for _ in 0..free.saturating_sub(left) >> 16 {
            file.write_all(&block).unwrap();
        }
        Self(path)
    }

    /// Leaves nothing at all.
    fn everything(server: &Server) -> Self {
        let ballast = Self::new(server, 0);
        let mut file = File::options().append(true).open(&ballast.0).unwrap();
        while file.write_all(&[0; 512]).is_ok() {}
        ballast
    }
}

impl Drop for Ballast {
    fn drop(&mut self) {
        let _removed = std::fs::remove_file(&self.0);
    }
}

/// Pushes something that needs `needs` bytes more than there are, then with enough space.
fn is_rejected_and_works_with_space(left: u64, files: &[(&str, Vec<u8>)]) {
    let Some(server) = Server::on_small_disk(DISK) else { return };
    let app = App::probe(server.client(), "blog");
    app.push().ok();
    let pushed = app.head();
    let before = server.directories();
    for (path, content) in files {
        app.write(path, content);
    }
    app.write("message", "two");
    app.commit("Large");
    let ballast = Ballast::new(&server, left);
    let push = app.push();
    assert_ne!(push.reply.status, 0, "{}", push.reply);
    assert!(push.reply.err().to_lowercase().contains("no space left"), "{}", push.reply);
    assert_eq!(server.http.get("blog.localhost", "/").ok().body, "one");
    assert_eq!(app.branch_on_server("main"), Some(pushed));
    wait_until("nothing of the push is left", PATIENCE, || server.directories() == before);
    drop(ballast);
    app.push().ok();
    assert_eq!(server.http.get("blog.localhost", "/").ok().body, "two");
}

#[test]
fn a_disk_of_the_servers_own_is_nobodys_leftover() {
    // Every process of the machine sees its mount: none of them is the server's for that.
    let Some(server) = Server::on_small_disk(DISK) else { return };
    assert_eq!(server.processes(), []);
}

#[test]
fn full_while_receiving() {
    is_rejected_and_works_with_space(1 << 20, &[("noise", noise(8 << 20))]);
}

#[test]
fn full_while_laying_out_what_was_received() {
    // Compresses to almost nothing: it is the tree that does not fit.
    is_rejected_and_works_with_space(4 << 20, &[("zeros", vec![0; 32 << 20])]);
}

#[test]
fn full_while_building() {
    let backend = b"import os\n\
        def build_wheel(directory, *_):\n\
        \x20   import zipfile\n\
        \x20   with zipfile.ZipFile(os.path.join(directory, 'large-1-py3-none-any.whl'), 'w', zipfile.ZIP_DEFLATED) as wheel:\n\
        \x20       wheel.writestr('large.txt', b'x' * (32 << 20))\n\
        \x20       wheel.writestr('large-1.dist-info/METADATA', 'Metadata-Version: 2.1\\nName: large\\nVersion: 1\\n')\n\
        \x20       wheel.writestr('large-1.dist-info/WHEEL', 'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')\n\
        \x20       wheel.writestr('large-1.dist-info/RECORD', '')\n\
        \x20   return 'large-1-py3-none-any.whl'\n";
    let project = b"[build-system]\nrequires = []\nbuild-backend = \"backend\"\nbackend-path = [\".\"]\n\
        [project]\nname = \"large\"\nversion = \"1\"\n";
    let files = [
        ("requirements.txt", b"./large\n".to_vec()),
        ("large/pyproject.toml", project.to_vec()),
        ("large/backend.py", backend.to_vec()),
    ];
    is_rejected_and_works_with_space(12 << 20, &files);
}

#[test]
fn full_at_any_moment_of_a_push() {
    let Some(server) = Server::on_small_disk(DISK) else { return };
    let app = App::probe(server.client(), "blog");
    app.push().ok();
    let mut serving = "one".to_owned();
    for left in [0, 1, 2, 4, 8, 16, 32, 64, 128] {
        let message = format!("{left} blocks");
        app.write("message", &message);
        let pushed = app.branch_on_server("main");
        app.commit(&message);
        let ballast = Ballast::new(&server, left << 16);
        let push = app.push();
        match push.reply.status {
            0 => serving = message,
            _ => assert!(push.reply.err().contains("no space left"), "{}", push.reply),
        }
        let expected = if push.reply.status == 0 { Some(app.head()) } else { pushed };
        assert_eq!(app.branch_on_server("main"), expected, "{}", push.reply);
        assert_eq!(server.http.get("blog.localhost", "/").ok().body, serving, "{}", push.reply);
        drop(ballast);
    }
    app.push_file("message", "space again").ok();
    assert_eq!(server.http.get("blog.localhost", "/").ok().body, "space again");
}

#[test]
fn a_full_disk_ends_nothing_that_runs() {
    let Some(mut server) = Server::on_small_disk(DISK) else { return };
    App::probe(server.client(), "blog").push().ok();
    server.client().airstrip("http:set blog wait=off").ok();
    let instance = |server: &Server| server.http.get("blog.localhost", "/instance").ok().body;
    let first = instance(&server);
    let ballast = Ballast::everything(&server);
    for command in
        ["restart blog", "config:set blog A=b", "ps:scale blog web=3", "apps:create other", "ps:rebuild blog"]
    {
        let reply = server.client().airstrip(command);
        assert_ne!(reply.status, 0, "{reply}");
        assert!(reply.err().to_lowercase().contains("no space left"), "{reply}");
        assert_eq!(instance(&server), first, "{command} changes nothing");
    }
    for command in ["ps blog", "logs blog", "releases blog", "apps", "config blog"] {
        server.client().airstrip(command).ok();
    }
    server.client().ssh("blog", &["true"]).ok();
    server.crash();
    server.start_again();
    assert_eq!(instance(&server), first);
    server.http.get("blog.localhost", "/exit?status=1");
    wait_until("its end is noticed", PATIENCE, || server.http.get("blog.localhost", "/").status == 503);
    drop(ballast);
    wait_until("it is started again", PATIENCE, || server.http.get("blog.localhost", "/").status == 200);
}
