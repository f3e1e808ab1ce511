//! The ways in which code reaches the pipeline: a push, the tip once more, an archive.

use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gitd::{Incoming, ObjectId, Output, RefUpdate, Repository};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::archive::{MOST_BYTES, ReleaseArchive};
use crate::failure::{Failure, Result};
use crate::names::Version;
use crate::pipeline::{Deployment, Origin};
use crate::platform::Platform;
use crate::source::{Archive, Committed, Pushed};
use crate::store::App;
use crate::turn::{Turn, Wish};

/// A push of one ref of an app.
pub struct Push<'a> {
    /// The ref's change.
    pub update: &'a RefUpdate,
    /// Its objects.
    pub incoming: &'a Incoming,
    /// Who pushes.
    pub actor: &'a str,
    /// How long receiving took.
    pub receive: Duration,
    /// The turn to build, if it was to deploy when it stood in line.
    pub turn: Option<&'a Turn>,
    /// Of the branches of an app's first push the one that deploys.
    pub first: Option<&'a str>,
}

const DRY_RUN: &str = "dry-run";

impl Platform {
    /// Waits for the turn of a push to build; None if nothing of it is to be built.
    pub async fn turn_of_push(
        self: &Arc<Self>,
        app: &App,
        updates: &[RefUpdate],
        actor: &str,
        output: &Output,
    ) -> Result<Option<Turn>> {
        let first = first_branch(app, updates)?;
        let deployed = |update| deployed_branch(app, first, update).ok().flatten();
        let Some((_, commit)) = updates.iter().find_map(deployed) else { return Ok(None) };
        let dry_run = updates.iter().any(|update| asks_for(update, DRY_RUN));
        let (commit, verb) = (commit.to_string(), if dry_run { "Check" } else { "Deploy" });
        let what = format!("{verb} {}", &commit[..7]);
        let wish = Wish { actor, what, commit: Some(&commit), newest: !dry_run };
        self.turn_to_build(app, &wish, output).await.map(Some)
    }

    /// Decides what a pushed ref means: the deploy branch deploys, tags are stored, everything else is refused.
    pub async fn push(self: &Arc<Self>, app: &App, push: &Push<'_>) -> Result<()> {
        let name = push.update.name.as_str();
        let Some((branch, commit)) = deployed_branch(app, push.first, push.update)? else { return Ok(()) };
        let changed = || Failure::new("the deploy branch was changed meanwhile", "push again");
        let (turn, text) = (push.turn.ok_or_else(changed)?, commit.to_string());
        let deployment = Deployment {
            origin: Origin::Tree(&Pushed { incoming: push.incoming, commit }),
            actor: push.actor,
            description: format!("Deploy {}", &text[..7]),
            commit: Some(text.clone()),
            moved: Some((name.to_owned(), text)),
            clean: asks_for(push.update, "no-cache"),
            dry_run: asks_for(push.update, DRY_RUN),
            receive: push.receive,
        };
        self.deploy(app, &deployment, turn).await?;
        if app.deploy_branch.is_none() {
            self.show_branch(app, branch);
        }
        Ok(())
    }

    /// Lets a clone check the deploy branch out. The release serves already: that this fails (the disk may be full)
    /// is for the log, and the next start tries again.
    pub fn show_branch(&self, app: &App, branch: &str) {
        let shown = self.open_repository(app).and_then(|repository| Ok(repository.set_head(branch)?));
        if let Err(error) = shown {
            tracing::warn!(app = %app.name, branch, %error, "pointing HEAD to the deploy branch");
        }
    }

    /// Builds and releases the tip of the deploy branch anew.
    pub async fn rebuild(self: &Arc<Self>, app: &App, actor: &str, output: &Output) -> Result<Version> {
        let none = || Failure::no_release(&app.name);
        let commit = self.deploy_tip(app)?.ok_or_else(none)?.1.commit.to_string();
        let wish = Wish { actor, what: format!("Rebuild {}", &commit[..7]), commit: Some(&commit), newest: false };
        let turn = self.turn_to_build(app, &wish, output).await?;
        let (started, app) = (Instant::now(), &self.as_it_is(app)?);
        // Pushes that it waited for may have moved it.
        let (branch, tip) = self.deploy_tip(app)?.ok_or_else(none)?;
        let text = tip.commit.to_string();
        let deployment = Deployment {
            origin: Origin::Tree(&tip),
            actor,
            description: format!("Rebuild {}", &text[..7]),
            commit: Some(text.clone()),
            moved: Some((format!("refs/heads/{branch}"), text)),
            clean: false,
            dry_run: false,
            receive: started.elapsed(),
        };
        self.deploy(app, &deployment, &turn).await
    }

    /// The deploy branch and its tip, if there is any.
    pub fn deploy_tip<'a>(&self, app: &'a App) -> Result<Option<(&'a str, Committed)>> {
        let Some(branch) = app.deploy_branch.as_deref() else { return Ok(None) };
        let repository = self.open_repository(app)?;
        let commit = repository.find_ref(&format!("refs/heads/{branch}"))?;
        let object_bytes = self.object_bytes;
        Ok(commit.map(|commit| (branch, Committed { repository, commit, object_bytes })))
    }

    /// Deploys a tar or tar.gz: of a tree, or of a release that another server has built.
    pub async fn deploy_archive(
        self: &Arc<Self>,
        app: &App,
        archive: Box<dyn AsyncRead + Send + Unpin>,
        actor: &str,
        output: &Output,
    ) -> Result<Version> {
        let started = Instant::now();
        let limit = |begin: &[u8]| if ReleaseArchive::begins(begin) { MOST_BYTES } else { Archive::MAX_BYTES };
        let file = self.receive(app, archive, limit).await?;
        let copy = file.try_clone().map_err(|e| Failure::io("receiving the archive", &e))?;
        let release = tokio::task::block_in_place(|| self.open_release(copy))?;
        let (tree, description, commit);
        let origin = if let Some(release) = &release {
            let contents = &release.contents;
            description = format!("Deploy {} of {}, built elsewhere", contents.release, contents.app);
            commit = contents.manifest.commit.clone();
            Origin::Release(release)
        } else {
            (tree, description, commit) = (Archive::new(file)?, "Deploy archive".to_owned(), None);
            Origin::Tree(&tree)
        };
        let receive = started.elapsed();
        let wish = Wish { actor, what: description.clone(), commit: commit.as_deref(), newest: false };
        let turn = self.turn_to_build(app, &wish, output).await?;
        let app = &self.as_it_is(app)?;
        let deployment =
            Deployment { origin, actor, description, commit, moved: None, clean: false, dry_run: false, receive };
        self.deploy(app, &deployment, &turn).await
    }

    /// Receives a file without a name; `limit` says how long it may be, by its beginning.
    pub async fn receive(
        &self,
        app: &App,
        mut archive: Box<dyn AsyncRead + Send + Unpin>,
        limit: impl Fn(&[u8]) -> u64,
    ) -> Result<File> {
        let failed = |e: std::io::Error| Failure::io("receiving the archive", &e);
        let mut file = tempfile::tempfile_in(self.home.app(&app.name).root()).map_err(failed)?;
        let mut buffer = vec![0; 64 << 10];
        let (mut received, mut most) = (0, None);
        loop {
            let length = archive.read(&mut buffer).await.map_err(failed)?;
            let most = *most.get_or_insert_with(|| limit(&buffer[..length]));
            received += length as u64;
            match length {
                0 => return Ok(file),
                _ if received > most => return Err(too_large(most)),
                _ => file.write_all(&buffer[..length]).map_err(failed)?,
            }
        }
    }

    fn open_repository(&self, app: &App) -> Result<Repository> {
        Ok(Repository::open(&self.home.app(&app.name).repository())?)
    }
}

fn too_large(limit: u64) -> Failure {
    Failure::new(
        format!("the archive is larger than {} GiB", limit >> 30),
        "keep large files in data/, not in the code",
    )
}

fn asks_for(update: &RefUpdate, option: &str) -> bool {
    update.options.iter().any(|asked| asked == option)
}

/// The branch of an app's first push that is to deploy, where there are several to choose from; None if the app has one already.
pub fn first_branch<'a>(app: &App, updates: &'a [RefUpdate]) -> Result<Option<&'a str>> {
    let created = updates.iter().filter(|update| update.new.is_some());
    let branches: Vec<&str> = created.filter_map(|update| update.name.strip_prefix("refs/heads/")).collect();
    if app.deploy_branch.is_some() || branches.is_empty() {
        return Ok(None);
    }
    let known = ["main", "master"].into_iter().find_map(|name| branches.iter().find(|branch| **branch == name));
    match (known, branches.as_slice()) {
        (Some(branch), _) | (None, [branch]) => Ok(Some(branch)),
        (None, _) => Err(Failure::new(
            format!("{} branches, and none of them is main or master", branches.len()),
            "push the one that is to be deployed by itself: git push REMOTE BRANCH",
        )),
    }
}

/// What a pushed ref deploys; None for a tag. `first` is the one of an app's first push that does.
pub fn deployed_branch<'a>(
    app: &App,
    first: Option<&str>,
    update: &'a RefUpdate,
) -> Result<Option<(&'a str, ObjectId)>> {
    let name = update.name.as_str();
    if name.starts_with("refs/tags/") {
        return Ok(None);
    }
    let branch = name
        .strip_prefix("refs/heads/")
        .ok_or_else(|| Failure::new(format!("{name} is not stored here"), "push a branch or a tag"))?;
    if let Some(deploy_branch) = app.deploy_branch.as_deref().or(first).filter(|known| *known != branch) {
        return Err(other_branch(app, branch, deploy_branch));
    }
    match update.new {
        Some(commit) => Ok(Some((branch, commit))),
        None => Err(Failure::new("the deploy branch cannot be deleted", "to remove the app: apps:destroy")),
    }
}

fn other_branch(app: &App, branch: &str, deploy_branch: &str) -> Failure {
    Failure::new(
        format!("{branch} is not the deploy branch of {}, which is {deploy_branch}", app.name),
        format!(
            "push to it (git push REMOTE {branch}:{deploy_branch}), or change it: git:set {} deploy-branch {branch}",
            app.name
        ),
    )
}
