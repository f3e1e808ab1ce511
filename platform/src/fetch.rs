//! Buildpacks from git repositories elsewhere. The machine's git fetches them in a sandbox of builds, with nothing in it but an empty
//! directory; what it leaves is an archive, which is treated as one that somebody sent.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use builder::{Bind, BuildError, Buildpack, Sandbox, Step, StepExit};
use gitd::Output;
use tokio_util::task::TaskTracker;

use crate::bounds::Bounds;
use crate::build::ToUser;
use crate::failure::{Failure, Result};
use crate::instance::owner;
use crate::limits::Settings;
use crate::names::AppName;
use crate::packages::{self, Repository};
use crate::platform::Platform;
use crate::sandbox::BuildSandbox;
use crate::store::AppId;
use crate::toolchain::BuildTools;

/// How long it may take.
const LIMIT: Duration = Duration::from_secs(300);
/// Where the empty directory is inside.
const PLACE: &str = "/fetched";
/// For the sandboxes' names.
const NAME: &str = "buildpacks";
/// The number of no app: whose user fetches.
const NOBODYS: AppId = AppId(0);
const OTHERWISE: &str = "or send it as a tar: tar cz -C DIRECTORY . | ssh airstrip@HOST buildpacks:install";

impl Platform {
    /// Installs the buildpacks of a repository.
    pub async fn fetch_buildpacks(&self, from: &Repository, replace: bool, output: &Output) -> Result<Vec<Buildpack>> {
        let no_git = || Failure::new("there is no git on the server", format!("install it there, {OTHERWISE}"));
        let git = self.toolchain.git().ok_or_else(no_git)?;
        let root = self.home.buildpacks();
        let failed = |e: io::Error| Failure::io(root.display(), &e);
        let directory = packages::aside(&root).map_err(failed)?;
        for part in [PLACE, "/tmp"] {
            let part = directory.path().join(part.trim_start_matches('/'));
            std::fs::create_dir(&part).map_err(failed)?;
            std::os::unix::fs::lchown(&part, owner(NOBODYS), owner(NOBODYS)).map_err(failed)?;
        }
        output.line(&format!("-----> Fetching {from}")).await;
        self.fetch(&git, from, directory.path(), output).await?;
        let archive = open(&directory.path().join("fetched/archive.tar"))?;
        let home = self.home.clone();
        let installed = tokio::task::spawn_blocking(move || packages::install(&home, archive, replace)).await;
        installed.map_err(|e| Failure::plain(e.to_string()))?
    }

    /// Runs git in a sandbox, below `directory`.
    async fn fetch(&self, git: &Path, from: &Repository, directory: &Path, output: &Output) -> Result<()> {
        let name: AppName = NAME.parse().map_err(|_| Failure::plain("no name for a sandbox"))?;
        let bounds = Bounds::new(&name, Settings::default().of_builds());
        let given = self.toolchain.for_fetch().await;
        let sandbox = BuildSandbox {
            platform: self,
            app: &name,
            uid: owner(NOBODYS).unwrap_or_else(|| nix::unistd::geteuid().as_raw()),
            bounds: &bounds,
            own_addresses: given.own_addresses.clone(),
            directory,
            tmp: directory.join("tmp"),
            steps: TaskTracker::new(),
        };
        let steps = [clone(from), archive()].map(|words| step(git, words, directory, &given));
        let work = tokio::time::timeout(LIMIT, run(&sandbox, &steps, output));
        let work = async { work.await.unwrap_or(Err(BuildError::TimedOut { phase: "fetch", limit: LIMIT })) };
        let result = bounds.hold(work, directory, output.cancelled()).await;
        sandbox.ended().await;
        let failed =
            |why: &str| Failure::new(format!("{from} is not fetched: {why}"), format!("correct that, {OTHERWISE}"));
        match bounds.judge(result) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(BuildError::Failed { how, .. })) => Err(failed(&format!("git {how}"))),
            Ok(Err(error)) => Err(failed(&error.to_string())),
            Err(passed) => Err(failed(passed.message.trim_start_matches("build failed: "))),
        }
    }
}

async fn run(sandbox: &dyn Sandbox, steps: &[Step], output: &Output) -> std::result::Result<(), BuildError> {
    for step in steps {
        match sandbox.run(step, &ToUser(output)).await? {
            StepExit::Status(0) => {}
            StepExit::Status(status) => return Err(failed(format!("exited with status {status}"))),
            StepExit::Signal(signal) => return Err(failed(format!("was killed by signal {signal}"))),
        }
    }
    Ok(())
}

fn failed(how: String) -> BuildError {
    BuildError::Failed { buildpack: NAME.to_owned(), how }
}

/// Without a work tree: no filter or link of the repository has a meaning.
fn clone(from: &Repository) -> Vec<String> {
    let fixed = "clone --quiet --bare --depth=1 --single-branch --no-tags --template=";
    let branch = from.revision().map(|revision| format!("--branch={revision}"));
    let words = fixed.split(' ').map(str::to_owned).chain(branch);
    words.chain(["--".to_owned(), from.url().to_owned(), format!("{PLACE}/repository")]).collect()
}

fn archive() -> Vec<String> {
    let words = format!("--git-dir={PLACE}/repository archive --format=tar --output={PLACE}/archive.tar HEAD");
    words.split(' ').map(str::to_owned).collect()
}

fn step(git: &Path, words: Vec<String>, directory: &Path, given: &BuildTools) -> Step {
    let transports = ["protocol.allow=never", "protocol.https.allow=always", "protocol.http.allow=always"];
    let settings = transports.iter().flat_map(|setting| ["-c".to_owned(), (*setting).to_owned()]);
    let own = [
        ("PATH", "/usr/local/bin:/usr/bin:/bin"),
        ("HOME", crate::instance::USER_HOME),
        ("LANG", "C.UTF-8"),
        ("GIT_TERMINAL_PROMPT", "0"),
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_CONFIG_GLOBAL", "/dev/null"),
    ];
    let own = own.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let place = Bind { source: directory.join("fetched"), target: PLACE.into(), writable: true };
    Step {
        name: "fetch".to_owned(),
        argv: std::iter::once(git.to_string_lossy().into_owned()).chain(settings).chain(words).collect(),
        env: given.env.iter().cloned().chain(own).collect(),
        cwd: PLACE.into(),
        binds: given.binds.iter().cloned().chain([place]).collect(),
        symlinks: Vec::new(),
        network: true,
        owner: None,
    }
}

/// What git has written; the directory was the sandbox's.
fn open(path: &PathBuf) -> Result<File> {
    let failed = |e: &io::Error| Failure::io("the fetched archive", e);
    let flags = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK;
    let file = File::options().read(true).custom_flags(flags).open(path).map_err(|e| failed(&e))?;
    let found = file.metadata().map_err(|e| failed(&e))?;
    if !found.is_file() || found.len() > packages::MOST_BYTES {
        return Err(Failure::plain(format!("the repository holds more than {} MiB", packages::MOST_BYTES >> 20)));
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn git_is_told_what_it_may_do() {
        let from: Repository = "https://host/pack.git#v1".parse().unwrap();
        let step = step(Path::new("/usr/bin/git"), clone(&from), Path::new("/aside"), &BuildTools::default());
        insta::assert_snapshot!(step.argv.join(" "), @"/usr/bin/git -c protocol.allow=never -c protocol.https.allow=always -c protocol.http.allow=always clone --quiet --bare --depth=1 --single-branch --no-tags --template= --branch=v1 -- https://host/pack.git /fetched/repository");
    }

    #[test]
    fn only_a_file_is_opened() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        std::fs::write(path("file"), "tar").unwrap();
        assert!(open(&path("file")).is_ok());
        std::os::unix::fs::symlink("file", path("link")).unwrap();
        assert!(open(&path("link")).is_err());
        assert!(open(&root.path().to_owned()).is_err());
        assert!(open(&path("nothing")).is_err());
    }
}
