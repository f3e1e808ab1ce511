//! The platform's side of a build, for tests: directories as a lifecycle lays them out, and the two programs run as it runs them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use buildpacks::BUILT_IN;
use tempfile::TempDir;

/// One app's builds. Removed with all its directories when dropped.
pub struct Platform {
    root: TempDir,
    /// Set for the buildpack besides what the specification names.
    pub env: BTreeMap<String, String>,
}

impl Platform {
    /// With the python buildpack, the tests' uv and Python, and no package index.
    pub fn new(uv: &Path) -> Self {
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
            ("PIP_CONFIG_FILE", "/dev/null".to_owned()),
            ("PIP_NO_INDEX", "1".to_owned()),
            ("PIP_FIND_LINKS", at("wheels").display().to_string()),
        ];
        Self { env: env.map(|(name, value)| (name.to_owned(), value)).into(), root }
    }

    /// Lets the package index be reached, by the operator's own settings.
    pub fn with_index(mut self) -> Self {
        for name in ["PIP_NO_INDEX", "PIP_FIND_LINKS", "PIP_CONFIG_FILE"] {
            self.env.remove(name);
        }
        let settings = std::env::vars()
            .filter(|(name, _)| name.starts_with("PIP_") || name.starts_with("SSL_CERT_") || name.ends_with("_proxy"));
        self.env.extend(settings);
        self
    }

    /// Has these programs write their names into a file when they are started. Returns the file.
    pub fn note_programs(&mut self, programs: &[&str]) -> PathBuf {
        let (directory, note) = (self.path("notes"), self.path("started"));
        fs::create_dir(&directory).unwrap();
        let path = self.env["PATH"].clone();
        for name in programs {
            let script = format!("#!/bin/sh\necho {name} >> {}\nPATH={path} exec {name} \"$@\"\n", note.display());
            fs::write(directory.join(name), script).unwrap();
            fs::set_permissions(directory.join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        self.env.insert("PATH".to_owned(), format!("{}:{path}", directory.display()));
        note
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    /// Writes a file of the app.
    pub fn file(&self, path: &str, text: &str) -> &Self {
        let path = self.path("app").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    pub fn detect(&self) -> Output {
        self.run("detect", &["platform", "plan-out.toml"])
    }

    pub fn build(&self) -> Build {
        let output = self.run("build", &["layers", "platform", "plan.toml"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        Build { ok: output.status.success(), text: self.redacted(&text) }
    }

    fn run(&self, phase: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new(self.path("buildpack/bin").join(phase));
        command.args(arguments.iter().map(|path| self.path(path))).current_dir(self.path("app")).env_clear();
        let fixed = [("OS", "linux"), ("ARCH", "amd64"), ("DISTRO_NAME", "debian"), ("DISTRO_VERSION", "12")];
        command.envs(fixed.map(|(name, value)| (format!("CNB_TARGET_{name}"), value)));
        command.env("CNB_BUILDPACK_DIR", self.path("buildpack")).env("CNB_STACK_ID", "*");
        command.envs(&self.env).output().unwrap()
    }

    /// What a lifecycle leaves for the next build: the launch layer's metadata without its types, and not the layer.
    /// Returns where the layer is kept.
    pub fn restore(&self) -> PathBuf {
        let kept = self.path("kept");
        if self.path("layers/env").exists() {
            let _ = fs::remove_dir_all(&kept);
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
    pub fn launched(&self, program: &str, arguments: &[&str]) -> String {
        let bin = self.path("layers/env/bin");
        let output = Command::new(bin.join(program)).args(arguments).env_clear().output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap()
    }

    /// Without what differs from run to run: paths, times, the Python's version.
    fn redacted(&self, text: &str) -> String {
        let text = text.replace(self.root.path().to_str().unwrap(), "[T]");
        let words = |line: &str| line.split(' ').map(redacted_word).collect::<Vec<_>>().join(" ");
        text.lines().map(|line| words(line) + "\n").collect()
    }
}

fn redacted_word(word: &str) -> String {
    let number = word.trim_end_matches("ms").trim_end_matches('s');
    if number.len() < word.len() && number.parse::<f64>().is_ok() {
        return "[TIME]".to_owned();
    }
    let parts: Vec<_> = word.trim_end_matches(['.', ',']).split('.').collect();
    let is_python = parts.len() > 1 && parts[0] == "3" && parts[1..].iter().all(|part| part.parse::<u8>().is_ok());
    if is_python { "[PYTHON]".to_owned() } else { word.to_owned() }
}

/// How a build ended.
#[derive(Debug)]
pub struct Build {
    pub ok: bool,
    pub text: String,
}

/// The directory of a uv program: one on the `PATH`, else the pinned one, fetched once into the target directory. None, with the reason, if there is neither.
pub fn uv() -> Option<PathBuf> {
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
