//! Ports and addresses as they are asked for.

use anyhow::{Result, bail};
use rrun_pod::model::{PodSpec, Protocol};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// `[LOCAL:]REMOTE`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ports {
    /// 0 for any that is free; none for the same as the pod's.
    local: Option<u16>,
    remote: RemotePort,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum RemotePort {
    Number(u16),
    Name(String),
}

impl FromStr for Ports {
    type Err = String;

    fn from_str(text: &str) -> Result<Ports, String> {
        let (local, remote) = match text.split_once(':') {
            Some((local, remote)) => (Some(local), remote),
            None => (None, text),
        };
        let wrong = |what: &str| format!("{what} port {text:?}: want a number from 1 to 65535");
        let local = match local {
            None => None,
            Some("" | "0") => Some(0),
            Some(number) => Some(number.parse().map_err(|_| wrong("local"))?),
        };
        let is_name = remote.chars().any(|c| c.is_ascii_alphabetic()) && !remote.contains(':');
        let remote = match remote.parse() {
            Ok(0) => return Err("remote port must be > 0".to_owned()),
            Ok(number) => RemotePort::Number(number),
            Err(_) if is_name => RemotePort::Name(remote.to_owned()),
            Err(_) => return Err(wrong("remote")),
        };
        Ok(Ports { local, remote })
    }
}

impl Ports {
    /// The pod's port, of whose names the manifest knows.
    pub fn remote(&self, spec: &PodSpec) -> Result<u16> {
        let name = match &self.remote {
            RemotePort::Number(number) => return Ok(*number),
            RemotePort::Name(name) => name,
        };
        let ports = spec.all().flat_map(|(_, container)| &container.ports);
        let named = ports.into_iter().find(|port| port.name.as_deref() == Some(name.as_str()));
        match named {
            Some(port) if port.protocol == Protocol::Tcp => Ok(port.container_port),
            Some(_) => bail!("UDP and SCTP are not forwarded: port {name}"),
            None => bail!("Pod '{name}' port not found: no container has a port of that name"),
        }
    }

    /// The port here; 0 for any.
    pub fn local(&self, remote: u16) -> u16 {
        self.local.unwrap_or(remote)
    }
}

/// `localhost`, which is both families, or an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address(Vec<IpAddr>);

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Address, String> {
        match text {
            "localhost" => {
                Ok(Address(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]))
            }
            text => match text.parse() {
                Ok(ip) => Ok(Address(vec![ip])),
                Err(_) => Err("want localhost or an address".to_owned()),
            },
        }
    }
}

impl Address {
    pub fn ips(&self) -> &[IpAddr] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_as_kubectl_reads_them() {
        let read = |text: &str| Ports::from_str(text);
        let ports = |local, remote| Ok(Ports { local, remote });
        assert_eq!(read("80"), ports(None, RemotePort::Number(80)));
        assert_eq!(read("8080:80"), ports(Some(8080), RemotePort::Number(80)));
        assert_eq!(read(":80"), ports(Some(0), RemotePort::Number(80)));
        assert_eq!(read("8443:https"), ports(Some(8443), RemotePort::Name("https".into())));
        for wrong in ["", ":", "0", "80:", "x:80", "70000", "1:2:3", "8080:0"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn localhost_is_both_families() {
        assert_eq!(Address::from_str("localhost").unwrap().ips().len(), 2);
        assert_eq!(Address::from_str("::1").unwrap().ips().len(), 1);
        assert!(Address::from_str("here").is_err());
    }
}
