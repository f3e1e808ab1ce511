//! Other servers' keys, whose releases may be deployed here.

use rusqlite::{OptionalExtension, Row, params};

use super::{Result, Store, StoreError, now, parsed};
use crate::names::KeyName;

/// A key whose signature on a release counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signer {
    /// Under which it was added.
    pub name: KeyName,
    /// `SHA256:…`.
    pub fingerprint: String,
    /// RFC 3339.
    pub created_at: String,
}

fn signer(row: &Row<'_>) -> rusqlite::Result<Signer> {
    let (fingerprint, created_at) = (row.get("fingerprint")?, row.get("created_at")?);
    Ok(Signer { name: parsed(row, "name")?, fingerprint, created_at })
}

impl Store {
    /// Every signer, by name.
    pub fn signers(&self) -> Result<Vec<Signer>> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached("SELECT * FROM signers ORDER BY name")?;
        Ok(statement.query_map([], signer)?.collect::<rusqlite::Result<_>>()?)
    }

    /// The signer with this public key (algorithm and base64).
    pub fn find_signer(&self, public_key: &str) -> Result<Option<Signer>> {
        let connection = self.connection();
        Ok(connection.query_row("SELECT * FROM signers WHERE public_key = ?1", [public_key], signer).optional()?)
    }

    /// Trusts a key.
    pub fn add_signer(&self, name: &KeyName, key: &gitd::PublicKey) -> Result<()> {
        if let Some(known) = self.find_signer(&key.text)? {
            return Err(StoreError::Exists(format!("this key, under the name {},", known.name)));
        }
        let sql = "INSERT INTO signers (name, public_key, fingerprint, created_at) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING";
        match self.connection().execute(sql, params![name.as_str(), key.text, key.fingerprint, now()])? {
            1 => Ok(()),
            _ => Err(StoreError::Exists(format!("signer {name}"))),
        }
    }

    /// Trusts a key no more; false if there is none of this name.
    pub fn remove_signer(&self, name: &KeyName) -> Result<bool> {
        Ok(self.connection().execute("DELETE FROM signers WHERE name = ?1", [name.as_str()])? == 1)
    }
}
