//! The database's tables, as numbered migrations. Append only: a released step is never changed.

use rusqlite::Connection;

/// Step N takes the schema from `user_version` N to N + 1.
const MIGRATIONS: &[&str] = &["
    CREATE TABLE apps (
        id INTEGER PRIMARY KEY AUTOINCREMENT,  -- never used again: the app's user outside is made from it
        name TEXT NOT NULL UNIQUE,
        created_at TEXT NOT NULL,
        deploy_branch TEXT,
        current INTEGER,                        -- version of the release that is to serve
        stopped INTEGER NOT NULL DEFAULT 0,
        maintenance INTEGER NOT NULL DEFAULT 0,
        checks_timeout INTEGER NOT NULL DEFAULT 60,
        renamed_from TEXT,                      -- set while its directory may still have the old name
        destroying INTEGER NOT NULL DEFAULT 0   -- set while its directory is being removed
    ) STRICT;
    CREATE TABLE releases (
        app INTEGER NOT NULL REFERENCES apps(id) ON DELETE CASCADE,
        version INTEGER NOT NULL,
        created_at TEXT NOT NULL,
        actor TEXT NOT NULL,
        description TEXT NOT NULL,
        code INTEGER NOT NULL,                  -- version whose directory holds the code and the image
        origin INTEGER NOT NULL,                -- version whose code and config these are: its own, or that rolled back to
        ref_name TEXT,                          -- the ref that this release moved, and where to
        commit_id TEXT,
        PRIMARY KEY (app, version)
    ) STRICT;
    CREATE TABLE release_config (
        app INTEGER NOT NULL,
        version INTEGER NOT NULL,
        key TEXT NOT NULL,
        value TEXT NOT NULL,
        PRIMARY KEY (app, version, key),
        FOREIGN KEY (app, version) REFERENCES releases(app, version) ON DELETE CASCADE
    ) STRICT;
    CREATE TABLE config (                       -- what the next release starts from
        app INTEGER NOT NULL REFERENCES apps(id) ON DELETE CASCADE,
        key TEXT NOT NULL,
        value TEXT NOT NULL,
        PRIMARY KEY (app, key)
    ) STRICT;
    CREATE TABLE scale (
        app INTEGER NOT NULL REFERENCES apps(id) ON DELETE CASCADE,
        process TEXT NOT NULL,
        instances INTEGER NOT NULL,
        PRIMARY KEY (app, process)
    ) STRICT;
    CREATE TABLE domains (
        domain TEXT PRIMARY KEY,
        app INTEGER NOT NULL REFERENCES apps(id) ON DELETE CASCADE
    ) STRICT;
    CREATE TABLE keys (
        name TEXT PRIMARY KEY,
        public_key TEXT NOT NULL UNIQUE,        -- algorithm and base64
        fingerprint TEXT NOT NULL,
        created_at TEXT NOT NULL,
        app INTEGER REFERENCES apps(id) ON DELETE CASCADE,
        role TEXT NOT NULL                      -- admin or deploy
    ) STRICT;
", "
    ALTER TABLE apps ADD COLUMN engine TEXT NOT NULL DEFAULT 'native';
", "
    ALTER TABLE apps ADD COLUMN limits TEXT NOT NULL DEFAULT '{}';  -- what is set of them, as JSON
", "
    ALTER TABLE apps ADD COLUMN egress TEXT NOT NULL DEFAULT 'internet';
", "
    ALTER TABLE apps ADD COLUMN internal INTEGER NOT NULL DEFAULT 0;  -- 1: reaches others set so, and is reached by them
", "
    ALTER TABLE apps ADD COLUMN keep_builds INTEGER NOT NULL DEFAULT 10;    -- how many are kept to be rolled back to
    ALTER TABLE releases ADD COLUMN collected INTEGER NOT NULL DEFAULT 0;   -- 1: its directory and configuration are gone
", "
    CREATE TABLE signers (                      -- of releases that other servers have built
        name TEXT PRIMARY KEY,
        public_key TEXT NOT NULL UNIQUE,        -- algorithm and base64
        fingerprint TEXT NOT NULL,
        created_at TEXT NOT NULL
    ) STRICT;
", "
    ALTER TABLE apps ADD COLUMN buildpacks TEXT NOT NULL DEFAULT '[]';  -- those chosen instead of the built-in order, as JSON
", "
    CREATE TABLE build_config (                 -- what builds are given; no release has it
        app INTEGER NOT NULL REFERENCES apps(id) ON DELETE CASCADE,
        key TEXT NOT NULL,
        value TEXT NOT NULL,
        PRIMARY KEY (app, key)
    ) STRICT;
", "
    ALTER TABLE apps ADD COLUMN http TEXT NOT NULL DEFAULT '{}';    -- what is set of how its requests are handled, as JSON
", "
    CREATE TABLE authority (                    -- the server's own, for development
        id INTEGER PRIMARY KEY CHECK (id = 1),
        certificate TEXT NOT NULL,
        private_key TEXT NOT NULL
    ) STRICT;
    CREATE TABLE acme_accounts (
        directory TEXT PRIMARY KEY,
        credentials TEXT NOT NULL               -- with a private key
    ) STRICT;
    CREATE TABLE certificates (                 -- issued by ACME
        directory TEXT NOT NULL,
        name TEXT NOT NULL,
        chain TEXT NOT NULL,
        private_key TEXT NOT NULL,
        kept_at INTEGER NOT NULL,               -- milliseconds since 1970
        PRIMARY KEY (directory, name)
    ) STRICT;
    CREATE TABLE certificate_failures (         -- since the last certificate
        directory TEXT NOT NULL,
        name TEXT NOT NULL,
        reason TEXT NOT NULL,
        count INTEGER NOT NULL,
        at INTEGER NOT NULL,                    -- milliseconds since 1970
        next INTEGER NOT NULL,                  -- when the authority is asked again
        PRIMARY KEY (directory, name)
    ) STRICT;
    CREATE TABLE own_certificates (             -- given by owners
        app INTEGER REFERENCES apps(id) ON DELETE CASCADE,  -- NULL: the server's
        domain TEXT,                            -- NULL: for all names that it covers
        bundle TEXT NOT NULL                    -- chain and private key
    ) STRICT;
    CREATE UNIQUE INDEX own_certificates_place ON own_certificates (ifnull(app, 0), ifnull(domain, ''));
", "
    CREATE TABLE builds (                       -- what is told of them; nothing depends on it
        app INTEGER NOT NULL REFERENCES apps(id) ON DELETE CASCADE,
        number INTEGER NOT NULL,
        actor TEXT NOT NULL,
        description TEXT NOT NULL,
        commit_id TEXT,
        state TEXT NOT NULL,
        joined_at TEXT NOT NULL,
        began_at TEXT,
        ended_at TEXT,
        version INTEGER,                        -- the release that was made
        reason TEXT,                            -- why there is none
        PRIMARY KEY (app, number)
    ) STRICT;
", "
    ALTER TABLE apps ADD COLUMN sleep INTEGER;                      -- after so many seconds without requests; null: never
    ALTER TABLE apps ADD COLUMN asleep INTEGER NOT NULL DEFAULT 0;  -- its web instances are frozen or stopped until the next one
"];

/// Brings the schema up to date; each step is one transaction.
pub(super) fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    let version: usize = connection
        .pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0))
        .map(|v| usize::try_from(v).unwrap_or(0))?;
    for (step, sql) in MIGRATIONS.iter().enumerate().skip(version) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(sql)?;
        transaction.pragma_update(None, "user_version", i64::try_from(step + 1).unwrap_or(i64::MAX))?;
        transaction.commit()?;
    }
    Ok(())
}
