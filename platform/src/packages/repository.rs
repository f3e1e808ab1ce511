//! The address of a git repository elsewhere that has a buildpack: checked, because it becomes an argument of a program.

use std::fmt;
use std::str::FromStr;

/// `https://HOST/PATH`, or with `#BRANCH-OR-TAG` behind it. Nothing that git would take for an option, a local path or another
/// transport (`ext::` runs programs), and no password: arguments are seen by others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    url: String,
    revision: Option<String>,
}

/// It is none of the kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not the address of a git repository: https://HOST/PATH, or https://HOST/PATH#BRANCH-OR-TAG, without a password"
)]
pub struct InvalidRepository(String);

/// The longest address.
const LONGEST: usize = 2000;

impl Repository {
    /// Without the revision.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The branch or tag that was asked for.
    pub fn revision(&self) -> Option<&str> {
        self.revision.as_deref()
    }
}

impl FromStr for Repository {
    type Err = InvalidRepository;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (url, revision) = text.split_once('#').map_or((text, None), |(url, revision)| (url, Some(revision)));
        let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        let is_fine = text.len() <= LONGEST
            && rest.and_then(|rest| rest.split_once('/')).is_some_and(|(host, path)| is_host(host) && is_path(path))
            && revision.is_none_or(is_revision);
        if is_fine {
            Ok(Self { url: url.to_owned(), revision: revision.map(str::to_owned) })
        } else {
            Err(InvalidRepository(text.to_owned()))
        }
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.revision {
            Some(revision) => write!(f, "{}#{revision}", self.url),
            None => f.write_str(&self.url),
        }
    }
}

/// A name or an address, and perhaps a port.
fn is_host(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '[')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte))
}

fn is_path(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-~+%".contains(&byte))
}

fn is_revision(text: &str) -> bool {
    let of_names = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+".contains(&byte);
    text.starts_with(|first: char| first.is_ascii_alphanumeric()) && text.bytes().all(of_names) && !text.contains("..")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses() {
        for fine in [
            "https://github.com/heroku/buildpacks-procfile",
            "https://git.example:8443/~me/pack.git#v1.2.3",
            "http://[2001:db8::1]/pack.git#feature/one",
        ] {
            assert_eq!(fine.parse::<Repository>().unwrap().to_string(), fine);
        }
        for bad in [
            "",
            "/srv/pack.git",
            "./pack",
            "file:///srv/pack.git",
            "ext::sh -c id",
            "https::ext::sh",
            "ssh://git@host/pack.git",
            "git@host:pack.git",
            "git://host/pack",
            "--upload-pack=id",
            "https://",
            "https://host",
            "https://host/",
            "https:///pack",
            "https://-oProxyCommand=id/pack",
            "https://me:secret@host/pack",
            "https://host/pack name",
            "https://host/pack?x=y",
            "https://host/pack\n",
            "https://host/pack#",
            "https://host/pack#--upload-pack=id",
            "https://host/pack#a..b",
            "https://host/pack#a b",
            "HTTPS://host/pack",
        ] {
            assert!(bad.parse::<Repository>().is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_taken_is_no_option_and_has_no_blank(text in "(https://)?\\PC{0,30}(#\\PC{0,10})?") {
            if let Ok(repository) = text.parse::<Repository>() {
                prop_assert!(repository.url().starts_with("http") && !repository.url().contains(char::is_whitespace));
                prop_assert!(!repository.revision().is_some_and(|revision| revision.starts_with('-')));
                prop_assert_eq!(repository.to_string(), text);
            }
        }
    }
}
