//! The program that prepares the environment of another, inside: `exec.d` and profile scripts.
//!
//! It is this very binary, shown inside and started in front of the words that are to run ([`crate::launch::argv`]), and
//! becomes them in the end. Images that need no preparation never start it. Preparations run in the app's directory, wherever
//! the words are to run. [`exported`] does the same in images that were taken elsewhere.

pub mod exported;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::PreparationKind;
use crate::buildpack::in_line;
use crate::lifecycle::app_directory;

/// The first argument by which the binary knows what it is to do.
pub(crate) const ARGUMENT: &str = "launch-prepared";
/// Ends the preparations.
pub(crate) const END: &str = "--";
/// Status of a program that was found and could not be started, as a shell has it.
const CANNOT_START: i32 = 126;
/// Most that a program of `exec.d` may write.
const LONGEST: u64 = 1024 * 1024;

type Variables = BTreeMap<OsString, OsString>;

/// Becomes the prepared program if this program was started as the launcher; otherwise returns.
pub fn run_if_launcher() {
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_default();
    let result = if let Some(name) = exported::name(&name) {
        exported::launch(&name, arguments.collect())
    } else if arguments.next().as_deref() == Some(ARGUMENT.as_ref()) {
        Start::parse(arguments).and_then(|start| start.launch(std::env::vars_os().collect()))
    } else {
        return;
    };
    let Err(reason) = result;
    let _gone = writeln!(io::stderr(), " !     {reason}");
    std::process::exit(CANNOT_START)
}

/// The word that stands before the path of a preparation.
pub(crate) fn flag(kind: PreparationKind) -> &'static str {
    match kind {
        PreparationKind::Program => "exec.d",
        PreparationKind::Script => "profile",
    }
}

/// What is to run, and what comes before it.
#[derive(Debug, PartialEq, Eq)]
struct Start {
    programs: Vec<OsString>,
    scripts: Vec<OsString>,
    words: Vec<OsString>,
}

impl Start {
    /// Reads what [`crate::launch::argv`] has written.
    fn parse(mut arguments: impl Iterator<Item = OsString>) -> Result<Self, String> {
        let (mut programs, mut scripts) = (Vec::new(), Vec::new());
        loop {
            let word = arguments.next().ok_or("nothing to launch")?;
            if word == END {
                return Ok(Self { programs, scripts, words: arguments.collect() });
            }
            let path = arguments.next().ok_or("a preparation without a path")?;
            if word == flag(PreparationKind::Program) { programs.push(path) } else { scripts.push(path) }
        }
    }

    /// Becomes the words, prepared.
    fn launch(self, mut variables: Variables) -> Result<std::convert::Infallible, String> {
        let program = self.words.first().ok_or("nothing to launch")?.clone();
        for path in &self.programs {
            let set = run_program(path, &variables).map_err(|reason| format!("{}: {reason}", path.display()))?;
            variables.extend(set.into_iter().map(|(name, value)| (name.into(), value.into())));
        }
        let place = std::env::current_dir().map_err(|error| format!("the working directory: {error}"))?;
        let error = become_program(behind(&self.scripts, self.words, app_directory().as_ref(), &place), &variables);
        Err(format!("{}: {error}", program.display()))
    }
}

/// Runs a program of `exec.d`, which writes variables as TOML to its descriptor 3.
fn run_program(path: &OsStr, variables: &Variables) -> Result<BTreeMap<String, String>, String> {
    let text = |error: io::Error| error.to_string();
    // A shell lays the descriptors out: what it writes to 3 comes here, what it prints goes where ours goes.
    let output = one_digit_duplicate(io::stdout()).map_err(text)?;
    let number = output.as_raw_fd();
    let script = format!("exec 3>&1 1>&{number} {number}>&-; exec \"$0\"");
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(script).arg(path).env_clear().envs(variables);
    if Path::new(app_directory()).is_dir() {
        command.current_dir(app_directory());
    }
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(text)?;
    drop(output);
    let mut written = Vec::new();
    if let Some(pipe) = child.stdout.take() {
        pipe.take(LONGEST + 1).read_to_end(&mut written).map_err(text)?;
    }
    let status = child.wait().map_err(text)?;
    if !status.success() {
        return Err(status.to_string());
    }
    parse(&written)
}

/// A duplicate that programs inherit, above 3 and of one digit, which is all that every shell can redirect.
fn one_digit_duplicate(of: impl std::os::fd::AsFd) -> io::Result<std::os::fd::OwnedFd> {
    let mut too_low = Vec::new();
    loop {
        let duplicate = nix::unistd::dup(&of)?;
        match duplicate.as_raw_fd() {
            ..=3 => too_low.push(duplicate),
            4..=9 => return Ok(duplicate),
            10.. => return Err(io::Error::other("too many open files")),
        }
    }
}

fn parse(written: &[u8]) -> Result<BTreeMap<String, String>, String> {
    if written.len() as u64 > LONGEST {
        return Err(format!("wrote more than {LONGEST} bytes"));
    }
    let text = std::str::from_utf8(written).map_err(|_| "did not write text")?;
    let variables: BTreeMap<String, String> = toml::from_str(text).map_err(|error| in_line(text, &error))?;
    let odd =
        |(name, value): &(&String, &String)| name.is_empty() || name.contains(['=', '\0']) || value.contains('\0');
    match variables.iter().find(odd) {
        Some((name, _)) => Err(format!("{name:?} cannot be set")),
        None => Ok(variables),
    }
}

/// The words behind a shell that has read the scripts in `app` and comes back to `place`.
fn behind(scripts: &[OsString], words: Vec<OsString>, app: &Path, place: &Path) -> Vec<OsString> {
    if scripts.is_empty() {
        return words;
    }
    let line = |word: &str, path: &OsStr| format!("{word} {}\n", quoted(&path.to_string_lossy()));
    let read = scripts.iter().map(|script| line(".", script));
    let [enter, leave] = [app, place].map(|directory| line("cd", directory.as_os_str()));
    let script = [enter].into_iter().chain(read).chain([leave, "exec \"$@\"".to_owned()]).collect::<String>();
    let shell = ["bash".into(), "-c".into(), script.into(), "bash".into()];
    shell.into_iter().chain(words).collect()
}

fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Returns only if it fails.
fn become_program(words: Vec<OsString>, variables: &Variables) -> io::Error {
    let mut words = words.into_iter();
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words).env_clear().envs(variables).exec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::fs::PermissionsExt;

    fn ran(script: &str) -> Result<BTreeMap<String, String>, String> {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("it's a program");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let variables = [("PATH", "/usr/bin:/bin"), ("A", "old")].map(|(n, v)| (n.into(), v.into()));
        run_program(path.as_ref(), &variables.into())
    }

    #[test]
    fn programs_write_variables_to_descriptor_3() {
        assert_eq!(ran("echo 'A = \"'$A'er\"' >&3").unwrap()["A"], "older");
        assert_eq!(ran("echo to the log >&2").unwrap().len(), 0);
        insta::assert_snapshot!(ran("echo 'A = 1' >&3").unwrap_err(), @"line 1: invalid type: integer `1`, expected a string");
        insta::assert_snapshot!(ran("echo 'A' >&3").unwrap_err(), @"line 1: key with no value, expected `=`");
        insta::assert_snapshot!(ran(r#"echo '"A=B" = "x"' >&3"#).unwrap_err(), @r#""A=B" cannot be set"#);
        insta::assert_snapshot!(ran("exit 3").unwrap_err(), @"exit status: 3");
        insta::assert_snapshot!(ran("head -c 2000000 /dev/zero >&3; exit 0").unwrap_err(), @"wrote more than 1048576 bytes");
    }

    #[test]
    fn scripts_are_read_by_bash_before_the_words_run() {
        let root = tempfile::tempdir().unwrap();
        let script = root.path().join("it's.sh");
        std::fs::write(&script, "[[ a == a ]] && export GREETING=\"hello from $(basename \"$PWD\")\"\n").unwrap();
        let app = root.path().join("the app");
        std::fs::create_dir(&app).unwrap();
        let words = ["sh", "-c", "echo $GREETING in $PWD \"$1\"", "sh", "a b"].map(OsString::from);
        let words = behind(&[script.into()], words.into(), &app, Path::new("/"));
        let output = Command::new(&words[0]).args(&words[1..]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "hello from the app in / a b\n");
        assert_eq!(behind(&[], vec!["x".into()], &app, &app), ["x"]);
    }

    #[test]
    fn nonsense_is_refused() {
        let launched = |words: &[&str]| {
            let start = Start::parse(words.iter().map(OsString::from));
            start.and_then(|start| start.launch(Variables::new())).unwrap_err()
        };
        assert_eq!(launched(&[]), "nothing to launch");
        assert_eq!(launched(&["--"]), "nothing to launch");
        assert_eq!(launched(&["exec.d"]), "a preparation without a path");
        insta::assert_snapshot!(launched(&["--", "/nowhere/program"]), @"/nowhere/program: No such file or directory (os error 2)");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _read = parse(&bytes);
        }

        #[test]
        fn what_is_written_is_read(value in "[^\0]{0,40}") {
            let text = toml::to_string(&BTreeMap::from([("A", &value)])).unwrap();
            prop_assert_eq!(&parse(text.as_bytes()).unwrap()["A"], &value);
        }
    }
}
