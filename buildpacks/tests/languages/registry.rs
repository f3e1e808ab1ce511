//! A package registry of a few packages, on loopback, for npm, yarn and pnpm.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use serde_json::{Value, json};

/// Serves until it is dropped.
pub(crate) struct Registry {
    address: SocketAddr,
    over: Arc<AtomicBool>,
    serving: Option<JoinHandle<()>>,
}

/// What is answered to which path.
type Pages = BTreeMap<String, Vec<u8>>;

impl Registry {
    /// With packages of a name, a version and their `package.json`'s other entries. Each exports `NAME VERSION`.
    pub(crate) fn new(packages: &[(&str, &str, Value)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut pages = Pages::new();
        let mut documents: BTreeMap<&str, Value> = BTreeMap::new();
        for (name, version, more) in packages {
            let mut package = json!({"name": name, "version": version, "main": "index.js"});
            package.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let file = format!("/{name}/-/{name}-{version}.tgz");
            pages.insert(file.clone(), tarball(&package));
            package["dist"] = json!({"tarball": format!("http://{address}{file}")});
            let document =
                documents.entry(name).or_insert_with(|| json!({"name": name, "versions": {}, "dist-tags": {}}));
            document["versions"][version] = package;
            document["dist-tags"]["latest"] = json!(version);
        }
        pages.extend(documents.into_iter().map(|(name, document)| (format!("/{name}"), document.to_string().into())));
        let over = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&over);
        let serving = thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok).take_while(|_| !is_over.load(Ordering::Relaxed)) {
                let _gone_clients_are_no_matter = answer(stream, &pages);
            }
        });
        Self { address, over, serving: Some(serving) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        // It looks at that when somebody comes.
        let _ = TcpStream::connect(self.address);
        self.serving.take().map(JoinHandle::join);
    }
}

fn answer(stream: TcpStream, pages: &Pages) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    while reader.read_line(&mut line)? > 2 {}
    let (status, body) = match pages.get(&path) {
        Some(page) => ("200 OK", &page[..]),
        None => ("404 Not Found", &b"{\"error\":\"Not found\"}"[..]),
    };
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    reader.get_mut().write_all(&[head.as_bytes(), body].concat())
}

fn tarball(package: &Value) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let at = |path: &str| directory.path().join("package").join(path);
    fs::create_dir_all(at("bin")).unwrap();
    let (name, version) = (package["name"].as_str().unwrap(), package["version"].as_str().unwrap());
    fs::write(at("package.json"), package.to_string()).unwrap();
    fs::write(at("index.js"), format!("module.exports = '{name} {version}'\n")).unwrap();
    fs::write(
        at("bin/program.js"),
        "#!/usr/bin/env node\nrequire('fs').writeFileSync(process.argv[2], process.env.NODE_ENV || 'none')\n",
    )
    .unwrap();
    let output = Command::new("tar").arg("-C").arg(directory.path()).args(["-czf", "-", "package"]).output().unwrap();
    output.stdout
}
