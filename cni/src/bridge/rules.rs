//! The nftables table of the built-in bridge, one in each family, as `nft list table ip rrun` shows it:
//!
//! ```text
//! map hostports    { typeof ip protocol . th dport : ip daddr . th dport; }
//! map hostports_ip { typeof ip daddr . ip protocol . th dport : ip daddr . th dport; }
//! chain guard { type filter hook prerouting priority raw;
//!     iifname "rrun0" ip daddr 127.0.0.0/8 drop
//!     iifname "rrun0" ip saddr 127.0.0.0/8 drop }
//! chain hostports {
//!     dnat ip to ip daddr . ip protocol . th dport map @hostports_ip
//!     fib daddr type local dnat ip to meta l4proto . th dport map @hostports }
//! chain prerouting { type nat hook prerouting priority dstnat; jump hostports }
//! chain output { type nat hook output priority -100; jump hostports }
//! chain postrouting { type nat hook postrouting priority srcnat;
//!     ip saddr 10.77.0.0/16 oifname != "rrun0" masquerade
//!     oifname "rrun0" ip saddr 127.0.0.0/8 masquerade
//!     oifname "rrun0" ip saddr 10.77.0.0/16 ct status dnat masquerade }
//! ```
//!
//! The rules are static: a pod adds and removes elements of the maps, and a pod without host ports
//! nothing at all. `guard` closes what `route_localnet` opens (CVE-2020-8558): with it a pod could
//! send to the host's 127.0.0.1 by the bridge. It stands before the reverse translation of answers,
//! which come to the bridge's address. The last masquerade makes answers between two pods of one
//! bridge come back through the host, where the port is translated back.
//!
//! The table of family `ip6` is the same with wider addresses and without what is about 127.0.0.0/8:
//! nothing that is sent to `::1` ever leaves the host, so its `output` passes that over.

use super::net::Net;
use crate::netlink::Family;
use crate::netlink::message::Message;
use crate::netlink::nft::{
    Element, Expression as E, Hook, Map, REG, TableName, add_chain, add_elements, add_map,
    add_rule, add_table, delete_elements, insert_rule,
};
use crate::netlink::route::octets;
use crate::store::HostPort;
use std::net::Ipv6Addr;

/// nft's numbers of types, of which a concatenation has six bits each.
const PROTOCOL: u32 = 12;
const PORT: u32 = 13;

/// The number of a family's addresses.
fn address(family: Family) -> u32 {
    match family {
        Family::V4 => 7,
        Family::V6 => 8,
    }
}

/// Ports on every address of the host, and on one.
fn maps(family: Family) -> [Map<'static>; 2] {
    let (ip, length) = (address(family), family.length());
    let data = ((ip << 6) | PORT, length + 4);
    [
        Map { name: "hostports", id: 1, key: ((PROTOCOL << 6) | PORT, 8), data },
        Map {
            name: "hostports_ip",
            id: 2,
            key: ((ip << 12) | (PROTOCOL << 6) | PORT, length + 8),
            data,
        },
    ]
}

/// `RTN_LOCAL`
const LOCAL: [u8; 4] = 2u32.to_ne_bytes();
/// `IPS_DST_NAT`
const DNAT: [u8; 4] = 0x20u32.to_ne_bytes();
/// Elements in one message: attributes are shorter than 64 KiB.
const CHUNK: usize = 256;

/// Names that the rules are made of.
pub struct Rules<'a> {
    pub table: &'a str,
    pub bridge: &'a str,
    pub net: Net,
}

impl Rules<'_> {
    /// What the table says about itself: another comment, another ruleset.
    pub fn comment(&self) -> String {
        match self.net {
            Net::V4(subnet) => format!("rrun 1 {} {subnet}", self.bridge),
            Net::V6(subnet, of) => format!("rrun 1 {} {subnet} {of}", self.bridge),
        }
    }

    /// Which table it is.
    pub fn table(&self) -> TableName<'_> {
        TableName { family: self.net.family(), name: self.table }
    }

    /// The whole table, with the ports that are taken.
    pub fn create(&self, ports: &[HostPort]) -> Vec<Message> {
        let hook = |kind, number, priority| Some(Hook { kind, number, priority });
        let table = self.table();
        let mut batch = vec![add_table(table, &self.comment())];
        batch.extend(maps(table.family).iter().map(|map| add_map(table, map)));
        batch.extend([
            add_chain(table, "hostports", None),
            add_chain(table, "prerouting", hook("nat", 0, -100)),
            add_chain(table, "output", hook("nat", 3, -100)),
            add_chain(table, "postrouting", hook("nat", 4, 100)),
        ]);
        if table.family == Family::V4 {
            self.guard(&mut batch);
        }
        self.hostports(&mut batch);
        self.masquerade(&mut batch);
        batch.extend(self.add(ports));
        batch
    }

    fn guard(&self, batch: &mut Vec<Message>) {
        let name = interface(self.bridge);
        let hook = Hook { kind: "filter", number: 0, priority: -300 };
        batch.push(add_chain(self.table(), "guard", Some(hook)));
        for offset in [Family::V4.destination(), Family::V4.source()] {
            batch.push(add_rule(
                self.table(),
                "guard",
                &[
                    E::InName(REG),
                    E::Equal(REG, &name),
                    E::Network(REG, offset, 1),
                    E::Equal(REG, &[127]),
                    E::Drop,
                ],
            ));
        }
    }

    fn hostports(&self, batch: &mut Vec<Message>) {
        let table = self.table();
        let (family, [any, by_ip]) = (table.family, maps(table.family));
        let behind = REG + family.length() / 4;
        let by_ip = [
            E::Network(REG, family.destination(), family.length()),
            E::Protocol(behind),
            E::Transport(behind + 1, 2, 2),
            E::Lookup(REG, &by_ip),
            E::DestinationNat(family, REG),
        ];
        let any = [
            E::DestinationType(REG),
            E::Equal(REG, &LOCAL),
            E::Protocol(REG),
            E::Transport(REG + 1, 2, 2),
            E::Lookup(REG, &any),
            E::DestinationNat(family, REG),
        ];
        batch.push(add_rule(table, "hostports", &by_ip));
        batch.push(add_rule(table, "hostports", &any));
        let loopback = Ipv6Addr::LOCALHOST.octets();
        let not_to_loopback =
            [E::Network(REG, family.destination(), family.length()), E::Differs(REG, &loopback)];
        let output = match family {
            Family::V4 => &[][..],
            Family::V6 => &not_to_loopback,
        };
        batch.push(add_rule(table, "prerouting", &[E::Jump("hostports")]));
        batch.push(add_rule(table, "output", &[output, &[E::Jump("hostports")]].concat()));
    }

    fn masquerade(&self, batch: &mut Vec<Message>) {
        let (name, family) = (interface(self.bridge), self.net.family());
        let (mask, base) = (self.net.mask(), octets(self.net.base()));
        let source = E::Network(REG, family.source(), family.length());
        let from_pod = [source, E::Mask(REG, &mask), E::Equal(REG, &base)];
        let into_bridge = [E::OutName(REG), E::Equal(REG, &name)];
        let outwards = [E::OutName(REG), E::Differs(REG, &name), E::Masquerade];
        let from_host = [E::Network(REG, family.source(), 1), E::Equal(REG, &[127]), E::Masquerade];
        let translated = [
            E::ConnectionStatus(REG),
            E::Mask(REG, &DNAT),
            E::Differs(REG, &[0; 4]),
            E::Masquerade,
        ];
        let mut rules = vec![[&from_pod[..], &outwards].concat()];
        if family == Family::V4 {
            rules.push([&into_bridge[..], &from_host].concat());
        }
        rules.push([&into_bridge[..], &from_pod, &translated].concat());
        batch.extend(rules.iter().map(|rule| add_rule(self.table(), "postrouting", rule)));
    }

    /// Rules for a chain of others that drops what is forwarded: all that comes from pods or goes
    /// to them passes. A table of our own cannot say so, as a drop anywhere is final.
    pub fn accept(&self, (table, chain): (&str, &str)) -> Vec<Message> {
        let (mask, base, family) = (self.net.mask(), octets(self.net.base()), self.net.family());
        let chain = (TableName { family, name: table }, chain);
        let rule = |offset| {
            let address = E::Network(REG, offset, family.length());
            let pods = [address, E::Mask(REG, &mask), E::Equal(REG, &base), E::Accept];
            insert_rule(chain, &self.comment(), &pods)
        };
        vec![rule(family.source()), rule(family.destination())]
    }

    /// Maps the ports.
    pub fn add(&self, ports: &[HostPort]) -> Vec<Message> {
        let element = |port: &HostPort| Element { key: key(port), data: data(port, &self.net) };
        each_map(self.table(), ports, (element, add_elements))
    }
}

/// Unmaps the ports.
pub fn delete(table: TableName<'_>, ports: &[HostPort]) -> Vec<Message> {
    let element = |port: &HostPort| Element { key: key(port), data: Vec::new() };
    each_map(table, ports, (element, delete_elements))
}

fn each_map(
    table: TableName<'_>,
    ports: &[HostPort],
    (element, message): (
        impl Fn(&HostPort) -> Element,
        impl Fn(TableName<'_>, &str, &[Element]) -> Message,
    ),
) -> Vec<Message> {
    // One on an address of the other family is that one's.
    let is_its = |port: &&HostPort| port.host_ip.is_none_or(|ip| Family::from(ip) == table.family);
    let its = ports.iter().filter(is_its);
    let (by_ip, any): (Vec<&HostPort>, Vec<&HostPort>) = its.partition(|p| p.host_ip.is_some());
    let mut messages = Vec::new();
    for (map, ports) in maps(table.family).iter().zip([any, by_ip]) {
        for chunk in ports.chunks(CHUNK) {
            let elements: Vec<Element> = chunk.iter().map(|port| element(port)).collect();
            messages.push(message(table, map.name, &elements));
        }
    }
    messages
}

/// A name as it is compared in the kernel: sixteen bytes.
pub fn interface(name: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    let length = name.len().min(15);
    bytes[..length].copy_from_slice(&name.as_bytes()[..length]);
    bytes
}

/// Each part of a concatenation has four bytes.
fn padded(number: u16) -> [u8; 4] {
    let bytes = number.to_be_bytes();
    [bytes[0], bytes[1], 0, 0]
}

fn key(port: &HostPort) -> Vec<u8> {
    let mut key = port.host_ip.map(octets).unwrap_or_default();
    key.extend_from_slice(&[port.protocol.number(), 0, 0, 0]);
    key.extend_from_slice(&padded(port.port));
    key
}

fn data(port: &HostPort, net: &Net) -> Vec<u8> {
    let (ip, number) = port.target;
    [&octets(net.of_pod(ip))[..], &padded(number)].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attachment::Protocol;
    use crate::subnet::Subnet;

    #[test]
    fn an_element_has_its_parts_padded_to_four_bytes() {
        let port = HostPort {
            protocol: Protocol::Tcp,
            port: 8080,
            host_ip: None,
            target: ([10, 77, 0, 5].into(), 80),
        };
        let of: Subnet = "10.77.0.0/16".parse().unwrap();
        let (four, six) = (Net::V4(of), Net::V6("fd00::/64".parse().unwrap(), of));
        assert_eq!(key(&port), [6, 0, 0, 0, 0x1f, 0x90, 0, 0]);
        assert_eq!(data(&port, &four), [10, 77, 0, 5, 0, 80, 0, 0]);
        assert_eq!(data(&port, &six), [&[0xfd][..], &[0; 14], &[5, 0, 80, 0, 0]].concat());
        let port = HostPort { host_ip: Some([192, 0, 2, 1].into()), ..port };
        assert_eq!(key(&port), [192, 0, 2, 1, 6, 0, 0, 0, 0x1f, 0x90, 0, 0]);
        let counts = [four, six].map(|net| {
            Rules { table: "t", bridge: "b", net }.add(std::slice::from_ref(&port)).len()
        });
        assert_eq!(counts, [1, 0], "it is of one family");
    }
}
