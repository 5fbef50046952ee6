//! An IPv4 subnet that pods get their addresses from.

use crate::error::{Error, Result};
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// A subnet such as `10.88.0.0/16`, of 8 to 30 prefix bits. Hosts are counted from its base: 1 is
/// the gateway, pods have 2 and up, the last is the broadcast address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet {
    base: Ipv4Addr,
    bits: u8,
}

impl Subnet {
    /// # Errors
    /// `Invalid` for a prefix outside 8 to 30 or a base with host bits.
    pub fn new(base: Ipv4Addr, bits: u8) -> Result<Subnet> {
        if !(8..=30).contains(&bits) {
            return Err(Error::invalid(format!("subnet {base}/{bits}: 8 to 30 bits are possible")));
        }
        let subnet = Subnet { base, bits };
        if base.to_bits() & !subnet.mask() != 0 {
            return Err(Error::invalid(format!("subnet {base}/{bits}: base has host bits")));
        }
        Ok(subnet)
    }

    /// Prefix bits.
    pub fn bits(&self) -> u8 {
        self.bits
    }

    /// The first address, which names the subnet.
    pub fn base(&self) -> Ipv4Addr {
        self.base
    }

    /// The mask in host byte order.
    pub fn mask(&self) -> u32 {
        u32::MAX << (32 - self.bits)
    }

    /// The bridge's address, which is the pods' gateway.
    pub fn gateway(&self) -> Ipv4Addr {
        self.host(1)
    }

    /// The `n`-th address.
    pub fn host(&self, n: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.base.to_bits() | (n & !self.mask()))
    }

    /// The last host that a pod may have.
    pub fn last_host(&self) -> u32 {
        !self.mask() - 1
    }

    /// The address to which all hosts listen.
    pub fn broadcast(&self) -> Ipv4Addr {
        self.host(u32::MAX)
    }

    /// Whether a route to `base/bits` and this subnet have an address in common.
    pub fn overlaps(&self, base: Ipv4Addr, bits: u8) -> bool {
        let shorter = self.bits.min(bits);
        let mask = if shorter == 0 { 0 } else { u32::MAX << (32 - u32::from(shorter).min(32)) };
        (self.base.to_bits() ^ base.to_bits()) & mask == 0
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.bits)
    }
}

impl FromStr for Subnet {
    type Err = Error;

    fn from_str(text: &str) -> Result<Subnet> {
        let parsed = text
            .split_once('/')
            .and_then(|(base, bits)| Some((base.parse().ok()?, bits.parse().ok()?)));
        let Some((base, bits)) = parsed else {
            return Err(Error::invalid(format!("subnet {text:?}: not of the form 10.88.0.0/16")));
        };
        Subnet::new(base, bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(text: &str) -> Subnet {
        text.parse().unwrap()
    }

    #[test]
    fn hosts_are_counted_from_the_base() {
        let s = subnet("10.88.0.0/16");
        assert_eq!(s.gateway().to_string(), "10.88.0.1");
        assert_eq!(s.host(258).to_string(), "10.88.1.2");
        assert_eq!(s.last_host(), 65534);
        assert_eq!(s.broadcast().to_string(), "10.88.255.255");
        assert_eq!(s.to_string(), "10.88.0.0/16");
    }

    #[test]
    fn what_is_no_subnet_is_refused() {
        for text in ["10.88.0.0", "10.88.0.1/16", "10.0.0.0/7", "10.0.0.0/31", "::/64", "x/8"] {
            assert!(text.parse::<Subnet>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_overlap_is_found_from_either_side() {
        let s = subnet("10.88.0.0/16");
        let overlaps = |base: &str, bits| s.overlaps(base.parse().unwrap(), bits);
        assert!(overlaps("10.0.0.0", 8));
        assert!(overlaps("10.88.7.1", 32));
        assert!(overlaps("0.0.0.0", 0));
        assert!(!overlaps("10.89.0.0", 16));
        assert!(!overlaps("192.168.0.0", 24));
    }
}
