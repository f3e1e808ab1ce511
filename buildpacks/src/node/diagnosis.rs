//! Recognises what npm, yarn and pnpm say when they fail, and says it in words that lead to a remedy.
//!
//! All of them speak for people, and change their words: whatever is not recognised here is shown as it is.

use crate::message::{Message, between, disk_full, has, message};

/// Words for a failure. The first that fits counts.
pub(super) fn failed(command: &str, script: bool, log: &[String]) -> Message {
    let flat = log.join(" ").split_whitespace().collect::<Vec<_>>().join(" ");
    let of_tools = || {
        certificate(&flat)
            .or_else(|| unreachable_registry(&flat))
            .or_else(|| refused(&flat))
            .or_else(|| stale_lock(&flat))
            .or_else(|| integrity(&flat))
            .or_else(|| no_version(&flat))
            .or_else(|| no_package(&flat))
            .or_else(|| conflict(&flat))
            .or_else(|| engine(&flat))
            .or_else(|| compiler(&flat))
    };
    let known = full(&flat).or_else(|| memory(&flat)).or_else(|| if script { None } else { of_tools() });
    known.or_else(|| not_found(command, log)).unwrap_or_else(|| unknown(command, script))
}

fn full(text: &str) -> Option<Message> {
    has(text, &["ENOSPC", "EDQUOT", "No space left on device", "Disk quota exceeded"]).then(disk_full)
}

fn memory(text: &str) -> Option<Message> {
    has(text, &["heap out of memory", "Reached heap limit", "heap limit Allocation failed"]).then(|| {
        message(
            "Out of memory",
            "Node.js ran out of the memory that it allows itself.",
            &[
                "Let it use more, by the script in package.json: NODE_OPTIONS=--max-old-space-size=2048 …",
                "Allow builds more memory on the server.",
            ],
        )
    })
}

fn certificate(text: &str) -> Option<Message> {
    let signs = [
        "UNABLE_TO_GET_ISSUER_CERT",
        "SELF_SIGNED_CERT",
        "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
        "CERT_HAS_EXPIRED",
        "unable to get local issuer certificate",
    ];
    has(text, &signs).then(|| {
        message(
            "The package registry is not trusted",
            "The package registry shows a certificate that the server does not trust.",
            &["Set NODE_EXTRA_CA_CERTS or SSL_CERT_FILE of the platform to a bundle with the registry's authority."],
        )
    })
}

fn unreachable_registry(text: &str) -> Option<Message> {
    let signs = [
        "ENOTFOUND",
        "ECONNREFUSED",
        "ECONNRESET",
        "ETIMEDOUT",
        "EAI_AGAIN",
        "ENETUNREACH",
        "EHOSTUNREACH",
        "ERR_SOCKET_TIMEOUT",
        "ERR_PNPM_META_FETCH_FAIL",
    ];
    has(text, &signs).then(|| {
        message(
            "The package registry cannot be reached",
            "The server has no connection to the package registry.",
            &[
                "Push again: the cause may be temporary.",
                "Check the server's network and proxy settings.",
                "Check the registry addresses in .npmrc, in the lock file, and in the server's npm configuration.",
            ],
        )
    })
}

fn refused(text: &str) -> Option<Message> {
    let signs = [
        "npm error code E401",
        "npm error code E403",
        "ERR_PNPM_FETCH_401",
        "ERR_PNPM_FETCH_403",
        "YN0041",
        "401 Unauthorized",
    ];
    has(text, &signs).then(|| {
        message(
            "The package registry refuses",
            "The package registry does not let the server have one of the packages.",
            &[
                "Check the package's name: registries answer so for names that they do not know, too.",
                "Give the server access to the registry, in its npm configuration.",
            ],
        )
    })
}

fn stale_lock(text: &str) -> Option<Message> {
    let tools = [
        ("package-lock.json", "npm install", &["can only install packages when your package.json and"][..]),
        ("yarn.lock", "yarn install", &["Your lockfile needs to be updated", "YN0028", "The lockfile would have been"]),
        ("pnpm-lock.yaml", "pnpm install", &["ERR_PNPM_OUTDATED_LOCKFILE", "ERR_PNPM_LOCKFILE_CONFIG_MISMATCH"]),
    ];
    let (file, command, _) = tools.iter().find(|(_, _, signs)| has(text, signs))?;
    let remedy = format!("Run {command}, commit {file}, and push again.");
    Some(message(
        format!("{file} is out of date"),
        format!("package.json was changed since {file} was written."),
        &[&remedy],
    ))
}

fn integrity(text: &str) -> Option<Message> {
    let signs = ["EINTEGRITY", "ERR_PNPM_TARBALL_INTEGRITY", "Integrity check failed", "YN0018"];
    has(text, &signs).then(|| {
        message(
            "A package is not the one in the lock file",
            "The file that the registry delivers is not the one whose hash the lock file names.",
            &[
                "If you changed the package, write the lock file anew, and commit it.",
                "If you did not, find out why the file changed before you trust it.",
            ],
        )
    })
}

fn no_version(text: &str) -> Option<Message> {
    let npm = between(text, "No matching version found for ", &[' ']);
    let package = npm.or(between(text, "Couldn't find any versions for \"", &['"']))?;
    let remedy = format!("See which versions there are: npm view {} versions", name(package));
    Some(message(
        format!("No such version: {package}"),
        "package.json asks for a version that the registry does not have.",
        &[&remedy, "Correct package.json, write the lock file anew, and commit both."],
    ))
}

/// `@scope/name` of `@scope/name@^1`.
fn name(package: &str) -> &str {
    package.rfind('@').filter(|at| *at > 0).map_or(package, |at| &package[..at])
}

fn no_package(text: &str) -> Option<Message> {
    let yarn = between(text, "Couldn't find package \"", &['"']);
    let signs = ["npm error code E404", "npm ERR! code E404", "ERR_PNPM_FETCH_404"];
    if yarn.is_none() && !has(text, &signs) {
        return None;
    }
    let npm = between(text, "The requested resource '", &['\'']).or(between(text, "404 '", &['\'']));
    let pnpm = between(text, "404 ", &[' ']).filter(|_| text.contains("ERR_PNPM"));
    let package = yarn.or(npm).or(pnpm.filter(|_| npm.is_none())).map_or("a package", name);
    Some(message(
        format!("No such package: {package}"),
        "The registry does not know a package that package.json, or one of its packages, asks for.",
        &["Correct the name in package.json, write the lock file anew, and commit both."],
    ))
}

fn conflict(text: &str) -> Option<Message> {
    has(text, &["ERESOLVE", "ERR_PNPM_PEER_DEP_ISSUES"]).then(|| {
        message(
            "The dependencies contradict each other",
            "Some packages ask for different versions of the same one; the tool's words say which.",
            &[
                "Choose versions in package.json that go together, write the lock file anew, and commit both.",
                "Accept the contradiction: put the line legacy-peer-deps=true into .npmrc, and commit it.",
            ],
        )
    })
}

fn engine(text: &str) -> Option<Message> {
    let signs = ["EBADENGINE", "ERR_PNPM_UNSUPPORTED_ENGINE", "The engine \"node\" is incompatible"];
    has(text, &signs).then(|| {
        message(
            "A package does not support this Node.js",
            "One of the packages asks for another version of Node.js than the server's.",
            &["Choose a version of the package that supports it.", "Install that Node.js on the server."],
        )
    })
}

fn compiler(text: &str) -> Option<Message> {
    has(text, &["gyp ERR!", "node-gyp rebuild", "node-pre-gyp ERR!"]).then(|| {
        message(
            "A package cannot be compiled",
            "There is no ready-made file of one of the packages for this Node.js and machine, and compiling it failed.",
            &[
                "Choose a version of the package with ready-made files, or another package.",
                "Install what it needs on the server, for example: apt-get install build-essential python3",
            ],
        )
    })
}

/// `sh: 1: tsc: not found`
fn not_found(command: &str, log: &[String]) -> Option<Message> {
    let line = log.iter().find(|line| line.starts_with("sh: ") && line.ends_with(": not found"))?;
    let program = line.trim_end_matches(": not found").rsplit(' ').next()?;
    Some(message(
        format!("{program} is missing"),
        format!("'{command}' starts {program}, which neither the app's dependencies nor the server bring."),
        &["Add the package that brings it to package.json, write the lock file anew, and commit both."],
    ))
}

fn unknown(command: &str, script: bool) -> Message {
    if script {
        return message(
            "A script of package.json failed",
            format!("'{command}' failed; its own words are below."),
            &["Try the same command in a fresh clone of the repository."],
        );
    }
    message(
        "Installing the dependencies failed",
        format!("'{command}' failed; its own words are below."),
        &["Try the same command in a fresh clone of the repository."],
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn title(log: &str) -> String {
        failed("npm ci", false, &log.lines().map(str::to_owned).collect::<Vec<_>>()).title
    }

    #[test]
    fn what_tools_say() {
        let cases = [
            (
                "npm error code EUSAGE\nnpm error `npm ci` can only install packages when your package.json and package-lock.json or npm-shrinkwrap.json are in sync.",
                "package-lock.json is out of date",
            ),
            (
                "error Your lockfile needs to be updated, but yarn was run with `--frozen-lockfile`.",
                "yarn.lock is out of date",
            ),
            (" ERR_PNPM_OUTDATED_LOCKFILE  Cannot install with \"frozen-lockfile\"", "pnpm-lock.yaml is out of date"),
            (
                "npm error code E404\nnpm error 404  The requested resource '@a/nope@^1' could not be found",
                "No such package: @a/nope",
            ),
            ("error Couldn't find package \"nope\" on the \"npm\" registry.", "No such package: nope"),
            (
                "npm error code ETARGET\nnpm error notarget No matching version found for left-pad@99.",
                "No such version: left-pad@99",
            ),
            (
                "npm error code ERESOLVE\nnpm error ERESOLVE unable to resolve dependency tree",
                "The dependencies contradict each other",
            ),
            ("npm error code EINTEGRITY", "A package is not the one in the lock file"),
            ("npm error code ENOTFOUND", "The package registry cannot be reached"),
            ("npm error code UNABLE_TO_GET_ISSUER_CERT_LOCALLY", "The package registry is not trusted"),
            ("npm error gyp ERR! not ok", "A package cannot be compiled"),
            ("npm error ENOSPC: no space", "No space left"),
            ("FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory", "Out of memory"),
            ("sh: 1: tsc: not found", "tsc is missing"),
            ("something else", "Installing the dependencies failed"),
        ];
        for (log, expected) in cases {
            assert_eq!(title(log), expected, "{log}");
        }
    }

    #[test]
    fn a_script_may_speak_of_anything() {
        let log = ["connect ECONNREFUSED 127.0.0.1:5432".to_owned()];
        assert_eq!(failed("npm run build", true, &log).title, "A script of package.json failed");
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in "\\PC*", words in "(404 |'|\"|@|No matching version found for |Couldn't find package |sh: |: not found|npm error code E404)*") {
            title(&text);
            title(&words);
        }
    }
}
