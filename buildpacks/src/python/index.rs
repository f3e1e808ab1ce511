//! Where packages come from: what the operator told pip, said so that uv understands it.
//!
//! uv reads neither `PIP_*` nor `pip.conf`. What is set for uv itself (`UV_*`) comes first and is left alone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// pip's settings by their long option's name.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct IndexSettings(BTreeMap<String, Vec<String>>);

/// Those that concern the index, the name that uv has for each, and what stands between several.
const NAMES: [(&str, &str, &str); 7] = [
    ("index-url", "UV_DEFAULT_INDEX", " "),
    ("extra-index-url", "UV_EXTRA_INDEX_URL", " "),
    ("find-links", "UV_FIND_LINKS", ","),
    ("trusted-host", "UV_INSECURE_HOST", " "),
    ("cert", "SSL_CERT_FILE", " "),
    ("timeout", "UV_HTTP_TIMEOUT", " "),
    ("proxy", "ALL_PROXY", " "),
];

impl IndexSettings {
    /// From the environment and pip's configuration files.
    pub(super) fn read(python: &Path) -> Self {
        let files: Vec<_> = config_files(python).into_iter().filter_map(|path| fs::read_to_string(path).ok()).collect();
        Self::from(&files, |name| env::var(name).ok())
    }

    /// Later files come before earlier ones, the environment before all.
    fn from(files: &[String], env: impl Fn(&str) -> Option<String>) -> Self {
        let mut settings = BTreeMap::new();
        for file in files {
            settings.extend(parse(file));
        }
        for name in NAMES.iter().map(|(name, ..)| *name).chain(["no-index", "default-timeout"]) {
            let variable = format!("PIP_{}", name.to_ascii_uppercase().replace('-', "_"));
            if let Some(value) = env(&variable).filter(|value| !value.trim().is_empty()) {
                settings.insert(name.to_owned(), value.split_whitespace().map(str::to_owned).collect());
            }
        }
        if let Some(timeout) = settings.remove("default-timeout") {
            settings.insert("timeout".to_owned(), timeout);
        }
        Self(settings)
    }

    /// Variables to set for uv.
    pub(super) fn variables(&self) -> Vec<(&'static str, String)> {
        self.variables_beside(|name| env::var_os(name).is_some())
    }

    fn variables_beside(&self, is_set: impl Fn(&str) -> bool) -> Vec<(&'static str, String)> {
        let mut variables = Vec::new();
        for (name, variable, delimiter) in NAMES {
            let old_name = if name == "index-url" { "UV_INDEX_URL" } else { variable };
            let Some(values) = self.0.get(name).filter(|_| !is_set(variable) && !is_set(old_name)) else { continue };
            // uv fails on a directory that is not there; pip does not mind.
            let values: Vec<_> =
                values.iter().filter(|value| name != "find-links" || is_there(value)).map(String::as_str).collect();
            if !values.is_empty() {
                variables.push((variable, values.join(delimiter)));
            }
        }
        variables
    }

    /// Whether only `--find-links` counts.
    pub(super) fn no_index(&self) -> bool {
        let value = self.0.get("no-index").and_then(|values| values.first());
        value.is_some_and(|value| !matches!(value.to_ascii_lowercase().as_str(), "0" | "false" | "no" | "off"))
    }
}

fn is_there(link: &str) -> bool {
    link.contains("://") || Path::new(link).exists()
}

/// pip's files, the one that counts most last. `PIP_CONFIG_FILE=/dev/null` turns all of them off.
fn config_files(python: &Path) -> Vec<PathBuf> {
    let special = env::var_os("PIP_CONFIG_FILE").map(PathBuf::from);
    if special.as_deref() == Some(Path::new("/dev/null")) {
        return Vec::new();
    }
    let home = env::home_dir().unwrap_or_default();
    let config = env::var_os("XDG_CONFIG_HOME").map_or_else(|| home.join(".config"), PathBuf::from);
    let prefix = python.parent().and_then(Path::parent).unwrap_or(Path::new("/"));
    let mut files = vec!["/etc/xdg/pip/pip.conf".into(), "/etc/pip.conf".into()];
    files.extend([home.join(".pip/pip.conf"), config.join("pip/pip.conf"), prefix.join("pip.conf")]);
    files.extend(special);
    files
}

/// `[global]` and `[install]` of an INI file as Python's `configparser` reads it.
fn parse(text: &str) -> BTreeMap<String, Vec<String>> {
    let (mut global, mut install) = (BTreeMap::new(), BTreeMap::new());
    let (mut section, mut key) = (String::new(), String::new());
    for line in text.lines().filter(|line| !line.trim_start().starts_with(['#', ';'])) {
        let settings: &mut BTreeMap<String, Vec<String>> = match section.as_str() {
            "install" => &mut install,
            _ => &mut global,
        };
        let wanted = matches!(section.as_str(), "global" | "install");
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.trim_end().strip_suffix(']')) {
            (section, key) = (name.to_owned(), String::new());
        } else if line.starts_with([' ', '\t']) && !key.is_empty() && wanted {
            settings.entry(key.clone()).or_default().extend(line.split_whitespace().map(str::to_owned));
        } else if let Some((name, value)) = line.split_once(['=', ':']).filter(|_| wanted) {
            key = name.trim().to_ascii_lowercase().replace('_', "-");
            settings.insert(key.clone(), value.split_whitespace().map(str::to_owned).collect());
        }
    }
    global.extend(install);
    global
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn pips_settings_reach_uv() {
        let files = [
            "[global]\nindex-url = https://user:secret@one.example/simple\ntimeout: 5\n".to_owned(),
            "; mine\n[install]\nextra-index-url =\n    https://two.example\n    https://three.example\n[list]\nindex-url = no\n"
                .to_owned(),
        ];
        let env = |name: &str| match name {
            "PIP_FIND_LINKS" => Some("/ /nonexistent https://four.example".to_owned()),
            "PIP_DEFAULT_TIMEOUT" => Some("180".to_owned()),
            "PIP_TRUSTED_HOST" => Some(" ".to_owned()),
            "PIP_NO_INDEX" => Some("1".to_owned()),
            _ => None,
        };
        let settings = IndexSettings::from(&files, env);
        let variables = settings.variables_beside(|_| false);
        let expected = [
            ("UV_DEFAULT_INDEX", "https://user:secret@one.example/simple"),
            ("UV_EXTRA_INDEX_URL", "https://two.example https://three.example"),
            ("UV_FIND_LINKS", "/,https://four.example"),
            ("UV_HTTP_TIMEOUT", "180"),
        ];
        assert_eq!(variables, expected.map(|(name, value)| (name, value.to_owned())));
        assert!(settings.no_index());
    }

    #[test]
    fn uvs_own_settings_come_first() {
        let settings = IndexSettings::from(&["[global]\nindex-url = https://one.example\n".to_owned()], |_| None);
        for set in ["UV_DEFAULT_INDEX", "UV_INDEX_URL"] {
            assert_eq!(settings.variables_beside(|name| name == set), []);
        }
        assert!(!settings.no_index());
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in "\\PC*", lines in "(\\[(global|install)\\]\n|[ a=:]{0,5}\n)*") {
            parse(&text);
            parse(&lines);
        }
    }
}
