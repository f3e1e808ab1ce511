//! The environment of a process of an image.

use crate::Image;
use crate::environment::Environment;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EnvAction, EnvChange};

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
}
