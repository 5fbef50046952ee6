//! The records as whoever only looks sees them.

use super::open::RECORDS;
use super::{Row, row};
use crate::error::{Context, Result};
use rrun_database::Look;
use rusqlite::Connection;
use std::path::Path;

/// The records, open for reading.
pub struct Seen(Look);

/// Something that is reserved for an attachment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reserved {
    /// The subnet, and the number of the host in it.
    Address(String, u32),
    /// Protocol, number, and the address of the host if it is of one alone.
    Port(String, u32, String),
}

impl Seen {
    /// Whether there are records in `dir`, or were.
    pub fn is_there(dir: &Path) -> bool {
        [RECORDS.file, RECORDS.lock].iter().any(|name| dir.join(name).symlink_metadata().is_ok())
    }

    /// Opens them.
    ///
    /// # Errors
    /// Where they cannot be read now, or are of another version. That they are damaged is none.
    pub fn open(dir: &Path) -> Result<Seen, rrun_database::Error> {
        RECORDS.look(dir).map(Seen)
    }

    /// What is wrong with all of them.
    pub fn fault(&self) -> Option<&str> {
        self.0.records.as_ref().err().map(String::as_str)
    }

    fn read<T>(
        &self,
        what: &str,
        sql: &str,
        of: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>> {
        let Ok(connection) = &self.0.records else { return Ok(Vec::new()) };
        all(connection, sql, of).context(|| format!("read {what}"))
    }

    /// Every attachment.
    pub fn attachments(&self) -> Result<Vec<Row>> {
        self.read("attachments", "SELECT id, record, result FROM attachment ORDER BY id", row)
    }

    /// Everything that is reserved, with whom it is reserved for.
    pub fn reserved(&self) -> Result<Vec<(Reserved, String)>> {
        let sql = "SELECT subnet, host, id FROM address ORDER BY subnet, host";
        let mut reserved = self.read("addresses", sql, |row| {
            Ok((Reserved::Address(row.get(0)?, row.get(1)?), row.get(2)?))
        })?;
        let sql = "SELECT protocol, port, host_ip, id FROM port ORDER BY protocol, port, host_ip";
        reserved.extend(self.read("host ports", sql, |row| {
            Ok((Reserved::Port(row.get(0)?, row.get(1)?, row.get(2)?), row.get(3)?))
        })?);
        Ok(reserved)
    }
}

fn all<T>(
    connection: &Connection,
    sql: &str,
    of: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    connection.prepare(sql)?.query_map([], of)?.collect()
}
