//! Packages that nobody knows: typing errors, modules called otherwise than their packages, parts of Python itself.

use crate::message::{Message, between, message};
use crate::python::requirements::normalise;

/// Modules whose packages are called otherwise.
const MODULES: [(&str, &str); 16] = [
    ("cv2", "opencv-python-headless"),
    ("sklearn", "scikit-learn"),
    ("skimage", "scikit-image"),
    ("pil", "pillow"),
    ("yaml", "pyyaml"),
    ("bs4", "beautifulsoup4"),
    ("dotenv", "python-dotenv"),
    ("dateutil", "python-dateutil"),
    ("jwt", "pyjwt"),
    ("serial", "pyserial"),
    ("mysqldb", "mysqlclient"),
    ("crypto", "pycryptodome"),
    ("magic", "python-magic"),
    ("docx", "python-docx"),
    ("telegram", "python-telegram-bot"),
    ("psycopg2-cffi", "psycopg2-binary"),
];

/// Parts of Python that are taken for packages.
const STANDARD: [&str; 34] = [
    "os",
    "sys",
    "json",
    "re",
    "time",
    "datetime",
    "sqlite3",
    "logging",
    "math",
    "random",
    "pathlib",
    "subprocess",
    "threading",
    "tkinter",
    "collections",
    "itertools",
    "functools",
    "urllib",
    "http",
    "csv",
    "io",
    "base64",
    "hashlib",
    "shutil",
    "socket",
    "string",
    "typing-extension",
    "unittest",
    "traceback",
    "tempfile",
    "pickle",
    "smtplib",
    "glob",
    "zipfile",
];

/// Packages that are often asked for, and so often misspelt.
const KNOWN: [&str; 96] = [
    "aiohttp",
    "alembic",
    "anyio",
    "asgiref",
    "asyncpg",
    "attrs",
    "beautifulsoup4",
    "black",
    "boto3",
    "botocore",
    "bottle",
    "celery",
    "certifi",
    "channels",
    "click",
    "cryptography",
    "dash",
    "django",
    "django-cors-headers",
    "django-environ",
    "django-filter",
    "django-storages",
    "djangorestframework",
    "fastapi",
    "flask",
    "flask-cors",
    "flask-login",
    "flask-migrate",
    "flask-sqlalchemy",
    "gevent",
    "google-auth",
    "gradio",
    "granian",
    "greenlet",
    "gunicorn",
    "httpx",
    "hypercorn",
    "itsdangerous",
    "jinja2",
    "jupyterlab",
    "keras",
    "lxml",
    "mako",
    "markdown",
    "markupsafe",
    "marshmallow",
    "matplotlib",
    "mysqlclient",
    "nltk",
    "notebook",
    "numpy",
    "openai",
    "openpyxl",
    "packaging",
    "pandas",
    "paramiko",
    "pillow",
    "plotly",
    "psutil",
    "psycopg",
    "psycopg2",
    "psycopg2-binary",
    "pydantic",
    "pydantic-settings",
    "pyjwt",
    "pymongo",
    "pymysql",
    "pyopenssl",
    "pytest",
    "python-dateutil",
    "python-dotenv",
    "python-multipart",
    "pytz",
    "pyyaml",
    "redis",
    "requests",
    "rich",
    "scikit-learn",
    "scipy",
    "scrapy",
    "sentry-sdk",
    "setuptools",
    "six",
    "sqlalchemy",
    "starlette",
    "streamlit",
    "sympy",
    "tensorflow",
    "torch",
    "tornado",
    "tqdm",
    "typing-extensions",
    "urllib3",
    "uvicorn",
    "wagtail",
    "whitenoise",
];

pub(super) fn unknown(text: &str) -> Option<Message> {
    let uv = text.split(" was not found in the ").next().filter(|before| before.len() < text.len());
    let name = uv.and_then(|before| before.split(' ').next_back());
    let pip = text
        .contains("(from versions: none)")
        .then(|| between(text, "No matching distribution found for ", &[' ', ';']));
    let name = name.or(pip.flatten())?.trim_matches('`');
    let plain = normalise(name.split(['=', '<', '>', '~', '!', '[']).next().unwrap_or(name));
    let title = format!("There is no package {name}");
    if STANDARD.contains(&plain.as_str()) {
        let cause = format!("{name} is a part of Python itself: nothing needs to be installed for it.");
        return Some(message(title, cause, &["Remove it from the requirements."]));
    }
    if text.contains("provided package locations") {
        let cause = format!("None of the places that packages may come from has {name}; an index is not among them.");
        let bundle = "If the app brings its wheels, add this one: pip wheel --wheel-dir wheelhouse -r requirements.txt";
        return Some(message(title, cause, &[&spelling(&plain), bundle]));
    }
    let cause = format!("The package index does not know {name}.");
    let index = "If it comes from an index of your own, name that with --extra-index-url, and user and password if it wants them.";
    Some(message(title, cause, &[&spelling(&plain), index]))
}

fn spelling(name: &str) -> String {
    match meant(name) {
        Some(other) => format!("Did you mean {other}? Correct the requirements."),
        None => "Check the spelling in the requirements.".to_owned(),
    }
}

/// The package that was meant, perhaps.
fn meant(name: &str) -> Option<&'static str> {
    let module = MODULES.iter().find(|(module, _)| *module == name).map(|(_, package)| *package);
    let near = || {
        let distances = KNOWN.iter().map(|known| (strsim::osa_distance(name, known), *known));
        let (distance, known) = distances.min()?;
        (distance > 0 && distance <= (name.len() / 4).max(1) && name.len() > 3).then_some(known)
    };
    module.or_else(near)
}

/// A path of the machine where somebody wrote the list of what is installed there.
pub(super) fn foreign_file(text: &str) -> Option<Message> {
    let path = between(text, "Distribution not found at: ", &[' '])?;
    Some(message(
        "A package is on another machine",
        format!("The requirements name {path}, a file of the machine where they were written."),
        &[
            "Replace the path by a version, such as flask==3.0.",
            "Add the file to the tree, and name it by its path there.",
        ],
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_meant() {
        let cases = [
            ("reqeusts", Some("requests")),
            ("falsk", Some("flask")),
            ("djagno", Some("django")),
            ("beautifulsoup", Some("beautifulsoup4")),
            ("sklearn", Some("scikit-learn")),
            ("fast-api", Some("fastapi")),
            ("no-such-package", None),
            ("foo", None),
        ];
        for (name, expected) in cases {
            assert_eq!(meant(name), expected, "{name}");
        }
    }

    #[test]
    fn parts_of_python_need_no_package() {
        let message = unknown("Because sqlite3 was not found in the package registry").unwrap();
        assert_eq!(message.remedies, ["Remove it from the requirements."]);
    }
}
