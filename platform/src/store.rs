//! The durable truth: apps, releases, configuration, scale, domains, certificates and keys, in SQLite.
//!
//! One method is one fact, and one transaction. Calls block for microseconds (reads) or one fsync (writes), and are
//! made directly from asynchronous code: the daemon's traffic runs on the router's own threads.

mod apps;
mod builds;
mod certificates;
mod keys;
mod releases;
mod schema;
mod signers;

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, ToSql};

pub use apps::{App, AppId, Scale};
pub use builds::{Build, BuildEnd};
pub use certificates::{OwnCertificate, Refusal};
pub use keys::{Key, Role};
pub use releases::{Config, NewRelease, Release};
pub use signers::Signer;

/// The database of one home.
#[derive(Debug)]
pub struct Store {
    connection: Mutex<Connection>,
}

/// The database could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk is full.
    #[error("no space left on the server for its database")]
    DiskFull,
    /// A name is taken.
    #[error("{0} exists already")]
    Exists(String),
    /// Anything else SQLite says.
    #[error("database: {0}")]
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => Self::DiskFull,
            _ => Self::Sqlite(error),
        }
    }
}

/// What a method of the store gives.
pub type Result<T> = std::result::Result<T, StoreError>;

impl Store {
    /// Opens or makes the database (readable by its owner only) and brings its schema up to date.
    pub fn open(path: &Path) -> Result<Self> {
        use std::os::unix::fs::OpenOptionsExt;
        // SQLite would make the file with the umask's mode; configuration in it is secret.
        let _made = std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path);
        Self::prepare(Connection::open(path)?)
    }

    fn prepare(mut connection: Connection) -> Result<Self> {
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        schema::migrate(&mut connection)?;
        Ok(Self { connection: Mutex::new(connection) })
    }

    /// A statement that panicked left no transaction open (rusqlite rolls back on drop), so a poisoned lock is usable.
    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes without waiting for the disk: after a power cut the last of it may be missing, and nothing depends on it.
    fn note(&self, sql: &str, params: &[&dyn ToSql]) -> Result<()> {
        let connection = self.connection();
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        let noted = connection.execute(sql, params);
        connection.pragma_update(None, "synchronous", "FULL")?;
        Ok(noted.map(drop)?)
    }

    fn transaction<T>(&self, body: impl FnOnce(&rusqlite::Transaction<'_>) -> Result<T>) -> Result<T> {
        let mut connection = self.connection();
        let transaction = connection.transaction()?;
        let value = body(&transaction)?;
        transaction.commit()?;
        Ok(value)
    }
}

/// Now, as kept in the database: RFC 3339, UTC, milliseconds.
fn now() -> String {
    crate::clock::timestamp(jiff::Timestamp::now())
}

/// Reads a checked type from a text column.
fn parsed<T: std::str::FromStr>(row: &rusqlite::Row<'_>, column: &str) -> rusqlite::Result<T>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    let text: String = row.get(column)?;
    text.parse()
        .map_err(|e: T::Err| rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(e)))
}

/// Reads a value from a column that holds JSON.
fn json<T: serde::de::DeserializeOwned>(row: &rusqlite::Row<'_>, column: &str) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text)
        .map_err(|e| rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(e)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::{ConfigKey, Version};

    fn store() -> Store {
        Store::prepare(Connection::open_in_memory().unwrap()).unwrap()
    }

    fn release(store: &Store, app: AppId, config: &[(&str, &str)]) -> Version {
        let version = store.next_version(app).unwrap();
        let config = config.iter().map(|(k, v)| (k.parse().unwrap(), (*v).to_owned())).collect();
        let row = Release::new(version, "me", "Deploy".into());
        let moved = Some(("refs/heads/main".into(), "a".repeat(40)));
        let row = Release { moved, commit: Some("a".repeat(40)), ..row };
        let new = NewRelease { release: row, config, first_scale: vec![("web".parse().unwrap(), 1)], starts: true };
        store.commit_release(app, &new).unwrap();
        version
    }

    #[test]
    fn a_release_is_one_fact() {
        let store = store();
        let app = store.create_app(&"blog".parse().unwrap()).unwrap();
        assert_eq!(app.current, None);
        let version = release(&store, app.id, &[("A", "1")]);
        let app = store.app(&app.name).unwrap().unwrap();
        assert_eq!((app.current, app.deploy_branch.as_deref()), (Some(version), Some("main")));
        assert_eq!(store.scale(app.id).unwrap(), vec![("web".parse().unwrap(), 1)]);
        assert_eq!(store.config(app.id).unwrap().len(), 1);
        assert_eq!(store.next_version(app.id).unwrap(), Version(2));
    }

    #[test]
    fn builds_are_numbered_and_told_of() {
        let store = store();
        let app = store.create_app(&"blog".parse().unwrap()).unwrap().id;
        let add = || store.add_build(app, "alice", "Deploy 1a2b3c4", Some("1a2b3c4")).unwrap();
        assert_eq!((add(), add(), add()), (1, 2, 3));
        store.begin_build(app, 1).unwrap();
        store.end_build(app, 1, BuildEnd::Live, Some(Version(7)), None).unwrap();
        store.begin_build(app, 2).unwrap();
        store.interrupt_builds().unwrap();
        let told: Vec<_> = store.builds(app).unwrap();
        let states: Vec<_> = told.iter().map(|build| (build.number, build.state.as_str())).collect();
        assert_eq!(states, [(3, "interrupted"), (2, "interrupted"), (1, "live")]);
        assert_eq!(
            (told[2].release, told[1].began_at.is_some(), told[0].began_at.is_some()),
            (Some(Version(7)), true, false)
        );
        let numbers: Vec<_> = (0..60).map(|_| add()).collect();
        assert_eq!(numbers.last(), Some(&63));
        assert_eq!(store.builds(app).unwrap().len(), 50);
        assert_eq!(add(), 64);
        let synchronous: i64 = store.connection().pragma_query_value(None, "synchronous", |row| row.get(0)).unwrap();
        assert_eq!(synchronous, 2, "what matters is written through");
    }

    #[test]
    fn names_are_unique_and_ids_are_never_reused() {
        let store = store();
        let name = "blog".parse().unwrap();
        let first = store.create_app(&name).unwrap();
        assert!(matches!(store.create_app(&name), Err(StoreError::Exists(_))));
        store.delete_app(first.id).unwrap();
        assert_ne!(store.create_app(&name).unwrap().id, first.id);
    }

    #[test]
    fn what_builds_are_given_is_no_releases() {
        let store = store();
        let app = store.create_app(&"blog".parse().unwrap()).unwrap();
        let change = |key: &str, value: Option<&str>| {
            store.change_build_config(app.id, &[(key.parse().unwrap(), value.map(str::to_owned))]).unwrap();
        };
        change("TOKEN", Some("one"));
        change("TOKEN", Some("two"));
        change("OTHER", Some(""));
        change("OTHER", None);
        let version = release(&store, app.id, &[("A", "1")]);
        let given = store.build_config(app.id).unwrap();
        assert_eq!(given.values().collect::<Vec<_>>(), ["two"]);
        for config in [store.config(app.id).unwrap(), store.release_config(app.id, version).unwrap()] {
            assert_eq!(config.keys().map(ConfigKey::as_str).collect::<Vec<_>>(), ["A"]);
        }
        store.delete_app(app.id).unwrap();
        assert!(store.build_config(app.id).unwrap().is_empty());
    }

    #[test]
    fn a_scale_that_was_set_survives_the_next_release() {
        let store = store();
        let app = store.create_app(&"blog".parse().unwrap()).unwrap();
        release(&store, app.id, &[]);
        store.set_scale(app.id, &[("web".parse().unwrap(), 3)]).unwrap();
        release(&store, app.id, &[]);
        assert_eq!(store.scale(app.id).unwrap(), vec![("web".parse().unwrap(), 3)]);
    }
}
