//! What stands outside the sandbox in which the attempts are made: files, listeners, and a neighbour.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::net::{SocketAddr as UnixAddress, UnixListener};
use std::path::{Path, PathBuf};

use engine::{InstanceId, MountKind};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};

use crate::attempts::SCRIPT;
use crate::world::{HOST_UID, World, id, mount, root};

/// Where the neighbour listens on its own loopback.
const PORT: u16 = 8080;
const NEIGHBOUR: &str = "\
import socketserver
class Answer(socketserver.BaseRequestHandler):
    def handle(self): self.request.sendall(b'here')
with socketserver.ThreadingTCPServer(('127.0.0.1', 8080), Answer) as server:
    print('ready', flush=True)
    server.serve_forever()
";

/// See the module. The listeners listen as long as it lives.
pub(crate) struct Outside {
    pub(crate) secret: PathBuf,
    pub(crate) script: PathBuf,
    pub(crate) code: PathBuf,
    pub(crate) data: PathBuf,
    pub(crate) neighbours_data: PathBuf,
    pub(crate) control: PathBuf,
    pub(crate) abstract_name: String,
    pub(crate) listeners: Vec<(String, u16)>,
    pub(crate) port: u16,
    neighbour: InstanceId,
    _tcp: TcpListener,
    _unix: [UnixListener; 2],
}

impl Outside {
    pub(crate) async fn prepare(world: &World) -> Self {
        let file = |name: &str, content: &str, mode| {
            let path = world.path(name);
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            path
        };
        // Readable for everybody: only that it is not shown keeps it.
        let secret = file("secret", "secret of the host\n", 0o644);
        let script = file("attempts.py", SCRIPT, 0o644);
        let (code, data, neighbours_data) =
            (world.owned_dir("code"), world.owned_dir("data"), world.owned_dir("neighbour"));
        for directory in [&code, &data] {
            symlink(&secret, directory.join("link")).unwrap();
        }
        leave_traps(&data);
        let tcp = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        let abstract_name = format!("airstrip-escape-{}", std::process::id());
        let named = UnixAddress::from_abstract_name(&abstract_name).unwrap();
        let control = world.path("control.sock");
        let unix = [UnixListener::bind(&control).unwrap(), UnixListener::bind_addr(&named).unwrap()];
        fs::set_permissions(&control, PermissionsExt::from_mode(0o777)).unwrap();
        let listeners = listeners(tcp.local_addr().unwrap().port());
        let neighbour = launch_neighbour(world, &neighbours_data).await;
        Self {
            secret,
            script,
            code,
            data,
            neighbours_data,
            control,
            abstract_name,
            listeners,
            port: PORT,
            neighbour,
            _tcp: tcp,
            _unix: unix,
        }
    }

    /// Whatever was attempted, the neighbour goes on.
    pub(crate) async fn neighbour_answers(&self, world: &World) {
        use tokio::io::AsyncReadExt;
        let mut stream = world.engine.connect(&self.neighbour, PORT).await.unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).await.unwrap();
        assert_eq!(said, "here");
    }
}

/// What root may have left in a data directory: a device, a set-user-id program, a file of its own.
fn leave_traps(data: &Path) {
    if !root() {
        return;
    }
    let all = Mode::from_bits_truncate(0o666);
    mknod(&data.join("device"), SFlag::S_IFCHR, all, makedev(1, 1)).unwrap();
    fs::copy("/usr/bin/id", data.join("setuid")).unwrap();
    fs::set_permissions(data.join("setuid"), PermissionsExt::from_mode(0o4755)).unwrap();
    fs::write(data.join("roots"), "").unwrap();
    fs::set_permissions(data.join("roots"), PermissionsExt::from_mode(0o644)).unwrap();
    chown(data.join("roots"), Some(0), Some(0)).unwrap();
}

async fn launch_neighbour(world: &World, data: &Path) -> InstanceId {
    let neighbour = id("neighbour");
    let mut spec = world.spec("");
    spec.host_uid = HOST_UID + 1;
    spec.mounts = vec![mount(data, "/home/app/data", MountKind::ReadOnly)];
    spec.command.argv = ["python3", "-c", NEIGHBOUR].map(str::to_owned).to_vec();
    spec.command.env.push(("NEIGHBOUR".to_owned(), "secret of the neighbour".to_owned()));
    world.engine.launch(&neighbour, &spec, "").await.unwrap();
    world.logged("ready").await;
    neighbour
}

/// Every address on which this host may be reached: all that listens now, and the suite's own listener by each of the host's names.
fn listeners(own: u16) -> Vec<(String, u16)> {
    let mut all: Vec<(String, u16)> = ["127.0.0.1", "127.0.0.53", "10.0.2.2", "0.0.0.0", "::1", "::ffff:127.0.0.1"]
        .into_iter()
        .map(|host| (host.to_owned(), own))
        .collect();
    let interfaces = nix::ifaddrs::getifaddrs().unwrap().filter_map(|interface| interface.address);
    let addresses = interfaces.filter_map(|address| Some(address.as_sockaddr_in()?.ip().to_string()));
    all.extend(addresses.map(|address| (address, own)));
    all.extend(listening_now().into_iter().map(|port| ("127.0.0.1".to_owned(), port)));
    all
}

/// The ports of `/proc/net/tcp` in state LISTEN.
fn listening_now() -> Vec<u16> {
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let port = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let port = fields.get(1)?.rsplit_once(':')?.1;
        (*fields.get(3)? == "0A").then(|| u16::from_str_radix(port, 16).ok())?
    };
    table.lines().filter_map(port).collect()
}
