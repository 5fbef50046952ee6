//! A host of one's own for a test: network and mount namespaces of the test's thread, which every
//! thread and process that it starts shares, and which end with it.
// Compiled into each test that uses it: helpers of one are unused in the other, and clippy does not
// see that they are tests.
#![allow(dead_code, clippy::unwrap_used)]

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use rrun_cni::{Attached, Attachment, Config, Dns, Mode, Network, PortMapping, Protocol};
use rrun_cni::{Result, Settings};
use rrun_sys::netns::run_in;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::future::Future;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tokio::sync::watch;

pub struct Lab {
    pub dir: tempfile::TempDir,
}

impl Lab {
    /// Moves the calling thread into namespaces of its own.
    pub fn new() -> Lab {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).unwrap();
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        let dir = tempfile::tempdir().unwrap();
        for name in ["conf", "bin", "netns"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        let lab = Lab { dir };
        sh("ip link set lo up");
        lab
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn config(&self) -> Config {
        config(self.dir.path(), Mode::Auto, &self.path("bin"))
    }

    /// With another mode, and plugins in `bin`.
    pub fn config_of(&self, mode: Mode, bin: &Path) -> Config {
        config(self.dir.path(), mode, bin)
    }

    pub fn network(&self) -> Network {
        open(self.config()).unwrap()
    }

    /// The results on record, by the ids of their sandboxes.
    pub fn results(&self) -> Vec<(String, String)> {
        let database = rusqlite::Connection::open(self.path("state/network.db")).unwrap();
        let mut select = database.prepare("SELECT id, result FROM attachment ORDER BY id").unwrap();
        let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    }

    /// A pinned network namespace.
    pub fn pod(&self, id: &str) -> Pod {
        pin(&self.path("netns").join(id));
        pod(self.dir.path(), id)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // What is mounted on cannot be removed with the folder.
        for pin in fs::read_dir(self.path("netns")).into_iter().flatten().flatten() {
            let _ = umount2(&pin.path(), MntFlags::MNT_DETACH);
        }
    }
}

/// The first address of a CNI result.
pub fn first_address(result: &str) -> String {
    let result: serde_json::Value = serde_json::from_str(result).unwrap();
    result["ips"][0]["address"].as_str().unwrap().to_owned()
}

/// Opens a network from a thread without a runtime.
pub fn open(config: Config) -> Result<Network> {
    wait(Network::open(config))
}

/// Settings in a folder of the test, with plugins in `bin`.
pub fn config(dir: &Path, mode: Mode, bin: &Path) -> Config {
    let settings = Settings {
        mode,
        conf_dir: dir.join("conf"),
        bin_dirs: vec![bin.to_owned()],
        ..Settings::default()
    };
    Config {
        settings: watch::channel(settings).1,
        state_dir: dir.join("state"),
        bridge: "rrtest0".into(),
        subnet: Some("10.213.0.0/16".parse().unwrap()),
        subnet6: None,
        table: "rrtest".into(),
        plugin_timeout: Duration::from_secs(30),
    }
}

/// A pod whose namespace somebody pinned.
pub fn pod(dir: &Path, id: &str) -> Pod {
    Pod {
        id: id.into(),
        netns: dir.join("netns").join(id),
        ports: Vec::new(),
        annotations: BTreeMap::new(),
    }
}

pub fn pin(path: &Path) {
    File::create(path).unwrap();
    let source = "/proc/thread-self/ns/net";
    let pin = || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        let none = None::<&str>;
        mount(Some(source), path, none, MsFlags::MS_BIND, none).unwrap();
    };
    std::thread::scope(|scope| scope.spawn(pin).join().unwrap());
}

pub struct Pod {
    pub id: String,
    pub netns: PathBuf,
    pub ports: Vec<PortMapping>,
    pub annotations: BTreeMap<String, String>,
}

impl Pod {
    pub fn port(mut self, protocol: Protocol, host: u16, container: u16) -> Pod {
        self.ports.push(PortMapping {
            protocol,
            container_port: container,
            host_port: host,
            host_ip: None,
        });
        self
    }

    pub fn annotated(mut self, key: &str, value: &str) -> Pod {
        self.annotations.insert(key.into(), value.into());
        self
    }

    pub fn port_on(mut self, host_ip: &str, host: u16, container: u16) -> Pod {
        self = self.port(Protocol::Tcp, host, container);
        self.ports.last_mut().unwrap().host_ip = Some(host_ip.parse().unwrap());
        self
    }

    pub fn attachment(&self) -> Attachment {
        Attachment {
            id: self.id.clone(),
            netns: self.netns.clone(),
            ifname: "eth0".into(),
            pod_namespace: "default".into(),
            pod_name: "web".into(),
            pod_uid: "uid-1".into(),
            ports: self.ports.clone(),
            dns: Dns::default(),
            cgroup_path: "/kubepods/x".into(),
            annotations: self.annotations.clone(),
        }
    }

    pub fn add(&self, network: &Network) -> Result<Attached> {
        wait(network.add(&self.attachment()))
    }

    pub fn del(&self, network: &Network) -> Result<()> {
        wait(network.del(&self.id))
    }

    /// Runs in the pod's network namespace.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        run_in(File::open(&self.netns).unwrap(), work).unwrap()
    }

    pub fn unpin(&self) {
        nix::mount::umount2(&self.netns, nix::mount::MntFlags::MNT_DETACH).unwrap();
        fs::remove_file(&self.netns).unwrap();
    }

    /// Answers each connection to `port` with its peer's address, as long as the test runs.
    pub fn serve(&self, port: u16) {
        // Of both families: bindv6only is off.
        let listener = self.run(|| TcpListener::bind(("::", port)).unwrap());
        serve(listener);
    }
}

/// Answers each connection with its peer's address.
pub fn serve(listener: TcpListener) {
    std::thread::spawn(move || {
        while let Ok((mut stream, peer)) = listener.accept() {
            let _ = stream.write_all(peer.ip().to_canonical().to_string().as_bytes());
        }
    });
}

/// Connects from the calling thread's namespace: the address that the server saw.
pub fn ask(ip: impl Into<IpAddr>, port: u16) -> std::io::Result<String> {
    let to = SocketAddr::new(ip.into(), port);
    let connect = || TcpStream::connect_timeout(&to, Duration::from_secs(5));
    // The kernel joins the multicast group by which an IPv6 address is found in a work of its own,
    // which waits for the rtnl lock: with many namespaces that end, for longer than the three seconds
    // after which a neighbour is given up.
    let unreachable = |error: &std::io::Error| error.kind() == ErrorKind::HostUnreachable;
    let mut connected = connect();
    for _ in 0..2 {
        if to.is_ipv6() && connected.as_ref().is_err_and(unreachable) {
            connected = connect();
        }
    }
    let mut stream = connected?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Runs a future on a runtime of this thread, whose helpers share its namespaces.
pub fn wait<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let limit = Duration::from_secs(300);
    let done = runtime.block_on(async { tokio::time::timeout(limit, future).await });
    if done.is_err() {
        // What blocks in a helper would keep the runtime from its end.
        runtime.shutdown_background();
        panic!("the network does not answer in {limit:?}");
    }
    done.unwrap()
}

/// Tells all on a link of the calling thread's namespace that who runs there is their router for half an
/// hour, with a prefix (RFC 4861, 4.2).
pub fn advertise(link: &str) {
    use nix::sys::socket::{
        AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn6, sendto, setsockopt,
        socket, sockopt,
    };
    // Until its own address is known to be nobody else's, nothing can be sent.
    await_that("an address of the link", || {
        let tentative = sh(&format!("ip -6 addr show dev {link} scope link"));
        tentative.contains("fe80::") && !tentative.contains("tentative")
    });
    let raw =
        socket(AddressFamily::Inet6, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::IcmpV6);
    let raw = raw.unwrap();
    setsockopt(&raw, sockopt::Ipv6MulticastHops, &255).unwrap();
    let mut message = vec![134, 0, 0, 0, 64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0];
    // Prefix 2001:db8:bad::/64, on the link and for addresses.
    message.extend([3, 4, 64, 0xc0, 0, 0, 0x07, 0x08, 0, 0, 0x07, 0x08, 0, 0, 0, 0]);
    message.extend("2001:db8:bad::".parse::<std::net::Ipv6Addr>().unwrap().octets());
    let index = nix::net::if_::if_nametoindex(link).unwrap();
    let all = std::net::SocketAddrV6::new("ff02::1".parse().unwrap(), 0, 0, index);
    let raw_fd = std::os::fd::AsRawFd::as_raw_fd(&raw);
    sendto(raw_fd, &message, &SockaddrIn6::from(all), MsgFlags::empty()).unwrap();
}

pub fn await_that(what: &str, is_so: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(std::time::Instant::now() < deadline, "{what}: in vain");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A command of the host's; what it printed.
pub fn sh(command: &str) -> String {
    let mut limited = Command::new("timeout");
    let output = limited.args(["-k", "10", "120", "sh", "-ec", command]).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

/// What there is of pods on this host: ports of the bridge, elements of the maps.
pub fn traces() -> String {
    let links = sh("ip -o link show type veth | grep -o 'veth[0-9a-f]*' || true
                    ip -o link show type ifb");
    let elements = |family: &str| {
        sh(&format!("nft list table {family} rrtest 2>/dev/null | grep elements || true"))
    };
    format!("{links}{}{}", elements("ip"), elements("ip6"))
}
