//! What programs find around them: an image by name, or this machine's own system.

use std::path::PathBuf;

use super::client::{Client, told};
use super::image::{self, Layer};
use crate::EngineError;
use crate::native::base::{Shown, system};

/// See the module.
pub(super) struct Base {
    pub(super) image: String,
    /// Of the host, read-only: sources and targets.
    pub(super) shown: Vec<(PathBuf, PathBuf)>,
}

/// Directories of the host's image, with their modes: where something is mounted.
const PLACES: [(&str, u32); 12] = [
    ("dev/", 0o755),
    ("etc/", 0o755),
    ("home/", 0o755),
    ("home/app/", 0o755),
    ("proc/", 0o555),
    ("root/", 0o700),
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
        seen.map_err(|error| {
            let why = told(&error);
            EngineError::Unsupported(format!("base image {name}: {why}; `docker pull {name}`, or choose another"))
        })?;
        Ok(Self { image: name.to_owned(), shown: Vec::new() })
    }

    /// This machine's system, as airstrip's own sandboxes show it: an image of links and empty directories, over which
    /// the host's are shown.
    pub(super) async fn host(client: &Client) -> Result<Self, EngineError> {
        let mut shown = Vec::new();
        let mut links = vec![("var/run".to_owned(), PathBuf::from("/run"))];
        for (path, how) in system() {
            match how {
                Shown::Link(target) => links.push((path.to_string_lossy().trim_start_matches('/').to_owned(), target)),
                Shown::Bound(source) => shown.push((source, path.to_owned())),
            }
        }
        let layer = Layer::of_links(&PLACES, &links).map_err(|source| failed("make the base image", source))?;
        let name = format!("airstrip-host:{}", layer.short_digest());
        if client.docker().inspect_image(&name).await.is_err() {
            image::load(client, &name, &[layer]).await?;
        }
        Ok(Self { image: name, shown })
    }
}

fn failed(doing: &str, source: std::io::Error) -> EngineError {
    EngineError::Io { doing: doing.to_owned(), source }
}
