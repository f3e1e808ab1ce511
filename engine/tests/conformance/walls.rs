//! The second wall: what a program cannot do although no mount keeps it from it, and what it can do all the same.

use std::fs;
use std::io::IoSlice;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use engine::MountKind::{ReadWrite, Scratch};
use engine::{Exit, Spec};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use tokio::net::UnixListener;

use crate::world::{World, cases, id, mount, output};

cases![
    directories_outside_lead_nowhere,
    programs_that_join_are_not_looked_into,
    what_the_wall_does_not_hinder,
    an_instances_empty_input_is_its_own,
];

const PYTHON: &str = "/usr/bin/python3";
/// `landlock` is the kernel's version of it.
const PRELUDE: &str = "
import ctypes, os, signal, socket, subprocess, sys, time
c = ctypes.CDLL(None, use_errno=True)
landlock = c.syscall(444, None, 0, 1)
def outcome(attempt):
    try: return attempt()
    except OSError as error: return type(error).__name__
";

fn python(world: &World, script: &str) -> Option<Spec> {
    if !Path::new(PYTHON).exists() {
        println!("skipped: there is no {PYTHON}");
        return None;
    }
    let mut spec = world.spec("");
    spec.command.argv = [PYTHON, "-c", &format!("{PRELUDE}{script}")].map(str::to_owned).to_vec();
    Some(spec)
}

/// What the program of `spec` says, unless that is the version of a Landlock that is too old, or none.
async fn says(world: &World, spec: &Spec) -> Option<String> {
    let seen = world.run(spec).await;
    assert_eq!((seen.exit, seen.stderr.as_str()), (Exit::Status(0), ""), "{}", seen.stdout);
    let none = seen.stdout.strip_prefix("landlock ");
    let _ = none.map(|version| println!("skipped: the version of Landlock in a sandbox is {version}"));
    none.is_none().then_some(seen.stdout)
}

/// A directory of the host's comes in through a socket, as it might through an error of who makes sandboxes.
async fn directories_outside_lead_nowhere(world: Arc<World>) {
    let script = "
s = socket.socket(socket.AF_UNIX); s.connect('/home/app/data/socket')
if landlock < 2: print('landlock', landlock); sys.exit()
_, (outside,), _, _ = socket.recv_fds(s, 1, 1); own = os.open('/home/app/data', os.O_RDONLY)
def read(dir, name): return os.read(os.open(name, os.O_RDONLY, dir_fd=dir), 100).decode()
print(outcome(lambda: read(own, 'note')), outcome(lambda: read(outside, 'secret')))
print(outcome(lambda: os.open('new', os.O_CREAT | os.O_WRONLY, dir_fd=outside)), outcome(lambda: os.open('.', os.O_RDONLY, dir_fd=outside)))
print(outcome(lambda: os.mkdir('new', dir_fd=outside)), outcome(lambda: os.unlink('secret', dir_fd=outside)))
print(outcome(lambda: os.open('..', os.O_RDONLY, dir_fd=outside)))
os.fchdir(outside); print(outcome(lambda: open('secret').read()), outcome(lambda: subprocess.run(['./program'])))";
    let Some(mut spec) = python(&world, script) else { return };
    let (data, outside) = (world.owned_dir("data"), world.owned_dir("outside"));
    for (path, text) in
        [(data.join("note"), "own"), (outside.join("secret"), "s3cret"), (outside.join("program"), "#!/bin/sh\n")]
    {
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    }
    spec.mounts = vec![mount(&data, "/home/app/data", ReadWrite)];
    let listener = UnixListener::bind(data.join("socket")).unwrap();
    fs::set_permissions(data.join("socket"), PermissionsExt::from_mode(0o666)).unwrap();
    let dir = fs::File::open(&outside).unwrap();
    let giving = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let fds = [dir.as_raw_fd()];
        let rights = [ControlMessage::ScmRights(&fds)];
        sendmsg::<()>(stream.as_raw_fd(), &[IoSlice::new(b"x")], &rights, MsgFlags::empty(), None).unwrap();
    });
    let said = says(&world, &spec).await;
    giving.await.unwrap();
    if let Some(said) = said {
        let words: Vec<&str> = said.split_whitespace().collect();
        assert_eq!(words[0], "own");
        assert_eq!(words[1..], ["PermissionError"; 8]);
    }
    assert_eq!(fs::read_to_string(outside.join("secret")).unwrap(), "s3cret");
}

/// But they may look into the program, as a debugger does.
async fn programs_that_join_are_not_looked_into(world: Arc<World>) {
    let script = "
print('landlock', landlock, flush=True)
own = socket.socket(socket.AF_UNIX); own.bind('\\0own'); own.listen()
while not os.path.exists('/tmp/joined'): time.sleep(0.002)
joined = int(open('/tmp/joined').read())
print(outcome(lambda: open(f'/proc/{joined}/environ').read()), outcome(lambda: os.readlink('/proc/1/exe')))
print(outcome(lambda: socket.socket(socket.AF_UNIX).connect('\\0joined')), outcome(lambda: socket.socket(socket.AF_UNIX).connect('\\0own')))
os.kill(joined, signal.SIGTERM); print('done', flush=True); time.sleep(86400)";
    let Some(spec) = python(&world, script) else { return };
    let id = id("a");
    world.engine.launch(&id, &spec, "").await.unwrap();
    world.logged("landlock").await;
    let version: i32 = world.texts()[0].trim_start_matches("landlock ").parse().unwrap();
    if version < 6 {
        println!("skipped: the version of Landlock in a sandbox is {version}");
        return;
    }
    let script = "
program = next(int(pid) for pid in os.listdir('/proc') if pid.isdigit() and b'landlock =' in open(f'/proc/{pid}/cmdline', 'rb').read() and int(pid) != os.getpid())
own = socket.socket(socket.AF_UNIX); own.bind('\\0joined'); own.listen()
print('SECRET' in open(f'/proc/{program}/environ').read(), outcome(lambda: socket.socket(socket.AF_UNIX).connect('\\0own')), flush=True)
open('/tmp/new', 'w').write(str(os.getpid())); os.rename('/tmp/new', '/tmp/joined'); time.sleep(86400)";
    let joining = python(&world, script).unwrap().command;
    let joined = output(world.engine.exec(&id, &joining, None).await.unwrap()).await;
    assert_eq!((joined.stdout.as_str(), joined.exit), ("True None\n", Exit::Signal(15)), "{}", joined.stderr);
    world.logged("done").await;
    assert_eq!(world.texts()[1..3], ["PermissionError PermissionError", "PermissionError None"]);
}

async fn what_the_wall_does_not_hinder(world: Arc<World>) {
    let script = "
for top in ('/home/app/data', '/home/app/code', '/tmp', '/home/app'):
    a, b = f'{top}/a', f'{top}/b'; os.mkdir(a); os.mkdir(b)
    open(f'{a}/file', 'w').write('text'); os.rename(f'{a}/file', f'{b}/file'); os.link(f'{b}/file', f'{a}/link')
    os.truncate(f'{b}/file', 2); os.rename(a, f'{b}/a'); print(open(f'{b}/a/link').read(), end=' ')
os.rename('/home/app/code/old', '/home/app/code/b/old'); print(open('/home/app/code/b/old').read())
child = subprocess.Popen(['sleep', '86400'])
print(c.ptrace(16, child.pid, None, None), len(open(f'/proc/{child.pid}/environ').read()) > 0)
os.waitpid(child.pid, os.WUNTRACED); c.ptrace(17, child.pid, None, None); child.kill(); print(child.wait())
os.kill(1, 0); os.kill(os.getppid(), 0)
memory = os.memfd_create('x'); os.write(memory, b'kept'); print(open(f'/proc/self/fd/{memory}').read())
a, b = os.pipe(); os.write(b, b'pipe'); print(os.read(os.open(f'/proc/self/fd/{a}', os.O_RDONLY), 9).decode())
terminal, _ = os.openpty(); print(os.isatty(terminal), os.get_terminal_size(terminal).columns)
if landlock < 2: print('nested'); sys.exit()
rules = c.syscall(444, ctypes.byref((ctypes.c_uint64 * 1)(4)), 8, 0); c.prctl(38, 1, 0, 0, 0)
c.syscall(446, rules, 0); print('nested' if outcome(lambda: open('/etc/passwd')) == 'PermissionError' else 'not nested')";
    let Some(mut spec) = python(&world, script) else { return };
    let (data, code) = (world.owned_dir("data"), world.owned_dir("code"));
    fs::write(code.join("old"), "old").unwrap();
    crate::world::give(&code.join("old"));
    spec.mounts = vec![mount(&data, "/home/app/data", ReadWrite), mount(&code, "/home/app/code", Scratch)];
    let expected = "te te te te old\n0 True\n-9\nkept\npipe\nTrue 0\nnested\n";
    assert_eq!(says(&world, &spec).await.as_deref(), Some(expected));
}

/// What is empty is none of the host's files.
async fn an_instances_empty_input_is_its_own(world: Arc<World>) {
    let id = world.launch("a", "cat /dev/stdin && echo end").await;
    assert_eq!(world.engine.wait(&id).await.unwrap(), Exit::Status(0));
    assert_eq!(world.texts(), ["end"]);
}
