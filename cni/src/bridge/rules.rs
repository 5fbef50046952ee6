//! The one nftables table of the built-in bridge, as `nft list table ip rrun` shows it:
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
//! which come to the bridge's address. The third masquerade makes answers between two pods of one
//! bridge come back through the host, where the port is translated back.

use crate::netlink::message::Message;
use crate::netlink::nft::{
    Element, Expression as E, Hook, Map, REG, add_chain, add_elements, add_map, add_rule,
    add_table, delete_elements, insert_rule,
};
use crate::store::HostPort;
use crate::subnet::Subnet;

/// nft's numbers of types, of which a concatenation has six bits each.
const IP: u32 = 7;
const PROTOCOL: u32 = 12;
const PORT: u32 = 13;

const ANY: Map<'static> =
    Map { name: "hostports", id: 1, key: ((PROTOCOL << 6) | PORT, 8), data: ((IP << 6) | PORT, 8) };
const BY_IP: Map<'static> = Map {
    name: "hostports_ip",
    id: 2,
    key: ((IP << 12) | (PROTOCOL << 6) | PORT, 12),
    data: ((IP << 6) | PORT, 8),
};

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
    pub subnet: Subnet,
}

impl Rules<'_> {
    /// What the table says about itself: another comment, another ruleset.
    pub fn comment(&self) -> String {
        format!("rrun 1 {} {}", self.bridge, self.subnet)
    }

    /// The whole table, with the ports that are taken.
    pub fn create(&self, ports: &[HostPort]) -> Vec<Message> {
        let hook = |kind, number, priority| Some(Hook { kind, number, priority });
        let mut batch = vec![
            add_table(self.table, &self.comment()),
            add_map(self.table, &ANY),
            add_map(self.table, &BY_IP),
            add_chain(self.table, "guard", hook("filter", 0, -300)),
            add_chain(self.table, "hostports", None),
            add_chain(self.table, "prerouting", hook("nat", 0, -100)),
            add_chain(self.table, "output", hook("nat", 3, -100)),
            add_chain(self.table, "postrouting", hook("nat", 4, 100)),
        ];
        self.guard(&mut batch);
        self.hostports(&mut batch);
        self.masquerade(&mut batch);
        batch.extend(self.add(ports));
        batch
    }

    fn guard(&self, batch: &mut Vec<Message>) {
        let name = interface(self.bridge);
        // Destination, then source address in an IPv4 header.
        for offset in [16, 12] {
            batch.push(add_rule(
                self.table,
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
        let by_ip = [
            E::Network(REG, 16, 4),
            E::Protocol(REG + 1),
            E::Transport(REG + 2, 2, 2),
            E::Lookup(REG, &BY_IP),
            E::DestinationNat(REG),
        ];
        let any = [
            E::DestinationType(REG),
            E::Equal(REG, &LOCAL),
            E::Protocol(REG),
            E::Transport(REG + 1, 2, 2),
            E::Lookup(REG, &ANY),
            E::DestinationNat(REG),
        ];
        batch.push(add_rule(self.table, "hostports", &by_ip));
        batch.push(add_rule(self.table, "hostports", &any));
        for chain in ["prerouting", "output"] {
            batch.push(add_rule(self.table, chain, &[E::Jump("hostports")]));
        }
    }

    fn masquerade(&self, batch: &mut Vec<Message>) {
        let name = interface(self.bridge);
        let (mask, base) = (self.subnet.mask().to_be_bytes(), self.subnet.base().octets());
        let from_pod = [E::Network(REG, 12, 4), E::Mask(REG, mask), E::Equal(REG, &base)];
        let into_bridge = [E::OutName(REG), E::Equal(REG, &name)];
        let outwards = [E::OutName(REG), E::Differs(REG, &name), E::Masquerade];
        let from_host = [E::Network(REG, 12, 1), E::Equal(REG, &[127]), E::Masquerade];
        let translated =
            [E::ConnectionStatus(REG), E::Mask(REG, DNAT), E::Differs(REG, &[0; 4]), E::Masquerade];
        let rules = [
            [&from_pod[..], &outwards].concat(),
            [&into_bridge[..], &from_host].concat(),
            [&into_bridge[..], &from_pod, &translated].concat(),
        ];
        batch.extend(rules.iter().map(|rule| add_rule(self.table, "postrouting", rule)));
    }

    /// Rules for a chain of others that drops what is forwarded: all that comes from pods or goes
    /// to them passes. A table of our own cannot say so, as a drop anywhere is final.
    pub fn accept(&self, chain: (&str, &str)) -> Vec<Message> {
        let (mask, base) = (self.subnet.mask().to_be_bytes(), self.subnet.base().octets());
        // Source, then destination address.
        let rule = |offset| {
            let pods =
                [E::Network(REG, offset, 4), E::Mask(REG, mask), E::Equal(REG, &base), E::Accept];
            insert_rule(chain, &self.comment(), &pods)
        };
        vec![rule(12), rule(16)]
    }

    /// Maps the ports.
    pub fn add(&self, ports: &[HostPort]) -> Vec<Message> {
        self.each_map(ports, add_elements)
    }

    /// Unmaps the ports.
    pub fn delete(&self, ports: &[HostPort]) -> Vec<Message> {
        self.each_map(ports, delete_elements)
    }

    fn each_map(
        &self,
        ports: &[HostPort],
        message: impl Fn(&str, &str, &[Element]) -> Message,
    ) -> Vec<Message> {
        let (by_ip, any): (Vec<&HostPort>, Vec<&HostPort>) =
            ports.iter().partition(|port| port.host_ip.is_some());
        let mut messages = Vec::new();
        for (map, ports) in [(ANY, any), (BY_IP, by_ip)] {
            for chunk in ports.chunks(CHUNK) {
                let elements: Vec<Element> = chunk.iter().map(|port| element(port)).collect();
                messages.push(message(self.table, map.name, &elements));
            }
        }
        messages
    }
}

/// A name as it is compared in the kernel: sixteen bytes.
pub fn interface(name: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    let length = name.len().min(15);
    bytes[..length].copy_from_slice(&name.as_bytes()[..length]);
    bytes
}

/// Key and data of a port; each part of a concatenation has four bytes.
fn element(port: &HostPort) -> Element {
    let padded = |number: u16| {
        let bytes = number.to_be_bytes();
        [bytes[0], bytes[1], 0, 0]
    };
    let mut key = Vec::with_capacity(12);
    if let Some(ip) = port.host_ip {
        key.extend_from_slice(&ip.octets());
    }
    key.extend_from_slice(&[port.protocol.number(), 0, 0, 0]);
    key.extend_from_slice(&padded(port.port));
    let data = [port.target.0.octets(), padded(port.target.1)].concat();
    Element { key, data }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attachment::Protocol;

    #[test]
    fn an_element_has_its_parts_padded_to_four_bytes() {
        let port = HostPort {
            protocol: Protocol::Tcp,
            port: 8080,
            host_ip: None,
            target: ([10, 77, 0, 5].into(), 80),
        };
        let expected = Element {
            key: vec![6, 0, 0, 0, 0x1f, 0x90, 0, 0],
            data: vec![10, 77, 0, 5, 0, 80, 0, 0],
        };
        assert_eq!(element(&port), expected);
        let port = HostPort { host_ip: Some([192, 0, 2, 1].into()), ..port };
        assert_eq!(element(&port).key, [192, 0, 2, 1, 6, 0, 0, 0, 0x1f, 0x90, 0, 0]);
    }
}
