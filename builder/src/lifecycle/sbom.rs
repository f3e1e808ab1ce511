//! Software bills of material: what buildpacks say is in their layers, kept with the release as it is.
//!
//! | a buildpack writes | it is kept as |
//! |---|---|
//! | `launch.sbom.EXT`, `build.sbom.EXT` | `launch/ID/sbom.EXT`, `build/ID/sbom.EXT` |
//! | `LAYER.sbom.EXT` | `launch/ID/LAYER/sbom.EXT`, or below `build/` or `cache/`, by the layer's types |
//!
//! `ID` has `_` for `/`. A layer that comes back without its directory has its bill back, too.

use std::fs;
use std::io;
use std::path::Path;

use super::BuildError;
use super::files::{self, Types};
use super::run::{Built, BuiltLayer};
use super::workplace::{Workplace, write_file};
use crate::directory::Directory;

/// The formats of the specification.
const FORMATS: [&str; 3] = ["cdx.json", "spdx.json", "syft.json"];
/// Longest file that is kept.
const LONGEST: u64 = 64 * 1024 * 1024;
/// In which phase what is described is used.
const PHASES: [&str; 3] = ["launch", "build", "cache"];

/// Keeps the bills of all buildpacks.
pub(super) fn keep(workplace: &Workplace<'_>, built: &[Built]) -> Result<(), BuildError> {
    for built in built {
        let id = &built.buildpack.id;
        let from = Directory::open(&workplace.layers(&built.buildpack))
            .map_err(BuildError::io(format!("opening layers of {id}")))?;
        let to = |phase: &str| workplace.request.sbom.join(phase).join(built.buildpack.directory_name());
        for format in FORMATS {
            for phase in ["launch", "build"] {
                keep_one(&from, id, phase, format, &to(phase))?;
            }
            for layer in &built.layers {
                keep_one(&from, id, &layer.name, format, &to(phase(layer)).join(&layer.name))?;
            }
        }
    }
    Ok(())
}

/// Gives a layer that comes back from an earlier build its bills; `layers` is where its buildpack's layers are.
pub(super) fn restore(
    kept: &Path,
    buildpack: &str,
    layer: &str,
    layers: &Directory,
    owner: Option<u32>,
) -> io::Result<()> {
    for (phase, format) in PHASES.iter().flat_map(|phase| FORMATS.map(|format| (phase, format))) {
        let file = kept.join(phase).join(buildpack).join(layer).join(format!("sbom.{format}"));
        match fs::read_to_string(&file) {
            Ok(text) => write_file(layers, format!("{layer}.sbom.{format}").as_bytes(), &text, 0o644, owner)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn phase(layer: &BuiltLayer) -> &'static str {
    match layer.types {
        Types { launch: true, .. } => "launch",
        Types { build: true, .. } => "build",
        Types { .. } => "cache",
    }
}

fn keep_one(from: &Directory, id: &str, of: &str, format: &str, to: &Path) -> Result<(), BuildError> {
    let name = format!("{of}.sbom.{format}");
    let read = from.read(name.as_bytes(), LONGEST).map_err(|error| files::on_reading(id, &name, error))?;
    let Some(bytes) = read else { return Ok(()) };
    if std::str::from_utf8(&bytes).is_err() {
        return Err(BuildError::malformed(id, name, "is not UTF-8 text"));
    }
    let kept = fs::create_dir_all(to).and_then(|()| fs::write(to.join(format!("sbom.{format}")), bytes));
    kept.map_err(BuildError::io(format!("keeping {name} of {id}")))
}
