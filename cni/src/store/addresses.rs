//! Addresses: host-local allocation, round-robin, so that one that was freed is not given out
//! again before all the others were.

use super::Store;
use crate::error::{Error, Kind, Result};
use crate::subnet::Subnet;
use rusqlite::{OptionalExtension, Transaction, params};
use std::net::Ipv4Addr;

/// The first host that a pod may have; 1 is the gateway.
const FIRST: u32 = 2;

impl Store {
    /// Takes the next free address of `subnet` for `id`. The address that it has already stays.
    ///
    /// # Errors
    /// `Exhausted`.
    pub fn allocate(&self, subnet: Subnet, id: &str) -> Result<Ipv4Addr> {
        let name = subnet.to_string();
        self.write(|tx| {
            let mine = tx
                .prepare_cached("SELECT host FROM address WHERE subnet = ?1 AND id = ?2")?
                .query_row([&name, id], |row| row.get(0))
                .optional()?;
            if let Some(host) = mine {
                return Ok(subnet.host(host));
            }
            let cursor: u32 = tx
                .prepare_cached("SELECT host FROM cursor WHERE subnet = ?1")?
                .query_row([&name], |row| row.get(0))
                .optional()?
                .unwrap_or(FIRST - 1);
            let free = match first_free(tx, &name, cursor + 1, subnet.last_host())? {
                Some(host) => Some(host),
                None => first_free(tx, &name, FIRST, cursor.min(subnet.last_host()))?,
            };
            let Some(host) = free else {
                return Err(Error::new(Kind::Exhausted, format!("no address is left in {name}")));
            };
            tx.prepare_cached("INSERT INTO address (subnet, host, id) VALUES (?1, ?2, ?3)")?
                .execute(params![name, host, id])?;
            tx.prepare_cached("INSERT OR REPLACE INTO cursor (subnet, host) VALUES (?1, ?2)")?
                .execute(params![name, host])?;
            Ok(subnet.host(host))
        })
    }

    /// Gives back whatever address `id` has.
    pub fn free(&self, id: &str) -> Result<()> {
        self.give_back(|connection| {
            connection.prepare_cached("DELETE FROM address WHERE id = ?1")?.execute([id])?;
            Ok(())
        })
    }

    /// The subnet of a bridge: the one on record, else `choose`'s, which is recorded.
    pub fn subnet(&self, bridge: &str, choose: impl FnOnce() -> Result<Subnet>) -> Result<Subnet> {
        self.write(|tx| {
            let known: Option<String> = tx
                .query_row("SELECT subnet FROM subnet WHERE bridge = ?1", [bridge], |row| {
                    row.get(0)
                })
                .optional()?;
            if let Some(known) = known {
                return known.parse();
            }
            let chosen = choose()?;
            tx.execute(
                "INSERT INTO subnet (bridge, subnet) VALUES (?1, ?2)",
                [bridge, &chosen.to_string()],
            )?;
            Ok(chosen)
        })
    }
}

/// The first host from `from` to `to` that nobody has: the first gap in the ordered keys.
fn first_free(tx: &Transaction<'_>, subnet: &str, from: u32, to: u32) -> Result<Option<u32>> {
    let mut taken = tx.prepare_cached(
        "SELECT host FROM address WHERE subnet = ?1 AND host BETWEEN ?2 AND ?3 ORDER BY host",
    )?;
    let mut next = from;
    for host in taken.query_map(params![subnet, from, to], |row| row.get::<_, u32>(0))? {
        if host? != next {
            break;
        }
        next += 1;
    }
    Ok((next <= to).then_some(next))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        (dir, store)
    }

    #[test]
    fn a_freed_address_comes_round_again_last() {
        let (_dir, store) = store();
        let subnet: Subnet = "10.9.0.0/29".parse().unwrap();
        let take = |id: &str| store.allocate(subnet, id).map(|ip| ip.octets()[3]);
        assert_eq!([take("a").unwrap(), take("b").unwrap()], [2, 3]);
        store.free("a").unwrap();
        assert_eq!([take("c").unwrap(), take("d").unwrap(), take("e").unwrap()], [4, 5, 6]);
        assert_eq!(take("f").unwrap(), 2);
        assert_eq!(take("g").unwrap_err().kind(), Kind::Exhausted);
        store.free("d").unwrap();
        assert_eq!(take("g").unwrap(), 5);
    }

    #[test]
    fn an_id_keeps_the_address_it_has() {
        let (_dir, store) = store();
        let subnet: Subnet = "10.9.0.0/24".parse().unwrap();
        assert_eq!(store.allocate(subnet, "a").unwrap(), store.allocate(subnet, "a").unwrap());
    }
}
