//! Apps: their names, settings, scale and domains.

use std::time::Duration;

use builder::reference::Reference;
use rusqlite::{OptionalExtension, Row, params};

use super::{Result, Store, StoreError, json, now, parsed};
use crate::http::HttpSettings;
use crate::names::{AppName, ProcessType, Version};
use crate::network::EgressName;
use crate::terms::Terms;

/// How many instances of each process type are wanted.
pub type Scale = Vec<(ProcessType, u32)>;

/// The number of an app, never used again after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AppId(pub i64);

/// One app.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact by itself")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    /// Stays through renames.
    pub id: AppId,
    /// Its name now.
    pub name: AppName,
    /// RFC 3339.
    pub created_at: String,
    /// The branch whose pushes deploy; None before the first successful one.
    pub deploy_branch: Option<String>,
    /// The release that is to serve.
    pub current: Option<Version>,
    /// `ps:stop` was said.
    pub stopped: bool,
    /// `maintenance:on` was said.
    pub maintenance: bool,
    /// Seconds a web process has to become healthy.
    pub checks_timeout: u64,
    /// It sleeps after so many seconds without requests.
    pub sleep: Option<u32>,
    /// It does now.
    pub asleep: bool,
    /// Of how many builds releases are kept.
    pub keep: u32,
    /// The terms on which its instances run.
    pub terms: Terms,
    /// How its requests are handled.
    pub http: HttpSettings,
    /// The buildpacks chosen for it, as one group; none: whatever its tree or the server says.
    pub buildpacks: Vec<Reference>,
    /// Its directory may still have this name.
    pub renamed_from: Option<AppName>,
    /// Its directory is being removed.
    pub destroying: bool,
}

impl App {
    /// How long it is without requests until it sleeps, if it is set to.
    pub fn sleep_after(&self) -> Option<Duration> {
        self.sleep.map(|seconds| Duration::from_secs(seconds.into()))
    }
}

fn app(row: &Row<'_>) -> rusqlite::Result<App> {
    let renamed_from: Option<String> = row.get("renamed_from")?;
    Ok(App {
        id: AppId(row.get("id")?),
        name: parsed(row, "name")?,
        created_at: row.get("created_at")?,
        deploy_branch: row.get("deploy_branch")?,
        current: row.get::<_, Option<u32>>("current")?.map(Version),
        stopped: row.get("stopped")?,
        maintenance: row.get("maintenance")?,
        checks_timeout: row.get::<_, u32>("checks_timeout")?.into(),
        sleep: row.get("sleep")?,
        asleep: row.get("asleep")?,
        keep: row.get("keep_builds")?,
        terms: Terms {
            engine: parsed(row, "engine")?,
            egress: parsed::<EgressName>(row, "egress")?.0,
            internal: row.get("internal")?,
            limits: json(row, "limits")?,
        },
        http: json(row, "http")?,
        buildpacks: json(row, "buildpacks")?,
        renamed_from: renamed_from.and_then(|name| name.parse().ok()),
        destroying: row.get("destroying")?,
    })
}

impl Store {
    /// A new app without a release.
    pub fn create_app(&self, name: &AppName) -> Result<App> {
        let inserted = self.connection().execute(
            "INSERT INTO apps (name, created_at) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
            params![name.as_str(), now()],
        )?;
        match (inserted, self.app(name)?) {
            (1, Some(app)) => Ok(app),
            _ => Err(StoreError::Exists(format!("app {name}"))),
        }
    }

    /// The app of this name.
    pub fn app(&self, name: &AppName) -> Result<Option<App>> {
        let connection = self.connection();
        Ok(connection.query_row("SELECT * FROM apps WHERE name = ?1", [name.as_str()], app).optional()?)
    }

    /// The app of this number.
    pub fn app_by_id(&self, id: AppId) -> Result<Option<App>> {
        let connection = self.connection();
        Ok(connection.query_row("SELECT * FROM apps WHERE id = ?1", [id.0], app).optional()?)
    }

    /// Every app, by name, also those being destroyed.
    pub fn apps(&self) -> Result<Vec<App>> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached("SELECT * FROM apps ORDER BY name")?;
        Ok(statement.query_map([], app)?.collect::<rusqlite::Result<_>>()?)
    }

    /// Gives an app a new name; its directory keeps the old one until [`Store::finish_rename`].
    pub fn rename_app(&self, id: AppId, to: &AppName) -> Result<()> {
        if self.app(to)?.is_some() {
            return Err(StoreError::Exists(format!("app {to}")));
        }
        self.update(id, "UPDATE apps SET renamed_from = name, name = ?2 WHERE id = ?1", &to.as_str())
    }

    /// The directory has the app's name again.
    pub fn finish_rename(&self, id: AppId) -> Result<()> {
        self.update(id, "UPDATE apps SET renamed_from = ?2 WHERE id = ?1", &None::<String>)
    }

    /// Its directory is about to be removed; from now on it does not serve and cannot come back.
    pub fn begin_destroy(&self, id: AppId) -> Result<()> {
        self.update(id, "UPDATE apps SET destroying = ?2 WHERE id = ?1", &true)
    }

    /// Removes an app and everything kept about it.
    pub fn delete_app(&self, id: AppId) -> Result<()> {
        self.connection().execute("DELETE FROM apps WHERE id = ?1", [id.0])?;
        Ok(())
    }

    /// `ps:stop` and `ps:start`.
    pub fn set_stopped(&self, id: AppId, stopped: bool) -> Result<()> {
        self.update(id, "UPDATE apps SET stopped = ?2 WHERE id = ?1", &stopped)
    }

    /// `maintenance:on` and `maintenance:off`.
    pub fn set_maintenance(&self, id: AppId, on: bool) -> Result<()> {
        self.update(id, "UPDATE apps SET maintenance = ?2 WHERE id = ?1", &on)
    }

    /// Seconds a web process has to become healthy.
    pub fn set_checks_timeout(&self, id: AppId, seconds: u32) -> Result<()> {
        self.update(id, "UPDATE apps SET checks_timeout = ?2 WHERE id = ?1", &seconds)
    }

    /// After how many seconds without requests it sleeps.
    pub fn set_sleep(&self, id: AppId, seconds: Option<u32>) -> Result<()> {
        self.update(id, "UPDATE apps SET sleep = ?2 WHERE id = ?1", &seconds)
    }

    /// Whether it sleeps now.
    pub fn note_asleep(&self, id: AppId, asleep: bool) -> Result<()> {
        self.note("UPDATE apps SET asleep = ?2 WHERE id = ?1", params![id.0, asleep])
    }

    /// Of how many builds releases are kept.
    pub fn set_keep(&self, id: AppId, builds: u32) -> Result<()> {
        self.update(id, "UPDATE apps SET keep_builds = ?2 WHERE id = ?1", &builds)
    }

    /// The terms on which its instances run.
    pub fn set_terms(&self, id: AppId, terms: &Terms) -> Result<()> {
        let limits = serde_json::to_string(&terms.limits).unwrap_or_default();
        let (engine, egress) = (terms.engine.as_str(), EgressName(terms.egress).as_str());
        let sql = "UPDATE apps SET engine = ?2, egress = ?3, internal = ?4, limits = ?5 WHERE id = ?1";
        self.connection().execute(sql, params![id.0, engine, egress, terms.internal, limits])?;
        Ok(())
    }

    /// How its requests are handled.
    pub fn set_http(&self, id: AppId, settings: HttpSettings) -> Result<()> {
        let text = serde_json::to_string(&settings).unwrap_or_default();
        self.update(id, "UPDATE apps SET http = ?2 WHERE id = ?1", &text)
    }

    /// The buildpacks chosen for it.
    pub fn set_buildpacks(&self, id: AppId, buildpacks: &[Reference]) -> Result<()> {
        let text = serde_json::to_string(buildpacks).unwrap_or_default();
        self.update(id, "UPDATE apps SET buildpacks = ?2 WHERE id = ?1", &text)
    }

    /// The branch whose pushes deploy.
    pub fn set_deploy_branch(&self, id: AppId, branch: &str) -> Result<()> {
        self.update(id, "UPDATE apps SET deploy_branch = ?2 WHERE id = ?1", &branch)
    }

    fn update(&self, id: AppId, sql: &str, value: &dyn rusqlite::ToSql) -> Result<()> {
        self.connection().execute(sql, params![id.0, value])?;
        Ok(())
    }

    /// How many instances of each process type are wanted, by name.
    pub fn scale(&self, id: AppId) -> Result<Scale> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached("SELECT * FROM scale WHERE app = ?1 ORDER BY process")?;
        let rows = statement.query_map([id.0], |row| Ok((parsed(row, "process")?, row.get("instances")?)))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Sets how many instances of some process types are wanted.
    pub fn set_scale(&self, id: AppId, wanted: &[(ProcessType, u32)]) -> Result<()> {
        self.transaction(|transaction| {
            for (process, instances) in wanted {
                let sql = "INSERT OR REPLACE INTO scale (app, process, instances) VALUES (?1, ?2, ?3)";
                transaction.execute(sql, params![id.0, process.as_str(), instances])?;
            }
            Ok(())
        })
    }

    /// The domains added to an app, by name.
    pub fn domains(&self, id: AppId) -> Result<Vec<String>> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached("SELECT domain FROM domains WHERE app = ?1 ORDER BY domain")?;
        Ok(statement.query_map([id.0], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?)
    }

    /// Which app has this domain.
    pub fn domain_owner(&self, domain: &str) -> Result<Option<AppName>> {
        let sql = "SELECT apps.name AS name FROM domains JOIN apps ON apps.id = domains.app WHERE domain = ?1";
        Ok(self.connection().query_row(sql, [domain], |row| parsed(row, "name")).optional()?)
    }

    /// Adds domains, all or none; one that belongs to another app is refused.
    pub fn add_domains(&self, id: AppId, domains: &[String]) -> Result<()> {
        self.transaction(|transaction| {
            for domain in domains {
                let sql = "INSERT INTO domains (domain, app) VALUES (?1, ?2) ON CONFLICT (domain) DO UPDATE SET app = ?2 WHERE app = ?2";
                if transaction.execute(sql, params![domain, id.0])? == 0 {
                    return Err(StoreError::Exists(format!("domain {domain}")));
                }
            }
            Ok(())
        })
    }

    /// Removes domains, all or none; gives back the first that the app does not have.
    pub fn remove_domains(&self, id: AppId, domains: &[String]) -> Result<Option<String>> {
        let present = self.domains(id)?;
        if let Some(missing) = domains.iter().find(|domain| !present.contains(domain)) {
            return Ok(Some(missing.clone()));
        }
        self.transaction(|transaction| {
            for domain in domains {
                transaction.execute("DELETE FROM domains WHERE domain = ?1 AND app = ?2", params![domain, id.0])?;
                let sql = "DELETE FROM own_certificates WHERE domain = ?1 AND app = ?2";
                transaction.execute(sql, params![domain, id.0])?;
            }
            Ok(None)
        })
    }
}
