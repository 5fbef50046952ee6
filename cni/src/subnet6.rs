//! The IPv6 subnet of pods whose addresses go with their IPv4 ones.

use crate::error::{Error, Result};
use crate::subnet::Subnet;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A subnet such as `fd00:77::/64`, of 48 to 112 prefix bits. A pod has the host's number of its
/// IPv4 address: what is taken there is taken here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet6 {
    base: Ipv6Addr,
    bits: u8,
}

impl Subnet6 {
    /// # Errors
    /// `Invalid` for a prefix outside 48 to 112, a base with host bits, and addresses that no pod can
    /// have: multicast, link-local, loopback, those of IPv4.
    pub fn new(base: Ipv6Addr, bits: u8) -> Result<Subnet6> {
        let refused = |why| Err(Error::invalid(format!("subnet {base}/{bits}: {why}")));
        if !(48..=112).contains(&bits) {
            return refused("48 to 112 bits are possible");
        }
        let subnet = Subnet6 { base, bits };
        if base.to_bits() & !subnet.mask() != 0 {
            return refused("base has host bits");
        }
        // 2000::/3 and fc00::/7.
        if base.octets()[0] >> 5 != 1 && !base.is_unique_local() {
            return refused("neither global nor unique local addresses");
        }
        Ok(subnet)
    }

    /// Prefix bits.
    pub fn bits(&self) -> u8 {
        self.bits
    }

    /// The address without a host, which names the subnet.
    pub fn base(&self) -> Ipv6Addr {
        self.base
    }

    /// The mask in host byte order.
    pub fn mask(&self) -> u128 {
        u128::MAX << (128 - u32::from(self.bits))
    }

    /// The bridge's address, which is the pods' gateway.
    pub fn gateway(&self) -> Ipv6Addr {
        self.host(1)
    }

    /// The `n`-th address.
    pub fn host(&self, n: u32) -> Ipv6Addr {
        Ipv6Addr::from_bits(self.base.to_bits() | u128::from(n))
    }

    /// The address that goes with one of `subnet`.
    pub fn beside(&self, subnet: &Subnet, ip: Ipv4Addr) -> Ipv6Addr {
        self.host(ip.to_bits() & !subnet.mask())
    }

    /// Refuses an IPv4 subnet with more hosts than this one.
    ///
    /// # Errors
    /// `Invalid`, with both.
    pub fn check_room(&self, subnet: &Subnet) -> Result<()> {
        if 128 - self.bits < 32 - subnet.bits() {
            let text = format!("subnet {self} has fewer addresses than {subnet}");
            return Err(Error::invalid(text));
        }
        Ok(())
    }
}

impl fmt::Display for Subnet6 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.bits)
    }
}

impl FromStr for Subnet6 {
    type Err = Error;

    fn from_str(text: &str) -> Result<Subnet6> {
        let parsed = text
            .split_once('/')
            .and_then(|(base, bits)| Some((base.parse().ok()?, bits.parse().ok()?)));
        let Some((base, bits)) = parsed else {
            return Err(Error::invalid(format!("subnet {text:?}: not of the form fd00:77::/64")));
        };
        Subnet6::new(base, bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_has_the_number_of_its_other_address() {
        let (six, four): (Subnet6, Subnet) =
            ("fd00:77::/64".parse().unwrap(), "10.77.0.0/16".parse().unwrap());
        six.check_room(&four).unwrap();
        assert_eq!(six.gateway().to_string(), "fd00:77::1");
        assert_eq!(six.beside(&four, [10, 77, 1, 2].into()).to_string(), "fd00:77::102");
        let narrow: Subnet6 = "fd00:77::/112".parse().unwrap();
        narrow.check_room(&four).unwrap();
        let wide = "10.0.0.0/8".parse().unwrap();
        let refused = narrow.check_room(&wide).unwrap_err().to_string();
        assert_eq!(refused, "subnet fd00:77::/112 has fewer addresses than 10.0.0.0/8");
    }

    #[test]
    fn what_pods_cannot_have_is_refused() {
        for text in [
            "fd00:77::",
            "fd00:77::1/64",
            "fd00::/16",
            "fd00:77::/113",
            "fe80::/64",
            "ff02::/64",
            "::/64",
            "::ffff:10.0.0.0/112",
            "10.0.0.0/8",
            "x/64",
        ] {
            assert!(text.parse::<Subnet6>().is_err(), "{text}");
        }
        "2001:db8:1::/48".parse::<Subnet6>().unwrap();
    }
}
