//! Files into and out of a running app: sftp, scp in its new and its old way, rsync.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::harness::{App, Client, Reply, Server, run, skipped};

const LIMIT: Duration = Duration::from_secs(120);
/// More than any buffer on the way.
const LARGE: usize = 20_000_000;

/// A user with files to send and a place for what comes back.
struct Desk<'c> {
    client: &'c Client,
    directory: PathBuf,
}

impl<'c> Desk<'c> {
    fn new(client: &'c Client) -> Self {
        let directory = client.key().with_file_name("desk");
        fs::create_dir_all(directory.join("tree/a b")).unwrap();
        let large: Vec<u8> = (0..LARGE).map(|at| ((at * at) >> 7).to_le_bytes()[0]).collect();
        fs::write(directory.join("large"), large).unwrap();
        fs::write(directory.join("tree/a b/ü"), "one").unwrap();
        fs::write(directory.join("tree/empty"), "").unwrap();
        Self { client, directory }
    }

    /// One of OpenSSH's programs at the desk.
    fn run(&self, program: &str, arguments: &[&str], stdin: &str) -> Reply {
        let mut command = self.client.command(program);
        command.current_dir(&self.directory).arg("-F").arg(self.client.key().with_file_name("ssh_config"));
        run(command.args(arguments), stdin.as_bytes(), LIMIT)
    }

    #[track_caller]
    fn assert_same(&self, one: &str, other: &str) {
        let (one, other) = (self.directory.join(one), self.directory.join(other));
        assert!(
            fs::read(&one).unwrap() == fs::read(&other).unwrap(),
            "{} and {} differ",
            one.display(),
            other.display()
        );
    }

    #[track_caller]
    fn assert_same_trees(&self, one: &str, other: &str) {
        assert_eq!(tree(&self.directory.join(one)), tree(&self.directory.join(other)));
    }
}

/// Every name below a directory with the content of files.
fn tree(root: &Path) -> Vec<(PathBuf, Option<Vec<u8>>)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(root).unwrap().map(Result::unwrap) {
        let (path, name) = (entry.path(), PathBuf::from(entry.file_name()));
        if path.is_dir() {
            all.push((name.clone(), None));
            all.extend(tree(&path).into_iter().map(|(below, content)| (name.join(below), content)));
        } else {
            all.push((name, Some(fs::read(path).unwrap())));
        }
    }
    all.sort();
    all
}

#[test]
fn files_are_transferred_both_ways() {
    let server = Server::start();
    let client = server.client();
    App::probe(client, "blog").push().ok();
    let desk = Desk::new(client);
    sftp(&desk);
    scp(&desk, &[], "new");
    // The protocol of before OpenSSH 9, with a second scp inside.
    scp(&desk, &["-O"], "old");
    rsync(&desk);
    assert_eq!(
        client.ssh("blog", &["stat -c %u:%g data/sent data/new data/tree"]).ok().line(),
        "1000:1000\n1000:1000\n1000:1000"
    );
}

fn sftp(desk: &Desk<'_>) {
    let commands = "\
pwd
put large data/sent
put -R tree data
get data/sent received
get -R data/tree received-tree
rename data/sent data/moved
-rename -l data/moved data/tree/empty
ln -s moved data/link
chmod 640 data/moved
ls -l data
df
rm data/link
rename data/moved data/sent
-mkdir /usr/new
-get /etc/shadow stolen
";
    let said = desk.run("sftp", &["-b", "-", "blog@server"], commands).ok();
    assert!(said.out().contains("Remote working directory: /home/app\n"), "{said}");
    let line = said.out().lines().find(|line| line.ends_with(" moved")).map(str::to_owned).unwrap();
    assert!(line.starts_with("-rw-r-----    1 app      app      20000000 "), "{line}");
    for refused in ["rename \"/home/app/data/moved\"", "mkdir \"/usr/new\"", "\"/etc/shadow\" not found"] {
        assert!(said.err().contains(refused), "{refused}: {said}");
    }
    desk.assert_same("large", "received");
    desk.assert_same_trees("tree", "received-tree");
    assert!(!desk.directory.join("stolen").exists());
}

fn scp(desk: &Desk<'_>, options: &[&str], name: &str) {
    let scp = |arguments: &[&str]| desk.run("scp", &[options, arguments].concat(), "");
    let (there, back) = (format!("blog@server:data/{name}"), format!("{name}-back"));
    scp(&["-p", "large", &there]).ok();
    scp(&["-p", &there, &back]).ok();
    desk.assert_same("large", &back);
    let times = |file: &str| fs::metadata(desk.directory.join(file)).unwrap().modified().unwrap();
    let seconds = |file: &str| times(file).duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert_eq!(seconds("large"), seconds(&back), "-p keeps the time");
    let (there, back) = (format!("blog@server:data/{name}-tree"), format!("{name}-tree-back"));
    scp(&["-r", "tree", &there]).ok();
    scp(&["-r", &there, &back]).ok();
    desk.assert_same_trees("tree", &back);
    assert_ne!(scp(&["blog@server:data/nothing", "here"]).status, 0);
}

fn rsync(desk: &Desk<'_>) {
    if run(desk.client.command("rsync").arg("--version"), b"", LIMIT).status != 0 {
        return skipped("rsync is not installed");
    }
    let ssh = format!("ssh -F {}", desk.client.key().with_file_name("ssh_config").display());
    let rsync = |from: &str, to: &str| {
        let mut command = desk.client.command("rsync");
        run(command.current_dir(&desk.directory).args(["-a", "--delete", "-e", &ssh, from, to]), b"", LIMIT).ok()
    };
    rsync("tree/", "blog@server:data/synced/");
    fs::remove_file(desk.directory.join("tree/empty")).unwrap();
    rsync("tree/", "blog@server:data/synced/");
    rsync("blog@server:data/synced/", "synced/");
    desk.assert_same_trees("tree", "synced");
}

/// Without a running instance there is one for the transfer; `data/` is the same in all.
#[test]
fn a_stopped_apps_files_are_reached_too() {
    let server = Server::start();
    let client = server.client();
    App::probe(client, "blog").push().ok();
    client.airstrip("ps:stop blog").ok();
    let desk = Desk::new(client);
    let said = desk.run("sftp", &["-b", "-", "blog@server"], "put large data/sent\n").ok();
    assert!(said.err().contains("blog has no running instance"), "{said}");
    desk.run("scp", &["blog@server:data/sent", "received"], "").ok();
    desk.assert_same("large", "received");
}

#[test]
fn file_transfers_need_the_right_to_enter() {
    let server = Server::start();
    let client = server.client();
    App::probe(client, "blog").push().ok();
    let desk = Desk::new(client);
    for (user, word) in [("airstrip@server", ""), ("other@server", "other")] {
        let said = desk.run("sftp", &["-b", "-", user], "ls\n");
        assert_ne!(said.status, 0, "{said}");
        assert!(said.err().contains(word), "{said}");
    }
}
