//! Certificates with their private keys, what authorities have refused, and accounts with them.

use rusqlite::{OptionalExtension, Row, params};

use super::{AppId, Result, Store};

/// Certificates that were issued so many milliseconds ago have ended.
const ENDED: i64 = 400 * 24 * 3600 * 1000;

/// A certificate that an owner has given.
#[derive(Clone, PartialEq, Eq)]
pub struct OwnCertificate {
    /// Whose; None: the server's.
    pub app: Option<AppId>,
    /// For which name; None: for all that it covers.
    pub domain: Option<String>,
    /// The chain and the private key, in PEM.
    pub bundle: String,
}

/// An order that an authority refused, or that failed otherwise. Times are milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// In words.
    pub reason: String,
    /// How many in a row.
    pub count: u32,
    /// When it was.
    pub at: i64,
    /// When the authority is asked again.
    pub next: i64,
}

/// A chain or a certificate, and the private key of its first: both in PEM.
type Pair = (String, String);

fn pair(row: &Row<'_>) -> rusqlite::Result<Pair> {
    Ok((row.get(0)?, row.get(1)?))
}

impl Store {
    /// The server's own authority: its certificate and its key.
    pub fn authority(&self) -> Result<Option<Pair>> {
        Ok(self.connection().query_row("SELECT certificate, private_key FROM authority", [], pair).optional()?)
    }

    /// Keeps the server's own authority, for good.
    pub fn keep_authority(&self, certificate: &str, key: &str) -> Result<()> {
        let sql = "INSERT INTO authority (id, certificate, private_key) VALUES (1, ?1, ?2)";
        self.connection().execute(sql, [certificate, key])?;
        Ok(())
    }

    /// The account with the authority of this directory.
    pub fn acme_account(&self, directory: &str) -> Result<Option<String>> {
        let sql = "SELECT credentials FROM acme_accounts WHERE directory = ?1";
        Ok(self.connection().query_row(sql, [directory], |row| row.get(0)).optional()?)
    }

    /// Keeps an account.
    pub fn keep_acme_account(&self, directory: &str, credentials: &str) -> Result<()> {
        let sql = "INSERT OR REPLACE INTO acme_accounts (directory, credentials) VALUES (?1, ?2)";
        self.connection().execute(sql, [directory, credentials])?;
        Ok(())
    }

    /// What the authority of this directory has issued for a name last.
    pub fn certificate(&self, directory: &str, name: &str) -> Result<Option<Pair>> {
        let sql = "SELECT chain, private_key FROM certificates WHERE directory = ?1 AND name = ?2";
        Ok(self.connection().query_row(sql, [directory, name], pair).optional()?)
    }

    /// Keeps what was issued, forgets what was refused before, and what has ended long since.
    pub fn keep_certificate(&self, directory: &str, name: &str, (chain, key): (&str, &str), now: i64) -> Result<()> {
        self.transaction(|transaction| {
            let sql = "INSERT OR REPLACE INTO certificates (directory, name, chain, private_key, kept_at) VALUES (?1, ?2, ?3, ?4, ?5)";
            transaction.execute(sql, params![directory, name, chain, key, now])?;
            let sql = "DELETE FROM certificate_failures WHERE (directory = ?1 AND name = ?2) OR next < ?3";
            transaction.execute(sql, params![directory, name, now - ENDED])?;
            transaction.execute("DELETE FROM certificates WHERE kept_at < ?1", [now - ENDED])?;
            Ok(())
        })
    }

    /// What was refused for a name since its last certificate.
    pub fn certificate_failure(&self, directory: &str, name: &str) -> Result<Option<Refusal>> {
        let sql = "SELECT reason, count, at, next FROM certificate_failures WHERE directory = ?1 AND name = ?2";
        let refusal =
            |row: &Row<'_>| Ok(Refusal { reason: row.get(0)?, count: row.get(1)?, at: row.get(2)?, next: row.get(3)? });
        Ok(self.connection().query_row(sql, [directory, name], refusal).optional()?)
    }

    /// Keeps what was refused.
    pub fn keep_certificate_failure(&self, directory: &str, name: &str, refusal: &Refusal) -> Result<()> {
        let Refusal { reason, count, at, next } = refusal;
        let sql = "INSERT OR REPLACE INTO certificate_failures (directory, name, reason, count, at, next) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        self.connection().execute(sql, params![directory, name, reason, count, at, next])?;
        Ok(())
    }

    /// Every certificate that an owner has given.
    pub fn own_certificates(&self) -> Result<Vec<OwnCertificate>> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached("SELECT app, domain, bundle FROM own_certificates")?;
        let own = |row: &Row<'_>| {
            let app = row.get::<_, Option<i64>>(0)?.map(AppId);
            Ok(OwnCertificate { app, domain: row.get(1)?, bundle: row.get(2)? })
        };
        Ok(statement.query_map([], own)?.collect::<rusqlite::Result<_>>()?)
    }

    /// Keeps one in place of that which was given for the same.
    pub fn keep_own_certificate(&self, own: &OwnCertificate) -> Result<()> {
        let sql = "INSERT OR REPLACE INTO own_certificates (app, domain, bundle) VALUES (?1, ?2, ?3)";
        self.connection().execute(sql, params![own.app.map(|app| app.0), own.domain, own.bundle])?;
        Ok(())
    }

    /// Removes those of an app (or the server's): the one that was given for a name, or all.
    pub fn remove_own_certificates(&self, app: Option<AppId>, domain: Option<&str>) -> Result<usize> {
        let sql = "DELETE FROM own_certificates WHERE app IS ?1 AND (?2 IS NULL OR domain = ?2)";
        Ok(self.connection().execute(sql, params![app.map(|app| app.0), domain])?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> Store {
        Store::prepare(rusqlite::Connection::open_in_memory().unwrap()).unwrap()
    }

    #[test]
    fn a_certificate_ends_what_was_refused() {
        let (store, now) = (store(), 1_800_000_000_000);
        let refusal = Refusal { reason: "no".into(), count: 2, at: now, next: now + 60_000 };
        store.keep_certificate_failure("one", "a.test", &refusal).unwrap();
        assert_eq!(store.certificate_failure("one", "a.test").unwrap(), Some(refusal));
        assert_eq!(store.certificate_failure("two", "a.test").unwrap(), None);
        store.keep_certificate("one", "a.test", ("chain", "key"), now).unwrap();
        assert_eq!(store.certificate_failure("one", "a.test").unwrap(), None);
        assert_eq!(store.certificate("one", "a.test").unwrap(), Some(("chain".into(), "key".into())));
        assert_eq!(store.certificate("two", "a.test").unwrap(), None);
        store.keep_certificate("one", "b.test", ("chain", "key"), now + ENDED + 1).unwrap();
        assert_eq!(store.certificate("one", "a.test").unwrap(), None);
    }

    #[test]
    fn owners_have_one_certificate_for_each_name_and_one_for_all() {
        let store = store();
        let app = store.create_app(&"blog".parse().unwrap()).unwrap().id;
        let keep = |app: Option<AppId>, domain: Option<&str>, bundle: &str| {
            let own = OwnCertificate { app, domain: domain.map(str::to_owned), bundle: bundle.into() };
            store.keep_own_certificate(&own).unwrap();
        };
        for (app, domain) in [(Some(app), Some("a.test")), (Some(app), None), (None, None)] {
            keep(app, domain, "old");
            keep(app, domain, "new");
        }
        let bundles = || store.own_certificates().unwrap().into_iter().map(|own| own.bundle).collect::<Vec<_>>();
        assert_eq!(bundles(), ["new"; 3]);
        store.add_domains(app, &["a.test".into()]).unwrap();
        store.remove_domains(app, &["a.test".into()]).unwrap();
        assert_eq!(bundles().len(), 2);
        assert_eq!(store.remove_own_certificates(None, Some("a.test")).unwrap(), 0);
        assert_eq!(store.remove_own_certificates(None, None).unwrap(), 1);
        store.delete_app(app).unwrap();
        assert!(bundles().is_empty());
    }
}
