//! The platform's side of a build, for tests: directories as a lifecycle lays them out, and the two programs run as it runs them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use buildpacks::BUILT_IN;
use tempfile::TempDir;

use super::wheel;

/// One app's builds. Removed with all its directories when dropped.
pub(crate) struct Platform {
    root: TempDir,
    /// Set for the buildpack besides what the specification names.
    pub(crate) env: BTreeMap<String, String>,
}

impl Platform {
    /// With the python buildpack, the tests' uv and Python, and no package index.
    pub(crate) fn new(uv: &Path) -> Self {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        for directory in ["app", "layers", "platform/env", "buildpack/bin", "home", "wheels"] {
            fs::create_dir_all(at(directory)).unwrap();
        }
        fs::write(at("buildpack/buildpack.toml"), BUILT_IN[0].descriptor).unwrap();
        fs::write(at("plan.toml"), "").unwrap();
        for phase in ["detect", "build"] {
            symlink(env!("CARGO_BIN_EXE_buildpack"), at("buildpack/bin").join(phase)).unwrap();
        }
        symlink("../layers/env", at("home/env")).unwrap();
        let path = format!("{}:{}", uv.display(), std::env::var("PATH").unwrap());
        let env = [
            ("PATH", path),
            ("HOME", at("home").display().to_string()),
            ("BP_PYTHON_ENV", at("home/env").display().to_string()),
            // None besides the default, whatever this machine has.
            ("BP_PYTHONS", at("pythons/none").display().to_string()),
            ("PIP_CONFIG_FILE", "/dev/null".to_owned()),
            ("PIP_NO_INDEX", "1".to_owned()),
            ("PIP_FIND_LINKS", at("wheels").display().to_string()),
        ];
        Self { env: env.map(|(name, value)| (name.to_owned(), value)).into(), root }
    }

    /// With the packages that fixtures are made of.
    pub(crate) fn with_wheels(uv: &Path) -> Self {
        let platform = Self::new(uv);
        fs::remove_dir(platform.path("wheels")).unwrap();
        symlink(wheel::all(), platform.path("wheels")).unwrap();
        platform
    }

    /// What a build of these files prints. Built again, they must cost nothing.
    pub(crate) fn good(&self, files: &[(&str, &str)]) -> String {
        self.fresh(files);
        let first = self.build();
        assert!(first.ok, "{}", first.text);
        self.restore();
        let second = self.build();
        assert!(second.ok && second.text.contains("Using the environment of the previous release"), "{}", second.text);
        assert!(!second.text.contains("Installing"), "{}", second.text);
        first.text
    }

    /// What a build of these files prints that must fail.
    pub(crate) fn bad(&self, files: &[(&str, &str)]) -> String {
        self.fresh(files);
        let build = self.build();
        assert!(!build.ok, "{}", build.text);
        build.text
    }

    /// Replaces the app, and forgets what was built.
    pub(crate) fn fresh(&self, files: &[(&str, &str)]) {
        for directory in ["app", "layers", "kept"] {
            let _not_there = fs::remove_dir_all(self.path(directory));
        }
        fs::create_dir_all(self.path("app")).unwrap();
        fs::create_dir_all(self.path("layers")).unwrap();
        for (path, text) in files {
            self.file(path, text);
        }
    }

    /// Lets the package index be reached, by the operator's own settings.
    pub(crate) fn with_index(mut self) -> Self {
        for name in ["PIP_NO_INDEX", "PIP_FIND_LINKS", "PIP_CONFIG_FILE"] {
            self.env.remove(name);
        }
        let settings = std::env::vars()
            .filter(|(name, _)| name.starts_with("PIP_") || name.starts_with("SSL_CERT_") || name.ends_with("_proxy"));
        self.env.extend(settings);
        self
    }

    /// Has these programs write their command lines into a file when they are started. Returns the file.
    pub(crate) fn note_programs(&mut self, programs: &[&str]) -> PathBuf {
        let (directory, note) = (self.path("notes"), self.path("started"));
        fs::create_dir(&directory).unwrap();
        let path = self.env["PATH"].clone();
        for name in programs {
            let script =
                format!("#!/bin/sh\necho {name} \"$@\" >> {}\nPATH={path} exec {name} \"$@\"\n", note.display());
            fs::write(directory.join(name), script).unwrap();
            fs::set_permissions(directory.join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        self.env.insert("PATH".to_owned(), format!("{}:{path}", directory.display()));
        note
    }

    /// Puts a program of the tests before all others on the `PATH`.
    pub(crate) fn program(&mut self, name: &str, script: &str) {
        let directory = self.path("programs");
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(name), script).unwrap();
        fs::set_permissions(directory.join(name), fs::Permissions::from_mode(0o755)).unwrap();
        let path = format!("{}:{}", directory.display(), self.env["PATH"]);
        self.env.insert("PATH".to_owned(), path);
    }

    /// Leaves nothing but the Python on the `PATH`. False if that has no pip.
    pub(crate) fn without_uv(&mut self) -> bool {
        let program = PathBuf::from(ask_python(PROGRAM));
        let bin = self.path("only-python");
        fs::create_dir(&bin).unwrap();
        symlink(&program, bin.join("python3")).unwrap();
        self.env.insert("PATH".to_owned(), bin.display().to_string());
        Command::new(program).args(["-I", "-m", "pip", "--version"]).output().unwrap().status.success()
    }

    /// Runs uv in the app's directory, with the tests' wheels only.
    pub(crate) fn uv(&self, arguments: &[&str]) {
        let mut uv = Command::new("uv");
        uv.args(arguments).args(["--quiet", "--no-index", "--find-links"]).arg(self.path("wheels"));
        uv.env("UV_CACHE_DIR", self.path("cache")).env("PATH", &self.env["PATH"]);
        assert!(uv.current_dir(self.path("app")).status().unwrap().success());
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    /// Writes a file of the app.
    pub(crate) fn file(&self, path: &str, text: &str) -> &Self {
        let path = self.path("app").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    pub(crate) fn detect(&self) -> Output {
        self.run("detect", &["platform", "plan-out.toml"])
    }

    pub(crate) fn build(&self) -> Build {
        let output = self.run("build", &["layers", "platform", "plan.toml"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        Build { ok: output.status.success(), text: self.redacted(&text) }
    }

    /// A build under way, whose lines can be read as they come.
    pub(crate) fn start_build(&self) -> Child {
        let mut command = self.command("build", &["layers", "platform", "plan.toml"]);
        command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap()
    }

    fn run(&self, phase: &str, arguments: &[&str]) -> Output {
        self.command(phase, arguments).output().unwrap()
    }

    fn command(&self, phase: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.path("buildpack/bin").join(phase));
        command.args(arguments.iter().map(|path| self.path(path))).current_dir(self.path("app")).env_clear();
        let fixed = [("OS", "linux"), ("ARCH", "amd64"), ("DISTRO_NAME", "debian"), ("DISTRO_VERSION", "12")];
        command.envs(fixed.map(|(name, value)| (format!("CNB_TARGET_{name}"), value)));
        command.env("CNB_BUILDPACK_DIR", self.path("buildpack")).env("CNB_STACK_ID", "*");
        command.env("AIRSTRIP_KEPT", self.path("kept"));
        command.envs(&self.env);
        command
    }

    /// What a lifecycle leaves for the next build: the launch layer's metadata without its types, and not the layer.
    /// Returns where the layer is kept.
    pub(crate) fn restore(&self) -> PathBuf {
        let kept = self.path("kept/env");
        let described: toml::Table = self.read("layers/env.toml").parse().unwrap();
        assert_eq!(described["types"]["cache"].as_bool(), Some(false));
        if self.path("layers/env").exists() {
            let _ = fs::remove_dir_all(&kept);
            fs::create_dir_all(self.path("kept")).unwrap();
            fs::rename(self.path("layers/env"), &kept).unwrap();
        }
        for layer in ["env", "cache"] {
            let file = self.path("layers").join(format!("{layer}.toml"));
            let mut table: toml::Table = fs::read_to_string(&file).unwrap().parse().unwrap();
            table.remove("types");
            fs::write(&file, table.to_string()).unwrap();
        }
        kept
    }

    /// Standard output of a program, started as at launch: the layer's `bin` on the `PATH`.
    pub(crate) fn launched(&self, program: &str, arguments: &[&str]) -> String {
        let bin = self.path("layers/env/bin");
        let output = Command::new(bin.join(program)).args(arguments).env_clear().output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap()
    }

    /// Without what differs from run to run: paths, times, the Python's version.
    fn redacted(&self, text: &str) -> String {
        let version = ask_python(VERSION);
        let minor = version.rsplit_once('.').unwrap().0;
        let text = text.replace(self.root.path().to_str().unwrap(), "[T]").replace(&version, "[PYTHON]");
        let text = text.replace(&format!("{minor} "), "[MINOR] ");
        let words = |line: &str| line.split(' ').map(redacted_word).collect::<Vec<_>>().join(" ");
        text.lines().map(|line| words(line) + "\n").collect()
    }
}

fn redacted_word(word: &str) -> String {
    let number = word.trim_end_matches("ms").trim_end_matches('s');
    let is_time = number.len() < word.len() && number.parse::<f64>().is_ok();
    if is_time { "[TIME]".to_owned() } else { word.to_owned() }
}

/// Something that Python knows of itself.
pub(crate) fn ask_python(expression: &str) -> String {
    let script = format!("import os, sys, sysconfig; print({expression})");
    let output = Command::new("python3").args(["-I", "-c", &script]).current_dir("/").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

pub(crate) const PROGRAM: &str = "os.path.realpath(sys.executable)";
pub(crate) const VERSION: &str = "'.'.join(map(str, sys.version_info[:3]))";
pub(crate) const SOABI: &str = "sysconfig.get_config_var('SOABI')";

/// How a build ended.
#[derive(Debug)]
pub(crate) struct Build {
    pub(crate) ok: bool,
    pub(crate) text: String,
}

/// The directory of a uv program: one on the `PATH`, else the pinned one, fetched once into the target directory. None, with the reason, if there is neither.
pub(crate) fn uv() -> Option<PathBuf> {
    static FETCHING: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _one_at_a_time = FETCHING.lock().unwrap();
    let name = format!("{}-{}", buildpacks::UV.name, buildpacks::UV.version);
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let program = directory.join("bin/uv");
    if !program.exists() {
        fs::create_dir_all(&directory).unwrap();
        let requirements = directory.join("requirements.txt");
        fs::write(&requirements, buildpacks::UV.requirements).unwrap();
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--require-hashes", "--no-deps", "--upgrade", "--target"]);
        let output = pip.arg(&directory).arg("-r").arg(&requirements).output();
        if !program.exists() {
            println!("skipped: no uv, and it cannot be fetched: {output:?}");
            return None;
        }
    }
    Some(directory.join("bin"))
}
