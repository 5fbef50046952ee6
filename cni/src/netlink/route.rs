//! Links, addresses and routes: rtnetlink(7), veth(4), `if_link.h`.

use super::message::{Message, attribute, attributes, messages, take};
use super::{Family, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, Socket, torn};
use crate::error::{Context, Error, Result};
use nix::errno::Errno;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::thread;

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_EXT_MASK: u16 = 29;
const RTEXT_FILTER_SKIP_STATS: u32 = 8;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_INFO_SLAVE_KIND: u16 = 4;
const IFLA_INFO_SLAVE_DATA: u16 = 5;
const IFLA_BRPORT_MODE: u16 = 4;
const VETH_INFO_PEER: u16 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PREFSRC: u16 = 7;

const RTM_F_FIB_MATCH: u32 = 0x2000;
const RTN_UNICAST: u8 = 1;
const RTN_LOCAL: u8 = 2;

const IFF_UP: u32 = 1;
/// The loopback interface has this index in every network namespace.
const LOOPBACK: u32 = 1;

/// A link as the kernel tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    pub index: u32,
    pub mtu: u32,
    /// Whether somebody has set it up (`IFF_UP`).
    pub up: bool,
}

/// `struct ifinfomsg`
fn link_header(index: u32, up: bool) -> [u8; 16] {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    if up {
        header[8..12].copy_from_slice(&IFF_UP.to_ne_bytes());
        header[12..16].copy_from_slice(&IFF_UP.to_ne_bytes());
    }
    header
}

/// The link of that name in the socket's namespace.
pub fn link(socket: &mut Socket, name: &str) -> Result<Option<Link>> {
    let request = Message::new(RTM_GETLINK, 0)
        .raw(&link_header(0, false))
        .u32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS)
        .text(IFLA_IFNAME, name);
    find_link(socket, &request).context(|| format!("look up link {name}"))
}

/// The link of that index.
pub fn link_by_index(socket: &mut Socket, index: u32) -> Result<Option<Link>> {
    let request = Message::new(RTM_GETLINK, 0)
        .raw(&link_header(index, false))
        .u32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
    find_link(socket, &request).context(|| format!("look up link {index}"))
}

fn find_link(socket: &mut Socket, request: &Message) -> Result<Option<Link>> {
    let mut found = None;
    let answer = socket.query(request, |m| {
        let index = take(m.body, 4).map(u32::from_ne_bytes);
        let mtu = attribute(m.body.get(16..).unwrap_or_default(), IFLA_MTU);
        let mtu = mtu.and_then(|v| take(v, 0)).map(u32::from_ne_bytes);
        let up = take(m.body, 8).is_some_and(|flags| u32::from_ne_bytes(flags) & IFF_UP != 0);
        found = index.zip(mtu).map(|(index, mtu)| Link { index, mtu, up });
    });
    match answer {
        Ok(()) => found.map(Some).ok_or_else(|| torn("a link")),
        Err(e) if e.errno == Errno::ENODEV => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// The names of the ports of a bridge.
pub fn ports(socket: &mut Socket, bridge: Link) -> Result<Vec<String>> {
    let request = Message::new(RTM_GETLINK, NLM_F_DUMP)
        .raw(&link_header(0, false))
        .u32(IFLA_MASTER, bridge.index)
        .u32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
    let mut names = Vec::new();
    let answer = socket.query(&request, |m| {
        let attributes = m.body.get(16..).unwrap_or_default();
        let master = attribute(attributes, IFLA_MASTER).and_then(|value| take(value, 0));
        // An older kernel tells of every link.
        if master.map(u32::from_ne_bytes) == Some(bridge.index)
            && let Some(name) = attribute(attributes, IFLA_IFNAME)
        {
            let name = String::from_utf8_lossy(name);
            names.push(name.trim_end_matches('\0').to_owned());
        }
    });
    answer.context(|| format!("list the ports of link {}", bridge.index))?;
    names.sort();
    Ok(names)
}

/// Makes a bridge that is up. Its hardware address is ours, as a bridge without one takes the
/// lowest of its ports' and changes it under the pods' ARP caches as ports come and go.
///
/// # Errors
/// `Ok(false)` when it is there already.
pub fn add_bridge(socket: &mut Socket, name: &str, mtu: u32, mac: [u8; 6]) -> Result<bool> {
    let request = Message::new(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL)
        .raw(&link_header(0, true))
        .text(IFLA_IFNAME, name)
        .u32(IFLA_MTU, mtu)
        .attr(IFLA_ADDRESS, &mac)
        .nest(IFLA_LINKINFO, |m| m.text(IFLA_INFO_KIND, "bridge"));
    match socket.run(&[request]) {
        Ok(()) => Ok(true),
        Err(e) if e.errno == Errno::EEXIST => Ok(false),
        Err(e) => Err(Error::from(e).context(format!("make bridge {name}"))),
    }
}

/// Makes a link that sends on what is redirected to it, in a queue of its own, and is up: ifb.
pub fn add_ifb(socket: &mut Socket, name: &str, mtu: u32) -> Result<()> {
    let request = Message::new(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL)
        .raw(&link_header(0, true))
        .text(IFLA_IFNAME, name)
        .u32(IFLA_MTU, mtu)
        .nest(IFLA_LINKINFO, |m| m.text(IFLA_INFO_KIND, "ifb"));
    socket.run(&[request]).context(|| format!("make link {name} (ifb)"))
}

/// One veth pair: what it is called on both sides.
pub struct Veth<'a> {
    /// On the host, a port of the bridge.
    pub host: &'a str,
    pub bridge: Link,
    /// In the pod.
    pub peer: &'a str,
    pub peer_mac: [u8; 6],
    pub netns: BorrowedFd<'a>,
}

/// Makes the pair with the peer directly in the pod's namespace and the host's side up, in the
/// bridge and in hairpin mode: a pod that calls its own host port is answered through the port it
/// called from.
pub fn add_veth(socket: &mut Socket, veth: &Veth<'_>) -> Result<()> {
    let mtu = veth.bridge.mtu;
    let pair = Message::new(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL)
        .raw(&link_header(0, true))
        .text(IFLA_IFNAME, veth.host)
        .u32(IFLA_MTU, mtu)
        .u32(IFLA_MASTER, veth.bridge.index)
        .nest(IFLA_LINKINFO, |m| {
            m.text(IFLA_INFO_KIND, "veth").nest(IFLA_INFO_DATA, |m| {
                m.nest(VETH_INFO_PEER, |m| {
                    // Not up: the peer cannot open before the pair is joined (ENOTCONN).
                    m.raw(&link_header(0, false))
                        .text(IFLA_IFNAME, veth.peer)
                        .u32(IFLA_MTU, mtu)
                        .attr(IFLA_ADDRESS, &veth.peer_mac)
                        .u32(IFLA_NET_NS_FD, veth.netns.as_raw_fd() as u32)
                })
            })
        });
    let hairpin = Message::new(RTM_NEWLINK, 0)
        .raw(&link_header(0, false))
        .text(IFLA_IFNAME, veth.host)
        .nest(IFLA_LINKINFO, |m| {
            m.text(IFLA_INFO_SLAVE_KIND, "bridge")
                .nest(IFLA_INFO_SLAVE_DATA, |m| m.attr(IFLA_BRPORT_MODE, &[1]))
        });
    socket.run(&[pair, hairpin]).context(|| format!("make veth pair {}, {}", veth.host, veth.peer))
}

/// Brings `lo` up, in the socket's namespace.
pub fn loopback_up(socket: &mut Socket) -> Result<()> {
    let up = Message::new(RTM_NEWLINK, 0).raw(&link_header(LOOPBACK, true));
    socket.run(&[up]).context(|| "bring lo up")
}

/// Brings a link up.
pub fn set_up(socket: &mut Socket, link: Link) -> Result<()> {
    let up = Message::new(RTM_NEWLINK, 0).raw(&link_header(link.index, true));
    socket.run(&[up]).context(|| format!("bring link {} up", link.index))
}

/// Whether `ip` is an address of that link, by the local route that comes and goes with it.
pub fn has_address(socket: &mut Socket, link: Link, ip: IpAddr) -> Result<bool> {
    Ok(route_to(socket, ip)? == Some((RTN_LOCAL, Some(link.index))))
}

/// Whether what is sent to `ip`, which is no address of this host, leaves by that link.
pub fn leads_to(socket: &mut Socket, link: Link, ip: IpAddr) -> Result<bool> {
    Ok(route_to(socket, ip)? == Some((RTN_UNICAST, Some(link.index))))
}

/// Kind and link of the route that is taken to `ip`, if there is one.
fn route_to(socket: &mut Socket, ip: IpAddr) -> Result<Option<(u8, Option<u32>)>> {
    // struct rtmsg with the route itself asked for (RTM_F_FIB_MATCH), not what it is resolved to.
    let family = Family::from(ip);
    let bits = 8 * family.length() as u8;
    let mut header = [family.number(), bits, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    header[8..12].copy_from_slice(&RTM_F_FIB_MATCH.to_ne_bytes());
    let request = Message::new(RTM_GETROUTE, 0).raw(&header).attr(RTA_DST, &octets(ip));
    let mut found = None;
    let answer = socket.query(&request, |m| {
        let oif = attribute(m.body.get(12..).unwrap_or_default(), RTA_OIF);
        let oif = oif.and_then(|value| take(value, 0)).map(u32::from_ne_bytes);
        found = m.body.get(7).map(|kind| (*kind, oif));
    });
    match answer {
        Ok(()) => Ok(found),
        Err(e) if matches!(e.errno, Errno::ENETUNREACH | Errno::EHOSTUNREACH) => Ok(None),
        Err(e) => Err(e).context(|| format!("look up the route to {ip}")),
    }
}

/// Adds the route to the network of an address that the link has, as the kernel does with the
/// address itself. There already is done.
pub fn add_route(socket: &mut Socket, link: Link, base: IpAddr, address: Address) -> Result<()> {
    // struct rtmsg: main table (254), by the kernel (2), on the link (253), unicast.
    let family = Family::from(base).number();
    let header = [family, address.bits, 0, 0, 254, 2, 253, RTN_UNICAST, 0, 0, 0, 0];
    let route = Message::new(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL)
        .raw(&header)
        .attr(RTA_DST, &octets(base))
        .u32(RTA_OIF, link.index);
    let route = match address.ip {
        IpAddr::V4(ip) => route.attr(RTA_PREFSRC, &ip.octets()),
        IpAddr::V6(_) => route,
    };
    match socket.run(&[route]) {
        Err(e) if e.errno != Errno::EEXIST => {
            Err(Error::from(e).context(format!("add the route to {base}/{}", address.bits)))
        }
        _ => Ok(()),
    }
}

/// An address on a link.
#[derive(Clone, Copy, Debug)]
pub struct Address {
    pub ip: IpAddr,
    pub bits: u8,
    /// IPv6 has none.
    pub broadcast: Option<Ipv4Addr>,
}

/// Gives the link its address. There already is done.
pub fn add_address(socket: &mut Socket, index: u32, address: Address) -> Result<()> {
    match socket.run(&[address_message(index, address)]) {
        Err(e) if e.errno != Errno::EEXIST => {
            Err(Error::from(e).context(format!("add address {}/{}", address.ip, address.bits)))
        }
        _ => Ok(()),
    }
}

/// Brings `lo` and the link up with its addresses and a default route for each, in one round trip.
/// All of it lives and dies with the namespace.
pub fn configure_pod(
    socket: &mut Socket,
    index: u32,
    addresses: &[(Address, IpAddr)],
) -> Result<()> {
    let lo = Message::new(RTM_NEWLINK, 0).raw(&link_header(LOOPBACK, true));
    let up = Message::new(RTM_NEWLINK, 0).raw(&link_header(index, true));
    let mut batch = vec![lo, up];
    for (address, gateway) in addresses {
        // struct rtmsg: main table (254), by us at boot (3), anywhere (0), unicast (1)
        let family = Family::from(*gateway).number();
        let route = Message::new(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL)
            .raw(&[family, 0, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0])
            .attr(RTA_GATEWAY, &octets(*gateway))
            .u32(RTA_OIF, index);
        batch.extend([address_message(index, *address), route]);
    }
    let doing = |at: usize| match at {
        0 => "bring lo up".to_owned(),
        1 => "bring the link up".to_owned(),
        at => match (addresses.get((at - 2) / 2), at % 2) {
            (Some((address, _)), 0) => format!("add address {}/{}", address.ip, address.bits),
            (Some((_, gateway)), _) => format!("add the default route by {gateway}"),
            (None, _) => "configure the link".to_owned(),
        },
    };
    socket.run(&batch).map_err(|e| Error::from(e).context(doing(e.at)))
}

fn address_message(index: u32, address: Address) -> Message {
    // Nobody else has the address, and the kernel need not look for a second (IFA_F_NODAD): until it
    // has, nothing can be sent from there.
    let flags = match address.ip {
        IpAddr::V4(_) => 0,
        IpAddr::V6(_) => 2,
    };
    // struct ifaddrmsg: family, prefix bits, flags, scope, index
    let family = Family::from(address.ip).number();
    let mut header = [family, address.bits, flags, 0, 0, 0, 0, 0];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    let message = Message::new(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL)
        .raw(&header)
        .attr(IFA_LOCAL, &octets(address.ip))
        .attr(IFA_ADDRESS, &octets(address.ip));
    match address.broadcast {
        Some(ip) => message.attr(IFA_BROADCAST, &ip.octets()),
        None => message,
    }
}

/// The bytes of an address in network byte order.
pub fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

/// A unicast route of the main table.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    pub base: Ipv4Addr,
    pub bits: u8,
    pub oif: Option<u32>,
}

/// Every IPv4 route, local ones too.
pub fn routes(socket: &mut Socket) -> Result<Vec<Route>> {
    let mut routes = Vec::new();
    let mut header = [0; 12];
    header[0] = Family::V4.number();
    let request = Message::new(RTM_GETROUTE, NLM_F_DUMP).raw(&header);
    let answer = socket.query(&request, |m| {
        let Some(&bits) = m.body.get(1) else { return };
        let mut route = Route { base: Ipv4Addr::UNSPECIFIED, bits, oif: None };
        for (kind, value) in attributes(m.body.get(12..).unwrap_or_default()) {
            match (kind, take(value, 0)) {
                (RTA_DST, Some(ip)) => route.base = Ipv4Addr::from(ip),
                (RTA_OIF, Some(oif)) => route.oif = Some(u32::from_ne_bytes(oif)),
                _ => {}
            }
        }
        routes.push(route);
    });
    answer.context(|| "list routes")?;
    Ok(routes)
}

/// Removes a link, and returns when it is out of every table: about 1 ms. The kernel answers the
/// request itself only after an RCU barrier of 15 to 30 ms, so a thread of its own waits for that;
/// what has begun is finished even if this process dies. Not there is done.
pub fn remove_link(name: &str) -> Result<()> {
    let remove = || format!("remove link {name}");
    // Before the look, so that a removal by someone else in between is heard of.
    let mut events = Socket::link_events()?;
    let mut socket = Socket::route()?;
    let Some(found) = link(&mut socket, name)? else { return Ok(()) };
    let request = Message::new(RTM_DELLINK, 0).raw(&link_header(found.index, false));
    let removal = thread::Builder::new()
        .name("veth-removal".into())
        .spawn(move || match socket.run(&[request]) {
            Err(e) if e.errno != Errno::ENODEV => Err(e),
            _ => Ok(()),
        })
        .context(remove)?;
    loop {
        match events.event() {
            Ok(datagram) if has_removal(datagram, found.index) => return Ok(()),
            // Heard nothing, or too much: the answer itself then.
            Err(_) => break,
            Ok(_) if removal.is_finished() => break,
            Ok(_) => {}
        }
    }
    match removal.join() {
        Ok(answer) => answer.context(remove),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Whether the link is gone; a bridge's word that a port left (`AF_BRIDGE`) comes earlier.
fn has_removal(datagram: &[u8], index: u32) -> bool {
    messages(datagram).any(|m| {
        m.kind == RTM_DELLINK
            && m.body.first() == Some(&0)
            && take(m.body, 4).map(u32::from_ne_bytes) == Some(index)
    })
}
