//! The platform's side of a build, for tests: directories as a lifecycle lays them out, and the two programs run as it runs them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use buildpacks::BUILT_IN;
use tempfile::TempDir;

/// One app's builds by one buildpack. Removed with all its directories when dropped.
pub(crate) struct Platform {
    root: TempDir,
    /// Set for the buildpack besides what the specification names.
    pub(crate) env: BTreeMap<String, String>,
    /// What differs from run to run, and what is shown instead.
    pub(crate) redacted: Vec<(String, &'static str)>,
}

/// How a build ended.
#[derive(Debug)]
pub(crate) struct Build {
    pub(crate) ok: bool,
    pub(crate) text: String,
}

impl Platform {
    pub(crate) fn new(buildpack: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        for directory in ["app", "layers", "platform/env", "buildpack/bin", "home"] {
            fs::create_dir_all(at(directory)).unwrap();
        }
        let built_in = BUILT_IN.iter().find(|built_in| built_in.id == buildpack).unwrap();
        fs::write(at("buildpack/buildpack.toml"), built_in.descriptor).unwrap();
        fs::write(at("plan.toml"), "").unwrap();
        for phase in ["detect", "build"] {
            symlink(env!("CARGO_BIN_EXE_buildpack"), at("buildpack/bin").join(phase)).unwrap();
        }
        let env = [("PATH", std::env::var("PATH").unwrap()), ("HOME", at("home").display().to_string())];
        let redacted =
            vec![(root.path().display().to_string(), "[T]"), (env!("CARGO_BIN_EXE_buildpack").to_owned(), "[PROGRAM]")];
        Self { env: env.map(|(name, value)| (name.to_owned(), value)).into(), root, redacted }
    }

    /// Writes a file of the app.
    pub(crate) fn file(&self, path: &str, text: &str) -> &Self {
        let path = self.path("app").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    pub(crate) fn read(&self, path: &str) -> String {
        self.redact(&fs::read_to_string(self.path(path)).unwrap())
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

    /// Has these programs write their names into a file when they are started. Returns the file.
    pub(crate) fn note_programs(&mut self, programs: &[&str]) -> PathBuf {
        let note = self.path("started");
        let path = self.env["PATH"].clone();
        for name in programs {
            let script =
                format!("#!/bin/sh\necho {name} \"$@\" >> {}\nPATH={path} exec {name} \"$@\"\n", note.display());
            self.program(name, &script);
        }
        note
    }

    /// `bin/detect`'s exit status.
    pub(crate) fn detect(&self) -> Option<i32> {
        self.run("detect", &["platform", "plan-out.toml"]).status.code()
    }

    pub(crate) fn build(&self) -> Build {
        let output = self.run("build", &["layers", "platform", "plan.toml"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        Build { ok: output.status.success(), text: self.redact(&text) }
    }

    fn run(&self, phase: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new(self.path("buildpack/bin").join(phase));
        command.args(arguments.iter().map(|path| self.path(path))).current_dir(self.path("app")).env_clear();
        let fixed = [("OS", "linux"), ("ARCH", "amd64"), ("DISTRO_NAME", "debian"), ("DISTRO_VERSION", "12")];
        command.envs(fixed.map(|(name, value)| (format!("CNB_TARGET_{name}"), value)));
        command.env("CNB_BUILDPACK_DIR", self.path("buildpack")).env("CNB_STACK_ID", "*");
        command.envs(&self.env);
        command.output().unwrap()
    }

    /// What a lifecycle leaves for the next build: all metadata without types; of launch layers that are not cached no more than that. The
    /// app's tree is as it was pushed.
    pub(crate) fn restore(&self) {
        let kept = self.path("kept");
        let _ = fs::remove_dir_all(&kept);
        fs::create_dir(&kept).unwrap();
        for entry in fs::read_dir(self.path("layers")).unwrap().map(|entry| entry.unwrap().path()) {
            let Some(name) = entry.file_name().unwrap().to_str().unwrap().strip_suffix(".toml") else { continue };
            let mut table: toml::Table = fs::read_to_string(&entry).unwrap().parse().unwrap();
            let types = table.remove("types");
            let is = |kind: &str| types.as_ref().is_some_and(|types| types[kind].as_bool() == Some(true));
            let directory = self.path("layers").join(name);
            if !is("cache") && directory.exists() {
                fs::rename(&directory, kept.join(name)).unwrap();
            }
            if is("cache") || is("launch") {
                fs::write(&entry, table.to_string()).unwrap();
            } else {
                fs::remove_file(&entry).unwrap();
            }
        }
        let modules = self.path("app/node_modules");
        if modules.is_symlink() {
            fs::remove_file(modules).unwrap();
        }
    }

    /// Standard output of a command in the app's directory, with a layer's programs.
    pub(crate) fn launched(&self, program: &str, arguments: &[&str]) -> String {
        let mut command = Command::new(program);
        let output = command.args(arguments).current_dir(self.path("app")).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Without what differs from run to run.
    fn redact(&self, text: &str) -> String {
        let text = self.redacted.iter().fold(text.to_owned(), |text, (found, shown)| text.replace(found, shown));
        let words = |line: &str| line.split(' ').map(redacted_word).collect::<Vec<_>>().join(" ");
        text.lines().map(|line| words(line) + "\n").collect()
    }
}

fn redacted_word(word: &str) -> String {
    let bare = word.trim_end_matches(['.', ',']);
    let number = bare.trim_end_matches("ms").trim_end_matches('s');
    let is_time = number.len() < bare.len() && number.parse::<f64>().is_ok();
    if is_time { word.replace(bare, "[TIME]") } else { word.to_owned() }
}

/// Whether a program is there; says so if not.
pub(crate) fn have(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let there = std::env::split_paths(&path).any(|directory: PathBuf| Path::new(&directory).join(program).is_file());
    if !there {
        println!("skipped: no {program} on this machine");
    }
    there
}
