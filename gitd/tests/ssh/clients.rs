//! Clients other than git and OpenSSH: git over Dropbear's and PuTTY's SSH, libgit2, dulwich, gitoxide, `JGit`; paramiko and asyncssh.

use std::io::Write;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use gitd::ObjectId;
use gix::remote::Direction;
use tokio::process::Command;

use crate::harness::{World, printed, run};

/// Says so past the capture of a passing test's output: `.ci/run` installs all of them.
fn skipped(reason: &str) {
    let thread = std::thread::current();
    let _unsaid = writeln!(std::io::stderr(), "skipped: {}: {reason}", thread.name().unwrap_or("a test"));
}

/// A script of `clients/`, in a Python that has these modules.
async fn by_python(script: &str, modules: &str) {
    let python = std::env::var("AIRSTRIP_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let mut look = Command::new(&python);
    if !look.args(["-c", &format!("import {modules}")]).output().await.is_ok_and(|found| found.status.success()) {
        skipped(&format!("{python} has no {modules} (pip install, and AIRSTRIP_TEST_PYTHON=PATH)"));
        return;
    }
    let world = World::new().await;
    let script = format!("{}/tests/ssh/clients/{script}", env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(python);
    command
        .args([script, world.url("blog")])
        .arg(world.path("key"))
        .arg(world.home.path())
        .env("HOME", world.home.path());
    command.env("GIT_SSH_COMMAND", format!("ssh {}", world.ssh_options("key").join(" ")));
    let finished = run(&mut command).await;
    assert!(finished.status.success() && finished.stdout.ends_with(b"done\n"), "{}", printed(&finished));
    world.assert_clean("blog").await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn libgit2_pushes_and_fetches() {
    by_python("libgit2.py", "pygit2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dulwich_pushes_and_fetches() {
    by_python("dulwich_git.py", "dulwich").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn asyncssh_and_paramiko_run_commands() {
    by_python("sessions.py", "asyncssh, paramiko").await;
}

/// It has no push.
#[tokio::test(flavor = "multi_thread")]
async fn gitoxide_clones_and_fetches() {
    let world = World::new().await;
    let work = world.work_tree("blog").await;
    world.commit(&work, "large", &"0123456789\n".repeat(300_000)).await;
    world.git_ok(&work, &["push", "-q", "origin", "main"]).await;
    let options = gix::open::Options::isolated()
        .config_overrides([format!("core.sshCommand=ssh {}", world.ssh_options("key").join(" "))]);
    let (url, copy) = (world.url("blog"), world.path("copy"));
    let tip = async |update: fn(&str, &Path, gix::open::Options) -> gix::Result<ObjectId>| {
        let (url, copy, options) = (url.clone(), copy.clone(), options.clone());
        let updated = tokio::task::spawn_blocking(move || update(&url, &copy, options)).await.unwrap();
        updated.unwrap_or_else(|error| panic!("{error:?}")).to_string()
    };
    assert_eq!(tip(clone_by_gitoxide).await, world.head(&work).await);
    let head = world.commit(&work, "file", "two\n").await;
    world.git_ok(&work, &["push", "-q", "origin", "main"]).await;
    assert_eq!(tip(fetch_by_gitoxide).await, head);
    world.git_ok(&copy, &["fsck", "--strict"]).await;
    world.stop().await;
}

fn clone_by_gitoxide(url: &str, copy: &Path, options: gix::open::Options) -> gix::Result<ObjectId> {
    let (kind, creation) = (gix::create::Kind::Bare, gix::create::Options::default());
    let mut clone = gix::clone::PrepareFetch::new(url, copy, kind, creation, options)?;
    let (repository, _) = clone.fetch_only(gix::progress::Discard, &AtomicBool::new(false))?;
    Ok(repository.find_reference("refs/heads/main")?.id().detach())
}

fn fetch_by_gitoxide(url: &str, copy: &Path, options: gix::open::Options) -> gix::Result<ObjectId> {
    let repository = gix::open_opts(copy, options)?;
    let remote = repository.remote_at(url)?.with_refspecs(["+refs/heads/*:refs/heads/*"], Direction::Fetch)?;
    let connection = remote.connect(Direction::Fetch)?;
    let fetch = connection.prepare_fetch(gix::progress::Discard, gix::remote::ref_map::Options::default())?;
    fetch.receive(gix::progress::Discard, &AtomicBool::new(false))?;
    Ok(repository.find_reference("refs/heads/main")?.id().detach())
}

/// Pushes, clones, pushes again and fetches, with `ssh` (its name to git: `variant`) and its arguments.
async fn git_over(world: &World, ssh: &str, variant: &str) {
    let work = world.work_tree("work").await;
    let (url, copy) = (world.url("blog"), world.path("copy"));
    let git = async |directory: &Path, arguments: &[&str]| {
        let mut command = world.git(directory);
        command.env("GIT_SSH_COMMAND", ssh).env("GIT_SSH_VARIANT", variant).args(arguments);
        let finished = run(&mut command).await;
        assert!(finished.status.success(), "git {arguments:?}: {}", printed(&finished));
    };
    world.commit(&work, "large", &"0123456789\n".repeat(300_000)).await;
    git(&work, &["push", "-q", &url, "main"]).await;
    git(&work, &["clone", "-q", &url, copy.to_str().unwrap()]).await;
    let head = world.commit(&work, "file", "two\n").await;
    git(&work, &["push", "-q", &url, "main"]).await;
    git(&copy, &["pull", "-q"]).await;
    assert_eq!(world.head(&copy).await, head);
    world.assert_clean("blog").await;
}

/// Whether the key could be converted; false, said loudly, where there is no program for it.
async fn converted(command: &mut Command, package: &str) -> bool {
    let Ok(finished) = command.output().await else {
        skipped(&format!("{package} is not installed"));
        return false;
    };
    assert!(finished.status.success(), "{}", printed(&finished));
    true
}

#[tokio::test(flavor = "multi_thread")]
async fn git_over_dbclient() {
    let world = World::new().await;
    let (key, own) = (world.path("key"), world.path("dropbear"));
    let mut convert = Command::new("dropbearconvert");
    if converted(convert.args(["openssh", "dropbear"]).args([&key, &own]), "dropbear-bin").await {
        git_over(&world, &format!("dbclient -y -y -i {}", own.display()), "ssh").await;
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn git_over_plink() {
    let world = World::new().await;
    let (key, own) = (world.path("key"), world.path("key.ppk"));
    let mut convert = Command::new("puttygen");
    if converted(convert.arg(&key).args(["-O", "private", "-o"]).arg(&own), "putty-tools").await {
        let shown = run(Command::new("ssh-keygen").arg("-lf").arg(public_host_key(&world))).await;
        let fingerprint = printed(&shown).split(' ').find(|word| word.starts_with("SHA256:")).unwrap().to_owned();
        let ssh = format!("plink -batch -hostkey {fingerprint} -i {}", own.display());
        git_over(&world, &ssh, "plink").await;
    }
    world.stop().await;
}

fn public_host_key(world: &World) -> std::path::PathBuf {
    let path = world.path("host_key.pub");
    std::fs::write(&path, format!("{}\n", world.server.as_ref().unwrap().host_key())).unwrap();
    path
}

/// Debian's own script leaves a jar out that the program asks for.
fn jgit() -> Command {
    let mut command = Command::new("java");
    command.args(["-cp", "/usr/share/java/*", "org.eclipse.jgit.pgm.Main"]);
    command
}

/// Over OpenSSH: the SSH of `JGit`'s Debian package knows nothing that is still safe.
#[tokio::test(flavor = "multi_thread")]
async fn jgit_pushes_and_fetches() {
    if !jgit().arg("version").output().await.is_ok_and(|finished| finished.status.success()) {
        return skipped("JGit is not installed (jgit-cli, default-jre-headless)");
    }
    let world = World::new().await;
    let work = world.work_tree("blog").await;
    let ssh = world.path("ssh");
    std::fs::write(&ssh, format!("#!/bin/sh\nexec ssh {} \"$@\"\n", world.ssh_options("key").join(" "))).unwrap();
    std::fs::set_permissions(&ssh, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let runs = async |directory: &Path, arguments: &[&str]| {
        let mut command = jgit();
        command.current_dir(directory).args(arguments).env("GIT_SSH", &ssh).env("HOME", world.home.path());
        let finished = run(command.kill_on_drop(true)).await;
        assert!(finished.status.success(), "jgit {arguments:?}: {}", printed(&finished));
        printed(&finished)
    };
    runs(&work, &["push", "origin", "main"]).await;
    runs(world.home.path(), &["clone", "--bare", &world.url("blog"), "copy"]).await;
    let copy = world.path("copy");
    assert_eq!(world.head(&copy).await, world.head(&work).await);
    let head = world.commit(&work, "file", "two\n").await;
    runs(&work, &["push", "origin", "main"]).await;
    runs(&copy, &["fetch", "origin", "refs/heads/main:refs/heads/new"]).await;
    assert_eq!(world.git_ok(&copy, &["rev-parse", "new"]).await.trim(), head);
    world.git_ok(&copy, &["fsck", "--full", "--strict"]).await;
    let refused = {
        let mut command = jgit();
        command.current_dir(&work).args(["push", "origin", "main:refs/notes/x"]);
        run(command.env("GIT_SSH", &ssh).env("HOME", world.home.path())).await
    };
    assert!(printed(&refused).contains("only branches and tags are kept here"), "{}", printed(&refused));
    world.assert_clean("blog").await;
    world.stop().await;
}
