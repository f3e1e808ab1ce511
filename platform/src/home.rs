//! Where things are on disk below the server's home, and who may read them.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::names::{AppName, Process, Version};

/// The server's home directory.
#[derive(Debug, Clone)]
pub struct Home {
    root: PathBuf,
}

/// Held for as long as a daemon uses a home.
#[derive(Debug)]
pub struct HomeLock {
    _file: nix::fcntl::Flock<File>,
}

/// The home cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// Making or opening something in it failed.
    #[error("{}: {source}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// Another daemon is running on it.
    #[error("{} is in use by another airstrip: stop it with `airstrip stop-all`, or choose another --home", path.display())]
    InUse {
        /// The home.
        path: PathBuf,
    },
}

impl Home {
    /// Makes the directory and its parts if need be.
    pub fn make(root: &Path) -> Result<Self, HomeError> {
        // The home itself can be passed through (an app's user must reach its data), but not listed.
        let at = |source| HomeError::Io { path: root.to_owned(), source };
        let root = std::path::absolute(root).map_err(at)?;
        make_directory(&root, 0o711)?;
        let home = Self { root: root.canonicalize().map_err(at)? };
        for (part, mode) in [
            ("apps", 0o711),
            ("layers", 0o755),
            ("shared", 0o711),
            ("run", 0o700),
            ("buildpacks", 0o755),
            ("tools", 0o755),
        ] {
            make_directory(&home.root.join(part), mode)?;
        }
        Ok(home)
    }

    /// Takes the home for this process.
    pub fn lock(&self) -> Result<HomeLock, HomeError> {
        let path = self.root.join("airstrip.lock");
        let options = OpenOptions::new().create(true).append(true).mode(0o600).open(&path);
        let file = options.map_err(|source| HomeError::Io { path, source })?;
        match nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(HomeLock { _file: lock }),
            Err(_) => Err(HomeError::InUse { path: self.root.clone() }),
        }
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The database.
    pub fn database(&self) -> PathBuf {
        self.root.join("airstrip.db")
    }

    /// The SSH server's private key.
    pub fn host_key(&self) -> PathBuf {
        self.root.join("ssh_host_ed25519_key")
    }

    /// Where local commands reach the daemon.
    pub fn control_socket(&self) -> PathBuf {
        control_socket(&self.root)
    }

    /// The content-addressed store of layers.
    pub fn layers(&self) -> PathBuf {
        self.root.join("layers")
    }

    /// What builds of all apps share besides layers: which locks were made into which, and what was loaded for that.
    pub fn shared(&self) -> PathBuf {
        self.root.join("shared")
    }

    /// The engine's sockets and pid files.
    pub fn run(&self) -> PathBuf {
        self.root.join("run")
    }

    /// The same for instances that run in Docker; not there before the first of them.
    pub fn docker(&self) -> PathBuf {
        self.root.join("docker")
    }

    /// Where apps reach each other: the address of the router's second listener.
    pub fn internal(&self) -> PathBuf {
        self.root.join("internal")
    }

    /// The built-in buildpacks' directories.
    pub fn buildpacks(&self) -> PathBuf {
        self.root.join("buildpacks")
    }

    /// The operator's variables for all builds, if there is such a directory: `env/NAME`, as in a layer.
    pub fn build_config(&self) -> PathBuf {
        self.root.join("build-config")
    }

    /// Programs that were fetched once for builds.
    pub fn tools(&self) -> PathBuf {
        self.root.join("tools")
    }

    /// Every app's directory is in here.
    pub fn apps(&self) -> PathBuf {
        self.root.join("apps")
    }

    /// One app's directories.
    pub fn app(&self, name: &AppName) -> AppHome {
        AppHome { root: self.apps().join(name.as_str()) }
    }
}

/// How long a daemon may take to end.
const ENDING: std::time::Duration = std::time::Duration::from_secs(90);

/// Waits until no daemon uses a home.
pub async fn wait_until_free(root: &Path) -> crate::failure::Result<()> {
    let home = Home { root: root.to_owned() };
    let begin = tokio::time::Instant::now();
    while home.lock().is_err() {
        if begin.elapsed() > ENDING {
            return Err(crate::failure::Failure::plain("the server does not end"));
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    Ok(())
}

/// Where the daemon of a home listens for local commands.
pub fn control_socket(home: &Path) -> PathBuf {
    home.join("control.sock")
}

/// One app's directories.
#[derive(Debug, Clone)]
pub struct AppHome {
    root: PathBuf,
}

impl AppHome {
    /// Makes what is missing. `owner` is given the data directory when it is made; nothing in it is touched, ever.
    pub fn make(&self, owner: Option<u32>) -> Result<(), HomeError> {
        make_directory(&self.root, 0o711)?;
        make_directory(&self.releases(), 0o711)?;
        make_directory(&self.logs(), 0o700)?;
        make_directory(&self.cache(), 0o700)?;
        let data = self.data();
        if !data.exists() {
            make_directory(&data, 0o750)?;
            std::os::unix::fs::lchown(&data, owner, owner).map_err(|source| HomeError::Io { path: data, source })?;
        }
        Ok(())
    }

    /// The app's directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The bare repository.
    pub fn repository(&self) -> PathBuf {
        self.root.join("repo.git")
    }

    /// The app's persistent directory.
    pub fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    /// Every release's directory is in here.
    pub fn releases(&self) -> PathBuf {
        self.root.join("releases")
    }

    /// One release's directory.
    pub fn release(&self, version: Version) -> PathBuf {
        self.releases().join(version.to_string())
    }

    /// Bounded logs.
    pub fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// The log of one place.
    pub fn log(&self, process: &Process) -> PathBuf {
        self.logs().join(format!("{process}.log"))
    }

    /// The access log.
    pub fn access_log(&self) -> PathBuf {
        self.logs().join("router.log")
    }

    /// Build cache; can be deleted at any time.
    pub fn cache(&self) -> PathBuf {
        self.root.join("cache")
    }
}

/// Makes a directory, by its absolute path, with exactly this mode (whatever the umask), durable on return; an existing one is left as it is.
fn make_directory(path: &Path, mode: u32) -> Result<(), HomeError> {
    let at = |source| HomeError::Io { path: path.to_owned(), source };
    if path.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(mode).create(path).map_err(at)?;
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).map_err(at)?;
    if let Some(parent) = path.parent() {
        sync_directory(parent).map_err(at)?;
    }
    Ok(())
}

/// Removes a directory with everything in it, also where a build took away its own user's permission to change it: only root
/// does not mind. Nobody may be changing it meanwhile.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            permit(path)?;
            std::fs::remove_dir_all(path)
        }
        result => result,
    }
}

fn permit(directory: &Path) -> io::Result<()> {
    std::fs::set_permissions(directory, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            permit(&entry.path())?;
        }
    }
    Ok(())
}

/// Makes the names in a directory durable.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Replaces a file's content so that a crash leaves the old or the new one, whole.
pub fn write_durably(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new()
        .prefix(".new-")
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(mode))
        .tempfile_in(directory)?;
    io::Write::write_all(&mut file, content)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|e| e.error)?;
    sync_directory(directory)
}
