//! The server's own key: made at the first start, read at every other.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::Path;

use russh::keys::PrivateKey;
use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::Ed25519Keypair;

use crate::{ServerError, durable};

/// Reads the key, or makes an ed25519 key that only the owner can read.
pub(crate) fn load_or_create(path: &Path) -> Result<PrivateKey, ServerError> {
    match fs::read_to_string(path) {
        Ok(text) => PrivateKey::from_openssh(&text).map_err(|error| failed(path, error)),
        Err(error) if error.kind() == ErrorKind::NotFound => create(path),
        Err(error) => Err(failed(path, error)),
    }
}

/// Algorithm and base64, as in `known_hosts`.
pub(crate) fn public(key: &PrivateKey) -> Result<String, russh::keys::ssh_key::Error> {
    crate::authentication::without_comment(key.public_key())
}

fn create(path: &Path) -> Result<PrivateKey, ServerError> {
    let key = PrivateKey::from(Ed25519Keypair::from_seed(&seed().map_err(|error| failed(path, error))?));
    let text = key.to_openssh(LineEnding::LF).map_err(|error| failed(path, error))?;
    durable::write(path, text.as_bytes(), 0o600).map_err(|error| failed(path, error))?;
    Ok(key)
}

fn seed() -> std::io::Result<[u8; 32]> {
    let mut seed = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut seed)?;
    Ok(seed)
}

fn failed(path: &Path, reason: impl std::fmt::Display) -> ServerError {
    ServerError::HostKey { path: path.to_owned(), reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_second_start_has_the_key_of_the_first_and_nobody_else_reads_it() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("key");
        let made = load_or_create(&path).unwrap();
        assert_eq!(load_or_create(&path).unwrap(), made);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_broken_key_is_an_error_and_stays() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("key");
        fs::write(&path, "nonsense").unwrap();
        assert!(load_or_create(&path).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "nonsense");
    }
}
