//! Images out of the engine and into it, by way of archives on the disk.

use std::path::{Path, PathBuf};

use bollard::errors::Error;
use bollard::query_parameters::{ImportImageOptions, RemoveImageOptions};
use futures_util::{StreamExt, TryStreamExt};
use serde_json::json;
use tokio::io::AsyncWriteExt;

use super::client::{Client, io as docker_failed};
use super::image::{Image, Layer};
use super::{Docker, doing, files, layer};
use crate::{Command, EngineError};

/// The user's home.
pub(super) const HOME: &str = "/home/app";
/// On an image that has files in the user's home.
pub(super) const HOME_LABEL: &str = "airstrip.home";

/// One directory of the host that becomes a part of an image.
#[derive(Debug, Clone, Copy)]
pub struct ImagePart<'a> {
    /// On the host.
    pub source: &'a Path,
    /// Absolute path in the image.
    pub target: &'a Path,
}

/// An image that is to be.
#[derive(Debug, Clone, Copy)]
pub struct ImageSpec<'a> {
    /// `REPOSITORY:TAG`.
    pub name: &'a str,
    /// In order; each becomes a layer over the base.
    pub parts: &'a [ImagePart<'a>],
    /// The number of the user who owns them, and runs the command.
    pub owner: u32,
    /// What it runs if nothing else is asked for.
    pub command: &'a Command,
}

impl Docker {
    /// Writes an image over this engine's base to the file `archive`, in the layout of the Open Container Initiative, which
    /// `docker load` reads, too.
    pub async fn export(&self, spec: &ImageSpec<'_>, archive: &Path) -> Result<(), EngineError> {
        let place = files::one_off(self.shims.run_dir()).map_err(|source| doing(self.shims.run_dir(), source))?;
        let done = self.export_by(spec, archive, &place).await;
        let _ = std::fs::remove_dir_all(place);
        done
    }

    async fn export_by(&self, spec: &ImageSpec<'_>, archive: &Path, place: &Path) -> Result<(), EngineError> {
        let saved = place.join("base.tar");
        save(&self.client, &self.base.image, &saved).await?;
        let parts: Vec<(PathBuf, PathBuf)> =
            spec.parts.iter().map(|part| (part.source.to_owned(), part.target.to_owned())).collect();
        let (owner, command, name) = (spec.owner, spec.command.clone(), spec.name.to_owned());
        let (place, archive) = (place.to_owned(), archive.to_owned());
        let shown = archive.clone();
        let assembled = tokio::task::spawn_blocking(move || {
            let mut image = Image::saved(&saved, &place.join("base"))?;
            for (index, (source, target)) in parts.iter().enumerate() {
                let file = place.join(format!("layer-{index}"));
                layer::write_tree(&file, source, target, owner)?;
                image.add(Layer::of(file)?, &format!("airstrip {}", target.display()));
            }
            let home = parts.iter().any(|(_, target)| target.starts_with(HOME));
            image.configure(json!({
                "Labels": if home { json!({ HOME_LABEL: "image" }) } else { json!(null) },
                "User": format!("{owner}:{owner}"),
                "Entrypoint": null,
                "Cmd": command.argv,
                "Env": command.env.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>(),
                "WorkingDir": command.cwd,
            }));
            image.write(&name, &archive)
        });
        let assembled = assembled.await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        assembled.map_err(|source| EngineError::Io { doing: format!("write the image {}", shown.display()), source })
    }

    /// Has the engine keep the image in `archive`, under the name that is in it.
    pub async fn import(&self, archive: &Path) -> Result<(), EngineError> {
        load(&self.client, archive).await
    }

    /// Has the engine forget an image, unless a container is made of it; does nothing if it knows none of that name.
    pub async fn forget(&self, name: &str) -> Result<(), EngineError> {
        match self.client.docker().remove_image(name, None::<RemoveImageOptions>, None).await {
            Ok(_) | Err(Error::DockerResponseServerError { status_code: 404, .. }) => Ok(()),
            Err(error) => Err(docker_failed(&format!("remove the image {name}"), &error)),
        }
    }
}

/// Writes an image that the engine has into a file.
async fn save(client: &Client, image: &str, file: &Path) -> Result<(), EngineError> {
    let step = format!("save the image {image}");
    let io = |source| EngineError::Io { doing: step.clone(), source };
    let mut out = tokio::fs::File::create(file).await.map_err(io)?;
    let mut bytes = Box::pin(client.docker().export_image(image));
    while let Some(piece) = bytes.next().await {
        out.write_all(&piece.map_err(|error| docker_failed(&step, &error))?).await.map_err(io)?;
    }
    out.flush().await.map_err(io)
}

/// Has the engine keep what is in an archive.
pub(super) async fn load(client: &Client, file: &Path) -> Result<(), EngineError> {
    let step = format!("load the image {}", file.display());
    let io = |source| EngineError::Io { doing: step.clone(), source };
    let input = tokio::fs::File::open(file).await.map_err(io)?;
    let pieces = futures_util::stream::try_unfold(input, |mut input| async move {
        let mut piece = bytes::BytesMut::with_capacity(256 * 1024);
        let length = tokio::io::AsyncReadExt::read_buf(&mut input, &mut piece).await?;
        Ok::<_, std::io::Error>((length > 0).then(|| (piece.freeze(), input)))
    });
    let options = ImportImageOptions { quiet: true, ..Default::default() };
    let answers = client.docker().import_image(options, bollard::body_try_stream(pieces), None);
    answers.try_for_each(|_| async { Ok(()) }).await.map_err(|error| docker_failed(&step, &error))
}
