//! Recognises what uv and pip say when they fail, and says it in words that lead to a remedy.
//!
//! Both speak for people, and change their words: whatever is not recognised here is shown as it is.

mod names;
mod sources;
mod versions;

pub(super) use versions::missing_version;

use crate::message::{Message, between, disk_full, has, message};

/// Recognises what an installer says; `near` are versions that exist beside one that does not. The first that fits counts.
pub(super) fn failed(log: &[String], near: &[String]) -> Option<Message> {
    let text = log.join("\n");
    // Sentences may be broken anywhere.
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    full(&flat)
        .or_else(|| sources::repository(&flat))
        .or_else(|| unreachable_index(&flat))
        .or_else(|| refused(&flat))
        .or_else(|| hash(&flat))
        .or_else(|| syntax(&text))
        .or_else(|| missing_file(&flat))
        .or_else(|| stale_lock(&flat))
        .or_else(|| sources::build(&flat))
        .or_else(|| names::foreign_file(&flat))
        .or_else(|| names::unknown(&flat))
        .or_else(|| versions::platform(&flat))
        .or_else(|| versions::python(&flat))
        .or_else(|| versions::missing(&flat, near))
        .or_else(|| versions::metadata(&flat))
        .or_else(|| versions::conflict(&flat))
}

fn full(text: &str) -> Option<Message> {
    has(text, &["No space left on device", "Disk quota exceeded", "os error 28", "os error 122"]).then(disk_full)
}

fn refused(text: &str) -> Option<Message> {
    let refused = has(text, &["401 Unauthorized", "403 Forbidden", "401 Client Error", "403 Client Error"]);
    refused.then(|| {
        message(
            "The package index wants a password",
            "It refuses what it is asked for without the right user and password.",
            &["Set PIP_EXTRA_INDEX_URL or UV_INDEX with both for builds: https://USER:PASSWORD@HOST/simple"],
        )
    })
}

fn unreachable_index(text: &str) -> Option<Message> {
    let signs = [
        "dns error",
        "error sending request",
        "Failed to establish a new connection",
        "Connection refused",
        "Temporary failure in name resolution",
        "timed out",
        "UnknownIssuer",
        "CERTIFICATE_VERIFY_FAILED",
        "invalid peer certificate",
    ];
    if !has(text, &signs) {
        return None;
    }
    let address = between(text, "Failed to fetch: ", &[' ']).or(between(text, "for url (", &[')']));
    let address = address.map_or(String::new(), |address| format!(" ({address})"));
    let certificate = has(text, &["UnknownIssuer", "CERTIFICATE_VERIFY_FAILED", "invalid peer certificate"]);
    Some(if certificate {
        message(
            "The package index is not trusted",
            format!("The package index{address} shows a certificate that the server does not trust."),
            &["Set SSL_CERT_FILE or PIP_CERT of the platform to a bundle with the index's authority."],
        )
    } else {
        message(
            "The package index cannot be reached",
            format!("The server has no connection to the package index{address}."),
            &[
                "Push again: the cause may be temporary.",
                "Check the server's network and proxy settings.",
                "Check the index addresses in requirements.txt and in the server's pip or uv configuration.",
            ],
        )
    })
}

fn hash(text: &str) -> Option<Message> {
    if text.contains("Hash mismatch for") || text.contains("DO NOT MATCH THE HASHES") {
        let package = between(text, "Hash mismatch for ", &[' ']);
        let package = package.or(between(text, "from the requirements file: ", &[' '])).unwrap_or("a package");
        return Some(message(
            format!("Hash mismatch for {package}"),
            "The file that the index delivers is not the one whose hash the requirements name.",
            &[
                "If you changed the version, update its hashes, for example with: uv pip compile --generate-hashes",
                "If you did not, find out why the file changed before you trust it.",
            ],
        ));
    }
    let signs = ["Hash-checking is required", "Hashes are required in --require-hashes mode", "--require-hashes"];
    has(text, &signs).then(|| {
        let package = between(text, "no trusted hash was provided for: ", &[' ']);
        let package = package.or(between(text, "but found: ", &[' ']));
        let package = package.filter(|name| !name.is_empty()).unwrap_or("a package");
        message(
            format!("No hash for {package}"),
            "Some requirements have a hash, so every package that is installed must have one.",
            &["List all packages with hashes: uv pip compile --generate-hashes", "Remove all hashes."],
        )
    })
}

/// uv counts characters, pip lines; both show the line.
fn syntax(text: &str) -> Option<Message> {
    let uv =
        between(text, "requirement in `", &['`']).filter(|_| has(text, &["Couldn't parse", "Unsupported requirement"]));
    let pip = text.contains("Invalid requirement:");
    let place = match uv {
        Some(file) => match between(text, "at position ", &['\n']).and_then(|at| line_at(file, at.parse().ok()?)) {
            Some(line) => format!("{}, line {line}", in_app(file)),
            None => in_app(file).to_owned(),
        },
        None if pip => match between(text, "(from line ", &[')']).and_then(|place| place.split_once(" of ")) {
            Some((line, file)) => format!("{file}, line {line}"),
            None => "requirements.txt".to_owned(),
        },
        None => return None,
    };
    let lines: Vec<_> = text.lines().collect();
    let mark = lines.iter().position(|line| line.trim_start().starts_with('^'));
    let pointed = mark.and_then(|at| Some(lines.get(at.checked_sub(1)?)?.trim()));
    let shown = pointed.or(between(text, "Invalid requirement: ", &['\n'])).unwrap_or_default();
    Some(message(
        "Syntax error in the requirements",
        format!("{place}: this is no requirement:\n  {shown}"),
        &["Write one requirement a line, such as: flask>=3.0"],
    ))
}

/// The line of a character of a file in the app's directory, which is the working directory.
fn line_at(file: &str, position: usize) -> Option<usize> {
    let text = std::fs::read_to_string(file).ok()?;
    Some(text.bytes().take(position).filter(|byte| *byte == b'\n').count() + 1)
}

/// The path as the app's author knows it.
fn in_app(file: &str) -> &str {
    let directory = std::env::current_dir().unwrap_or_default();
    std::path::Path::new(file).strip_prefix(directory).ok().and_then(|path| path.to_str()).unwrap_or(file)
}

fn missing_file(text: &str) -> Option<Message> {
    let signs = ["Error parsing included file", "Could not open requirements file", "File not found:"];
    if !has(text, &signs) {
        return None;
    }
    let uv = between(text, "failed to read from file `", &['`']);
    let file = uv.or(between(text, "No such file or directory: ", &[' '])).map_or("a file", in_app);
    Some(message(
        "A requirements file is missing",
        format!("The requirements include {file}, which is not in what was pushed."),
        &["Commit the file, and push again.", "Remove the line that includes it."],
    ))
}

fn stale_lock(text: &str) -> Option<Message> {
    has(text, &["lockfile at `uv.lock` needs to be updated", "lockfile needs to be updated", "uv.lock` needs"]).then(
        || {
            message(
                "uv.lock is out of date",
                "pyproject.toml was changed since uv.lock was written.",
                &["Run uv lock, commit uv.lock, and push again."],
            )
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn titles() {
        let cases = [
            (
                "error: No solution found\n  cause: Because no-such was not found in the package\n registry and you require no-such,",
                "There is no package no-such",
            ),
            (
                "ERROR: Could not find a version that satisfies the requirement nix (from versions: none)\nERROR: No matching distribution found for nix",
                "There is no package nix",
            ),
            (
                "ERROR: Could not find a version that satisfies the requirement flask==99 (from versions: 1, 2)\nERROR: No matching distribution found for flask==99",
                "No such version: flask==99",
            ),
            (
                "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.\n    flask==3 from https://h/f.whl:",
                "Hash mismatch for a package",
            ),
            (
                "error: Hash-checking is required, but no trusted hash was provided for: `blinker`",
                "No hash for blinker",
            ),
            (
                "ERROR: Invalid requirement: 'foo bar' (from line 2 of requirements.txt)",
                "Syntax error in the requirements",
            ),
            ("  cause: Failed to fetch: http://h/simple/\n  cause: dns error", "The package index cannot be reached"),
            ("  cause: invalid peer certificate: UnknownIssuer", "The package index is not trusted"),
            (
                "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
                "No space left",
            ),
            (
                "  x Failed to build `psycopg2==2.7`\n error: command 'gcc' failed: No such file or directory",
                "psycopg2==2.7 cannot be built without a C compiler",
            ),
            (
                "error: HTTP status client error (401 Unauthorized) for url (https://h/simple/x/)",
                "The package index wants a password",
            ),
            (
                "Because pandas==0.20.0 has invalid metadata and you require pandas==0.20",
                "pandas==0.20.0 cannot be installed",
            ),
            ("ERROR: ResolutionImpossible: for help visit", "The requirements contradict each other"),
            (
                "error: The lockfile at `uv.lock` needs to be updated, but `--locked` was provided.",
                "uv.lock is out of date",
            ),
        ];
        for (log, title) in cases {
            let log: Vec<_> = log.lines().map(str::to_owned).collect();
            assert_eq!(failed(&log, &[]).map(|message| message.title).as_deref(), Some(title));
        }
        assert!(failed(&["something else".to_owned()], &[]).is_none());
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(words in proptest::collection::vec("\\PC{0,20}|at position |requirement in `|Couldn't parse|\\^|\n|Invalid requirement: |Failed to build |was not found in the |No matching distribution found for ", 0..12)) {
            failed(&words, &[]);
            failed(&[words.concat()], &[]);
        }
    }
}
