//! Starting a program inside a sandbox: its terminal, its streams, its last confinement, exec.

use std::ffi::CString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::Mode;
use nix::sys::termios::{InputFlags, SetArg, tcgetattr, tcsetattr};
use nix::unistd::{Pid, chdir, dup2_stderr, dup2_stdin, dup2_stdout, execve, pipe2, setsid};

use super::protocol::{Failure, Reply, Step, reason, send};
use super::{landlock, seccomp, sys};
use crate::{Command, WindowSize};

/// The program's streams, unless it has a terminal.
pub(super) struct Stdio {
    /// Nothing: it is empty, and is opened inside.
    pub(super) stdin: Option<OwnedFd>,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
}

impl Stdio {
    pub(super) fn all(&self) -> Vec<BorrowedFd<'_>> {
        self.stdin.iter().chain([&self.stdout, &self.stderr]).map(AsFd::as_fd).collect()
    }
}

/// What a program is held to, besides what holds for all processes of its sandbox.
#[derive(Clone, Copy)]
pub(super) struct Confinement {
    /// How many files it may hold open.
    pub(super) open_files: u64,
    /// Whether it has a [`landlock`] of its own.
    pub(super) walled: bool,
}

/// Starts `command` and reports it to the shim, together with the master side of its terminal.
/// `supervise` makes what will look after the program.
pub(super) fn launch<S>(
    command: &Command,
    confinement: Confinement,
    terminal: Option<WindowSize>,
    stdio: Option<Stdio>,
    shim: BorrowedFd<'_>,
    supervise: impl FnOnce(Pid, bool) -> Result<S, Failure>,
) -> Result<S, Failure> {
    let Some(size) = terminal else {
        let stdio = stdio.ok_or(Errno::EBADF).step(|| "streams".to_owned())?;
        let supervisor = supervise(start(command, confinement, &stdio, false)?, false)?;
        send(shim, &Reply::Started, &[]).step(|| "report the start".to_owned())?;
        return Ok(supervisor);
    };
    let (master, slave) = open_terminal(size)?;
    let clone = || slave.try_clone().step(|| "dup(terminal)".to_owned());
    let stdio = Stdio { stdin: Some(clone()?), stdout: clone()?, stderr: clone()? };
    let supervisor = supervise(start(command, confinement, &stdio, true)?, true)?;
    send(shim, &Reply::Started, &[master.as_fd()]).step(|| "report the start".to_owned())?;
    Ok(supervisor)
}

/// A terminal of the sandbox's own.
fn open_terminal(size: WindowSize) -> Result<(OwnedFd, OwnedFd), Failure> {
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let master = nix::pty::posix_openpt(flags).step(|| "open(/dev/ptmx)".to_owned())?;
    nix::pty::unlockpt(&master).step(|| "unlockpt".to_owned())?;
    let slave = sys::open_terminal_peer(master.as_fd()).step(|| "open the terminal".to_owned())?;
    let mut settings = tcgetattr(&slave).step(|| "tcgetattr".to_owned())?;
    settings.input_flags.insert(InputFlags::IUTF8);
    tcsetattr(&slave, SetArg::TCSANOW, &settings).step(|| "tcsetattr".to_owned())?;
    sys::resize_terminal(slave.as_fd(), size).step(|| "resize the terminal".to_owned())?;
    let master = master.as_fd().try_clone_to_owned().step(|| "dup(terminal)".to_owned())?;
    Ok((master, slave))
}

/// Forks and executes. Returns once the program runs, or why it does not: exec closes the pipe, a failure comes through it.
fn start(command: &Command, confinement: Confinement, stdio: &Stdio, terminal: bool) -> Result<Pid, Failure> {
    let (read, write) = pipe2(OFlag::O_CLOEXEC).step(|| "pipe".to_owned())?;
    let pid = sys::fork(|| become_program(command, confinement, stdio, terminal, File::from(write)))
        .step(|| "fork".to_owned())?;
    let mut report = Vec::new();
    File::from(read).read_to_end(&mut report).step(|| "wait for exec".to_owned())?;
    if report.is_empty() {
        return Ok(pid);
    }
    let _ = sys::wait_child(Some(pid), true);
    Err(serde_json::from_slice(&report).map_err(std::io::Error::from).step(|| "read the failure".to_owned())?)
}

fn become_program(command: &Command, confinement: Confinement, stdio: &Stdio, terminal: bool, mut report: File) -> i32 {
    let failure = match prepare(command, confinement, stdio, terminal) {
        Ok(()) => execute(command),
        Err(failure) => failure,
    };
    let _ = report.write_all(&serde_json::to_vec(&failure.shortened()).unwrap_or_default());
    127
}

fn prepare(command: &Command, confinement: Confinement, stdio: &Stdio, terminal: bool) -> Result<(), Failure> {
    sys::reset_signals();
    setsid().step(|| "setsid".to_owned())?;
    if terminal {
        sys::take_terminal(stdio.stdout.as_fd()).step(|| "take the terminal".to_owned())?;
    }
    match &stdio.stdin {
        Some(input) => dup2_stdin(input),
        None => dup2_stdin(empty_input()?),
    }
    .step(|| "dup2(stdin)".to_owned())?;
    dup2_stdout(&stdio.stdout).step(|| "dup2(stdout)".to_owned())?;
    dup2_stderr(&stdio.stderr).step(|| "dup2(stderr)".to_owned())?;
    sys::close_on_exec_from(3).step(|| "close_range".to_owned())?;
    chdir(&command.cwd).step(|| format!("chdir({})", command.cwd.display()))?;
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).step(|| "getrlimit(nofile)".to_owned())?;
    let files = hard.min(confinement.open_files);
    setrlimit(Resource::RLIMIT_NOFILE, files, files).step(|| "setrlimit(nofile)".to_owned())?;
    if confinement.walled {
        landlock::restrict()?;
    }
    seccomp::apply().step(|| "seccomp".to_owned())
}

/// Executes the first program of that name along `PATH`; returns why none could be.
fn execute(command: &Command) -> Failure {
    let Some(program) = command.argv.first() else {
        return Failure::Program { program: "empty command".to_owned(), reason: "has no program".to_owned() };
    };
    let failure = |error: Errno| Failure::Program { program: program.clone(), reason: reason(&error.into()) };
    let words = command.argv.iter().map(|word| CString::new(word.as_str())).collect::<Result<Vec<_>, _>>();
    let env =
        command.env.iter().map(|(name, value)| CString::new(format!("{name}={value}"))).collect::<Result<Vec<_>, _>>();
    let (Ok(words), Ok(env)) = (words, env) else { return failure(Errno::EINVAL) };
    let mut seen = Errno::ENOENT;
    for candidate in candidates(program, path_of(command)) {
        let Ok(candidate) = CString::new(candidate) else { continue };
        match execve(&candidate, &words, &env) {
            Ok(never) => match never {},
            // Look on; but a file that is there and may not be executed is worth telling.
            Err(Errno::ENOENT | Errno::ENOTDIR) => {}
            Err(Errno::EACCES) => seen = Errno::EACCES,
            Err(error) => return failure(error),
        }
    }
    failure(seen)
}

fn path_of(command: &Command) -> &str {
    let path = command.env.iter().rev().find(|(name, _)| name == "PATH");
    path.map_or("/usr/local/bin:/usr/bin:/bin", |(_, value)| value.as_str())
}

fn candidates(program: &str, path: &str) -> Vec<String> {
    if program.contains('/') || program.is_empty() {
        return vec![program.to_owned()];
    }
    let join =
        |dir: &str| Path::new(if dir.is_empty() { "." } else { dir }).join(program).to_string_lossy().into_owned();
    path.split(':').map(join).collect()
}

/// Standard input that is empty.
pub(super) fn empty_input() -> Result<OwnedFd, Failure> {
    open("/dev/null", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).step(|| "open(/dev/null)".to_owned())
}

#[cfg(test)]
mod tests {
    use super::candidates;

    #[test]
    fn programs_are_searched_along_the_path() {
        for (program, path, expected) in [
            ("a", "/x:/y", vec!["/x/a", "/y/a"]),
            ("a", "", vec!["./a"]),
            ("/x/a", "/y", vec!["/x/a"]),
            ("./a", "/y", vec!["./a"]),
            ("", "/y", vec![""]),
        ] {
            assert_eq!(candidates(program, path), expected, "{program} in {path}");
        }
    }
}
