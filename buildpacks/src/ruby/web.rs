//! How the app is served, by what its lock file names.

use std::fs;
use std::path::Path;

use libcnb::data::launch::{Process, ProcessBuilder};
use libcnb::data::process_type;

use crate::output;
use crate::program::ToolError;

/// The gems of a `Gemfile.lock`.
#[derive(Debug)]
pub(super) struct Lock(Vec<String>);

impl Lock {
    /// There must be one: what is installed otherwise, nobody has tried.
    pub(super) fn read(app: &Path) -> Result<Self, ToolError> {
        match fs::read(app.join("Gemfile.lock")) {
            Ok(text) => Ok(Self::parse(&String::from_utf8_lossy(&text))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(ToolError::Failed {
                command: "bundle install".to_owned(),
                log: vec!["there is no Gemfile.lock".to_owned()],
            }),
            Err(error) => Err(ToolError::io("reading Gemfile.lock")(error)),
        }
    }

    /// Gems stand four spaces deep, what they need six.
    fn parse(text: &str) -> Self {
        let gems = text.lines().filter_map(|line| line.strip_prefix("    "));
        let gems = gems.filter(|rest| !rest.starts_with(' ')).filter_map(|rest| rest.split(' ').next());
        Self(gems.map(str::to_owned).collect())
    }

    fn has(&self, gem: &str) -> bool {
        self.0.iter().any(|known| known == gem)
    }

    /// Whether `rake assets:precompile` is something that the app knows.
    pub(super) fn compiles_assets(&self, app: &Path) -> bool {
        app.join("Rakefile").is_file() && ["sprockets-rails", "propshaft"].iter().any(|gem| self.has(gem))
    }

    fn command(&self, app: &Path) -> Option<&'static str> {
        if !app.join("config.ru").is_file() {
            return None;
        }
        Some(if self.has("railties") {
            "bundle exec rails server --binding 0.0.0.0 --port $PORT"
        } else if self.has("puma") {
            "bundle exec puma --bind tcp://0.0.0.0:$PORT"
        } else {
            "bundle exec rackup config.ru --host 0.0.0.0 --port $PORT"
        })
    }
}

/// The `web` process, if there is a `config.ru`; says what it is.
pub(super) fn process(app: &Path, lock: &Lock) -> Option<Process> {
    let command = lock.command(app)?;
    output::step("Serving config.ru");
    output::detail(&format!("web: {command}"));
    let mut process = ProcessBuilder::new(process_type!("web"), ["sh", "-c"]);
    Some(process.arg(format!("exec {command}")).default(true).build())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn servers() {
        let app = tempfile::tempdir().unwrap();
        let lock = |gems: &str| Lock::parse(&format!("GEM\n  remote: x\n  specs:\n{gems}\nDEPENDENCIES\n  puma\n"));
        assert_eq!(lock("    puma (6.0)\n").command(app.path()), None);
        fs::write(app.path().join("config.ru"), "").unwrap();
        let cases = [
            (
                "    railties (7.1)\n      rack (>= 2)\n    puma (6.0)\n",
                "bundle exec rails server --binding 0.0.0.0 --port $PORT",
            ),
            ("    puma (6.0)\n      nio4r (~> 2.0)\n", "bundle exec puma --bind tcp://0.0.0.0:$PORT"),
            ("    sinatra (4.0)\n      puma (x)\n", "bundle exec rackup config.ru --host 0.0.0.0 --port $PORT"),
        ];
        for (gems, expected) in cases {
            assert_eq!(lock(gems).command(app.path()), Some(expected), "{gems}");
        }
        assert!(!lock("    propshaft (1)\n").compiles_assets(app.path()));
        fs::write(app.path().join("Rakefile"), "").unwrap();
        assert!(lock("    propshaft (1)\n").compiles_assets(app.path()));
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in "\\PC*", lines in "( |a|\n|\\()*") {
            Lock::parse(&text);
            Lock::parse(&lines);
        }
    }
}
