//! A certificate authority of a story's own, made with the real `openssl`.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use super::reply::run;
use super::waiting::PATIENCE;

/// What it has issued is in files beside its certificate.
pub struct Authority {
    directory: TempDir,
}

/// A certificate and its key, in PEM.
pub struct Issued {
    pub chain: String,
    pub key: String,
}

impl Authority {
    /// A new one.
    pub fn new() -> Self {
        let authority = Self { directory: tempfile::tempdir().unwrap() };
        fs::write(authority.path("settings"), SETTINGS).unwrap();
        let words = ["req", "-x509", "-new", "-nodes", "-days", "9", "-keyout", "ca.key", "-out", "ca.pem"];
        authority.openssl(&[&words[..], NEW_KEY, &["-subj", "/CN=story", "-extensions", "authority"]].concat());
        authority
    }

    /// The file with its own certificate.
    pub fn certificate(&self) -> PathBuf {
        self.path("ca.pem")
    }

    /// A certificate for these names.
    pub fn issue(&self, names: &[&str]) -> Issued {
        let names: Vec<String> = names.iter().map(|name| format!("DNS:{name}")).collect();
        fs::write(self.path("names"), format!("subjectAltName={}\nbasicConstraints=CA:FALSE\n", names.join(",")))
            .unwrap();
        let request = ["req", "-new", "-nodes", "-keyout", "key.pem", "-out", "request", "-subj", "/CN=server"];
        self.openssl(&[&request[..], NEW_KEY].concat());
        let sign = ["x509", "-req", "-in", "request", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"];
        self.openssl(&[&sign[..], &["-days", "90", "-extfile", "names", "-out", "chain.pem"]].concat());
        let read = |name: &str| fs::read_to_string(self.path(name)).unwrap();
        Issued { chain: read("chain.pem"), key: read("key.pem") }
    }

    /// A file in its directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn openssl(&self, arguments: &[&str]) {
        let mut openssl = Command::new("openssl");
        openssl.current_dir(self.directory.path()).env("OPENSSL_CONF", self.path("settings"));
        run(openssl.args(arguments), b"", PATIENCE).ok();
    }
}

impl Issued {
    /// As owners give it.
    pub fn bundle(&self) -> Vec<u8> {
        format!("{}{}", self.chain, self.key).into_bytes()
    }
}

const NEW_KEY: &[&str] = &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];

const SETTINGS: &str = "\
[req]
distinguished_name = name
[name]
[authority]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign
";
