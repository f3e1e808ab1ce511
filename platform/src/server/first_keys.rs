//! The keys of a server that has none yet: those of the user who starts it.

use std::path::{Path, PathBuf};

use crate::failure::{Failure, Result};
use crate::names::KeyName;
use crate::store::{Role, Store};

/// The first start without any key lets the user who made it in.
pub(super) fn admit_invoking_user(store: &Store) -> Result<()> {
    if !store.keys()?.is_empty() {
        return Ok(());
    }
    let Some(home) = std::env::var_os("HOME").map(PathBuf::from) else { return Ok(()) };
    let Ok(files) = std::fs::read_dir(home.join(".ssh")) else { return Ok(()) };
    for path in
        files.flatten().map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|ending| ending == "pub"))
    {
        match admit(store, &path) {
            Ok(name) => tracing::info!(file = %path.display(), %name, "added as an admin key"),
            Err(error) => tracing::warn!(file = %path.display(), %error, "not added as a key"),
        }
    }
    Ok(())
}

fn admit(store: &Store, path: &Path) -> Result<KeyName> {
    let name: KeyName = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().parse()?;
    let text = std::fs::read_to_string(path).map_err(|e| Failure::io(path.display(), &e))?;
    let key = gitd::PublicKey::parse(&text).map_err(|e| Failure::plain(e.to_string()))?;
    store.add_key(&name, &key.text, &key.fingerprint, None, Role::Admin)?;
    Ok(name)
}
