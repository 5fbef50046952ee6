//! What a pod can learn of this machine.

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;

use super::Roots;
use crate::dns::ResolvConf;
use crate::error::{Context, Result};
use crate::node::{CgroupMode, NodeFacts};

/// Reads everything once.
pub fn read(roots: &Roots, cgroup: CgroupMode) -> Result<NodeFacts> {
    let meminfo = fs::read_to_string("/proc/meminfo").context(|| "read /proc/meminfo")?;
    let online = fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_default();
    Ok(NodeFacts {
        name: name()?,
        addresses: addresses()?,
        cpu_milli: cpus(&online).len().max(1) as i64 * 1_000,
        memory_bytes: memory(&meminfo),
        storage_bytes: storage(&roots.volumes),
        hugepage_sizes: hugepages(),
        masked_paths: masked(),
        cgroup,
        // As a kubelet looks: CRI does not tell, and the runtime may be any.
        apparmor: rrun_sys::lsm::apparmor(),
        seccomp_root: roots.seccomp.clone(),
    })
}

/// The node's name: the kubelet's default of it.
pub fn name() -> Result<String> {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").context(|| "read the hostname")?;
    Ok(name.trim().to_lowercase())
}

/// The node's resolv.conf as it is now. Where it names nothing but the stub of systemd-resolved,
/// which answers in the node's own network namespace alone, the file with the stub's servers.
pub fn resolv() -> Result<ResolvConf> {
    resolv_of(Path::new("/etc/resolv.conf"), Path::new("/run/systemd/resolve/resolv.conf"))
}

fn resolv_of(etc: &Path, behind_stub: &Path) -> Result<ResolvConf> {
    let etc = read_resolv(etc)?.unwrap_or_default();
    let stub = !etc.servers.is_empty() && etc.servers.iter().all(|s| s == "127.0.0.53");
    let behind = if stub { read_resolv(behind_stub)? } else { None };
    Ok(behind.unwrap_or(etc))
}

fn read_resolv(path: &Path) -> Result<Option<ResolvConf>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(ResolvConf::parse(&text))),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).context(|| format!("read {}", path.display())),
    }
}

/// Addresses of interfaces that are up, that of the default route first, IPv4 before IPv6.
fn addresses() -> Result<Vec<String>> {
    let routes = fs::read_to_string("/proc/net/route").unwrap_or_default();
    let default = default_interface(&routes);
    let mut found = Vec::new();
    for interface in getifaddrs().context(|| "list addresses")? {
        let up = interface.flags.contains(InterfaceFlags::IFF_UP)
            && !interface.flags.contains(InterfaceFlags::IFF_LOOPBACK);
        let Some(address) = interface.address.filter(|_| up) else { continue };
        let v4 = address.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
        let v6 = address.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip()));
        let usable = |ip: &IpAddr| match ip {
            IpAddr::V4(ip) => !ip.is_link_local(),
            IpAddr::V6(ip) => !ip.is_unicast_link_local(),
        };
        if let Some(ip) = v4.or(v6).filter(usable) {
            let rank = (Some(&interface.interface_name) != default.as_ref(), ip.is_ipv6());
            found.push((rank, ip.to_string()));
        }
    }
    found.sort_by_key(|(rank, _)| *rank);
    let mut list: Vec<String> = found.into_iter().map(|(_, ip)| ip).collect();
    // The primary address of each family, as a kubelet reports them.
    let mut families = [false; 2];
    list.retain(|ip| !std::mem::replace(&mut families[usize::from(ip.contains(':'))], true));
    if list.is_empty() {
        // A machine without a network still has a host network pod or two.
        list.push("127.0.0.1".to_owned());
    }
    Ok(list)
}

fn default_interface(routes: &str) -> Option<String> {
    let line = routes.lines().skip(1).find(|l| l.split_whitespace().nth(1) == Some("00000000"))?;
    line.split_whitespace().next().map(str::to_owned)
}

fn memory(meminfo: &str) -> i64 {
    let line = meminfo.lines().find_map(|l| l.strip_prefix("MemTotal:"));
    let kib = line.and_then(|l| l.split_whitespace().next()?.parse::<i64>().ok());
    kib.unwrap_or(0) * 1_024
}

/// `0-3,8` → 0 1 2 3 8.
fn cpus(list: &str) -> Vec<u32> {
    let range = |part: &str| {
        let (low, high) = part.split_once('-').unwrap_or((part, part));
        Some(low.parse::<u32>().ok()?..=high.parse::<u32>().ok()?)
    };
    list.trim().split(',').filter_map(range).flatten().take(65_536).collect()
}

fn storage(dir: &Path) -> i64 {
    let existing = dir.ancestors().find(|d| d.exists()).unwrap_or(Path::new("/"));
    nix::sys::statvfs::statvfs(existing).map_or(0, |s| {
        i64::try_from(s.blocks().saturating_mul(s.fragment_size())).unwrap_or(i64::MAX)
    })
}

/// `hugepages-2048kB` → `2MB`, as the hugetlb controller names its files.
fn hugepages() -> Vec<String> {
    let Ok(entries) = fs::read_dir("/sys/kernel/mm/hugepages") else { return Vec::new() };
    let name = |entry: fs::DirEntry| {
        let name = entry.file_name();
        let kib: u64 =
            name.to_str()?.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
        Some(match kib {
            k if k >= 1 << 20 => format!("{}GB", k >> 20),
            k if k >= 1 << 10 => format!("{}MB", k >> 10),
            k => format!("{k}KB"),
        })
    };
    let mut sizes: Vec<String> = entries.flatten().filter_map(name).collect();
    sizes.sort();
    sizes
}

fn masked() -> Vec<String> {
    let possible = fs::read_to_string("/sys/devices/system/cpu/possible").unwrap_or_default();
    cpus(&possible)
        .into_iter()
        .map(|cpu| format!("/sys/devices/system/cpu/cpu{cpu}/thermal_throttle"))
        .filter(|path| Path::new(path).exists())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behind_the_stub_of_systemd_are_its_servers_and_other_files_are_taken_as_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let (etc, behind) = (folder.path().join("etc"), folder.path().join("behind"));
        let servers = || resolv_of(&etc, &behind).unwrap().servers;
        assert!(servers().is_empty(), "neither is there");
        fs::write(&etc, "nameserver 127.0.0.53\nsearch a\n").unwrap();
        assert_eq!(servers(), ["127.0.0.53"], "a stub without its file");
        fs::write(&behind, "nameserver 10.0.0.1\n").unwrap();
        assert_eq!(servers(), ["10.0.0.1"]);
        for other in ["127.0.0.1", "127.0.0.53\nnameserver 9.9.9.9"] {
            fs::write(&etc, format!("nameserver {other}\n")).unwrap();
            assert_ne!(servers(), ["10.0.0.1"]);
        }
    }

    #[test]
    fn kernel_lists_are_read() {
        assert_eq!(cpus("0-2,5\n"), [0, 1, 2, 5]);
        assert_eq!(memory("MemTotal:       16 kB\nMemFree: 1 kB\n"), 16_384);
        let routes = "Iface\tDestination\tGateway\neth1\t0000A8C0\t0\neth0\t00000000\t0100A8C0\n";
        assert_eq!(default_interface(routes).as_deref(), Some("eth0"));
    }
}
