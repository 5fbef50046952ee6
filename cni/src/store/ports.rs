//! Host ports: who has which. A map element in the kernel is removed by its key alone, so only the
//! holder of a port may add or remove it.

use super::Store;
use crate::attachment::Protocol;
use crate::error::{Error, Kind, Result};
use rusqlite::{OptionalExtension, params};
use std::net::{IpAddr, Ipv4Addr};

/// A host port and where it leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    pub protocol: Protocol,
    pub port: u16,
    /// `None` is every address of the host.
    pub host_ip: Option<IpAddr>,
    /// By its IPv4 address, whose number the pod's IPv6 address has.
    pub target: (Ipv4Addr, u16),
}

impl HostPort {
    fn host_ip_text(&self) -> String {
        self.host_ip.map(|ip| ip.to_string()).unwrap_or_default()
    }
}

impl Store {
    /// Reserves all of `ports` for `id`, or none. A port on all addresses and the same on one of
    /// them exclude each other.
    ///
    /// # Errors
    /// `Exists`, naming the holder; `Invalid` for two ports that exclude each other.
    pub fn reserve_ports(&self, id: &str, ports: &[HostPort]) -> Result<()> {
        self.write(|tx| {
            let mut holder = tx.prepare_cached(
                "SELECT id FROM port WHERE protocol = ?1 AND port = ?2
                 AND (host_ip = ?3 OR host_ip = '' OR ?3 = '')",
            )?;
            let mut insert = tx.prepare_cached(
                "INSERT INTO port (protocol, port, host_ip, id, target_ip, target_port)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?;
            for asked in ports {
                let HostPort { port, target, .. } = asked;
                let (protocol, host_ip) = (asked.protocol.to_string(), asked.host_ip_text());
                let held: Option<String> = holder
                    .query_row(params![protocol, port, host_ip], |row| row.get(0))
                    .optional()?;
                if let Some(held) = held {
                    let port = format!("host port {port}/{protocol}");
                    return Err(match held == id {
                        true => Error::new(Kind::Invalid, format!("{port} is asked for twice")),
                        false => Error::new(Kind::Exists, format!("{port} is taken by pod {held}")),
                    });
                }
                let ip = target.0.to_string();
                insert.execute(params![protocol, port, host_ip, id, ip, target.1])?;
            }
            Ok(())
        })
    }

    /// What `id` holds, or what all hold.
    pub fn host_ports(&self, id: Option<&str>) -> Result<Vec<HostPort>> {
        let connection = self.connection();
        let mut select = connection.prepare_cached(
            "SELECT protocol, port, host_ip, target_ip, target_port FROM port
             WHERE ?1 IS NULL OR id = ?1",
        )?;
        let rows = select.query_map([id], |row| {
            let text = |at| row.get::<_, String>(at);
            Ok((text(0)?, row.get(1)?, text(2)?, text(3)?, row.get(4)?))
        })?;
        let mut ports = Vec::new();
        for row in rows {
            let (protocol, port, host_ip, ip, target_port) = row?;
            let protocol = match protocol.as_str() {
                "udp" => Protocol::Udp,
                "sctp" => Protocol::Sctp,
                _ => Protocol::Tcp,
            };
            // A row that does not parse was not written by us, and no element is its own.
            let Ok(ip) = ip.parse() else { continue };
            let host_ip = host_ip.parse().ok();
            ports.push(HostPort { protocol, port, host_ip, target: (ip, target_port) });
        }
        Ok(ports)
    }

    /// Gives back the ports of `id`.
    pub fn release_ports(&self, id: &str) -> Result<()> {
        self.give_back(|connection| {
            connection.prepare_cached("DELETE FROM port WHERE id = ?1")?.execute([id])?;
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(port: u16, host_ip: Option<&str>) -> HostPort {
        let host_ip = host_ip.map(|ip| ip.parse().unwrap());
        HostPort { protocol: Protocol::Tcp, port, host_ip, target: ([10, 0, 0, 2].into(), 80) }
    }

    #[test]
    fn a_port_has_one_holder_and_the_refusal_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        store.reserve_ports("a", &[port(80, None), port(81, Some("10.1.1.1"))]).unwrap();
        let refused =
            store.reserve_ports("b", &[port(82, None), port(80, Some("10.1.1.1"))]).unwrap_err();
        assert_eq!(refused.kind(), Kind::Exists);
        assert_eq!(refused.to_string(), "host port 80/tcp is taken by pod a");
        let twice = store.reserve_ports("b", &[port(82, None), port(82, None)]).unwrap_err();
        assert_eq!(twice.kind(), Kind::Invalid);
        assert_eq!(twice.to_string(), "host port 82/tcp is asked for twice");
        assert!(store.reserve_ports("b", &[port(81, None)]).is_err());
        store.reserve_ports("b", &[port(81, Some("10.1.1.2")), port(82, None)]).unwrap();
        assert_eq!(store.host_ports(Some("b")).unwrap().len(), 2);
        assert_eq!(store.host_ports(None).unwrap().len(), 4);
        store.release_ports("a").unwrap();
        store.reserve_ports("b", &[port(80, None)]).unwrap();
    }
}
