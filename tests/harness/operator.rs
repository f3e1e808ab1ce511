//! Who runs a server, and with what: user, binary, environment.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::reply::run;
use super::tool::tool;
use super::waiting::PATIENCE;

/// `nobody`, as whom a server runs that shall have no privileges.
pub const ORDINARY: u32 = 65534;

/// The binary where `user` can execute it.
pub fn binary_for(user: Option<u32>, base: &Path) -> PathBuf {
    let built = PathBuf::from(env!("CARGO_BIN_EXE_airstrip"));
    if user.is_none() {
        return built;
    }
    let copy = base.join("airstrip");
    fs::hard_link(&built, &copy).or_else(|_| fs::copy(&built, &copy).map(drop)).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
    copy
}

/// The operator's `PATH`, with the installer that every server would otherwise fetch for itself. (The demo does.)
pub fn path_with_installer() -> OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directory = tool("uv", "uv").and_then(|installer| Some(installer.parent()?.to_owned()));
    std::env::join_paths(std::env::split_paths(&path).chain(directory)).unwrap()
}

pub fn may_make_namespaces() -> bool {
    let mut unshare = Command::new("unshare");
    unshare.args(["--user", "--map-root-user", "--mount", "true"]).uid(ORDINARY).gid(ORDINARY).current_dir("/");
    run(&mut unshare, b"", PATIENCE).status == 0
}

/// Whoever runs the tests may reach a package index only with these.
pub fn copy_package_settings(to: &Path) {
    let Some(home) = std::env::var_os("HOME").map(PathBuf::from) else { return };
    for file in [".config/pip/pip.conf", ".pip/pip.conf", ".config/uv/uv.toml"] {
        if home.join(file).exists() {
            fs::create_dir_all(to.join(file).parent().unwrap()).unwrap();
            fs::copy(home.join(file), to.join(file)).unwrap();
        }
    }
}
