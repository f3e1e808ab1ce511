//! The python buildpack, run the way a lifecycle runs it.

#![expect(clippy::unwrap_used, reason = "a test may panic, and says where")]

mod platform;
mod wheel;

use std::fs;

use platform::{Platform, uv};

macro_rules! platform {
    () => {
        match uv() {
            Some(uv) => Platform::new(&uv),
            None => return,
        }
    };
}

#[test]
fn detects() {
    let platform = platform!();
    assert_eq!(platform.detect().status.code(), Some(100));
    platform.file("requirements.txt", "");
    assert_eq!(platform.detect().status.code(), Some(0));
}

#[test]
fn requirements_become_an_environment() {
    let platform = platform!();
    wheel::make(&platform.path("wheels"), "hello", "1.0", &["greeting>=1"]);
    wheel::make(&platform.path("wheels"), "greeting", "1.2", &[]);
    platform.file("requirements.txt", "hello==1.0\n").file("Procfile", "web: hello\n");
    let build = platform.build();
    insta::assert_snapshot!(build.text, @"
    -----> Python app detected
    -----> Using Python [PYTHON]
    -----> Installing dependencies using 'uv pip install -r requirements.txt'
           Resolved 2 packages in [TIME]
           Prepared 2 packages in [TIME]
           Installed 2 packages in [TIME]
           + greeting==1.2
           + hello==1.0
    ");
    assert_eq!(platform.read("layers/env/requirements.lock"), "greeting==1.2\nhello==1.0\n");
    // Its programs carry the path inside, and find the environment by it and by the layer's.
    let shebang = format!("#!{}\n", platform.path("home/env/bin/python").display());
    assert!(platform.read("layers/env/bin/hello").starts_with(&shebang));
    assert_eq!(platform.launched("hello", &[]).trim(), platform.path("home/env").to_str().unwrap());
    let prefix = platform.launched("python", &["-c", "import hello, sys; print(hello.VERSION, sys.prefix)"]);
    assert_eq!(prefix.trim(), format!("1.0 {}", platform.path("layers/env").display()));
}

#[test]
fn an_unchanged_environment_is_kept_without_starting_anything() {
    let mut platform = platform!();
    let started = platform.note_programs(&["uv", "python3"]);
    wheel::make(&platform.path("wheels"), "hello", "1.0", &[]);
    platform.file("requirements.txt", "hello\n");
    for (name, value) in
        [("BP_PYTHON", "[program]"), ("BP_PYTHON_VERSION", "[version]"), ("BP_PYTHON_SOABI", "[soabi]")]
    {
        platform.env.insert(name.to_owned(), ask_python(value));
    }
    assert!(platform.build().ok);
    assert!(started.exists());
    fs::remove_file(&started).unwrap();
    let kept = platform.restore();

    let build = platform.build();
    insta::assert_snapshot!(build.text, @"
    -----> Python app detected
    -----> Using Python [PYTHON]
    -----> Using the environment of the previous release: its requirements are unchanged
    ");
    assert!(!started.exists());
    assert!(!platform.path("layers/env").exists() && kept.exists());
    assert!(platform.read("layers/env.toml").contains("launch = true"));
    assert!(platform.read("layers/cache.toml").contains("cache = true"));

    platform.restore();
    platform.file("requirements.txt", "hello\n# changed\n");
    let build = platform.build();
    assert!(build.text.contains("Installing dependencies"), "{}", build.text);
}

fn ask_python(what: &str) -> String {
    let expression = match what {
        "[program]" => "os.path.realpath(sys.executable)",
        "[version]" => "'.'.join(map(str, sys.version_info[:3]))",
        _ => "sysconfig.get_config_var('SOABI')",
    };
    let script = format!("import os, sys, sysconfig; print({expression})");
    let output = std::process::Command::new("python3").args(["-I", "-c", &script]).current_dir("/").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
