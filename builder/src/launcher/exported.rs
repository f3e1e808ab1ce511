//! The launcher of an image that was exported: no platform has said there what is to run, and with what environment. It finds that
//! in a file of the image, and is asked as the reference launcher is:
//!
//! | started as | runs |
//! |---|---|
//! | `/cnb/process/TYPE [WORDS…]` | that process, with the words behind its own |
//! | `/cnb/lifecycle/launcher` | the process `$CNB_PROCESS_TYPE`, else `web` |
//! | `/cnb/lifecycle/launcher -- WORDS…` | the words, without profile scripts |
//! | `/cnb/lifecycle/launcher LINE` | the line, by a shell |
//! | `/cnb/lifecycle/launcher WORDS…` | the words |
//!
//! The container's environment is what layers make their changes to.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use super::{Start, Variables};
use crate::{Image, PreparationKind, launch as rules};

/// Where this program is in an image.
pub const PROGRAM: &str = "/cnb/lifecycle/launcher";
/// Links to it are in here, named after process types.
pub const PROCESSES: &str = "/cnb/process";
/// Where an image has its description, and nothing else may be.
pub const DESCRIPTION: &str = "/layers/config/image.toml";

/// The name by which the launcher is asked for anything.
const LAUNCHER: &str = "launcher";
/// The program's name where its other duties are asked for: serving files.
const OTHER: &str = "airstrip";
/// What the launcher is told, and programs are not.
const OWN: [&str; 3] = ["CNB_APP_DIR", "CNB_LAYERS_DIR", "CNB_PROCESS_TYPE"];

/// The text of an image's description: all that a launch needs to know.
pub fn describe(image: &Image) -> Result<String, toml::ser::Error> {
    toml::to_string(&Image { layers: Vec::new(), ..image.clone() })
}

/// Whose launch is asked for, if this program is an image's.
pub(super) fn name(first: &OsStr) -> Option<String> {
    let program = std::env::current_exe().ok()?;
    let name = Path::new(first).file_name()?.to_string_lossy().into_owned();
    (program == Path::new(PROGRAM) && name != OTHER).then_some(name)
}

/// Becomes what is asked for.
pub(super) fn launch(name: &str, arguments: Vec<OsString>) -> Result<std::convert::Infallible, String> {
    let text = std::fs::read_to_string(DESCRIPTION).map_err(|error| format!("{DESCRIPTION}: {error}"))?;
    let image: Image = toml::from_str(&text).map_err(|error| format!("{DESCRIPTION}: {}", error.message()))?;
    let given: Variables = std::env::vars_os().collect();
    let asked = Asked::of(&image, name, arguments, given.get(OsStr::new("CNB_PROCESS_TYPE")))?;
    let variables = environment(&image, &asked.process, given);
    asked.start(&image).launch(variables)
}

/// What is to run.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    /// Empty for words of nobody's.
    process: String,
    words: Vec<OsString>,
    direct: bool,
}

impl Asked {
    fn of(image: &Image, name: &str, arguments: Vec<OsString>, default: Option<&OsString>) -> Result<Self, String> {
        let words = |words, direct| Ok(Self { process: String::new(), words, direct });
        match (name, arguments.as_slice()) {
            (LAUNCHER, []) => Self::of_type(image, &default.map_or("web".into(), |name| name.to_string_lossy()), []),
            (LAUNCHER, [first, rest @ ..]) if first == super::END => words(rest.to_vec(), true),
            (LAUNCHER, [line]) => words(["sh".into(), "-c".into(), line.clone()].into(), false),
            (LAUNCHER, _) => words(arguments, false),
            (process, _) => Self::of_type(image, process, arguments),
        }
    }

    fn of_type(image: &Image, name: &str, more: impl IntoIterator<Item = OsString>) -> Result<Self, String> {
        let Some(process) = image.processes.iter().find(|process| process.name == name) else {
            let names: Vec<_> = image.processes.iter().map(|process| process.name.as_str()).collect();
            return Err(format!("there is no process type {name}; there are: {}", names.join(", ")));
        };
        let words = process.argv.iter().map(OsString::from).chain(more).collect();
        Ok(Self { process: name.to_owned(), words, direct: process.direct })
    }

    fn start(self, image: &Image) -> Start {
        let of = |kind| {
            let all = rules::preparations(image, &self.process, self.direct).filter(move |one| one.kind == kind);
            all.map(|one| one.path.clone().into_os_string()).collect()
        };
        Start { programs: of(PreparationKind::Program), scripts: of(PreparationKind::Script), words: self.words }
    }
}

/// What the container was given, changed by layers. What is no text they cannot change.
fn environment(image: &Image, process: &str, given: Variables) -> Variables {
    let (mut base, mut variables) = (Vec::new(), Variables::new());
    for (name, value) in given {
        match (name.to_str(), value.to_str()) {
            (Some(name), _) if OWN.contains(&name) => {}
            (Some("PATH"), Some(path)) => base.push(("PATH".to_owned(), without_launchers(path))),
            (Some(name), Some(value)) => base.push((name.to_owned(), value.to_owned())),
            _ => drop(variables.insert(name, value)),
        }
    }
    let changed = rules::environment(image, process, base);
    variables.extend(changed.into_iter().map(|(name, value)| (name.into(), value.into())));
    variables
}

/// A search path without the directories that only launch.
fn without_launchers(path: &str) -> String {
    let own = |entry: &&str| Some(Path::new(entry)) == Path::new(PROGRAM).parent() || *entry == PROCESSES;
    path.split(':').filter(|entry| !own(entry)).collect::<Vec<_>>().join(":")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EnvAction, EnvChange, Preparation, ProcessType};

    fn image() -> Image {
        let change = |name: &str, action, value: &str, process: Option<&str>| EnvChange {
            name: name.into(),
            action,
            value: value.into(),
            process: process.map(Into::into),
        };
        let preparation = |kind, path: &str, process: Option<&str>| Preparation {
            kind,
            path: path.into(),
            process: process.map(Into::into),
        };
        let process = |name: &str, direct| ProcessType {
            name: name.into(),
            argv: vec![name.into(), "--now".into()],
            command: name.into(),
            direct,
        };
        Image {
            processes: vec![process("web", true), process("worker", false)],
            env: vec![
                change("PATH", EnvAction::Prepend(":".into()), "/layers/a/bin", None),
                change("ROLE", EnvAction::Append("-".into()), "worker", Some("worker")),
                change("QUEUE", EnvAction::Default, "all", None),
            ],
            preparations: vec![
                preparation(PreparationKind::Program, "/l/exec.d/a", None),
                preparation(PreparationKind::Program, "/l/exec.d/worker/b", Some("worker")),
                preparation(PreparationKind::Script, "/l/profile.d/c", None),
            ],
            buildpacks: vec!["a/b@1.0.0".into()],
            layers: Vec::new(),
        }
    }

    fn asked(name: &str, arguments: &str, default: Option<&str>) -> String {
        let arguments = arguments.split_whitespace().map(OsString::from).collect();
        match Asked::of(&image(), name, arguments, default.map(OsString::from).as_ref()) {
            Ok(asked) => {
                let start = asked.start(&image());
                let shown = |words: &[OsString]| words.join(OsStr::new(" ")).into_string().unwrap();
                format!("[{}] [{}] {}", shown(&start.programs), shown(&start.scripts), shown(&start.words))
            }
            Err(error) => error,
        }
    }

    #[test]
    fn what_is_asked_for() {
        assert_eq!(asked("web", "", None), "[/l/exec.d/a] [] web --now");
        assert_eq!(asked("web", "-v", None), "[/l/exec.d/a] [] web --now -v");
        let worker = "[/l/exec.d/a /l/exec.d/worker/b] [/l/profile.d/c] worker --now";
        assert_eq!(asked("worker", "", None), worker);
        assert_eq!(asked("launcher", "", Some("worker")), worker);
        assert_eq!(asked("launcher", "", None), "[/l/exec.d/a] [] web --now");
        assert_eq!(asked("launcher", "-- ls -l", None), "[/l/exec.d/a] [] ls -l");
        assert_eq!(asked("launcher", "env", None), "[/l/exec.d/a] [/l/profile.d/c] sh -c env");
        assert_eq!(asked("launcher", "ls -l", None), "[/l/exec.d/a] [/l/profile.d/c] ls -l");
        assert_eq!(asked("clock", "", None), "there is no process type clock; there are: web, worker");
    }

    #[test]
    fn layers_change_what_the_container_was_given() {
        let given = [
            ("PATH", "/cnb/process:/cnb/lifecycle:/usr/bin:/bin"),
            ("ROLE", "the"),
            ("QUEUE", "one"),
            ("CNB_PROCESS_TYPE", "web"),
        ];
        let given: Variables = given.map(|(name, value)| (name.into(), value.into())).into();
        let shown = |process| format!("{:?}", environment(&image(), process, given.clone()));
        assert_eq!(shown("web"), r#"{"PATH": "/layers/a/bin:/usr/bin:/bin", "QUEUE": "one", "ROLE": "the"}"#);
        assert_eq!(shown("worker"), r#"{"PATH": "/layers/a/bin:/usr/bin:/bin", "QUEUE": "one", "ROLE": "the-worker"}"#);
    }

    #[test]
    fn what_is_described_is_read() {
        for image in [image(), Image::default()] {
            assert_eq!(toml::from_str::<Image>(&describe(&image).unwrap()).unwrap(), image);
        }
    }

    #[test]
    fn this_program_is_no_images() {
        assert_eq!(name(OsStr::new("/cnb/process/web")), None);
    }
}
