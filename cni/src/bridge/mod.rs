//! The built-in network: one bridge, a veth pair per pod, addresses from the shared store, and one
//! static nftables table in each family. IPv4, and IPv6 beside it where a subnet for that is
//! configured: a pod's second address has the number of its first.
//!
//! Every change is a step with a name, and every object has a name that was put on record
//! before the first step, so that [`Bridge::del`] finds them whatever process asks and however far
//! ADD came.

mod forward;
mod host;
mod legacy;
mod net;
mod rates;
mod rules;

use crate::attachment::{Attached, Attachment, PortMapping, Protocol};
use crate::config::Config;
use crate::error::{Context, Error, Kind, Result};
use crate::netlink::nft::TableName;
use crate::netlink::route::{self, Address, Veth};
use crate::netlink::{Family, Socket, conntrack};
use crate::store::{HostPort, Store};
use host::Host;
pub use host::Look;
use net::Net;
use nix::errno::Errno;
pub use rates::Rates;
use rrun_sys::netns::run_in;
use rrun_sys::step;
use rules::Rules;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;
use std::sync::Arc;

/// What is on record of an attachment to the bridge: all that DEL needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Names {
    pub bridge: String,
    pub table: String,
    pub veth: String,
}

/// The built-in network.
pub struct Bridge {
    store: Arc<Store>,
    host: Host,
}

impl Bridge {
    pub fn new(config: &Config, store: Arc<Store>) -> Bridge {
        Bridge { host: Host::new(config, Arc::clone(&store)), store }
    }

    /// Names for an attachment that is about to be made.
    pub fn names(&self, id: &str) -> Names {
        Names {
            bridge: self.host.bridge.clone(),
            table: self.host.table.clone(),
            veth: veth_name(id),
        }
    }

    /// Attaches a pod. When it fails, [`Bridge::del`] takes back what was done.
    pub fn add(&self, a: &Attachment, names: &Names) -> Result<Attached> {
        let netns = File::open(&a.netns).context(|| a.netns.display())?;
        let mut socket = Socket::route()?;
        let base = self.host.ensure(&mut socket)?;
        let ip = step::run("cni.add.address", || self.store.allocate(base.subnet, &a.id))?;
        let ports = host_ports(&a.ports, ip, base.six.is_some())?;
        if !ports.is_empty() {
            step::run("cni.add.reserve-ports", || self.store.reserve_ports(&a.id, &ports))?;
        }
        let veth = Veth {
            host: &names.veth,
            bridge: base.link,
            peer: &a.ifname,
            peer_mac: mac(ip),
            netns: netns.as_fd(),
        };
        step::run("cni.add.veth", || route::add_veth(&mut socket, &veth))?;
        let rates = Rates::of(a)?;
        if rates != Rates::default() {
            step::run("cni.add.rates", || rates.set(&mut socket, &names.veth, base.link.mtu))?;
        }
        let nets: Vec<Net> = base.nets().collect();
        let addresses: Vec<(Address, IpAddr)> =
            nets.iter().map(|net| (net.address(net.of_pod(ip)), net.gateway())).collect();
        // Ends with the namespace: nothing to take back.
        step::run("cni.add.pod", || {
            let configure = || configure(&a.ifname, &addresses);
            run_in(&netns, configure).context(|| "enter the pod's network namespace")?
        })?;
        if !ports.is_empty() {
            step::run("cni.add.host-ports", || self.map(&ports, &nets))?;
        }
        if ports.iter().any(|port| port.protocol == Protocol::Udp) {
            let families: Vec<Family> = nets.iter().map(Net::family).collect();
            step::run("cni.add.conntrack", || self.forget(&ports, &families))?;
        }
        Ok(attached(a, names, ip, &addresses))
    }

    fn map(&self, ports: &[HostPort], nets: &[Net]) -> Result<()> {
        let Host { bridge, table, .. } = &self.host;
        for net in nets {
            let batch = Rules { table, bridge, net: *net }.add(ports);
            let map = |socket: &mut Socket| socket.transact(batch).context(|| "map host ports");
            self.host.netfilter.with(map)?;
        }
        Ok(())
    }

    fn forget(&self, ports: &[HostPort], families: &[Family]) -> Result<()> {
        let udp = ports.iter().filter(|port| port.protocol == Protocol::Udp);
        let numbers: Vec<u16> = udp.map(|port| port.port).collect();
        for family in families {
            let forget = |socket: &mut Socket| conntrack::forget_udp(socket, *family, &numbers);
            self.host.netfilter.with(forget)?;
        }
        Ok(())
    }

    /// Takes back all that [`Bridge::add`] did or began for `id`. The namespace is not needed.
    pub fn del(&self, id: &str, names: &Names) -> Result<()> {
        let ports = self.store.host_ports(Some(id))?;
        if !ports.is_empty() {
            step::run("cni.del.host-ports", || {
                self.host.netfilter.with(|socket| unmap(socket, names, &ports))
            })?;
        }
        if ports.iter().any(|port| port.protocol == Protocol::Udp) {
            // Whoever goes on sending would go on to nobody, whoever has the port next.
            let both = [Family::V4, Family::V6];
            step::run("cni.del.conntrack", || self.forget(&ports, &both))?;
        }
        step::run("cni.del.veth", || route::remove_link(&names.veth))?;
        step::run("cni.del.rates", || rates::unset(&names.veth))?;
        if !ports.is_empty() {
            step::run("cni.del.release-ports", || self.store.release_ports(id))?;
        }
        // Last: an address must not be given to the next while this pod still answers to it.
        step::run("cni.del.address", || self.store.free(id))
    }
}

/// The ports of a bridge that are called as pods' are. None while there is no bridge.
pub fn links(bridge: &str) -> Result<Vec<String>> {
    let mut socket = Socket::route()?;
    let Some(link) = route::link(&mut socket, bridge)? else { return Ok(Vec::new()) };
    let mut links = route::ports(&mut socket, link)?;
    links.retain(|name| is_veth_name(name));
    Ok(links)
}

/// Removes a port that is no pod's.
pub fn remove_link(name: &str) -> Result<()> {
    step::run("cni.del.veth", || route::remove_link(name))?;
    step::run("cni.del.rates", || rates::unset(name))
}

/// In the pod's namespace.
fn configure(ifname: &str, addresses: &[(Address, IpAddr)]) -> Result<()> {
    let mut socket = Socket::route()?;
    let link = route::link(&mut socket, ifname)?;
    let link = link.ok_or_else(|| Error::new(Kind::NotFound, format!("no link {ifname}")))?;
    if addresses.iter().any(|(address, _)| address.ip.is_ipv6()) {
        host::enable_ipv6(ifname)?;
    }
    host::refuse_advertisements(ifname)?;
    route::configure_pod(&mut socket, link.index, addresses)
}

/// Elements may be gone, with the whole table even: what counts is that none is left.
fn unmap(socket: &mut Socket, names: &Names, ports: &[HostPort]) -> Result<()> {
    for family in [Family::V4, Family::V6] {
        unmap_in(socket, TableName { family, name: &names.table }, ports)?;
    }
    Ok(())
}

fn unmap_in(socket: &mut Socket, table: TableName<'_>, ports: &[HostPort]) -> Result<()> {
    let mut remove = |ports: &[HostPort]| match socket.transact(rules::delete(table, ports)) {
        Err(e) if e.errno != Errno::ENOENT => Err(e).context(|| "unmap host ports"),
        other => Ok(other.is_ok()),
    };
    if !remove(ports)? {
        for port in ports {
            remove(std::slice::from_ref(port))?;
        }
    }
    Ok(())
}

fn host_ports(ports: &[PortMapping], target: Ipv4Addr, has_six: bool) -> Result<Vec<HostPort>> {
    let mapped = ports.iter().filter(|port| port.host_port != 0);
    let host_port = |port: &PortMapping| {
        let host_ip = port.host_ip.filter(|ip| !ip.is_unspecified());
        if let Some(ip @ IpAddr::V6(_)) = host_ip
            && !has_six
        {
            let why = "the built-in bridge has no IPv6 without network.subnet6";
            return Err(Error::invalid(format!("host port {}: {why}: {ip}", port.host_port)));
        }
        let target = (target, port.container_port);
        Ok(HostPort { protocol: port.protocol, port: port.host_port, host_ip, target })
    };
    mapped.map(host_port).collect()
}

/// Eleven digits behind `veth`, which network managers are set up to leave alone. It is put on
/// record, and found again from the id where a record is lost: by every release, so the hash is
/// FNV-1a, which is the same everywhere.
pub fn veth_name(id: &str) -> String {
    format!("veth{:011x}", rrun_sys::fnv::of_bytes(id.as_bytes()) >> 20)
}

fn is_veth_name(name: &str) -> bool {
    let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    name.strip_prefix("veth").is_some_and(|rest| rest.len() == 11 && rest.bytes().all(digit))
}

/// From the address, so that ARP caches stay true when it goes to another pod.
fn mac(ip: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = ip.octets();
    [0x0a, 0x58, a, b, c, d]
}

fn attached(
    a: &Attachment,
    names: &Names,
    ip: Ipv4Addr,
    addresses: &[(Address, IpAddr)],
) -> Attached {
    let mac = mac(ip).map(|byte| format!("{byte:02x}")).join(":");
    let address = |(address, gateway): &(Address, IpAddr)| {
        json!({
            "address": format!("{}/{}", address.ip, address.bits),
            "gateway": gateway,
            "interface": 2,
        })
    };
    let route = |(_, gateway): &(Address, IpAddr)| {
        let everywhere = if gateway.is_ipv4() { "0.0.0.0/0" } else { "::/0" };
        json!({ "dst": everywhere, "gw": gateway })
    };
    let result = json!({
        "cniVersion": "1.1.0",
        "interfaces": [
            { "name": names.bridge },
            { "name": names.veth },
            { "name": a.ifname, "mac": mac, "sandbox": a.netns },
        ],
        "ips": addresses.iter().map(address).collect::<Vec<_>>(),
        "routes": addresses.iter().map(route).collect::<Vec<_>>(),
        "dns": {},
    });
    let ips = addresses.iter().map(|(address, _)| address.ip).collect();
    Attached { ips, result: result.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_veth_has_the_name_that_every_release_gives_it() {
        // FNV-1a of "a" is af63dc4c8601ec8c, and of "foobar" 85944171f73967e8.
        assert_eq!(veth_name("a"), "vethaf63dc4c860");
        assert_eq!(veth_name("foobar"), "veth85944171f73");
        assert!(is_veth_name("veth85944171f73"));
        // As docker, CNI's bridge and a person name theirs.
        for other in ["veth85944171", "veth8594417", "veth0", "vethX5944171f73", "eth85944171f73"] {
            assert!(!is_veth_name(other), "{other}");
        }
    }
}
