//! Recognises what Bundler says when it fails, and says it in words that lead to a remedy.

use crate::message::{Message, between, has, message};

/// The first that fits counts.
pub(super) fn known(text: &str) -> Option<Message> {
    if text.contains("there is no Gemfile.lock") {
        return Some(message(
            "No Gemfile.lock",
            "Without a lock file nobody knows which versions of the gems the app works with.",
            &["Run bundle install, commit Gemfile.lock, and push again."],
        ));
    }
    if let Some(wish) = between(text, "but your Gemfile specified ", &['\n', ' ']) {
        return Some(message(
            format!("Ruby {wish} is not available"),
            format!("The Gemfile asks for Ruby {wish}, which is not the server's."),
            &["Ask in the Gemfile for the version that is there.", "Install that Ruby on the server."],
        ));
    }
    let stale =
        ["the gemspecs for path gems changed", "your lockfile can't be updated", "frozen mode", "deployment mode"];
    if has(text, &stale) {
        return Some(message(
            "Gemfile.lock is out of date",
            "The Gemfile was changed since Gemfile.lock was written.",
            &["Run bundle install, commit Gemfile.lock, and push again."],
        ));
    }
    if has(text, &["Your bundle only supports platforms"]) {
        return Some(message(
            "Gemfile.lock is of another machine",
            "It names gems for other platforms than the server's alone.",
            &["Run bundle lock --add-platform x86_64-linux, commit Gemfile.lock, and push again."],
        ));
    }
    if let Some(gem) = between(text, "An error occurred while installing ", &[' ', ',']) {
        return Some(message(
            format!("The gem {gem} cannot be installed"),
            "Often the server lacks a library or tool that compiling it needs.",
            &[
                "Install what its words below ask for on the server, for example: apt-get install build-essential ruby-dev",
            ],
        ));
    }
    if let Some(gem) = between(text, "Could not find gem '", &['\'']).or(between(text, "Could not find ", &[' '])) {
        return Some(message(
            format!("No such gem: {gem}"),
            "The gem, or this version of it, is in none of the sources.",
            &["Correct the Gemfile, run bundle install, and commit Gemfile and Gemfile.lock."],
        ));
    }
    has(text, &["Could not reach host", "Network error", "Could not fetch specs", "Failed to open TCP connection"])
        .then(|| {
            message(
                "The gems' source cannot be reached",
                "The server has no connection to the source that the Gemfile names.",
                &["Push again: the cause may be temporary.", "Commit the gems: bundle cache"],
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_bundler_says() {
        let cases = [
            ("Your Ruby version is 3.1.2, but your Gemfile specified 3.3.0", "Ruby 3.3.0 is not available"),
            (
                "You are trying to install in deployment mode after changing\nyour Gemfile.",
                "Gemfile.lock is out of date",
            ),
            (
                "An error occurred while installing pg (1.5), and Bundler cannot continue.",
                "The gem pg cannot be installed",
            ),
            ("Could not find gem 'nope' in rubygems repository", "No such gem: nope"),
            ("Could not reach host rubygems.example.", "The gems' source cannot be reached"),
        ];
        for (text, title) in cases {
            assert_eq!(known(text).unwrap().title, title);
        }
        assert!(known("something else").is_none());
    }
}
