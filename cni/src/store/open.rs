//! Opening the database, and when it is made anew: if SQLite says that the file is damaged
//! (`SQLITE_CORRUPT`) or no database (`SQLITE_NOTADB`), and nobody has it open. A full or failing
//! disk, a read-only mount, another version and a busy database are errors that change nothing.
//! Whoever has the records open holds a shared lock on `network.lock`, which death releases; they
//! are set aside under the exclusive one alone, so never beneath a living process. One process
//! opens at a time, by a lock on the folder: SQLite answers `SQLITE_BUSY` at once to whoever comes
//! between a new file and its WAL, however long it was told to wait. The records of images have
//! the same rules.

use crate::error::{Context, Error, Kind, Result};
use rrun_sys::step;
use rusqlite::{Connection, ErrorCode, TransactionBehavior};
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;
use std::time::Duration;

/// Version of the tables below.
const VERSION: i64 = 1;
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
";

/// The database, and the shared lock.
pub(super) fn open(dir: &Path) -> Result<(Connection, File)> {
    step::run("cni.open.dir", || fs::create_dir_all(dir))?;
    let file = || File::create(dir.join("network.lock"));
    let lock = step::run("cni.open.lock", file).context(|| "network.lock")?;
    let opening = File::open(dir)?;
    opening.lock()?;
    let records = || locked(&dir.join("network.db"), &lock);
    let connection = step::run("cni.open.records", records).context(|| "network records")?;
    Ok((connection, lock))
}

/// The database, with the shared lock held.
fn locked(path: &Path, lock: &File) -> Result<Connection> {
    let lock_file = || "network.lock";
    lock.lock_shared().context(lock_file)?;
    match connect(path) {
        Err(Refused::Damaged(_)) => {}
        done => return done.map_err(Error::from),
    }
    lock.unlock().context(lock_file)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let why = "they are damaged, and another process has them open; when it has ended \
                       they are made anew";
            return Err(Error::new(Kind::Unavailable, why));
        }
        Err(TryLockError::Error(e)) => return Err(e).context(lock_file),
    }
    // Somebody else may have been first.
    let connection = match connect(path) {
        Err(Refused::Damaged(e)) => {
            tracing::warn!(file = %path.display(), "network records are set aside and made anew: {e}");
            set_aside(path)?;
            connect(path)?
        }
        done => done?,
    };
    lock.lock_shared().context(lock_file)?;
    Ok(connection)
}

/// Why a database cannot be opened.
enum Refused {
    /// What is in the file is no database, or a damaged one.
    Damaged(rusqlite::Error),
    Other(Error),
}

impl From<rusqlite::Error> for Refused {
    fn from(e: rusqlite::Error) -> Refused {
        match e.sqlite_error_code() {
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => Refused::Damaged(e),
            _ => Refused::Other(Error::from(e)),
        }
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Error {
        match refused {
            Refused::Damaged(e) => e.into(),
            Refused::Other(e) => e,
        }
    }
}

fn connect(path: &Path) -> std::result::Result<Connection, Refused> {
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_secs(20))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    let version =
        |db: &Connection| db.query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0));
    if version(&connection)? == 0 {
        let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // Another process may have been first.
        if version(&tx)? == 0 {
            tx.execute_batch(SCHEMA)?;
            tx.pragma_update(None, "user_version", VERSION)?;
        }
        tx.commit()?;
    }
    // Reads the schema: what is damaged there shows here.
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    match version(&connection)? {
        VERSION => Ok(connection),
        other => Err(Refused::Other(Error::new(
            Kind::Unavailable,
            format!("they have version {other}, this program knows {VERSION}"),
        ))),
    }
}

/// The damaged file stays for whoever wants to look; SQLite's side files go with it, because they
/// would be applied to the new one.
fn set_aside(path: &Path) -> Result<()> {
    for end in ["", "-wal", "-shm"] {
        let from = format!("{}{end}", path.display());
        let to = format!("{}.damaged{end}", path.display());
        match fs::rename(&from, &to) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e).context(|| from),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::Store;
    use super::*;

    fn aside(dir: &Path) -> bool {
        dir.join("network.db.damaged").exists()
    }

    #[test]
    fn a_file_that_is_no_database_is_set_aside_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("network.db"), "no database, for sure".repeat(400)).unwrap();
        let store = Store::open(dir.path()).unwrap();
        store.insert("a", "{}", false).unwrap();
        let kept = fs::read_to_string(dir.path().join("network.db.damaged")).unwrap();
        assert!(kept.starts_with("no database"));
    }

    #[test]
    fn damaged_records_that_somebody_has_open_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        // Whole in the file, so that nothing is read from the log instead.
        let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
        store.connection().query_row(checkpoint, [], |_| Ok(())).unwrap();
        fs::write(dir.path().join("network.db"), "no database, for sure".repeat(400)).unwrap();
        let refused = Store::open(dir.path()).err().unwrap();
        assert_eq!(refused.kind(), Kind::Unavailable);
        assert!(refused.to_string().contains("another process has them open"), "{refused}");
        assert!(!aside(dir.path()));
        drop(store);
        Store::open(dir.path()).unwrap();
        assert!(aside(dir.path()));
    }

    #[test]
    fn what_is_not_damaged_is_never_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        Store::open(dir.path()).unwrap().insert("a", "{}", true).unwrap();
        let path = dir.path().join("network.db");
        // Of another version.
        let set = |version: u32| {
            let db = Connection::open(&path).unwrap();
            db.pragma_update(None, "user_version", version).unwrap();
        };
        set(7);
        let refused = Store::open(dir.path()).err().unwrap();
        assert!(refused.to_string().contains("they have version 7"), "{refused}");
        set(1);
        // Not to be opened: a folder in its place, as EIO and EACCES are (SQLITE_CANTOPEN).
        fs::rename(&path, dir.path().join("else")).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(Store::open(dir.path()).is_err());
        fs::remove_dir(&path).unwrap();
        fs::rename(dir.path().join("else"), &path).unwrap();
        assert!(!aside(dir.path()));
        let store = Store::open(dir.path()).unwrap();
        assert_eq!(store.all().unwrap().len(), 1);
    }
}
