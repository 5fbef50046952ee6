//! The shared records: who is attached to what, which address and which host port is whose.
//!
//! One SQLite database in WAL mode, written by several processes. A commit is in the page cache
//! before anything else happens, so it outlives `kill -9`; a power cut may lose the last ones but
//! not tear it (`synchronous=NORMAL`). That is enough for the built-in bridge, of which a power cut
//! leaves nothing; records of plugins, which have state on disk of their own, are synced.

use crate::error::{Context, Error, Kind, Result};
use rrun_sys::step;
use rusqlite::{Connection, ErrorCode, OptionalExtension, Transaction, TransactionBehavior};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

mod addresses;
mod ports;

pub use ports::Claim;

/// Version of the tables below.
const VERSION: u32 = 1;
const SCHEMA: &str = "
    CREATE TABLE attachment (
        id TEXT PRIMARY KEY, record TEXT NOT NULL, result TEXT) WITHOUT ROWID;
    CREATE TABLE address (
        subnet TEXT NOT NULL, host INTEGER NOT NULL, id TEXT NOT NULL,
        PRIMARY KEY (subnet, host)) WITHOUT ROWID;
    CREATE INDEX address_id ON address (id);
    CREATE TABLE cursor (subnet TEXT PRIMARY KEY, host INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE port (
        protocol TEXT NOT NULL, port INTEGER NOT NULL, host_ip TEXT NOT NULL,
        id TEXT NOT NULL, target_ip TEXT NOT NULL, target_port INTEGER NOT NULL,
        PRIMARY KEY (protocol, port, host_ip)) WITHOUT ROWID;
    CREATE INDEX port_id ON port (id);
    CREATE TABLE subnet (bridge TEXT PRIMARY KEY, subnet TEXT NOT NULL) WITHOUT ROWID;
    PRAGMA user_version = 1;
";

/// A record with its result, if there is one.
pub struct Row {
    pub id: String,
    pub record: String,
    pub result: Option<String>,
}

/// The database.
pub struct Store {
    connection: Mutex<Connection>,
}

impl Store {
    /// Opens or makes the database in `dir`. One that is no database any more is put aside under
    /// another name, and a new one is begun.
    pub fn open(dir: &Path) -> Result<Store> {
        let doing = || format!("open {}", dir.display());
        step::only("cni.open.dir", || fs::create_dir_all(dir)).context(doing)?;
        // Held while the tables are made or put aside, so that one process does it.
        let file = || File::create(dir.join("network.lock"));
        let lock = step::only("cni.open.lock", file).context(doing)?;
        lock.lock().context(doing)?;
        let records = || records(&dir.join("network.db"));
        let connection = step::only("cni.open.records", records).context(doing)?;
        Ok(Store { connection: Mutex::new(connection) })
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
        self.connection().prepare_cached("DELETE FROM attachment WHERE id = ?1")?.execute([id])?;
        Ok(())
    }
}

fn row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    Ok(Row { id: row.get(0)?, record: row.get(1)?, result: row.get(2)? })
}

/// Opens the database, or makes it with its tables.
fn records(path: &Path) -> Result<Connection> {
    let connection = match connect(path) {
        Err(e) if is_corrupt(&e) => {
            let aside = put_aside(path)?;
            tracing::warn!(file = %path.display(), aside = %aside.display(),
                "network records are corrupt and were put aside: {e}");
            connect(path)?
        }
        other => other?,
    };
    let version: u32 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    match version {
        0 => connection.execute_batch(&format!("BEGIN; {SCHEMA} COMMIT;"))?,
        VERSION => {}
        newer => return Err(Error::invalid(format!("written by version {newer}"))),
    }
    Ok(connection)
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_secs(20))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    // Reads the header and the schema: what is no database shows here.
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    Ok(connection)
}

fn is_corrupt(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt))
}

fn put_aside(path: &Path) -> Result<PathBuf> {
    let stamp = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let aside = path.with_extension(format!("db.corrupt-{stamp}"));
    fs::rename(path, &aside)?;
    for side in ["db-wal", "db-shm"] {
        // Of the old database: a new one must not take them for its own.
        match fs::remove_file(path.with_extension(side)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e.into()),
            _ => {}
        }
    }
    Ok(aside)
}
