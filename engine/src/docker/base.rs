//! What programs find around them: an image by name, or this machine's own system.

use std::path::{Path, PathBuf};

use super::client::{Client, told};
use super::image::{Image, Layer};
use super::{files, layer, transfer};
use crate::EngineError;
use crate::native::base::{Shown, system};

/// See the module.
pub(super) struct Base {
    pub(super) image: String,
    /// Of the host, read-only: sources and targets.
    pub(super) shown: Vec<(PathBuf, PathBuf)>,
    /// The image has files in the user's home, so that no empty directory may hide them.
    pub(super) has_home: bool,
}

/// Directories of the host's image, with their modes: where something is mounted. What is mounted below root's home (an
/// interpreter installed there) is for every user.
const PLACES: [(&str, u32); 12] = [
    ("dev/", 0o755),
    ("etc/", 0o755),
    ("home/", 0o755),
    ("home/app/", 0o755),
    ("proc/", 0o555),
    ("root/", 0o755),
    ("run/", 0o755),
    ("sys/", 0o555),
    ("tmp/", 0o1777),
    ("var/", 0o755),
    ("var/tmp/", 0o1777),
    (".airstrip/", 0o755),
];

impl Base {
    /// An image that the engine has.
    pub(super) async fn image(client: &Client, name: &str) -> Result<Self, EngineError> {
        let seen = client.docker().inspect_image(name).await;
        let seen = seen.map_err(|error| {
            let why = told(&error);
            EngineError::Unsupported(format!("base image {name}: {why}; `docker pull {name}`, or choose another"))
        })?;
        let labels = seen.config.and_then(|config| config.labels).unwrap_or_default();
        let has_home = labels.contains_key(transfer::HOME_LABEL);
        Ok(Self { image: name.to_owned(), shown: Vec::new(), has_home })
    }

    /// This machine's system, as airstrip's own sandboxes show it: an image of links and empty directories, over which
    /// the host's are shown.
    pub(super) async fn host(client: &Client, run_dir: &Path) -> Result<Self, EngineError> {
        let mut shown = Vec::new();
        let mut links = vec![("var/run".to_owned(), PathBuf::from("/run"))];
        for (path, how) in system() {
            match how {
                Shown::Link(target) => links.push((path.to_string_lossy().trim_start_matches('/').to_owned(), target)),
                Shown::Bound(source) => shown.push((source, path.to_owned())),
            }
        }
        let place = files::one_off(run_dir).map_err(|source| failed("make a directory", source))?;
        let image = Self::keep_host_image(client, &place, &links).await;
        let _ = std::fs::remove_dir_all(place);
        Ok(Self { image: image?, shown, has_home: false })
    }

    /// The image's name says what is in it.
    async fn keep_host_image(
        client: &Client,
        place: &Path,
        links: &[(String, PathBuf)],
    ) -> Result<String, EngineError> {
        let (file, archive) = (place.join("layer"), place.join("archive"));
        let made = layer::write_links(&file, &PLACES, links).and_then(|()| Layer::of(file));
        let made = made.map_err(|source| failed("make the base image", source))?;
        let name = format!("airstrip-host:{}", &made.digest()[..16]);
        if client.docker().inspect_image(&name).await.is_err() {
            let mut image = Image::empty();
            image.add(made, "airstrip");
            image.write(&name, &archive).map_err(|source| failed("write the base image", source))?;
            transfer::load(client, &archive).await?;
        }
        Ok(name)
    }
}

fn failed(doing: &str, source: std::io::Error) -> EngineError {
    EngineError::Io { doing: doing.to_owned(), source }
}
