//! The addresses of pods in one family, as rules and routes need them.

use crate::netlink::Family;
use crate::netlink::route::Address;
use crate::subnet::Subnet;
use crate::subnet6::Subnet6;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

/// One family of the pods' addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Net {
    V4(Subnet),
    /// With the IPv4 subnet whose numbers the addresses have.
    V6(Subnet6, Subnet),
}

impl Net {
    pub fn family(&self) -> Family {
        match self {
            Net::V4(_) => Family::V4,
            Net::V6(..) => Family::V6,
        }
    }

    pub fn bits(&self) -> u8 {
        match self {
            Net::V4(subnet) => subnet.bits(),
            Net::V6(subnet, _) => subnet.bits(),
        }
    }

    /// The address without a host.
    pub fn base(&self) -> IpAddr {
        match self {
            Net::V4(subnet) => subnet.base().into(),
            Net::V6(subnet, _) => subnet.base().into(),
        }
    }

    /// In network byte order.
    pub fn mask(&self) -> Vec<u8> {
        match self {
            Net::V4(subnet) => subnet.mask().to_be_bytes().to_vec(),
            Net::V6(subnet, _) => subnet.mask().to_be_bytes().to_vec(),
        }
    }

    pub fn gateway(&self) -> IpAddr {
        match self {
            Net::V4(subnet) => subnet.gateway().into(),
            Net::V6(subnet, _) => subnet.gateway().into(),
        }
    }

    /// An address that is a pod's, or nobody's.
    pub fn some_pod(&self) -> IpAddr {
        match self {
            Net::V4(subnet) => subnet.host(2).into(),
            Net::V6(subnet, _) => subnet.host(2).into(),
        }
    }

    /// An address with what the subnet says of it.
    pub fn address(&self, ip: IpAddr) -> Address {
        let broadcast = match self {
            Net::V4(subnet) => Some(subnet.broadcast()),
            Net::V6(..) => None,
        };
        Address { ip, bits: self.bits(), broadcast }
    }

    /// The address in this family of the pod that has `ip`.
    pub fn of_pod(&self, ip: Ipv4Addr) -> IpAddr {
        match self {
            Net::V4(_) => ip.into(),
            Net::V6(subnet, of) => subnet.beside(of, ip).into(),
        }
    }
}

impl fmt::Display for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Net::V4(subnet) => subnet.fmt(f),
            Net::V6(subnet, _) => subnet.fmt(f),
        }
    }
}
