//! Django's static files: `manage.py collectstatic`, run with the environment that was just provided.
//!
//! An app's configuration is not there in a build. A secret key is not needed to copy files, so one that is missing is made up.

use std::io;
use std::path::Path;
use std::process::Command;

use crate::command::{End, run};
use crate::output;

/// They cannot be collected.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StaticError {
    /// Django said no.
    #[error("collectstatic failed")]
    Failed {
        /// What it printed.
        log: Vec<String>,
    },
    /// It could not be run.
    #[error("running manage.py: {0}")]
    Io(#[from] io::Error),
}

/// Whether there may be some.
pub(super) fn are_wanted(app: &Path) -> bool {
    let manage = std::fs::read(app.join("manage.py")).unwrap_or_default();
    String::from_utf8_lossy(&manage).contains("django")
}

/// As on Heroku.
fn is_disabled() -> bool {
    std::env::var("DISABLE_COLLECTSTATIC").is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false"))
}

/// Collects them, if the project can.
pub(super) fn collect(app: &Path, environment: &Path) -> Result<(), StaticError> {
    if is_disabled() {
        output::step("Not collecting static files: DISABLE_COLLECTSTATIC is set");
        return Ok(());
    }
    if !has_django(environment) {
        return Ok(());
    }
    output::step("Collecting static files using 'python manage.py collectstatic --noinput'");
    let mut log = match attempt(app, environment, None)? {
        Ok(()) => return Ok(()),
        Err(log) => log,
    };
    if let Some(name) = missing_secret(&log) {
        output::detail(&format!("{name} is not set in builds: trying again with a value for this step only"));
        match attempt(app, environment, Some(&name))? {
            Ok(()) => return Ok(()),
            Err(second) => log = second,
        }
    }
    match reason_to_skip(&log) {
        Some(reason) => {
            output::detail(reason);
            Ok(())
        }
        None => Err(StaticError::Failed { log }),
    }
}

fn has_django(environment: &Path) -> bool {
    let pythons = environment.join("lib").read_dir().into_iter().flatten().flatten();
    pythons.map(|python| python.path().join("site-packages/django")).any(|package| package.is_dir())
}

/// Runs it once, with a made-up value of a variable. Inside: what it printed, if it failed.
fn attempt(app: &Path, environment: &Path, secret: Option<&str>) -> io::Result<Result<(), Vec<String>>> {
    const KEPT: usize = 200;
    let bin = environment.join("bin");
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths([bin.clone()].into_iter().chain(std::env::split_paths(&paths)));
    let mut command = Command::new(bin.join("python"));
    command.current_dir(app).args(["manage.py", "collectstatic", "--noinput"]);
    command.env("PATH", path.map_err(io::Error::other)?).env("PYTHONDONTWRITEBYTECODE", "1");
    command.envs(secret.map(|name| (name, "for-this-build-step-only")));
    let mut log: Vec<String> = Vec::new();
    let end = run(&mut command, None, &mut |line| {
        if log.len() == KEPT {
            log.remove(0);
        }
        log.push(line.to_owned());
    })?;
    if matches!(end, End::Exited(status) if status.success()) {
        log.iter().filter(|line| !line.is_empty()).for_each(|line| output::detail(line));
        return Ok(Ok(()));
    }
    Ok(Err(log))
}

/// The variable for a secret key that the settings miss, as various libraries say it.
fn missing_secret(log: &[String]) -> Option<String> {
    let last = log.iter().rev().find(|line| !line.is_empty())?;
    let words = last.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| is_secret(word)).map(str::to_owned).next()
}

fn is_secret(word: &str) -> bool {
    word.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
        && (word.ends_with("SECRET_KEY") || word.ends_with("SECRETKEY") || word == "DJANGO_SECRET")
}

/// Where there is nothing to collect into, or nothing to collect with, a build need not fail.
fn reason_to_skip(log: &[String]) -> Option<&'static str> {
    let text = log.join(" ");
    if text.contains("Unknown command: 'collectstatic'") {
        return Some("Skipped: django.contrib.staticfiles is not among the INSTALLED_APPS");
    }
    let no_root = text.contains("without having set the STATIC_ROOT setting");
    no_root.then_some("Skipped: STATIC_ROOT is not set, so there is nowhere to collect them")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_secrets() {
        let cases = [
            ("KeyError: 'SECRET_KEY'", Some("SECRET_KEY")),
            (
                "decouple.UndefinedValueError: DJANGO_SECRET_KEY not found. Declare it as envvar.",
                Some("DJANGO_SECRET_KEY"),
            ),
            (
                "django.core.exceptions.ImproperlyConfigured: The SECRET_KEY setting must not be empty.",
                Some("SECRET_KEY"),
            ),
            ("KeyError: 'DATABASE_URL'", None),
            ("", None),
        ];
        for (line, expected) in cases {
            let log = ["Traceback", line, ""].map(str::to_owned);
            assert_eq!(missing_secret(&log).as_deref(), expected, "{line}");
        }
    }
}
