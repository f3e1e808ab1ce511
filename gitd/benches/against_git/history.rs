//! Histories to push and fetch: made by `git fast-import`, the same every time.

use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::{Command, Stdio};

const DIRECTORIES: usize = 40;
const FILES: usize = 1200;
const LINES: usize = 120;

/// A bare repository with about `objects` objects: each commit changes one line of two files in two directories.
pub(crate) fn make(repository: &Path, objects: usize) {
    run(Command::new("git").args(["init", "-q", "--bare", "-b", "main"]).arg(repository));
    let mut import = git(repository);
    let mut import = import.args(["fast-import", "--quiet"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut out = BufWriter::new(import.stdin.take().unwrap());
    let mut files: Vec<Vec<u64>> =
        (0..FILES).map(|file| (0..LINES).map(|line| noise(file * LINES + line)).collect()).collect();
    let all: Vec<usize> = (0..FILES).collect();
    commit(&mut out, 0, &files, &all);
    // A commit, its root, two directories, two files.
    for number in 1..(objects - FILES) / 6 {
        let changed = [noise(number * 2), noise(number * 2 + 1)].map(|chance| (chance % FILES as u64) as usize);
        for file in changed {
            files[file][noise(number) as usize % LINES] = noise(number * 31);
        }
        commit(&mut out, number, &files, &changed);
    }
    drop(out);
    assert!(import.wait().unwrap().success());
    run(git(repository).args(["repack", "-adq"]));
}

/// One commit of `megabytes` files that no compression makes smaller.
pub(crate) fn make_large(repository: &Path, megabytes: usize) {
    run(Command::new("git").args(["init", "-q", "--bare", "-b", "main"]).arg(repository));
    let mut import = git(repository);
    let mut import = import.args(["fast-import", "--quiet"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut out = BufWriter::new(import.stdin.take().unwrap());
    head(&mut out, 0);
    for file in 0..megabytes {
        let bytes: Vec<u8> = (0..1 << 17).flat_map(|word| noise((file << 17) + word).to_le_bytes()).collect();
        write!(out, "M 100644 inline {file}\ndata {}\n", bytes.len()).unwrap();
        out.write_all(&bytes).unwrap();
    }
    drop(out);
    assert!(import.wait().unwrap().success());
}

pub(crate) fn git(repository: &Path) -> Command {
    let mut command = Command::new("git");
    command.arg("-C").arg(repository).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    command.env_remove("SSH_AUTH_SOCK").stdin(Stdio::null());
    for role in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{role}_NAME"), "A").env(format!("GIT_{role}_EMAIL"), "a@example.org");
    }
    command
}

pub(crate) fn run(command: &mut Command) {
    assert!(command.status().unwrap().success(), "{command:?}");
}

fn commit(out: &mut impl Write, number: usize, files: &[Vec<u64>], changed: &[usize]) {
    head(out, number);
    for file in changed {
        let mut text = Vec::new();
        for word in &files[*file] {
            writeln!(text, "let number = {word:016x}; // of many").unwrap();
        }
        let directory = file % DIRECTORIES;
        writeln!(out, "M 100644 inline source/part{directory}/file{file}.rs\ndata {}", text.len()).unwrap();
        out.write_all(&text).unwrap();
        writeln!(out).unwrap();
    }
}

fn head(out: &mut impl Write, number: usize) {
    let message = format!("Change number {number}\n");
    let time = 1_700_000_000 + number * 60;
    write!(out, "commit refs/heads/main\ncommitter A <a@example.org> {time} +0000\ndata {}\n{message}", message.len())
        .unwrap();
}

/// Chance that is the same every time.
fn noise(seed: usize) -> u64 {
    let mut word = (seed as u64).wrapping_add(0x9E37_79B9_7F4A_7C15).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}
