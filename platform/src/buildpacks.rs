//! Operations on buildpacks themselves: installing them, and explaining which would build an app.

use std::io::{Seek, Write};
use std::path::Path;

use builder::order::Entry;
use builder::reference::Reference;
use builder::{Buildpack, GroupVerdict};
use gitd::Output;
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::bounds::Bounds;
use crate::build::{explain, lay_out};
use crate::failure::{Failure, Result};
use crate::instance::owner;
use crate::packages;
use crate::platform::Platform;
use crate::release;
use crate::store::App;

/// Which buildpacks would build an app.
#[derive(Debug)]
pub struct Detection {
    /// What was looked at, and with which buildpacks.
    pub of: String,
    /// Every group that there is, in order.
    pub groups: Vec<GroupVerdict>,
}

impl Platform {
    /// Installs the buildpacks of an archive.
    pub async fn install_buildpacks(
        &self,
        mut archive: Box<dyn AsyncRead + Send + Unpin>,
        replace: bool,
        output: &Output,
    ) -> Result<Vec<Buildpack>> {
        let failed = |e: std::io::Error| Failure::io("receiving the archive", &e);
        let mut file = tempfile::tempfile_in(self.home.buildpacks()).map_err(failed)?;
        let receive = async {
            let mut buffer = vec![0; 64 << 10];
            let mut received = 0;
            while let length @ 1.. = archive.read(&mut buffer).await.map_err(failed)? {
                received += length as u64;
                if received > packages::MOST_BYTES {
                    return Err(Failure::plain(format!(
                        "the archive is larger than {} MiB",
                        packages::MOST_BYTES >> 20
                    )));
                }
                file.write_all(&buffer[..length]).map_err(failed)?;
            }
            file.rewind().map_err(failed)
        };
        output.cancelled().run_until_cancelled(receive).await.ok_or_else(|| Failure::plain("cancelled"))??;
        let home = self.home.clone();
        let installed = tokio::task::spawn_blocking(move || packages::install(&home, file, replace)).await;
        installed.map_err(|e| Failure::plain(e.to_string()))?
    }

    /// Removes the buildpacks that an entry means, all versions if it names none, and gives their names. None if anybody is known to
    /// need one of them.
    pub fn uninstall_buildpacks(&self, entry: &Entry) -> Result<Vec<String>> {
        let known = self.known_buildpacks()?;
        let meant = |buildpack: &Buildpack| {
            buildpack.id == entry.id && entry.version.as_ref().is_none_or(|version| *version == buildpack.version)
        };
        let (gone, left): (Vec<_>, Vec<_>) = known.iter().cloned().partition(meant);
        if gone.is_empty() {
            return Err(Failure::new(
                format!("there is no buildpack {entry} on this server"),
                "`buildpacks` lists them",
            ));
        }
        if gone.iter().any(|buildpack| self.buildpacks.iter().any(|own| own.id == buildpack.id)) {
            return Err(Failure::plain(format!("{entry} is one of the built-in buildpacks")));
        }
        let users = self.users_of_buildpacks(&known, &left)?;
        if !users.is_empty() {
            let remedy = "`buildpacks:remove APP BUILDPACK` takes it from an app, `buildpacks:clear APP` all";
            return Err(Failure::new(format!("{entry} is used by {}", users.join(", ")), remedy));
        }
        tokio::task::block_in_place(|| packages::uninstall(&self.home, &gone))?;
        Ok(gone.iter().map(Buildpack::name).collect())
    }

    /// Who names something that is among `known`, and would not be among those that are `left`.
    fn users_of_buildpacks(&self, known: &[Buildpack], left: &[Buildpack]) -> Result<Vec<String>> {
        let lost = |entry: &Entry| entry.find(known).is_some() && entry.find(left).is_none();
        let chosen = |reference: &Reference| matches!(reference, Reference::Known(entry) if lost(entry));
        let apps = self.store.apps()?.into_iter().filter(|app| app.buildpacks.iter().any(chosen));
        let composed = |buildpack: &&Buildpack| buildpack.order.0.iter().any(|group| group.group.iter().any(lost));
        let composites = left.iter().filter(composed).map(Buildpack::name);
        Ok(apps.map(|app| format!("the app {}", app.name)).chain(composites).collect())
    }

    /// Runs only the detects, on the deploy branch's tip or, without one, on the current release's code.
    pub async fn explain_buildpacks(&self, app: &App, output: &Output) -> Result<Detection> {
        let directory = self.build_directory(app)?;
        let (of, buildpacks) = tokio::task::block_in_place(|| {
            let of = self.lay_out_tip(app, &release::code(directory.path()))?;
            Ok::<_, Failure>((of, self.buildpacks_for(app, directory.path())?))
        })?;
        let with = buildpacks.described().unwrap_or_else(|| "the built-in buildpacks".into());
        let tools =
            self.toolchain.for_build(&release::code(directory.path()), buildpacks.chosen_by.is_some(), output).await;
        let recipe = self.recipe(app, directory.path(), buildpacks, tools, true);
        let bounds = Bounds::new(&app.name, app.terms.limits.of_builds());
        let sandbox = self.build_sandbox(app, &recipe, &bounds, directory.path());
        let request = recipe.request();
        let detect = Box::pin(builder::explain(&request, &sandbox));
        let groups = bounds.hold(detect, directory.path(), output.cancelled()).await;
        sandbox.ended().await;
        let groups = bounds.judge(groups)?.map_err(|error| explain(error, app))?;
        Ok(Detection { of: format!("{of}; {with}"), groups })
    }

    /// Writes the tree that a build would begin with, and gives its name for people.
    fn lay_out_tip(&self, app: &App, code: &Path) -> Result<String> {
        if let Some((branch, tip)) = self.deploy_tip(app)? {
            lay_out(code, app, &tip)?;
            return Ok(format!("commit {} of {branch}", &tip.commit.to_string()[..7]));
        }
        let release = self.current(app)?;
        let copied = std::fs::remove_dir(code).and_then(|()| builder::copy_code(&release.code, code, owner(app.id)));
        copied.map_err(|e| Failure::io(release.code.display(), &e))?;
        Ok(format!("the code of {}", release.version))
    }
}
