//! What builds find on this machine: the Python interpreter, the installer, and the operator's settings for package tools.
//!
//! The default interpreter is probed once, at start, on the host (it is the operator's, not an app's); others are looked for by name
//! and shown, and a build that wants one asks it. The installer is fetched once from the package index, pinned by hash, if the
//! machine has none.

mod apt;
mod languages;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use builder::{Bind, Image};
use gitd::Output;
use serde::Deserialize;
use tokio::process::Command;
use tokio::sync::OnceCell;

use self::languages::Languages;
use crate::failure::{Failure, Result};
use crate::network;

/// Where tools that were fetched appear inside a build.
const TOOLS: &str = "/cnb/tools/bin";
/// Where this program appears inside a build: the built-in buildpacks' executables point to it.
pub const PROGRAM: &str = "/cnb/airstrip";
/// What every sandbox shows anyway.
const BASE_SYSTEM: [&str; 6] = ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc/ssl"];
/// Variables of the operator that builds are given, by prefix or whole name.
const PASSED: [&str; 24] = [
    "BUNDLE_MIRROR__",
    "CARGO_HTTP_",
    "CARGO_NET_",
    "GOPROXY",
    "GONOPROXY",
    "GOSUMDB",
    "GOPRIVATE",
    "NPM_CONFIG_",
    "npm_config_",
    "NODE_EXTRA_CA_CERTS",
    "PIP_",
    "UV_",
    "SSL_CERT_",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
];

/// The tools of this machine.
#[derive(Debug)]
pub struct Toolchain {
    python: Option<Python>,
    /// Interpreters besides the default one: programs like `python3.12`.
    others: Vec<PathBuf>,
    program: PathBuf,
    tools: PathBuf,
    installer: OnceCell<Option<PathBuf>>,
    languages: Languages,
}

/// The `python3` on the server's `PATH`, with whatever shims there are resolved.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Python {
    executable: PathBuf,
    prefix: PathBuf,
    version: String,
    soabi: String,
}

/// Asked of the interpreter: where it really is, and what its packages must be built for.
const PROBE: &str = "import json, os, sys, sysconfig
executable = os.path.realpath(getattr(sys, '_base_executable', sys.executable))
print(json.dumps({'executable': executable, 'prefix': os.path.realpath(sys.base_prefix),
    'version': '%d.%d.%d' % sys.version_info[:3], 'soabi': sysconfig.get_config_var('SOABI') or ''}))";

/// How long the probe may take.
const PROBE_LIMIT: Duration = Duration::from_secs(20);
/// How long fetching the installer may take.
const FETCH_LIMIT: Duration = Duration::from_secs(120);

/// What a build is given of this machine.
#[derive(Debug, Default)]
pub struct BuildTools {
    /// Shown read-only.
    pub binds: Vec<Bind>,
    /// Environment of build tools.
    pub env: Vec<(String, String)>,
    /// The operator's own proxies and indexes, which builds may reach wherever they are.
    pub own_addresses: Vec<SocketAddr>,
    /// Where interpreters are, the default one's first, as far as they are no part of the base system.
    interpreters: Vec<PathBuf>,
}

impl BuildTools {
    /// Shows the files that the environment names, and lets in the addresses that they and `more` name.
    async fn give_settings(&mut self, more: Vec<PathBuf>) {
        let files = operator_files(&self.env);
        let named: Vec<PathBuf> = files.iter().map(|bind| bind.source.clone()).chain(more).collect();
        self.own_addresses = network::operators_own(&self.env, &named).await;
        self.binds.extend(files);
    }

    /// Directories that a release needs at the same path: those of the interpreters that its layers lead to, else the default one's.
    pub fn needed_at_launch(&self, image: &Image, store: &Path) -> Vec<PathBuf> {
        let layers = image.layers.iter().map(|layer| store.join(layer.digest.as_str()).join("bin"));
        let links = layers.flat_map(|bin| ["python", "node", "ruby"].map(|name| bin.join(name)));
        let programs: Vec<PathBuf> = links.filter_map(|link| link.read_link().ok()).collect();
        if programs.is_empty() {
            return self.interpreters.iter().take(1).cloned().collect();
        }
        let is_used = |prefix: &&PathBuf| programs.iter().any(|program| program.starts_with(prefix));
        self.interpreters.iter().filter(is_used).cloned().collect()
    }
}

impl Toolchain {
    /// Looks at the machine. `tools` is where programs that must be fetched are kept.
    pub async fn probe(tools: PathBuf) -> Result<Self> {
        let program = std::env::current_exe().map_err(|e| Failure::io("finding this program", &e))?;
        let python = probe_python().await;
        match &python {
            Ok(python) => {
                tracing::info!(version = python.version, executable = %python.executable.display(), "python3 found");
            }
            Err(reason) => tracing::warn!(reason, "no python3: Python apps cannot be built"),
        }
        let python = python.ok();
        let others = other_pythons(python.as_ref());
        Ok(Self { python, others, program, tools, installer: OnceCell::new(), languages: Languages::default() })
    }

    /// This program's file, if it is there now.
    pub fn program(&self) -> Option<&Path> {
        self.program.exists().then_some(self.program.as_path())
    }

    /// Whether there is something at this path that instances can be shown: of the base system, or of an
    /// interpreter that is known by now.
    pub fn has(&self, path: &Path) -> bool {
        let default = self.python.iter().map(|python| python.prefix.as_path());
        let others = self.others.iter().filter_map(|program| prefix_of(program));
        let of_python = default.chain(others).any(|prefix| path.starts_with(prefix));
        (of_python || self.languages.have(path) || in_base_system(path)) && path.exists()
    }

    /// What a build of the tree at `code` gets, with buildpacks of others or just the built-in ones. Fetches the installer at the first
    /// call; without it builds use pip.
    pub async fn for_build(&self, code: &Path, others: bool, output: &Output) -> BuildTools {
        let mut given = BuildTools { env: operator_env(), ..BuildTools::default() };
        let mut path: Vec<String> = Vec::new();
        given.binds.push(read_only(&self.program, PROGRAM));
        if let Some(installer) = self.installer(output).await {
            given.binds.push(read_only(&installer, &format!("{TOOLS}/{}", buildpacks::UV.name)));
            path.push(TOOLS.into());
        }
        if let Some(python) = &self.python {
            python.give(&mut given, &mut path);
        }
        given.env.push(("HOME".into(), crate::instance::USER_HOME.into()));
        self.give_others(&mut given);
        self.give_languages(code, &mut given, &mut path, output).await;
        path.extend(["/usr/local/bin", "/usr/bin", "/bin"].map(String::from));
        given.env.push(("PATH".into(), path.join(":")));
        let settings = if others {
            given.binds.extend(apt::shown());
            apt::settings()
        } else {
            Vec::new()
        };
        given.give_settings(settings).await;
        given
    }

    /// What a program that fetches something is given: the operator's settings.
    pub async fn for_fetch(&self) -> BuildTools {
        let mut given = BuildTools { env: operator_env(), ..BuildTools::default() };
        given.give_settings(Vec::new()).await;
        given
    }

    /// The machine's git, if it is where every sandbox shows it.
    pub fn git(&self) -> Option<PathBuf> {
        find_in_path("git").filter(|found| in_base_system(found))
    }

    fn give_others(&self, given: &mut BuildTools) {
        for prefix in self.others.iter().filter_map(|program| prefix_of(program)) {
            if !in_base_system(prefix) && !given.interpreters.iter().any(|known| known == prefix) {
                given.binds.push(read_only(prefix, &prefix.to_string_lossy()));
                given.interpreters.push(prefix.to_owned());
            }
        }
        let programs = std::env::join_paths(&self.others).unwrap_or_default();
        // A name that is nowhere keeps a build from looking for others by itself.
        let list = if programs.is_empty() { "none".into() } else { programs.to_string_lossy().into_owned() };
        given.env.push(("BP_PYTHONS".into(), list));
    }

    /// The installer outside, if it must be shown; None if it is part of the base system or cannot be had.
    async fn installer(&self, output: &Output) -> Option<PathBuf> {
        self.installer.get_or_init(|| self.find_installer(output)).await.clone()
    }

    async fn find_installer(&self, output: &Output) -> Option<PathBuf> {
        let tool = buildpacks::UV;
        if let Some(found) = find_in_path(tool.name) {
            return (!in_base_system(&found)).then_some(found);
        }
        let home = self.tools.join(format!("{}-{}", tool.name, tool.version));
        let kept = home.join("bin").join(tool.name);
        if kept.exists() {
            return Some(kept);
        }
        output.line(&format!("       Fetching {} {}, once for this server", tool.name, tool.version)).await;
        match self.fetch(&tool, &home).await {
            Ok(()) => Some(kept),
            Err(reason) => {
                tracing::warn!(tool = tool.name, reason, "cannot be fetched; builds use pip");
                None
            }
        }
    }

    /// Fetches a tool by hash into a directory aside, then gives it its name.
    async fn fetch(&self, tool: &buildpacks::Tool, home: &Path) -> std::result::Result<(), String> {
        let text = |e: std::io::Error| e.to_string();
        let python = self.python.as_ref().ok_or("there is no python3")?;
        let aside = tempfile::Builder::new().prefix(".fetch-").tempdir_in(&self.tools).map_err(text)?;
        let list = aside.path().join("requirements.txt");
        std::fs::write(&list, tool.requirements).map_err(text)?;
        let target = aside.path().join("tool");
        let mut pip = Command::new(&python.executable);
        pip.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "--no-compile",
            "--require-hashes",
        ]);
        pip.arg("--only-binary=:all:").arg("--target").arg(&target).arg("-r").arg(&list);
        run(pip, FETCH_LIMIT).await?;
        std::fs::set_permissions(&target, std::os::unix::fs::PermissionsExt::from_mode(0o755)).map_err(text)?;
        std::fs::rename(&target, home).map_err(text)?;
        crate::home::sync_directory(&self.tools).map_err(text)
    }
}

impl Python {
    fn give(&self, given: &mut BuildTools, path: &mut Vec<String>) {
        if !in_base_system(&self.prefix) {
            given.binds.push(read_only(&self.prefix, &self.prefix.to_string_lossy()));
            given.interpreters.push(self.prefix.clone());
            path.push(self.prefix.join("bin").to_string_lossy().into_owned());
        }
        given.env.push(("BP_PYTHON".into(), self.executable.to_string_lossy().into_owned()));
        given.env.push(("BP_PYTHON_VERSION".into(), self.version.clone()));
        given.env.push(("BP_PYTHON_SOABI".into(), self.soabi.clone()));
        given.env.push(("BP_PYTHON_ENV".into(), crate::instance::ENV.into()));
    }
}

/// Programs named like `python3.12`, on the `PATH` and where version managers keep them. Nothing is started.
fn other_pythons(default: Option<&Python>) -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut found: Vec<PathBuf> = Vec::new();
    for directory in managed_versions().into_iter().chain(std::env::split_paths(&path)) {
        let programs = listed(&directory).into_iter().filter(|program| is_python(program) && is_native(program));
        for program in programs.filter_map(|program| program.canonicalize().ok()) {
            if default.is_none_or(|default| default.executable != program) && !found.contains(&program) {
                found.push(program);
            }
        }
    }
    found
}

/// Where pyenv and uv keep their interpreters.
fn managed_versions() -> Vec<PathBuf> {
    let home = std::env::home_dir().unwrap_or_default();
    let pyenv = std::env::var_os("PYENV_ROOT").map_or_else(|| home.join(".pyenv"), PathBuf::from);
    let managed = [pyenv.join("versions"), home.join(".local/share/uv/python")];
    managed.iter().flat_map(|directory| listed(directory)).map(|version| version.join("bin")).collect()
}

/// What is in a directory, in order.
fn listed(directory: &Path) -> Vec<PathBuf> {
    let entries = directory.read_dir().into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

/// By its name: `python3.12`.
fn is_python(program: &Path) -> bool {
    let name = program.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.strip_prefix("python3.").is_some_and(|minor| minor.parse::<u32>().is_ok())
}

/// `/usr` of `/usr/bin/python3.12`.
fn prefix_of(program: &Path) -> Option<&Path> {
    program.parent()?.parent()
}

async fn probe_python() -> std::result::Result<Python, String> {
    let mut command = Command::new("python3");
    command.args(["-I", "-c", PROBE]);
    let printed = run(command, PROBE_LIMIT).await?;
    serde_json::from_str(&printed).map_err(|e| format!("python3 said {printed:?}: {e}"))
}

/// Runs one of the operator's programs to its end and gives its output; the error is its last words.
async fn run(mut command: Command, limit: Duration) -> std::result::Result<String, String> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let output = tokio::time::timeout(limit, command.output()).await;
    let output = output.map_err(|_| format!("no answer within {} s", limit.as_secs()))?.map_err(|e| e.to_string())?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(stderr.trim().lines().last().unwrap_or("it failed without a word").to_owned())
}

fn read_only(source: &Path, target: &str) -> Bind {
    Bind { source: source.to_owned(), target: target.into(), writable: false }
}

fn in_base_system(path: &Path) -> bool {
    BASE_SYSTEM.iter().any(|base| path.starts_with(base))
}

fn find_in_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let found = std::env::split_paths(&path).map(|directory| directory.join(program)).find(|file| is_native(file));
    found.and_then(|file| file.canonicalize().ok())
}

/// An ELF program; a script (such as a version manager's shim) would not work elsewhere.
fn is_native(file: &Path) -> bool {
    let mut magic = [0; 4];
    let read = std::fs::File::open(file).and_then(|mut file| std::io::Read::read_exact(&mut file, &mut magic));
    read.is_ok() && magic == *b"\x7fELF"
}

fn operator_env() -> Vec<(String, String)> {
    let passed =
        |name: &str| PASSED.iter().any(|known| name == *known || (known.ends_with('_') && name.starts_with(known)));
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| passed(name))
        .collect()
}

/// Files that the operator's settings name, and the package tools' own configuration, at the same path inside
/// (the user's own files: in the home of the user inside).
fn operator_files(env: &[(String, String)]) -> Vec<Bind> {
    let named = env.iter().filter(|(name, _)| name != "PATH" && !name.starts_with("BP_"));
    let named =
        named.flat_map(|(_, value)| value.split_whitespace()).map(PathBuf::from).filter(|path| path.is_absolute());
    let system = ["/etc/pip.conf", "/etc/uv/uv.toml", "/etc/npmrc"].map(PathBuf::from);
    let mut binds: Vec<Bind> = named
        .chain(system)
        .filter(|path| path.exists() && !in_base_system(path))
        .map(|path| read_only(&path, &path.to_string_lossy()))
        .collect();
    if let Some(home) = std::env::var_os("HOME").map(PathBuf::from) {
        let own = [".config/pip/pip.conf", ".pip/pip.conf", ".config/uv/uv.toml", ".npmrc", ".cargo/config.toml"];
        binds.extend(
            own.iter()
                .map(|file| (home.join(file), file))
                .filter(|(path, _)| is_readable(path))
                .map(|(path, file)| read_only(&path, &format!("{}/{file}", crate::instance::USER_HOME))),
        );
    }
    binds
}

/// For the user that builds run as: npm fails over a file that is there and cannot be read.
fn is_readable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    let root = nix::unistd::geteuid().is_root();
    path.metadata().is_ok_and(|found| !root || found.permissions().mode() & 0o004 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_interpreter_is_the_real_one() {
        let Ok(python) = probe_python().await else {
            println!("skipped: no python3 on this machine");
            return;
        };
        assert!(is_native(&python.executable), "{python:?}");
        assert!(python.executable.starts_with(&python.prefix), "{python:?}");
        assert_eq!(python.version.split('.').count(), 3);
    }

    #[test]
    fn other_interpreters_are_real_ones_and_not_the_default() {
        let others = other_pythons(None);
        assert!(others.iter().all(|program| is_native(program) && is_python(program)), "{others:?}");
        let Some(first) = others.first() else {
            println!("skipped: no python3.N on this machine");
            return;
        };
        let default =
            Python { executable: first.clone(), prefix: PathBuf::new(), version: String::new(), soabi: String::new() };
        assert!(!other_pythons(Some(&default)).contains(first));
    }

    #[test]
    fn a_release_needs_the_interpreter_that_it_was_built_with() {
        let store = tempfile::tempdir().unwrap();
        let interpreters = ["/opt/3.11", "/opt/3.12"].map(PathBuf::from).to_vec();
        let tools = BuildTools { interpreters, ..BuildTools::default() };
        let mut image = Image::default();
        assert_eq!(tools.needed_at_launch(&image, store.path()), [Path::new("/opt/3.11")]);
        let digest = builder::Digest::try_from(format!("sha256-{}", "0".repeat(64))).unwrap();
        std::fs::create_dir_all(store.path().join(digest.as_str()).join("bin")).unwrap();
        let program = store.path().join(digest.as_str()).join("bin/python");
        std::os::unix::fs::symlink("/opt/3.12/bin/python3.12", program).unwrap();
        let (buildpack, name, target) = ("airstrip/python".into(), "env".into(), "/layers/env".into());
        image.layers.push(builder::Layer { buildpack, name, digest, target, metadata: None });
        assert_eq!(tools.needed_at_launch(&image, store.path()), [Path::new("/opt/3.12")]);
    }

    #[tokio::test]
    async fn a_failed_program_gives_its_last_words() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo first >&2; echo last >&2; exit 3"]);
        assert_eq!(run(command, PROBE_LIMIT).await, Err("last".to_owned()));
    }
}
