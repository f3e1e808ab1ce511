//! How a process of an image is to be started: its environment, and its words.

use crate::environment::Environment;
use crate::{Image, Preparation, PreparationKind, launcher};

/// Applies the image's changes for `process` to `base` (the app's configuration and what the platform sets).
/// The result is sorted by name and has each name once.
pub fn environment(image: &Image, process: &str, base: Vec<(String, String)>) -> Vec<(String, String)> {
    let mut environment = Environment::new(base);
    for change in &image.env {
        if change.process.as_deref().is_none_or(|only| only == process) {
            environment.apply(change);
        }
    }
    environment.into_pairs()
}

/// The words to start for `words` in an instance where `process` runs: themselves, or if the image asks for preparations,
/// the launcher with them. `program` is where the launcher's binary is seen inside.
pub fn argv(image: &Image, process: &str, words: Vec<String>, program: &str) -> Vec<String> {
    let is_direct = image.processes.iter().any(|kind| kind.name == process && kind.argv == words && kind.direct);
    let mut preparations = preparations(image, process, is_direct).peekable();
    if preparations.peek().is_none() {
        return words;
    }
    let mut argv = vec![program.to_owned(), launcher::ARGUMENT.to_owned()];
    for preparation in preparations {
        argv.push(launcher::flag(preparation.kind).to_owned());
        argv.push(preparation.path.to_string_lossy().into_owned());
    }
    argv.push(launcher::END.to_owned());
    argv.extend(words);
    argv
}

/// What comes before `process`, which is direct or not.
pub(crate) fn preparations<'a>(
    image: &'a Image,
    process: &'a str,
    is_direct: bool,
) -> impl Iterator<Item = &'a Preparation> {
    image.preparations.iter().filter(move |preparation| {
        preparation.process.as_deref().is_none_or(|only| only == process)
            && !(is_direct && preparation.kind == PreparationKind::Script)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EnvAction, EnvChange, ProcessType};

    fn change(name: &str, action: EnvAction, value: &str, process: Option<&str>) -> EnvChange {
        EnvChange { name: name.into(), action, value: value.into(), process: process.map(Into::into) }
    }

    #[test]
    fn changes_apply_in_order_and_to_their_process() {
        let env = vec![
            change("PATH", EnvAction::Prepend(":".into()), "/layers/a/bin", None),
            change("PATH", EnvAction::Prepend(":".into()), "/layers/b/bin", None),
            change("WORKERS", EnvAction::Default, "2", None),
            change("ROLE", EnvAction::Override, "any", None),
            change("ROLE", EnvAction::Append("-".into()), "web", Some("web")),
        ];
        let image = Image { env, ..Image::default() };
        let base = || vec![("PATH".into(), "/bin".into()), ("WORKERS".into(), "5".into())];
        let shown = |process| {
            let pairs = environment(&image, process, base());
            pairs.iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(shown("web"), "PATH=/layers/b/bin:/layers/a/bin:/bin ROLE=any-web WORKERS=5");
        assert_eq!(shown("worker"), "PATH=/layers/b/bin:/layers/a/bin:/bin ROLE=any WORKERS=5");
    }

    #[test]
    fn only_what_needs_the_launcher_gets_it() {
        let preparation = |kind, path: &str, process: Option<&str>| Preparation {
            kind,
            path: path.into(),
            process: process.map(Into::into),
        };
        let process = |name: &str, direct| ProcessType {
            name: name.into(),
            argv: vec![name.into()],
            command: name.into(),
            direct,
        };
        let mut image = Image {
            processes: vec![process("web", true), process("worker", false)],
            preparations: vec![
                preparation(PreparationKind::Program, "/l/exec.d/a", None),
                preparation(PreparationKind::Program, "/l/exec.d/worker/b", Some("worker")),
                preparation(PreparationKind::Script, "/l/profile.d/c", None),
            ],
            ..Image::default()
        };
        let shown = |image: &Image, process, words: &str| {
            argv(image, process, words.split(' ').map(Into::into).collect(), "/cnb/x").join(" ")
        };
        assert_eq!(shown(&image, "web", "web"), "/cnb/x launch-prepared exec.d /l/exec.d/a -- web");
        assert_eq!(
            shown(&image, "worker", "worker"),
            "/cnb/x launch-prepared exec.d /l/exec.d/a exec.d /l/exec.d/worker/b profile /l/profile.d/c -- worker"
        );
        // A shell beside a direct process is none itself.
        assert_eq!(
            shown(&image, "web", "sh -l"),
            "/cnb/x launch-prepared exec.d /l/exec.d/a profile /l/profile.d/c -- sh -l"
        );
        image.preparations.remove(0);
        assert_eq!(shown(&image, "web", "web"), "web");
    }
}
