//! Releases and configuration.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{OptionalExtension, Row, Transaction, params};

use super::{AppId, Result, Scale, Store, now};
use crate::names::{ConfigKey, Version};

/// Names and (secret) values.
pub type Config = BTreeMap<ConfigKey, String>;

/// One release, written once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// `v12`.
    pub version: Version,
    /// RFC 3339.
    pub created_at: String,
    /// Who made it: a key's name.
    pub actor: String,
    /// What made it: `Deploy 1a2b3c4`, `Rollback to v3`, `Set FOO`.
    pub description: String,
    /// The version whose directory holds the code and the image.
    pub code: Version,
    /// The version whose code and config these are: its own, or that rolled back to.
    pub origin: Version,
    /// The ref it moved, and where to.
    pub moved: Option<(String, String)>,
    /// The commit of its code, if it came by git.
    pub commit: Option<String>,
    /// Its directory and configuration have been removed: it is history.
    pub collected: bool,
}

impl Release {
    /// A release of its own code and configuration, made now.
    pub fn new(version: Version, actor: &str, description: String) -> Self {
        let (code, origin) = (version, version);
        Self {
            version,
            created_at: now(),
            actor: actor.to_owned(),
            description,
            code,
            origin,
            moved: None,
            commit: None,
            collected: false,
        }
    }
}

/// A release about to be made the current one.
#[derive(Debug, Clone)]
pub struct NewRelease {
    /// Its row. A first ref that moves with it makes its branch the deploy branch.
    pub release: Release,
    /// Its configuration, which becomes the app's.
    pub config: Config,
    /// Scale of process types that the app did not have before.
    pub first_scale: Scale,
    /// Whether an app that was stopped is started by it.
    pub starts: bool,
}

fn release(row: &Row<'_>) -> rusqlite::Result<Release> {
    let ref_name: Option<String> = row.get("ref_name")?;
    let commit: Option<String> = row.get("commit_id")?;
    Ok(Release {
        version: Version(row.get("version")?),
        created_at: row.get("created_at")?,
        actor: row.get("actor")?,
        description: row.get("description")?,
        code: Version(row.get("code")?),
        origin: Version(row.get("origin")?),
        moved: ref_name.zip(commit.clone()),
        commit,
        collected: row.get("collected")?,
    })
}

impl Store {
    /// The number that the next release will have.
    pub fn next_version(&self, app: AppId) -> Result<Version> {
        let sql = "SELECT coalesce(max(version), 0) + 1 FROM releases WHERE app = ?1";
        Ok(Version(self.connection().query_row(sql, [app.0], |row| row.get(0))?))
    }

    /// Writes a release and makes it the current one: from here on it is what serves, whatever happens.
    pub fn commit_release(&self, app: AppId, new: &NewRelease) -> Result<()> {
        self.transaction(|transaction| {
            insert_release(transaction, app, &new.release, new.starts)?;
            for (key, value) in &new.config {
                let sql = "INSERT INTO release_config (app, version, key, value) VALUES (?1, ?2, ?3, ?4)";
                transaction.execute(sql, params![app.0, new.release.version.0, key.as_str(), value])?;
            }
            replace_config(transaction, app, &new.config)?;
            for (process, instances) in &new.first_scale {
                let sql = "INSERT OR IGNORE INTO scale (app, process, instances) VALUES (?1, ?2, ?3)";
                transaction.execute(sql, params![app.0, process.as_str(), instances])?;
            }
            Ok(())
        })
    }

    /// One release.
    pub fn release(&self, app: AppId, version: Version) -> Result<Option<Release>> {
        let sql = "SELECT * FROM releases WHERE app = ?1 AND version = ?2";
        Ok(self.connection().query_row(sql, params![app.0, version.0], release).optional()?)
    }

    /// Every release, newest first.
    pub fn releases(&self, app: AppId) -> Result<Vec<Release>> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached("SELECT * FROM releases WHERE app = ?1 ORDER BY version DESC")?;
        Ok(statement.query_map([app.0], release)?.collect::<rusqlite::Result<_>>()?)
    }

    /// Makes releases history: their configuration goes, and their directories may.
    pub fn collect_releases(&self, app: AppId, versions: &BTreeSet<Version>) -> Result<()> {
        self.transaction(|transaction| {
            for version in versions {
                let params = params![app.0, version.0];
                transaction.execute("UPDATE releases SET collected = 1 WHERE app = ?1 AND version = ?2", params)?;
                transaction.execute("DELETE FROM release_config WHERE app = ?1 AND version = ?2", params)?;
            }
            Ok(())
        })
    }

    /// The configuration that the next release starts from.
    pub fn config(&self, app: AppId) -> Result<Config> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached("SELECT key, value FROM config WHERE app = ?1")?;
        collect_config(statement.query_map([app.0], pair)?)
    }

    /// The configuration of a release.
    pub fn release_config(&self, app: AppId, version: Version) -> Result<Config> {
        let connection = self.connection();
        let mut statement =
            connection.prepare_cached("SELECT key, value FROM release_config WHERE app = ?1 AND version = ?2")?;
        collect_config(statement.query_map(params![app.0, version.0], pair)?)
    }

    /// Replaces the configuration that the next release starts from.
    pub fn set_config(&self, app: AppId, config: &Config) -> Result<()> {
        self.transaction(|transaction| replace_config(transaction, app, config))
    }

    /// The variables that an app's builds are given, and nothing else is.
    pub fn build_config(&self, app: AppId) -> Result<Config> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached("SELECT key, value FROM build_config WHERE app = ?1")?;
        collect_config(statement.query_map([app.0], pair)?)
    }

    /// Changes some of those variables, all or none; None removes one.
    pub fn change_build_config(&self, app: AppId, changes: &[(ConfigKey, Option<String>)]) -> Result<()> {
        self.transaction(|transaction| {
            for (key, value) in changes {
                match value {
                    Some(value) => transaction.execute(
                        "INSERT OR REPLACE INTO build_config (app, key, value) VALUES (?1, ?2, ?3)",
                        params![app.0, key.as_str(), value],
                    )?,
                    None => transaction.execute(
                        "DELETE FROM build_config WHERE app = ?1 AND key = ?2",
                        params![app.0, key.as_str()],
                    )?,
                };
            }
            Ok(())
        })
    }
}

fn insert_release(transaction: &Transaction<'_>, app: AppId, new: &Release, starts: bool) -> Result<()> {
    let ref_name = new.moved.as_ref().map(|(name, _)| name.as_str());
    transaction.execute(
        "INSERT INTO releases (app, version, created_at, actor, description, code, origin, ref_name, commit_id)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        params![
            app.0,
            new.version.0,
            new.created_at,
            new.actor,
            new.description,
            new.code.0,
            new.origin.0,
            ref_name,
            new.commit
        ],
    )?;
    let branch = ref_name.and_then(|name| name.strip_prefix("refs/heads/"));
    transaction.execute(
        "UPDATE apps SET current = ?2, stopped = stopped AND NOT ?4, deploy_branch = coalesce(deploy_branch, ?3) WHERE id = ?1",
        params![app.0, new.version.0, branch, starts],
    )?;
    Ok(())
}

fn replace_config(transaction: &Transaction<'_>, app: AppId, config: &Config) -> Result<()> {
    transaction.execute("DELETE FROM config WHERE app = ?1", [app.0])?;
    for (key, value) in config {
        let sql = "INSERT INTO config (app, key, value) VALUES (?1, ?2, ?3)";
        transaction.execute(sql, params![app.0, key.as_str(), value])?;
    }
    Ok(())
}

fn pair(row: &Row<'_>) -> rusqlite::Result<(ConfigKey, String)> {
    Ok((super::parsed(row, "key")?, row.get("value")?))
}

fn collect_config(rows: impl Iterator<Item = rusqlite::Result<(ConfigKey, String)>>) -> Result<Config> {
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}
