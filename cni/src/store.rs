//! The shared records: who is attached to what, which address and which host port is whose.
//!
//! One SQLite database in WAL mode, written by several processes. A commit is in the page cache
//! before anything else happens, so it outlives `kill -9`; a power cut may lose the last ones but
//! not tear it (`synchronous=NORMAL`). That is enough for the built-in bridge, of which a power cut
//! leaves nothing; records of plugins, which have state on disk of their own, are synced.

use crate::error::{Context, Error, Kind, Result};
use rusqlite::{Connection, ErrorCode, OptionalExtension, Transaction, TransactionBehavior};
use std::fs::File;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

mod addresses;
mod look;
mod open;
mod ports;

pub use look::{Reserved, Seen};
pub use ports::HostPort;

/// A record with its result, if there is one.
pub struct Row {
    pub id: String,
    pub record: String,
    pub result: Option<String>,
}

/// The database.
pub struct Store {
    connection: Mutex<Connection>,
    /// Held as long as the records are open, see [`open`].
    _lock: File,
}

impl Store {
    /// Opens or makes the database in `dir`, see [`open`] for one that is damaged.
    pub fn open(dir: &Path) -> Result<Store> {
        let (connection, lock) = open::open(dir).context(|| format!("open {}", dir.display()))?;
        Ok(Store { connection: Mutex::new(connection), _lock: lock })
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work` as one transaction that no other process comes between.
    fn write<T>(&self, work: impl FnOnce(&Transaction<'_>) -> Result<T>) -> Result<T> {
        let mut connection = self.connection();
        let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let value = work(&tx)?;
        tx.commit()?;
        Ok(value)
    }

    /// Gives something back, on a full disk as well.
    fn give_back<T>(&self, work: impl FnMut(&mut Connection) -> Result<T>) -> Result<T> {
        let is_full = |error: &Error| error.kind() == Kind::Exhausted;
        rrun_database::give_back(&mut self.connection(), is_full, work)
    }

    /// Puts a record down before its ADD. `durable` when plugins keep state of their own.
    ///
    /// # Errors
    /// `Exists`.
    pub fn insert(&self, id: &str, record: &str, durable: bool) -> Result<()> {
        let connection = self.connection();
        if durable {
            connection.pragma_update(None, "synchronous", "FULL")?;
        }
        let inserted = connection
            .prepare_cached("INSERT INTO attachment (id, record) VALUES (?1, ?2)")
            .and_then(|mut insert| insert.execute([id, record]));
        if durable {
            connection.pragma_update(None, "synchronous", "NORMAL")?;
        }
        match inserted {
            Ok(_) => Ok(()),
            Err(e) if e.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => Err(
                Error::new(Kind::Exists, format!("{id} is attached already, or not yet detached")),
            ),
            Err(e) => Err(e.into()),
        }
    }

    /// Adds what ADD answered.
    pub fn set_result(&self, id: &str, result: &str) -> Result<()> {
        self.connection()
            .prepare_cached("UPDATE attachment SET result = ?2 WHERE id = ?1")?
            .execute([id, result])?;
        Ok(())
    }

    /// One record.
    pub fn get(&self, id: &str) -> Result<Option<Row>> {
        let connection = self.connection();
        let mut select =
            connection.prepare_cached("SELECT id, record, result FROM attachment WHERE id = ?1")?;
        Ok(select.query_row([id], row).optional()?)
    }

    /// Every record.
    pub fn all(&self) -> Result<Vec<Row>> {
        let connection = self.connection();
        let mut select =
            connection.prepare_cached("SELECT id, record, result FROM attachment ORDER BY id")?;
        let rows = select.query_map([], row)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Forgets a record.
    pub fn remove(&self, id: &str) -> Result<()> {
        self.give_back(|connection| {
            connection.prepare_cached("DELETE FROM attachment WHERE id = ?1")?.execute([id])?;
            Ok(())
        })
    }
}

fn row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    Ok(Row { id: row.get(0)?, record: row.get(1)?, result: row.get(2)? })
}
