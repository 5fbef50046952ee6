//! Networks, and what listens.

use super::Row;
use crate::config::{Config, NetworkMode};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket as connector};
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::path::Path;

pub(super) fn rows(config: &Config) -> Vec<Row> {
    let mut rows = cni(config);
    rows.push(forwarding("net/ipv4/ip_forward", "IPv4"));
    rows.push(forwarding("net/ipv6/conf/all/forwarding", "IPv6"));
    rows.push(socket("socket", &config.socket, "serves there: only one can"));
    if !config.nri.disable && !config.nri.disable_connections {
        let follows = "listens there, of another runtime or of this daemon: only one can";
        rows.push(socket("nri.socket_path", &config.nri.socket_path, follows));
    }
    rows.push(port("streaming.address", config.streaming.address));
    rows.extend(config.metrics.address.map(|address| port("metrics.address", address)));
    rows
}

fn cni(config: &Config) -> Vec<Row> {
    let network = &config.network;
    let is_conf =
        |name: &str| [".conf", ".conflist", ".json"].iter().any(|ending| name.ends_with(ending));
    let confs = count(&network.conf_dir, is_conf);
    let row = Row::new(
        "network",
        "CNI configurations",
        format!("{confs} in {}", network.conf_dir.display()),
    );
    let row = match (network.mode, confs) {
        (NetworkMode::Builtin, _) => row,
        (NetworkMode::Cni, 0) => row.note("NetworkReady is false until there is one"),
        (NetworkMode::Auto, 0) => row.note("pods are attached to the built-in bridge"),
        _ => row,
    };
    let plugins: usize = network.bin_dirs.iter().map(|folder| count(folder, |_| true)).sum();
    let folders: Vec<String> =
        network.bin_dirs.iter().map(|folder| folder.display().to_string()).collect();
    let found = Row::new("network", "CNI plugins", format!("{plugins} in {}", folders.join(", ")));
    let needs_none =
        network.mode == NetworkMode::Builtin || (network.mode == NetworkMode::Auto && confs == 0);
    vec![row, found.note_unless(plugins > 0 || needs_none, "no pod can be attached")]
}

fn count(folder: &Path, wanted: impl Fn(&str) -> bool) -> usize {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter(|entry| wanted(&entry.file_name().to_string_lossy())).count()
}

fn forwarding(name: &str, family: &str) -> Row {
    let text = fs::read_to_string(format!("/proc/sys/{name}"));
    let value = text.map_or_else(|_| "not there".to_owned(), |text| text.trim().to_owned());
    let follows = format!(
        "{family} does not leave pods through the node; the built-in bridge (IPv4) switches it on, a \
         CNI plugin or the administrator has to"
    );
    let is_on = value == "1";
    Row::new("network", name.replace('/', "."), value).note_unless(is_on, follows)
}

/// Whether another process listens at a socket.
fn socket(key: &str, path: &Path, follows: &str) -> Row {
    let row = Row::new("network", key, path.display().to_string());
    let connected = || {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let client = connector(AddressFamily::Unix, SockType::Stream, flags, None)?;
        connect(client.as_raw_fd(), &UnixAddr::new(path)?)
    };
    match connected() {
        // One that hangs takes no more clients: it is not waited for.
        Ok(()) | Err(Errno::EAGAIN) => row.note(format!("a process {follows}")),
        Err(_) => row,
    }
}

/// Whether an address can be listened at, which is tried for a moment.
fn port(key: &str, address: SocketAddr) -> Row {
    let row = Row::new("network", key, address.to_string());
    match TcpListener::bind(address) {
        Ok(_) => row,
        Err(error) => {
            let why = rrun_error::reason(&error);
            let used = error.raw_os_error() == Some(Errno::EADDRINUSE as i32);
            match used {
                true => row.note("a process listens there: if it is no rrund, none can"),
                false => row.missing(format!("cannot be listened at: {why}")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;
    use nix::sys::socket::{Backlog, bind, listen};

    #[test]
    fn a_process_that_takes_no_more_clients_is_found_and_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        assert_eq!(socket("x", &path, "serves").verdict, Verdict::Ok);
        let (family, kind) = (AddressFamily::Unix, SockType::Stream);
        let listener = connector(family, kind, SockFlag::SOCK_CLOEXEC, None).unwrap();
        bind(listener.as_raw_fd(), &UnixAddr::new(&path).unwrap()).unwrap();
        listen(&listener, Backlog::new(0).unwrap()).unwrap();
        let _client = std::os::unix::net::UnixStream::connect(&path).unwrap();
        for _ in 0..3 {
            assert_eq!(socket("x", &path, "serves").verdict, Verdict::Note);
        }
    }

    #[test]
    fn an_address_that_is_taken_is_a_note_and_one_that_is_not_ours_is_missing() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(port("x", taken.local_addr().unwrap()).verdict, Verdict::Note);
        assert_eq!(port("x", "192.0.2.1:80".parse().unwrap()).verdict, Verdict::Missing);
        assert_eq!(port("x", "127.0.0.1:0".parse().unwrap()).verdict, Verdict::Ok);
    }
}
