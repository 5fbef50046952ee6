//! The message about the network of the node.

use rrun_engine::{Error, Result};
use std::net::IpAddr;

/// The addresses of a node's pods, `10.244.1.0/24` or one of each family with a comma between;
/// empty for none.
pub fn pod_cidrs(text: &str) -> Result<Vec<(IpAddr, u8)>> {
    text.split(',').filter(|cidr| !cidr.is_empty()).map(cidr).collect()
}

fn cidr(text: &str) -> Result<(IpAddr, u8)> {
    let parsed = text.split_once('/').and_then(|(address, length)| {
        let address: IpAddr = address.parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let length: u8 = length.parse().ok()?;
        (length <= most).then_some((address, length))
    });
    parsed.ok_or_else(|| {
        Error::invalid(format!("runtime_config.network_config.pod_cidr: {text:?} is no CIDR"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cidr_is_an_address_and_a_length_that_it_can_have() {
        assert_eq!(pod_cidrs("").unwrap(), []);
        assert_eq!(pod_cidrs("10.244.0.0/16,fd00::/64").unwrap().len(), 2);
        for text in ["10.244.0.0", "10.244.0.0/33", "x/8", "fd00::/129", "10.0.0.0/8,y"] {
            let refused = pod_cidrs(text).unwrap_err().to_string();
            assert!(refused.contains("pod_cidr"), "{refused}");
        }
    }
}
