//! A release as an image, which starts it as the platform does: this program is in it, as its launcher (see
//! [`builder::launcher::exported`]).

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use builder::launcher::exported::{self, DESCRIPTION, PROCESSES};
use serde_json::{Value, json};

use super::Export;
use crate::archive::{Contents, Tree};
use crate::instance::{CODE, DATA, ENV, PORT, USER_HOME, image_environment};
use crate::names::ProcessType;
use crate::oci::{self, Base, Description};
use crate::toolchain::PROGRAM;

/// An image is run by this user and group.
const USER: u32 = 1000;

impl Export {
    /// Writes an image over `base`: the release's code, layers and interpreter, and how its web process is run. `toolchain` are
    /// the trees of the interpreters that it names.
    pub fn write_image(&self, base: &Base, toolchain: &[Tree], to: impl Write) -> io::Result<()> {
        let architecture = architecture(&self.contents.architecture);
        if base.architecture.as_ref().is_some_and(|other| other != architecture) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("the base is not for {architecture}")));
        }
        let name = format!("{}:{}", self.contents.app, self.contents.release);
        oci::write(&Description { name, architecture, config: self.config() }, base, &self.layers(toolchain)?, to)
    }

    fn layers(&self, toolchain: &[Tree]) -> io::Result<Vec<oci::Layer>> {
        let image = &self.contents.manifest.image;
        // What changes least comes first.
        let interpreters = toolchain.iter().map(|tree| (tree, tree.root.as_path(), 0));
        let own = self.trees.layers.iter().zip(&image.layers).map(|(tree, layer)| (tree, layer.target.as_path(), 0));
        let code = [(&self.trees.code, Path::new(CODE), USER)];
        let parts: Vec<_> = interpreters.chain(own).chain(code).collect();
        let texts = vec![(below_root(DESCRIPTION), exported::describe(image).map_err(io::Error::other)?)];
        let links = self.links();
        let targets = parts.iter().map(|(_, target, _)| below_root(target));
        let named = links.iter().map(|(path, _)| path).chain(texts.iter().map(|(path, _)| path)).cloned();
        let directories =
            places(targets.chain(named).chain([below_root(exported::PROGRAM), below_root(DATA).join("x")]));
        let first = oci::Layer::Places { directories, links, texts };
        let trees = parts.into_iter().map(|(tree, target, owner)| oci::Layer::Tree {
            tree: tree.clone(),
            target: below_root(target),
            owner,
        });
        Ok([first, launcher()?].into_iter().chain(trees).collect())
    }

    /// The virtualenv, and the launcher under the names that it answers to.
    fn links(&self) -> Vec<(PathBuf, PathBuf)> {
        let image = &self.contents.manifest.image;
        let env = image.layers.iter().find(|layer| layer.name == "env");
        let env = env.map(|env| (below_root(ENV), env.target.clone()));
        let processes = image.processes.iter().map(|process| below_root(PROCESSES).join(&process.name));
        let launchers = processes.chain([below_root(PROGRAM)]).map(|link| (link, exported::PROGRAM.into()));
        env.into_iter().chain(launchers).collect()
    }

    /// How the web process, else the first there is, is run. The app's own configuration is not part of it.
    fn config(&self) -> Value {
        let Contents { app, release, manifest, .. } = &self.contents;
        let process = manifest.kinds().find(ProcessType::is_web).or_else(|| manifest.kinds().next());
        let entrypoint = process.map_or(exported::PROGRAM.into(), |kind| format!("{PROCESSES}/{kind}"));
        let env = image_environment().into_iter().chain([
            ("AIRSTRIP_APP", app.to_string()),
            ("AIRSTRIP_RELEASE", release.to_string()),
            ("GIT_REV", manifest.commit.clone().unwrap_or_default()),
        ]);
        json!({
            "User": format!("{USER}:{USER}"),
            "WorkingDir": CODE,
            "Env": env.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>(),
            "Entrypoint": [entrypoint],
            "ExposedPorts": { format!("{PORT}/tcp"): {} },
            "Labels": {
                "org.opencontainers.image.title": app.as_str(),
                "org.opencontainers.image.version": release.to_string(),
                "org.opencontainers.image.revision": manifest.commit.clone().unwrap_or_default(),
                "airstrip.built-on": self.contents.system,
                "io.buildpacks.build.metadata": self.build_metadata().to_string(),
            },
        })
    }

    /// What the specification of platforms wants told of a build.
    fn build_metadata(&self) -> Value {
        let image = &self.contents.manifest.image;
        let named = image.buildpacks.iter().filter_map(|name| name.split_once('@'));
        let processes = image.processes.iter().map(|process| {
            let (command, args) = process.argv.split_at(process.argv.len().min(1));
            json!({ "type": process.name, "command": command, "args": args, "direct": process.direct })
        });
        json!({
            "buildpacks": named.map(|(id, version)| json!({ "id": id, "version": version })).collect::<Vec<_>>(),
            "processes": processes.collect::<Vec<_>>(),
            "launcher": { "version": env!("CARGO_PKG_VERSION") },
        })
    }
}

/// This program, whatever has become of its file.
fn launcher() -> io::Result<oci::Layer> {
    let file = File::open("/proc/self/exe")?;
    Ok(oci::Layer::Program { size: file.metadata()?.len(), file, target: below_root(exported::PROGRAM) })
}

fn below_root(path: impl AsRef<Path>) -> PathBuf {
    let path = path.as_ref();
    path.strip_prefix("/").unwrap_or(path).to_owned()
}

/// The directories that these are in, and whose they are.
fn places(targets: impl Iterator<Item = PathBuf>) -> Vec<(PathBuf, u32)> {
    let above = |target: PathBuf| target.ancestors().skip(1).map(Path::to_owned).collect::<Vec<_>>();
    let all: BTreeSet<PathBuf> = targets.flat_map(above).filter(|path| !path.as_os_str().is_empty()).collect();
    let home = below_root(USER_HOME);
    let owner = |path: &PathBuf| if path.starts_with(&home) { USER } else { 0 };
    all.into_iter().map(|path| (path.clone(), owner(&path))).collect()
}

/// As images name processors.
fn architecture(name: &str) -> &'static str {
    match name {
        "aarch64" => "arm64",
        "arm" => "arm",
        "riscv64" => "riscv64",
        _ => "amd64",
    }
}
