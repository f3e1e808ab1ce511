//! Builds, as they are told of: who wanted them, and what became of them.

use rusqlite::{Row, params};

use super::{Result, Store, now};
use crate::names::Version;
use crate::store::AppId;

/// So many of an app are told of.
const KEPT: u32 = 50;

/// One build of an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    /// Counted from 1.
    pub number: u32,
    /// A key's name.
    pub actor: String,
    /// `Deploy 1a2b3c4`
    pub description: String,
    /// If it is of a commit.
    pub commit: Option<String>,
    /// `waiting`, `running`, `interrupted` (the server ended meanwhile), or its [end](BuildEnd).
    pub state: String,
    /// RFC 3339: when it stood in line.
    pub joined_at: String,
    /// When its turn came.
    pub began_at: Option<String>,
    /// When it was over.
    pub ended_at: Option<String>,
    /// The release that was made.
    pub release: Option<Version>,
    /// Why there is none.
    pub reason: Option<String>,
}

/// What becomes of a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuildEnd {
    /// Its release serves, or did.
    Live,
    /// A dry run went well.
    Passed,
    /// It could not be built or launched.
    Failed,
    /// Somebody ended it.
    Cancelled,
    /// A newer one took its place in the line.
    Superseded,
}

impl BuildEnd {
    fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Superseded => "superseded",
        }
    }
}

fn build(row: &Row<'_>) -> rusqlite::Result<Build> {
    Ok(Build {
        number: row.get("number")?,
        actor: row.get("actor")?,
        description: row.get("description")?,
        commit: row.get("commit_id")?,
        state: row.get("state")?,
        joined_at: row.get("joined_at")?,
        began_at: row.get("began_at")?,
        ended_at: row.get("ended_at")?,
        release: row.get::<_, Option<u32>>("version")?.map(Version),
        reason: row.get("reason")?,
    })
}

impl Store {
    /// A build that stands in line; gives its number. The oldest of many is forgotten.
    pub fn add_build(&self, app: AppId, actor: &str, description: &str, commit: Option<&str>) -> Result<u32> {
        let sql = "INSERT INTO builds (app, number, actor, description, commit_id, state, joined_at)
            SELECT ?1, coalesce(max(number), 0) + 1, ?2, ?3, ?4, 'waiting', ?5 FROM builds WHERE app = ?1";
        self.note(sql, params![app.0, actor, description, commit, now()])?;
        let number =
            self.connection().query_row("SELECT max(number) FROM builds WHERE app = ?1", [app.0], |row| row.get(0))?;
        let sql = "DELETE FROM builds WHERE app = ?1 AND number <= ?2 - ?3";
        self.note(sql, params![app.0, number, KEPT])?;
        Ok(number)
    }

    /// Its turn has come.
    pub fn begin_build(&self, app: AppId, number: u32) -> Result<()> {
        let sql = "UPDATE builds SET state = 'running', began_at = ?3 WHERE app = ?1 AND number = ?2";
        self.note(sql, params![app.0, number, now()])
    }

    /// It is over.
    pub fn end_build(
        &self,
        app: AppId,
        number: u32,
        end: BuildEnd,
        release: Option<Version>,
        reason: Option<&str>,
    ) -> Result<()> {
        let sql =
            "UPDATE builds SET state = ?3, ended_at = ?4, version = ?5, reason = ?6 WHERE app = ?1 AND number = ?2";
        self.note(sql, params![app.0, number, end.as_str(), now(), release.map(|release| release.0), reason])
    }

    /// No build outlives a server.
    pub fn interrupt_builds(&self) -> Result<()> {
        let sql = "UPDATE builds SET state = 'interrupted', ended_at = ?1, reason = 'the server ended'
            WHERE state IN ('waiting', 'running')";
        self.note(sql, params![now()])
    }

    /// An app's builds, newest first.
    pub fn builds(&self, app: AppId) -> Result<Vec<Build>> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached("SELECT * FROM builds WHERE app = ?1 ORDER BY number DESC")?;
        Ok(statement.query_map([app.0], build)?.collect::<rusqlite::Result<_>>()?)
    }
}
