//! Packages without a ready-made file, which are built from their sources, and repositories that sources come from.

use crate::message::{Message, between, has, message};

/// What a build lacks, by what it says: the sign, what it is, and the Debian packages that bring it.
const LACKING: [(&str, &str, &str); 26] = [
    ("pg_config", "PostgreSQL's library", "libpq-dev gcc python3-dev"),
    ("mysql_config", "MySQL's library", "default-libmysqlclient-dev pkg-config gcc python3-dev"),
    ("Can not find valid pkg-config name", "MySQL's library", "default-libmysqlclient-dev pkg-config gcc python3-dev"),
    ("ffi.h", "libffi", "libffi-dev"),
    ("openssl/", "OpenSSL's library", "libssl-dev"),
    ("libxml/", "libxml2", "libxml2-dev libxslt1-dev"),
    ("xslt-config", "libxml2", "libxml2-dev libxslt1-dev"),
    ("xmlsec", "xmlsec", "libxmlsec1-dev pkg-config"),
    ("ldap.h", "OpenLDAP's library", "libldap2-dev libsasl2-dev"),
    ("lber.h", "OpenLDAP's library", "libldap2-dev libsasl2-dev"),
    ("sasl/", "the SASL library", "libsasl2-dev"),
    ("krb5-config", "Kerberos' library", "libkrb5-dev"),
    ("gssapi", "Kerberos' library", "libkrb5-dev"),
    ("jpeg", "the JPEG library", "libjpeg-dev zlib1g-dev"),
    ("zlib", "zlib", "zlib1g-dev"),
    ("gdal-config", "GDAL", "libgdal-dev"),
    ("geos_c.h", "GEOS", "libgeos-dev"),
    ("cairo", "cairo", "libcairo2-dev pkg-config"),
    ("portaudio.h", "PortAudio", "portaudio19-dev"),
    ("hdf5", "HDF5", "libhdf5-dev"),
    ("Rust compiler", "a Rust compiler", "cargo"),
    ("cargo", "a Rust compiler", "cargo"),
    ("CMake", "CMake", "cmake"),
    ("cmake", "CMake", "cmake"),
    ("gfortran", "a Fortran compiler", "gfortran libopenblas-dev"),
    ("Python.h", "Python's headers", "python3-dev"),
];

/// Ready-made variants of packages that are sources only.
const READY_MADE: [(&str, &str); 4] = [
    ("psycopg2", "psycopg2-binary"),
    ("mysqlclient", "pymysql"),
    ("psycopg-c", "psycopg[binary]"),
    ("uwsgi", "pyuwsgi"),
];

/// What newer Pythons do not have any more, though setup.py of an old package asks for it.
const GONE: [&str; 6] = ["imp", "distutils", "pkg_resources", "asynchat", "asyncore", "cgi"];

/// A package that cannot be built.
pub(super) fn build(text: &str) -> Option<Message> {
    let signs = [
        "Failed to build",
        "failed to build",
        "Failed building wheel",
        "metadata-generation-failed",
        "Getting requirements to build wheel",
    ];
    if !has(text, &signs) {
        return None;
    }
    let package = between(text, "Failed to build ", &[' ']).or(between(text, "Failed building wheel for ", &[' ']));
    let package = package.unwrap_or("a package");
    let ready_made = ready_made(package);
    if let Some(module) = GONE.iter().find(|module| text.contains(&format!("No module named '{module}'"))) {
        return Some(message(
            format!("{package} is too old for this Python"),
            format!("Building it asks for the module {module}, which this Python does not have any more."),
            &["Ask for a newer version of it.", "Ask for an older Python, in .python-version."],
        ));
    }
    let mut message = match lacking(text) {
        Some((what, packages)) => message(
            format!("{package} cannot be built without {what}"),
            "There is no ready-made file of it for this Python and machine, and the server lacks what it takes to build it.",
            &[&format!("Install what it takes on the server, on Debian: apt-get install {packages}"), NEWER],
        ),
        None => message(
            format!("{package} cannot be built"),
            "There is no ready-made file of it for this Python and machine, and building it from its source failed.",
            &[
                NEWER,
                "Install a compiler and the headers that it needs on the server, for example: apt-get install gcc python3-dev",
            ],
        ),
    };
    if let Some(other) = ready_made {
        message.remedies.insert(0, format!("Ask for {other} instead, which is ready-made."));
    }
    Some(message)
}

const NEWER: &str = "Ask for a version that has a wheel for this Python (a newer one, often).";

fn ready_made(package: &str) -> Option<&'static str> {
    let name = package.split("==").next().unwrap_or(package).to_ascii_lowercase().replace('_', "-");
    READY_MADE.iter().find(|(known, _)| *known == name).map(|(_, other)| *other)
}

/// The first that is named beside words of something missing; a compiler only if nothing else is.
fn lacking(text: &str) -> Option<(&'static str, &'static str)> {
    let words = [
        "No such file",
        "not found",
        "not be found",
        "Unable to find",
        "cannot find",
        "can't find",
        "Can not find",
        "missing",
        "not installed",
    ];
    if !has(text, &words) {
        return None;
    }
    let library = LACKING.iter().find(|(sign, ..)| text.contains(sign)).map(|(_, what, packages)| (*what, *packages));
    let compiler = has(text, &["'gcc'", "'cc'", "gcc:", "unable to execute", "x86_64-linux-gnu-gcc", "'c++'", "'g++'"]);
    library.or_else(|| compiler.then_some(("a C compiler", "gcc python3-dev")))
}

/// A repository that cannot be read.
pub(super) fn repository(text: &str) -> Option<Message> {
    if !has(text, &["Git operation failed", "git clone", "git fetch", "Git executable not found"]) {
        return None;
    }
    let url = between(text, "Failed to download and build ", &['`', '\n']).or(between(text, "git fetch", &[')']));
    let url = text
        .split("git+")
        .nth(1)
        .map(|rest| rest.split([' ', '`']).next().unwrap_or(rest))
        .or(url)
        .unwrap_or("a repository");
    Some(if has(text, &["not found. Ensure", "executable file not found", "Git executable not found"]) {
        message("git is missing", "Some requirements come from git repositories.", &["Install git on the server."])
    } else if has(text, &["couldn't find remote ref", "pathspec", "not our ref"]) {
        message(
            "No such branch, tag or commit",
            format!("{url} has not what the requirements name."),
            &["Correct what stands behind the last @ of the requirement."],
        )
    } else {
        message(
            "A repository cannot be read",
            format!("{url} is not there, or not without a password."),
            &[
                "Check the address.",
                "For a private one, use https with a token from a variable that is set for builds, or add the package to the tree.",
            ],
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_builds_lack() {
        let cases = [
            (
                "Failed to build `psycopg2==2.9` Error: pg_config executable not found.",
                "psycopg2==2.9 cannot be built without PostgreSQL's library",
                3,
            ),
            (
                "Failed to build `a==1` fatal error: Python.h: No such file or directory",
                "a==1 cannot be built without Python's headers",
                2,
            ),
            (
                "Failed to build `a==1` error: command 'gcc' failed: No such file or directory",
                "a==1 cannot be built without a C compiler",
                2,
            ),
            (
                "Failed to build `a==1` error: can't find Rust compiler",
                "a==1 cannot be built without a Rust compiler",
                2,
            ),
            ("Failed to build `a==1` ModuleNotFoundError: No module named 'imp'", "a==1 is too old for this Python", 2),
            ("Failed to build `a==1` SyntaxError", "a==1 cannot be built", 2),
        ];
        for (text, title, remedies) in cases {
            let message = build(text).unwrap();
            assert_eq!((message.title.as_str(), message.remedies.len()), (title, remedies));
        }
        assert!(build("Built a").is_none());
    }

    #[test]
    fn repositories() {
        let cases = [
            (
                "Failed to download `x @ git+https://h/x@v9` Git operation failed fatal: couldn't find remote ref v9",
                "No such branch, tag or commit",
            ),
            ("Git operation failed fatal: Could not read from remote repository.", "A repository cannot be read"),
            ("Git executable not found. Ensure that Git is installed", "git is missing"),
        ];
        for (text, title) in cases {
            assert_eq!(repository(text).unwrap().title, title);
        }
    }
}
