//! What is served, and how: the site's root and the files that say more about it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::rules::{Headers, Redirect, RuleError, headers, redirects};

/// A site, ready to be served.
#[derive(Debug)]
pub(crate) struct Site {
    /// The directory that is served.
    pub(super) root: PathBuf,
    pub(super) redirects: Vec<Redirect>,
    pub(super) headers: Vec<Headers>,
    /// Shown where there is nothing.
    pub(super) error_page: String,
}

/// It cannot be served as it is.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SiteError {
    /// A line of `_redirects` or `_headers`.
    #[error(transparent)]
    Rule(#[from] RuleError),
    /// `static.json`.
    #[error("static.json: {0}")]
    Settings(String),
    /// Reading failed.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: String,
        /// The operating system's answer.
        source: io::Error,
    },
}

/// The part of Heroku's `static.json` that is understood.
#[derive(Debug, Default, Deserialize)]
struct Settings {
    root: Option<String>,
    error_page: Option<String>,
    #[serde(default)]
    routes: BTreeMap<String, String>,
    #[serde(default)]
    redirects: BTreeMap<String, To>,
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

#[derive(Debug, Deserialize)]
struct To {
    url: String,
    status: Option<u16>,
}

/// Where sites usually are, in the order in which they are looked for.
const ROOTS: [&str; 3] = ["", "public", "dist"];
/// Where tools that build a site put it.
const BUILT: [&str; 7] = ["dist", "build", "out", "public", "_site", ".output/public", "dist/browser"];

/// The directory with the site, as written in `static.json` or as usual.
pub(crate) fn root(app: &Path) -> Option<String> {
    if app.join("static.json").is_file() {
        return Some(settings(app).ok().and_then(|settings| settings.root).unwrap_or_else(|| "public_html".to_owned()));
    }
    with_index(app, &ROOTS)
}

/// The directory of a site that a build script has made.
pub(crate) fn built_root(app: &Path) -> Option<String> {
    with_index(app, &BUILT)
}

fn with_index(app: &Path, roots: &[&str]) -> Option<String> {
    roots.iter().find(|root| app.join(root).join("index.html").is_file()).map(|root| (*root).to_owned())
}

fn settings(app: &Path) -> Result<Settings, SiteError> {
    let Some(text) = read(&app.join("static.json"))? else { return Ok(Settings::default()) };
    serde_json::from_str(&text).map_err(|error| SiteError::Settings(error.to_string()))
}

impl Site {
    /// Reads what there is to know of the site at `root` of an app.
    pub(crate) fn read(app: &Path, root: &str) -> Result<Self, SiteError> {
        let settings = settings(app)?;
        let directory = app.join(root.trim_matches('/'));
        let mut rules = redirects(&read(&directory.join("_redirects"))?.unwrap_or_default())?;
        let rule = |from: &str, to: &str, status: u16| {
            // `/**` is all that follows.
            Redirect::new(&from.replace("**", "*"), to, &status.to_string()).map_err(SiteError::Settings)
        };
        for (from, to) in &settings.redirects {
            rules.push(rule(from, &to.url, to.status.unwrap_or(301))?);
        }
        for (from, file) in &settings.routes {
            rules.push(rule(from, &format!("/{}", file.trim_start_matches('/')), 200)?);
        }
        let headers = headers(&read(&directory.join("_headers"))?.unwrap_or_default())?;
        let error_page = settings.error_page.unwrap_or_else(|| "404.html".to_owned());
        Ok(Self { root: directory, redirects: rules, headers, error_page })
    }
}

/// Entries of `static.json` that have no effect here.
pub(super) fn unknown_settings(app: &Path) -> Vec<String> {
    // Addresses without `.html` work anyway.
    settings(app).unwrap_or_default().others.into_keys().filter(|name| name != "clean_urls").collect()
}

fn read(path: &Path) -> Result<Option<String>, SiteError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(SiteError::Io { doing: format!("reading {}", path.display()), source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots() {
        let app = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            fs::create_dir_all(app.path().join(path).parent().unwrap()).unwrap();
            fs::write(app.path().join(path), text).unwrap();
        };
        assert_eq!(root(app.path()), None);
        write("dist/index.html", "");
        assert_eq!(root(app.path()).as_deref(), Some("dist"));
        write("public/index.html", "");
        assert_eq!(root(app.path()).as_deref(), Some("public"));
        write("index.html", "");
        assert_eq!(root(app.path()).as_deref(), Some(""));
        write("static.json", r#"{"root": "site/"}"#);
        assert_eq!(root(app.path()).as_deref(), Some("site/"));
    }

    #[test]
    fn static_json() {
        let app = tempfile::tempdir().unwrap();
        let settings = r#"{"routes": {"/app/**": "app.html"}, "redirects": {"/old": {"url": "/new", "status": 302}},
            "error_page": "oops.html", "https_only": true, "clean_urls": true}"#;
        fs::write(app.path().join("static.json"), settings).unwrap();
        let site = Site::read(app.path(), "").unwrap();
        assert_eq!(site.redirects.iter().map(|rule| rule.status).collect::<Vec<_>>(), [302, 200]);
        assert_eq!(site.error_page, "oops.html");
        assert_eq!(unknown_settings(app.path()), ["https_only"]);
        fs::write(app.path().join("static.json"), "{").unwrap();
        assert!(Site::read(app.path(), "").unwrap_err().to_string().starts_with("static.json: "));
    }
}
