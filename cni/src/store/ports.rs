//! Host ports: who has which. A map element in the kernel is removed by its key alone, so only the
//! holder of a claim may add or remove it.

use super::Store;
use crate::attachment::Protocol;
use crate::error::{Error, Kind, Result};
use rusqlite::{OptionalExtension, params};
use std::net::Ipv4Addr;

/// A host port and where it leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    pub protocol: Protocol,
    pub port: u16,
    /// `None` is every address of the host.
    pub host_ip: Option<Ipv4Addr>,
    pub target: (Ipv4Addr, u16),
}

impl Claim {
    fn host_ip_text(&self) -> String {
        self.host_ip.map(|ip| ip.to_string()).unwrap_or_default()
    }
}

impl Store {
    /// Takes all of `claims` for `id`, or none. A port on all addresses and the same on one of them
    /// exclude each other.
    ///
    /// # Errors
    /// `Exists`, naming the holder; `Invalid` for two claims that exclude each other.
    pub fn claim(&self, id: &str, claims: &[Claim]) -> Result<()> {
        self.write(|tx| {
            let mut holder = tx.prepare_cached(
                "SELECT id FROM port WHERE protocol = ?1 AND port = ?2
                 AND (host_ip = ?3 OR host_ip = '' OR ?3 = '')",
            )?;
            let mut insert = tx.prepare_cached(
                "INSERT INTO port (protocol, port, host_ip, id, target_ip, target_port)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?;
            for claim in claims {
                let Claim { port, target, .. } = claim;
                let (protocol, host_ip) = (claim.protocol.to_string(), claim.host_ip_text());
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
    pub fn claims(&self, id: Option<&str>) -> Result<Vec<Claim>> {
        let connection = self.connection();
        let mut select = connection.prepare_cached(
            "SELECT protocol, port, host_ip, target_ip, target_port FROM port
             WHERE ?1 IS NULL OR id = ?1",
        )?;
        let rows = select.query_map([id], |row| {
            let text = |at| row.get::<_, String>(at);
            Ok((text(0)?, row.get(1)?, text(2)?, text(3)?, row.get(4)?))
        })?;
        let mut claims = Vec::new();
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
            claims.push(Claim { protocol, port, host_ip, target: (ip, target_port) });
        }
        Ok(claims)
    }

    /// Gives back the ports of `id`.
    pub fn unclaim(&self, id: &str) -> Result<()> {
        self.connection().prepare_cached("DELETE FROM port WHERE id = ?1")?.execute([id])?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(port: u16, host_ip: Option<&str>) -> Claim {
        let host_ip = host_ip.map(|ip| ip.parse().unwrap());
        Claim { protocol: Protocol::Tcp, port, host_ip, target: ([10, 0, 0, 2].into(), 80) }
    }

    #[test]
    fn a_port_has_one_holder_and_the_refusal_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        store.claim("a", &[claim(80, None), claim(81, Some("10.1.1.1"))]).unwrap();
        let refused =
            store.claim("b", &[claim(82, None), claim(80, Some("10.1.1.1"))]).unwrap_err();
        assert_eq!(refused.kind(), Kind::Exists);
        assert_eq!(refused.to_string(), "host port 80/tcp is taken by pod a");
        let twice = store.claim("b", &[claim(82, None), claim(82, None)]).unwrap_err();
        assert_eq!(twice.kind(), Kind::Invalid);
        assert_eq!(twice.to_string(), "host port 82/tcp is asked for twice");
        assert!(store.claim("b", &[claim(81, None)]).is_err());
        store.claim("b", &[claim(81, Some("10.1.1.2")), claim(82, None)]).unwrap();
        assert_eq!(store.claims(Some("b")).unwrap().len(), 2);
        assert_eq!(store.claims(None).unwrap().len(), 4);
        store.unclaim("a").unwrap();
        store.claim("b", &[claim(80, None)]).unwrap();
    }
}
