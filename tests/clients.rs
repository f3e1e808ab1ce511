//! Clients other than OpenSSH, inside a running app: `dbclient` (Dropbear), `plink`, `pscp` and `psftp` (PuTTY), paramiko.
//! And what is refused to OpenSSH.

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::harness::{App, PATIENCE, Reply, Server, Terminal, run, skipped};

const LIMIT: Duration = Duration::from_secs(120);
const SESSION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/clients/session.py");

/// A program of another implementation: it is given options, the server's address, and a command.
struct Foreign<'s> {
    server: &'s Server,
    program: &'static str,
    options: Vec<String>,
    /// Where it works.
    directory: PathBuf,
}

impl<'s> Foreign<'s> {
    fn new(server: &'s Server, program: &'static str, options: &[&str]) -> Self {
        let directory = server.client().key().with_file_name("foreign");
        fs::create_dir_all(&directory).unwrap();
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        Self { server, program, options, directory }
    }

    /// Dropbear's client, with the key in its own form. None, with the reason printed, where it is not installed.
    fn dropbear(server: &'s Server) -> Option<Self> {
        let key = server.client().key();
        let own = key.with_extension("dropbear");
        let mut convert = server.client().command("dropbearconvert");
        converted(convert.args(["openssh", "dropbear"]).arg(&key).arg(&own), "dropbear-bin", &own)?;
        let (port, own) = (server.ssh.port().to_string(), own.display().to_string());
        Some(Self::new(server, "dbclient", &["-y", "-i", &own, "-p", &port]))
    }

    /// One of PuTTY's programs, with the key in its own form.
    fn putty(server: &'s Server, program: &'static str) -> Option<Self> {
        let key = server.client().key();
        let own = key.with_extension("ppk");
        let mut convert = server.client().command("puttygen");
        converted(convert.arg(&key).args(["-O", "private", "-o"]).arg(&own), "putty-tools", &own)?;
        let (port, own) = (server.ssh.port().to_string(), own.display().to_string());
        Some(Self::new(server, program, &["-batch", "-P", &port, "-i", &own, "-hostkey", &fingerprint(server)]))
    }

    fn command(&self, options: &[&str], rest: &[&str]) -> Command {
        let mut command = self.server.client().command(self.program);
        command.current_dir(&self.directory).args(&self.options).args(options).args(rest);
        command
    }

    /// `PROGRAM OPTIONS blog@server REST…`
    fn run(&self, options: &[&str], rest: &[&str], stdin: &[u8]) -> Reply {
        let rest = [&["blog@127.0.0.1"], rest].concat();
        run(&mut self.command(options, &rest), stdin, LIMIT)
    }

    /// Exit status, both outputs, every byte both ways.
    fn commands(&self) {
        let reply = self.run(&[], &["echo out; echo err >&2; exit 7"], b"");
        assert_eq!((reply.status, reply.line()), (7, "out".to_owned()), "{reply}");
        assert!(reply.err().ends_with("err\n"), "{reply}");
        assert_eq!(self.run(&[], &["pwd; command -v python"], b"").ok().line(), "/home/app\n/home/app/env/bin/python");
        let bytes: Vec<u8> = (0..=255).cycle().take(3_000_000).collect();
        let reply = self.run(&[], &["cat; exit 3"], &bytes);
        assert_eq!(reply.status, 3);
        assert!(reply.stdout == bytes, "{} of {} bytes came back", reply.stdout.len(), bytes.len());
    }

    /// A shell on a terminal with a size, that changes, Ctrl-C, and the shell's own status.
    fn shell(&self) {
        let mut shell = Terminal::start(&mut self.command(&["-t"], &["blog@127.0.0.1"]));
        shell.enter("echo ready-$((40+2))");
        shell.expect("ready-42");
        shell.enter("stty size; echo $TERM; tty");
        shell.expect("24 80");
        shell.expect("xterm");
        shell.expect("/dev/pts/");
        shell.resize(50, 132);
        shell.enter("until stty size | grep '50 132'; do sleep 0.1; done; echo resized-$((1+1))");
        shell.expect("50 132");
        shell.expect("resized-2");
        // What says so has the terminal already.
        shell.enter("sh -c 'echo sleeping-$((2+1)); exec sleep 86381'");
        shell.expect("sleeping-3");
        shell.press("\x03");
        shell.enter("echo status-$?");
        shell.expect("status-130");
        shell.enter("exit 5");
        assert_eq!(shell.status(PATIENCE), 5);
    }

    /// A connection to the app's own loopback over the client's standard input and output.
    fn forwarding(&self, option: &str) {
        let port = self.server.client().ssh("blog", &["echo $PORT"]).ok().line();
        let request = b"GET / HTTP/1.0\r\n\r\n";
        let reply = self.run(&[option, &format!("127.0.0.1:{port}")], &[], request).ok();
        assert!(reply.out().ends_with("\r\n\r\none"), "{reply}");
        let closed = self.run(&[option, &format!("127.0.0.1:{}", self.server.ssh.port())], &[], request);
        assert_eq!(closed.out(), "", "the host's own services are not reached");
    }
}

/// The key in another form. None, with the reason printed, if the program for that is not installed.
fn converted(convert: &mut Command, package: &str, own: &Path) -> Option<()> {
    let reply = run(convert, b"", LIMIT);
    if reply.status == 127 {
        skipped(&format!("{package} is not installed"));
        return None;
    }
    assert!(own.exists(), "{}", reply);
    Some(())
}

/// Of the server's key, as OpenSSH has learnt it.
fn fingerprint(server: &Server) -> String {
    server.client().airstrip("version").ok();
    let mut keygen = server.client().command("ssh-keygen");
    let shown = run(keygen.arg("-lf").arg(server.client().key().with_file_name("known_hosts")), b"", LIMIT).ok().out();
    shown.split(' ').find(|word| word.starts_with("SHA256:")).unwrap().to_owned()
}

fn server_with_an_app() -> Server {
    let server = Server::start();
    App::probe(server.client(), "blog").push().ok();
    server
}

#[test]
fn dbclient_is_at_home() {
    let server = server_with_an_app();
    let Some(dbclient) = Foreign::dropbear(&server) else { return };
    dbclient.commands();
    dbclient.shell();
    dbclient.forwarding("-B");
}

#[test]
fn plink_is_at_home() {
    let server = server_with_an_app();
    let Some(plink) = Foreign::putty(&server, "plink") else { return };
    plink.commands();
    plink.shell();
    plink.forwarding("-nc");
    let reply = plink.run(&["-s"], &["no-such-subsystem"], b"");
    assert_ne!(reply.status, 0, "{reply}");
}

#[test]
fn pscp_and_psftp_transfer_files() {
    let server = server_with_an_app();
    let Some(pscp) = Foreign::putty(&server, "pscp") else { return };
    let large: Vec<u8> = (0..5_000_000_usize).map(|at| ((at * at) >> 7).to_le_bytes()[0]).collect();
    let file = |name: &str| pscp.directory.join(name);
    fs::create_dir_all(file("tree/a b")).unwrap();
    fs::write(file("tree/a b/large"), &large).unwrap();
    for protocol in ["-sftp", "-scp"] {
        let (there, back) = (format!("blog@127.0.0.1:data/{}", &protocol[1..]), format!("back{protocol}"));
        let copy = |from: &str, to: &str| run(&mut pscp.command(&[protocol, "-r", "-p"], &[from, to]), b"", LIMIT);
        fs::create_dir(file(&back)).unwrap();
        server.client().ssh("blog", &[&format!("mkdir data/{}", &protocol[1..])]).ok();
        copy("tree", &there).ok();
        copy(&format!("{there}/tree"), &back).ok();
        assert!(fs::read(file(&back).join("tree/a b/large")).unwrap() == large, "{protocol} changes the file");
        assert_ne!(copy("blog@127.0.0.1:data/nothing", "here").status, 0);
    }
    let psftp = Foreign::putty(&server, "psftp").unwrap();
    let commands = "\
pwd
cd data
put -r tree
get \"tree/a b/large\" received
mv \"tree/a b/large\" moved
chmod 600 moved
ls
rm moved
rmdir \"tree/a b\"
quit
";
    fs::write(file("batch"), commands).unwrap();
    let reply = psftp.run(&["-b", "batch"], &[], b"").ok();
    assert!(reply.out().contains("Remote directory is /home/app\n"), "{reply}");
    assert!(reply.out().contains("-rw-------    1 app      app       5000000 "), "{reply}");
    assert!(fs::read(file("received")).unwrap() == large);
    assert_eq!(server.client().ssh("blog", &["ls -A data/tree"]).ok().line(), "");
}

#[test]
fn paramiko_is_at_home() {
    paramiko(&Server::start());
}

pub fn paramiko(server: &Server) {
    let python = Path::new("/usr/bin/python3");
    if !Command::new(python).args(["-c", "import paramiko"]).output().is_ok_and(|done| done.status.success()) {
        return skipped("python3-paramiko is not installed");
    }
    App::probe(server.client(), "blog").push().ok();
    let port = server.client().ssh("blog", &["echo $PORT"]).ok().line();
    let mut session = server.client().command("/usr/bin/python3");
    session.args([SESSION, "127.0.0.1", &server.ssh.port().to_string()]).arg(server.client().key()).arg(port);
    let reply = run(&mut session, b"", LIMIT).ok();
    assert!(reply.out().ends_with("done\n"), "{reply}");
}

/// The command that was asked for runs nonetheless.
#[test]
fn openssh_is_told_what_it_may_not_forward() {
    let server = server_with_an_app();
    let client = server.client();
    let ssh = |options: &[&str], command: &str| {
        let mut ssh = client.ssh_command("blog", options);
        run(ssh.arg(command).env("DISPLAY", "127.0.0.1:99"), b"", LIMIT)
    };
    let reverse = ["-o", "LogLevel=INFO", "-R", "0:127.0.0.1:9"];
    ssh(&reverse, "echo here").ok().says(&["remote port forwarding failed"]);
    let strict = [&reverse[..], &["-o", "ExitOnForwardFailure=yes"]].concat();
    assert_eq!(ssh(&strict, "echo here").says(&["remote port forwarding failed"]).status, 255);
    let socket = client.key().with_file_name("agent");
    let _agent = UnixListener::bind(&socket).unwrap();
    let agent = format!("ForwardAgent={}", socket.display());
    assert_eq!(ssh(&["-o", &agent], "echo agent=$SSH_AUTH_SOCK").ok().line(), "agent=");
    let reply = ssh(&["-Y", "-o", "LogLevel=INFO"], "echo display=$DISPLAY").ok();
    assert_eq!(reply.line(), "display=");
    reply.says(&["X11 forwarding request failed"]);
}
