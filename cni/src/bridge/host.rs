//! The host's side of the built-in network, made once and looked at before every ADD: the bridge
//! with its address, forwarding, the nftables table.

use super::forward::{Forward, IPTABLES};
use super::net::Net;
use super::rules::Rules;
use super::{legacy, mac};
use crate::config::Config;
use crate::error::{Context, Error, Kind, Result};
use crate::netlink::nft::{self, Table};
use crate::netlink::route::{self, Link};
use crate::netlink::{Family, Socket};
use crate::store::Store;
use crate::subnet::Subnet;
use crate::subnet6::Subnet6;
use nix::errno::Errno;
use rrun_sys::step;
use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// What pods hang on.
#[derive(Clone, Copy, Debug)]
pub struct Base {
    pub subnet: Subnet,
    /// Of the second addresses.
    pub six: Option<Subnet6>,
    pub link: Link,
}

impl Base {
    /// The families that pods have addresses of.
    pub fn nets(&self) -> impl Iterator<Item = Net> {
        nets(self.subnet, self.six)
    }
}

fn nets(subnet: Subnet, six: Option<Subnet6>) -> impl Iterator<Item = Net> {
    std::iter::once(Net::V4(subnet)).chain(six.map(|six| Net::V6(six, subnet)))
}

/// A netfilter socket that stays open, because closing one waits until the kernel has freed what was
/// removed from tables before: 10 ms after the removal of one host port.
#[derive(Default)]
pub struct Netfilter(Mutex<Option<Socket>>);

impl Netfilter {
    pub fn with<T>(&self, work: impl FnOnce(&mut Socket) -> Result<T>) -> Result<T> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut socket = match held.take() {
            Some(socket) => socket,
            None => Socket::netfilter()?,
        };
        let value = work(&mut socket)?;
        // Not after an error: the rest of an answer could be queued.
        *held = Some(socket);
        Ok(value)
    }
}

/// The host's side.
pub struct Host {
    pub bridge: String,
    pub table: String,
    configured: Option<Subnet>,
    six: Option<Subnet6>,
    store: Arc<Store>,
    subnet: OnceLock<Subnet>,
    pub netfilter: Netfilter,
    /// Of both families.
    forward: [Forward; 2],
    /// What [`Forward`] saw, as far as it is in the log.
    told: Mutex<Vec<String>>,
    /// Index of the bridge that this process has set up; 0 is none.
    done: AtomicU32,
}

impl Host {
    pub fn new(config: &Config, store: Arc<Store>) -> Host {
        Host {
            bridge: config.bridge.clone(),
            table: config.table.clone(),
            configured: config.subnet,
            six: config.subnet6,
            store,
            subnet: OnceLock::new(),
            netfilter: Netfilter::default(),
            forward: Default::default(),
            told: Mutex::default(),
            done: AtomicU32::new(0),
        }
    }

    /// Makes what is missing. Idempotent, and safe beside other processes that do the same; what
    /// somebody removed meanwhile (a bridge deleted by hand, `nft flush ruleset`) comes back with
    /// every port that is taken.
    pub fn ensure(&self, socket: &mut Socket) -> Result<Base> {
        let ensure = || format!("bridge {}", self.bridge);
        let subnet = self.subnet(socket).context(ensure)?;
        if let Some(six) = &self.six {
            six.check_room(&subnet).context(ensure)?;
        }
        let nets = || nets(subnet, self.six);
        let link = match route::link(socket, &self.bridge).context(ensure)? {
            Some(link) if link.index == self.done.load(Ordering::Relaxed) => {
                self.mend(socket, link, subnet).context(ensure)?;
                link
            }
            _ => self.set_up(socket, subnet).context(ensure)?,
        };
        for net in nets() {
            let rules = Rules { table: &self.table, bridge: &self.bridge, net };
            self.netfilter.with(|socket| self.ensure_table(&rules, socket)).context(ensure)?;
        }
        self.netfilter.with(|socket| self.tell_forbidding(nets(), socket)).context(ensure)?;
        for net in nets() {
            let rules = Rules { table: &self.table, bridge: &self.bridge, net };
            match legacy::accept(&net, &rules.comment()) {
                // Most such tables forbid nothing: the pod is attached, and whoever looks is told.
                Err(e) if e.kind() == Kind::NotFound => {
                    tracing::warn!(bridge = self.bridge, "{e}");
                }
                done => done.context(ensure)?,
            }
        }
        Ok(Base { subnet, six: self.six, link })
    }

    fn subnet(&self, socket: &mut Socket) -> Result<Subnet> {
        if let Some(subnet) = self.configured.or_else(|| self.subnet.get().copied()) {
            return Ok(subnet);
        }
        let chosen = self.store.subnet(&self.bridge, || choose(socket))?;
        Ok(*self.subnet.get_or_init(|| chosen))
    }

    fn set_up(&self, socket: &mut Socket, subnet: Subnet) -> Result<Link> {
        let gateway = subnet.gateway();
        let mtu = outward_mtu(socket)?;
        step::run("cni.bridge.link", || {
            route::add_bridge(socket, &self.bridge, mtu, mac(gateway))
        })?;
        let link = route::link(socket, &self.bridge)?;
        let link = link.ok_or_else(|| Error::new(Kind::Internal, "removed while it was made"))?;
        if self.six.is_some() {
            enable_ipv6(&self.bridge)?;
        }
        refuse_advertisements(&self.bridge)?;
        for net in nets(subnet, self.six) {
            let address = net.address(net.gateway());
            let add = || route::add_address(socket, link.index, address);
            step::run("cni.bridge.address", add)?;
        }
        for (step, name) in switches(&self.bridge, self.six.is_some()) {
            step::run(step, || switch_on(&name))?;
        }
        self.done.store(link.index, Ordering::Relaxed);
        Ok(link)
    }

    /// What somebody took from the bridge since it was set up: `sysctl` with another
    /// `ip_forward`, `ip addr flush`, `ip route del`, `ip link set down`. Looked at before every ADD.
    fn mend(&self, socket: &mut Socket, link: Link, subnet: Subnet) -> Result<()> {
        if !link.up {
            tracing::warn!(bridge = self.bridge, "the bridge was down: brought up again");
            step::run("cni.bridge.up", || route::set_up(socket, link))?;
        }
        for net in nets(subnet, self.six) {
            let address = net.address(net.gateway());
            if !route::has_address(socket, link, address.ip)? {
                tracing::warn!(bridge = self.bridge, "it lacked {}: added again", address.ip);
                let add = || route::add_address(socket, link.index, address);
                step::run("cni.bridge.address", add)?;
            }
            if !route::leads_to(socket, link, net.some_pod())? {
                tracing::warn!(bridge = self.bridge, "it lacked its route {net}: added again");
                let add = || route::add_route(socket, link, net.base(), address);
                step::run("cni.bridge.route", add)?;
            }
        }
        refuse_advertisements(&self.bridge)?;
        let switches = switches(&self.bridge, self.six.is_some());
        for (step, name) in switches.filter(|(_, name)| !is_on(name)) {
            tracing::warn!(bridge = self.bridge, "{name} was off: switched on again");
            step::run(step, || switch_on(&name))?;
        }
        Ok(())
    }

    fn ensure_forwarding(&self, rules: &Rules<'_>, socket: &mut Socket) -> Result<()> {
        let (table, chain) = IPTABLES;
        let chain = (nft::TableName { family: rules.net.family(), name: table }, chain);
        if !self.forward(&rules.net).look(socket, &self.bridge, rules.net)?.iptables
            || nft::rules_with(socket, chain, &rules.comment())? > 0
        {
            return Ok(());
        }
        let accept = || socket.transact(rules.accept(IPTABLES));
        step::run("cni.bridge.accept", accept).context(|| "accept forwarding")
    }

    /// Says once which chains of others forbid what pods do.
    fn tell_forbidding(&self, nets: impl Iterator<Item = Net>, socket: &mut Socket) -> Result<()> {
        let mut words = Vec::new();
        for net in nets {
            words.extend(self.forward(&net).look(socket, &self.bridge, net)?.words);
        }
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        for new in words.iter().filter(|new| !told.contains(new)) {
            tracing::warn!("{new}");
        }
        *told = words;
        Ok(())
    }

    fn forward(&self, net: &Net) -> &Forward {
        let [four, six] = &self.forward;
        match net.family() {
            Family::V4 => four,
            Family::V6 => six,
        }
    }

    fn ensure_table(&self, rules: &Rules<'_>, socket: &mut Socket) -> Result<()> {
        let comment = rules.comment();
        self.ensure_forwarding(rules, socket)?;
        let found = nft::table_state(socket, rules.table(), &comment)?;
        if found == Table::Same {
            return Ok(());
        }
        let mut batch = rules.create(&self.store.host_ports(None)?);
        if found == Table::Other {
            // One transaction: no packet sees a moment without rules.
            batch.insert(0, nft::delete_table(rules.table()));
        }
        let made = step::run("cni.bridge.table", || socket.transact(batch));
        match made {
            Ok(()) => Ok(()),
            // Another process was faster, to the same end.
            Err(e)
                if matches!(e.errno, Errno::EEXIST | Errno::ENOENT)
                    && nft::table_state(socket, rules.table(), &comment)? == Table::Same =>
            {
                Ok(())
            }
            Err(e) => Err(e).context(|| format!("make nft table {}", self.table)),
        }
    }
}

/// The first candidate that no route of the host leads into.
fn choose(socket: &mut Socket) -> Result<Subnet> {
    let routes = route::routes(socket)?;
    let free = |subnet: &Subnet| {
        !routes.iter().any(|route| route.bits > 0 && subnet.overlaps(route.base, route.bits))
    };
    Config::candidates()
        .find(free)
        .ok_or_else(|| Error::new(Kind::Exhausted, "every default subnet overlaps a route"))
}

/// The MTU of the link that the default route leaves by: pods behind a smaller one would send what
/// only path MTU discovery, if anything, could mend.
fn outward_mtu(socket: &mut Socket) -> Result<u32> {
    const ETHERNET: u32 = 1500;
    let default = route::routes(socket)?.into_iter().find(|route| route.bits == 0);
    let Some(index) = default.and_then(|route| route.oif) else { return Ok(ETHERNET) };
    Ok(route::link_by_index(socket, index)?.map_or(ETHERNET, |link| link.mtu))
}

/// What looks at the bridge without changing anything.
#[derive(Default)]
pub struct Look {
    netfilter: Netfilter,
    forward: [Forward; 2],
}

impl Look {
    /// What keeps pods from the rest of the world, for people. Nothing while there is no bridge.
    pub fn lost(&self, bridge: &str, six: Option<Subnet6>) -> Result<Vec<String>> {
        let mut lost = Vec::new();
        let mut socket = Socket::route()?;
        let Some(link) = route::link(&mut socket, bridge)? else { return Ok(lost) };
        if !link.up {
            lost.push(format!("bridge {bridge} is down until the next pod is attached"));
        }
        let off = switches(bridge, six.is_some()).filter(|(_, name)| !is_on(name));
        lost.extend(off.map(|(_, name)| format!("{name} is off until the next pod is attached")));
        let routes = route::routes(&mut socket)?.into_iter();
        let mut its = routes.filter(|route| route.oif == Some(link.index));
        // The others are those of single addresses.
        if let Some(subnet) = its.find_map(|route| Subnet::new(route.base, route.bits).ok()) {
            for (net, forward) in nets(subnet, six).zip(&self.forward) {
                let look = |socket: &mut Socket| forward.look(socket, bridge, net);
                lost.extend(self.netfilter.with(look)?.words);
            }
        }
        Ok(lost)
    }
}

/// Steps, and what they switch on below /proc/sys.
fn switches(bridge: &str, six: bool) -> impl Iterator<Item = (&'static str, String)> {
    let all = [
        // For host ports on 127.0.0.1; the table's `guard` keeps pods away from there.
        ("cni.bridge.route-localnet", format!("net/ipv4/conf/{bridge}/route_localnet"), true),
        ("cni.bridge.forwarding", "net/ipv4/ip_forward".to_owned(), true),
        ("cni.bridge.forwarding6", FORWARDING6.to_owned(), six),
    ];
    all.into_iter().filter(|(.., is_wanted)| *is_wanted).map(|(step, name, _)| (step, name))
}

const FORWARDING6: &str = "net/ipv6/conf/all/forwarding";

/// Whether a switch below /proc/sys of the calling thread's network namespace is on.
fn is_on(name: &str) -> bool {
    fs::read_to_string(format!("/proc/sys/{name}")).is_ok_and(|value| value.trim() == "1")
}

fn switch_on(name: &str) -> Result<()> {
    if is_on(name) {
        return Ok(());
    }
    if name == FORWARDING6 {
        keep_routes_of_routers()?;
    }
    set(name, "1")
}

fn set(name: &str, value: &str) -> Result<()> {
    let path = format!("/proc/sys/{name}");
    fs::write(&path, value).context(|| path)
}

/// A link has no IPv6 addresses where the host's default forbids it (`disable_ipv6`): in the network
/// namespace of the calling thread.
pub fn enable_ipv6(link: &str) -> Result<()> {
    let name = format!("net/ipv6/conf/{link}/disable_ipv6");
    if is_on(&name) { set(&name, "0") } else { Ok(()) }
}

/// A host that forwards takes no more advertisements of routers (`accept_ra` of 1), and would lose
/// the default routes that it has by them: with 2 on their links it goes on.
fn keep_routes_of_routers() -> Result<()> {
    let path = "/proc/thread-self/net/ipv6_route";
    let routes = fs::read_to_string(path).context(|| path)?;
    for link in routes.lines().filter_map(by_advertisement) {
        let name = accept_ra(link);
        if is_on(&name) {
            set(&name, "2")?;
        }
    }
    Ok(())
}

/// The link of a default route that the kernel has by an advertisement: its flags are `RTF_DEFAULT`
/// and `RTF_ADDRCONF`.
fn by_advertisement(line: &str) -> Option<&str> {
    const FLAGS: u32 = 0x5_0000;
    let mut words = line.split_whitespace().rev();
    let (link, flags) = (words.next()?, words.next()?);
    (u32::from_str_radix(flags, 16).ok()? & FLAGS == FLAGS).then_some(link)
}

fn accept_ra(link: &str) -> String {
    format!("net/ipv6/conf/{link}/accept_ra")
}

/// Nobody on the bridge is a router but the host: by what a pod advertised, the host and other pods
/// would send to it what is for elsewhere (CVE-2020-10749). In the namespace of the calling thread.
pub fn refuse_advertisements(link: &str) -> Result<()> {
    let name = accept_ra(link);
    match fs::read_to_string(format!("/proc/sys/{name}")) {
        Ok(value) if value.trim() != "0" => set(&name, "0"),
        // Without IPv6 there are none.
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_route_by_an_advertisement_is_told_by_its_flags() {
        let zeros = "0".repeat(32);
        let route = |flags: &str| {
            let next = "fe800000000000000000000000000001";
            format!("{zeros} 00 {zeros} 00 {next} 00000400 00000001 00000000 {flags}   wire0")
        };
        assert_eq!(by_advertisement(&route("00450003")), Some("wire0"));
        // Somebody's own, and a prefix that was advertised.
        assert_eq!(by_advertisement(&route("00000003")), None);
        assert_eq!(by_advertisement(&route("00040001")), None);
        assert_eq!(by_advertisement(""), None);
    }
}
