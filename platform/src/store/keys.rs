//! Public keys and what they may do.

use rusqlite::{OptionalExtension, Row, params};

use super::{AppId, Result, Store, StoreError, now, parsed};
use crate::names::{AppName, KeyName};

/// A public key that may come in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Under which it was added.
    pub name: KeyName,
    /// Algorithm and base64.
    pub public_key: String,
    /// `SHA256:…`.
    pub fingerprint: String,
    /// RFC 3339.
    pub created_at: String,
    /// Only this app, or everything.
    pub app: Option<AppName>,
    /// What it may do there.
    pub role: Role,
}

/// What a key may do with its app, or with everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Everything.
    Admin,
    /// Push, logs, ps, releases, rollback, restart.
    Deploy,
}

impl Role {
    /// As in the database and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Deploy => "deploy",
        }
    }
}

fn key(row: &Row<'_>) -> rusqlite::Result<Key> {
    let app: Option<String> = row.get("app_name")?;
    let role: String = row.get("role")?;
    Ok(Key {
        name: parsed(row, "name")?,
        public_key: row.get("public_key")?,
        fingerprint: row.get("fingerprint")?,
        created_at: row.get("created_at")?,
        app: app.and_then(|name| name.parse().ok()),
        role: if role == "admin" { Role::Admin } else { Role::Deploy },
    })
}

const SELECT: &str = "SELECT keys.*, apps.name AS app_name FROM keys LEFT JOIN apps ON apps.id = keys.app";

impl Store {
    /// Every key, by name.
    pub fn keys(&self) -> Result<Vec<Key>> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached(&format!("{SELECT} ORDER BY keys.name"))?;
        Ok(statement.query_map([], key)?.collect::<rusqlite::Result<_>>()?)
    }

    /// The key with this public part (algorithm and base64).
    pub fn find_key(&self, public_key: &str) -> Result<Option<Key>> {
        let connection = self.connection();
        let sql = format!("{SELECT} WHERE keys.public_key = ?1");
        Ok(connection.query_row(&sql, [public_key], key).optional()?)
    }

    /// Lets a key in: everywhere, or for one app.
    pub fn add_key(
        &self,
        name: &KeyName,
        public_key: &str,
        fingerprint: &str,
        app: Option<AppId>,
        role: Role,
    ) -> Result<()> {
        if let Some(known) = self.find_key(public_key)? {
            return Err(StoreError::Exists(format!("this key, under the name {},", known.name)));
        }
        let sql = "INSERT INTO keys (name, public_key, fingerprint, created_at, app, role) VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING";
        let values = params![name.as_str(), public_key, fingerprint, now(), app.map(|id| id.0), role.as_str()];
        match self.connection().execute(sql, values)? {
            1 => Ok(()),
            _ => Err(StoreError::Exists(format!("key {name}"))),
        }
    }

    /// Shuts a key out; false if there is none of this name.
    pub fn remove_key(&self, name: &KeyName) -> Result<bool> {
        Ok(self.connection().execute("DELETE FROM keys WHERE name = ?1", [name.as_str()])? == 1)
    }
}
