//! How `pebble` and its name server are told where to listen. The router's own tests share it.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// The ports of loopback on which they will listen.
pub(crate) struct Ports {
    pub(crate) api: u16,
    pub(crate) management: u16,
    names: u16,
    /// Where the name server is told what to answer.
    pub(crate) control: u16,
}

impl Ports {
    pub(crate) fn free() -> Self {
        let [api, management, names, control] = [(); 4].map(|()| free_port());
        Self { api, management, names, control }
    }

    /// The URL of the authority's directory.
    pub(crate) fn directory(&self) -> String {
        format!("https://localhost:{}/dir", self.api)
    }

    /// Pebble's file: with which certificate it listens, where it looks for answers, and for how many seconds what it
    /// issues is valid.
    pub(crate) fn settings(&self, certificate: &Path, key: &Path, answers: (u16, u16), validity: u64) -> String {
        let (api, management, (http, https)) = (self.api, self.management, answers);
        format!(
            r#"{{"pebble": {{"listenAddress": "127.0.0.1:{api}", "managementListenAddress": "127.0.0.1:{management}",
            "certificate": "{}", "privateKey": "{}", "httpPort": {http}, "tlsPort": {https},
            "certificateValidityPeriod": {validity}}}}}"#,
            certificate.display(),
            key.display()
        )
    }

    /// With that file.
    pub(crate) fn pebble(&self, settings: &Path) -> Command {
        let mut pebble = silent("pebble");
        pebble.arg("-config").arg(settings).args(["-strict", "-dnsserver", &loopback(self.names)]);
        pebble.env("PEBBLE_VA_NOSLEEP", "1");
        pebble
    }

    /// A server for which every name is this machine.
    pub(crate) fn name_server(&self) -> Command {
        let mut server = silent("pebble-challtestsrv");
        server.args(["-defaultIPv4", "127.0.0.1", "-defaultIPv6", ""]);
        server.args(["-http01", "", "-https01", "", "-tlsalpn01", "", "-dns01", &loopback(self.names)]);
        server.args(["-management", &loopback(self.control)]);
        server
    }
}

fn silent(program: &str) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn loopback(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

/// A port on which nobody listens. It is none of those that the kernel hands out: whoever listens on any port, in another
/// test, would get it before it is used.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = std::process::id().wrapping_mul(64).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = 20_000 + u16::try_from(number % 12_000).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
