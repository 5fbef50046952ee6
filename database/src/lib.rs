//! Opening a SQLite database that several processes share, and when it is made anew.
//!
//! It is made anew if there is none, or if SQLite says that the file is damaged on whatever page
//! (`SQLITE_CORRUPT`) or no database (`SQLITE_NOTADB`), and nobody has it open. A full or failing
//! disk, a read-only mount, another version and a busy database are errors that change nothing.
//! Whoever has it open holds a shared lock on a file beside it, which death releases; it is set
//! aside, or brought up from the version before, under the exclusive one alone, so never beneath a
//! living process. One process opens at a time, by a lock on the folder: SQLite answers
//! `SQLITE_BUSY` at once to whoever comes between a new file and its WAL, however long it was told
//! to wait.
//!
//! Whoever only looks ([`Database::look`]) changes nothing. Whether anything has been committed is told
//! by [`WalIndex`] without a call that may wait.
//!
//! On a full disk nothing new is recorded, but what was can be given back ([`give_back`]): a file
//! beside the database keeps some room for that.

mod look;
mod wal_index;

pub use look::Look;
pub use wal_index::{Commit, WalIndex};

use rusqlite::{Connection, ErrorCode, TransactionBehavior, ffi};
use std::fmt;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long a statement waits for another process that writes.
const BUSY: Duration = Duration::from_secs(20);

/// How much room is kept for giving things back: some dozens of transactions.
const RESERVE: usize = 512 << 10;

/// How many compiled statements a connection keeps: more than any of these databases has.
const STATEMENTS: usize = 128;

/// How long another process may take to let go of a database: one that is killed has it until it is
/// gone, and a child of one that has closed it until its execve.
const LETTING_GO: Duration = Duration::from_millis(500);

/// A database: its files in their folder, and its tables.
#[derive(Clone, Copy, Debug)]
pub struct Database {
    /// The database's file.
    pub file: &'static str,
    /// The file with its lock.
    pub lock: &'static str,
    /// The version of its tables, 1 or more.
    pub version: i64,
    /// What makes them.
    pub schema: &'static str,
    /// The version before, and what makes this one of its tables, where that can be done.
    pub upgrade: Option<(i64, &'static str)>,
}

/// Why a database is not opened.
#[derive(Debug)]
pub enum Error {
    /// A file or a lock beside it, and what the system says.
    File(String, io::Error),
    /// What SQLite says.
    Sqlite(rusqlite::Error),
    /// It is damaged, and another process has it open.
    InUse,
    /// Its tables have a version (the first) that this program, which knows the second, does not.
    Version(i64, i64),
    /// Likewise the version before, which another process has open.
    Before(i64, i64),
    /// Likewise the version before, for whoever only looks.
    Older(i64, i64),
    /// Another process makes it anew just now.
    Renewed,
}

/// What sort of failure it is, for the error of whoever has the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// No room is left on the disk.
    Full,
    /// The disk or another process is at fault, and not what is in it: later may do.
    Unavailable,
    /// Everything else.
    Internal,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::File(path, error) => write!(f, "{path}: {}", rrun_error::reason(error)),
            Error::Sqlite(error) => error.fmt(f),
            Error::InUse => f.write_str(
                "they are damaged, and another process has them open; when it has ended they are \
                 made anew",
            ),
            Error::Version(found, known) => {
                write!(
                    f,
                    "they have version {found}, this program knows {known}: the release that wrote \
                     them reads them"
                )
            }
            Error::Before(found, known) => write!(
                f,
                "they have version {found}, this program knows {known}, and another process has \
                 them open; when it has ended they are brought up to it at the next start"
            ),
            Error::Older(found, known) => write!(
                f,
                "they have version {found}, this program knows {known}: they are brought up to it \
                 when they are opened"
            ),
            Error::Renewed => f.write_str("another process makes them anew"),
        }
    }
}

impl std::error::Error for Error {}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Error {
        Error::Sqlite(error)
    }
}

impl Error {
    /// What sort of failure.
    pub fn kind(&self) -> Kind {
        match self {
            Error::File(_, error) => match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Kind::Full,
                _ => Kind::Internal,
            },
            Error::Sqlite(error) => match error.sqlite_error_code() {
                Some(ErrorCode::DiskFull) => Kind::Full,
                Some(
                    ErrorCode::SystemIoFailure | ErrorCode::CannotOpen | ErrorCode::DatabaseBusy,
                ) => Kind::Unavailable,
                _ => Kind::Internal,
            },
            Error::InUse
            | Error::Version(..)
            | Error::Before(..)
            | Error::Older(..)
            | Error::Renewed => Kind::Unavailable,
        }
    }

    /// What is in the file is no database, or a damaged one.
    fn is_damage(&self) -> bool {
        let Error::Sqlite(error) = self else { return false };
        let code = error.sqlite_error_code();
        matches!(code, Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt))
    }

    /// A sync of the log has failed.
    pub fn is_of_sync(&self) -> bool {
        let Error::Sqlite(rusqlite::Error::SqliteFailure(error, _)) = self else { return false };
        error.extended_code == ffi::SQLITE_IOERR_FSYNC
    }

    /// The disk has no room, or cannot be used: the first of what is memory-mapped tells no more.
    fn is_of_the_disk(&self) -> bool {
        let Error::Sqlite(error) = self else { return false };
        let code = error.sqlite_error_code();
        matches!(code, Some(ErrorCode::DiskFull | ErrorCode::SystemIoFailure))
    }
}

/// Takes the exclusive lock, if whoever has another lets go of it soon.
fn lock_alone(lock: &File) -> Result<(), TryLockError> {
    let end = Instant::now() + LETTING_GO;
    loop {
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) if Instant::now() < end => {
                sleep(Duration::from_millis(10));
            }
            done => return done,
        }
    }
}

impl Database {
    /// Makes the file with the lock, which [`Database::open`] takes and whoever has the database
    /// open keeps.
    ///
    /// # Errors
    /// What the system says.
    pub fn lock(&self, folder: &Path) -> Result<File, Error> {
        rrun_sys::record::open_lock(&folder.join(self.lock))
            .map_err(|error| Error::File(self.lock.into(), error))
    }

    /// Opens the database in `folder`, in WAL mode, with the shared lock held. One that is damaged
    /// is set aside, and `fill` puts into a new one what is known otherwise; nobody else can
    /// open it before that is done.
    ///
    /// # Errors
    /// See above, and those of `fill`.
    pub fn open<E: From<Error>>(
        &self,
        folder: &Path,
        lock: &File,
        fill: impl FnOnce(Connection) -> Result<Connection, E>,
    ) -> Result<Connection, E> {
        let of_folder = |error| Error::File(folder.display().to_string(), error);
        let opening = File::open(folder).map_err(of_folder)?;
        opening.lock().map_err(of_folder)?;
        let of_lock = |error| Error::File(self.lock.into(), error);
        let path = folder.join(self.file);
        lock.lock_shared().map_err(of_lock)?;
        let is_new = !path.exists();
        match self.connect(&path) {
            Err(error) if error.is_damage() => {}
            Ok(connection) if is_new => return self.filled(folder, connection, fill),
            Err(Error::Version(found, _))
                if self.upgrade.is_some_and(|(from, _)| from == found) =>
            {
                return Ok(self.upgraded(&path, lock)?);
            }
            done => return Ok(done?),
        }
        lock.unlock().map_err(of_lock)?;
        match lock_alone(lock) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::InUse.into()),
            Err(TryLockError::Error(error)) => return Err(of_lock(error).into()),
        }
        // Somebody else may have been first.
        let connection = match self.connect(&path) {
            Err(error) if error.is_damage() => {
                let file = path.display();
                tracing::warn!(%file, "a damaged database is set aside and made anew: {error}");
                set_aside(&path)?;
                self.filled(folder, self.connect(&path)?, fill)?
            }
            done => done?,
        };
        lock.lock_shared().map_err(of_lock)?;
        Ok(connection)
    }

    /// One of the version before, as it is now. Whoever has it open knows that version alone.
    fn upgraded(&self, path: &Path, lock: &File) -> Result<Connection, Error> {
        let of_lock = |error| Error::File(self.lock.into(), error);
        lock.unlock().map_err(of_lock)?;
        match lock_alone(lock) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return self.connect(path).map_err(|error| match error {
                    Error::Version(found, known) => Error::Before(found, known),
                    other => other,
                });
            }
            Err(TryLockError::Error(error)) => return Err(of_lock(error)),
        }
        if let Some((from, sql)) = self.upgrade {
            let mut connection = Connection::open(path)?;
            connection.busy_timeout(BUSY)?;
            let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            if version(&tx)? == from {
                tx.execute_batch(sql)?;
                tx.pragma_update(None, "user_version", self.version)?;
            }
            tx.commit()?;
        }
        let connection = self.connect(path)?;
        lock.lock_shared().map_err(of_lock)?;
        Ok(connection)
    }

    /// A new database with what is known otherwise. Half filled it would pass for the whole.
    fn filled<E: From<Error>>(
        &self,
        folder: &Path,
        connection: Connection,
        fill: impl FnOnce(Connection) -> Result<Connection, E>,
    ) -> Result<Connection, E> {
        let filled = fill(connection);
        if filled.is_err() {
            for end in ["", "-wal", "-shm"] {
                // The first error is the one to tell.
                let _ = fs::remove_file(folder.join(format!("{}{end}", self.file)));
            }
        }
        filled
    }

    /// Sets the database in `folder` aside, so that the next [`Database::open`] makes it anew: for
    /// whoever has read all of it and knows that it is damaged.
    ///
    /// # Errors
    /// [`Kind::Unavailable`] while anybody has it open.
    pub fn renew(&self, folder: &Path) -> Result<(), Error> {
        let of_folder = |error| Error::File(folder.display().to_string(), error);
        let opening = File::open(folder).map_err(of_folder)?;
        opening.lock().map_err(of_folder)?;
        let lock = self.lock(folder)?;
        match lock_alone(&lock) {
            Ok(()) => set_aside(&folder.join(self.file)),
            Err(TryLockError::WouldBlock) => Err(Error::InUse),
            Err(TryLockError::Error(error)) => Err(Error::File(self.lock.into(), error)),
        }
    }

    fn connect(&self, path: &Path) -> Result<Connection, Error> {
        let connection = self.connect_once(path).or_else(|error| match error.is_of_the_disk() {
            // Its side files need room as well.
            true if fs::remove_file(reserve(path)).is_ok() => self.connect_once(path),
            _ => Err(error),
        })?;
        let file = reserve(path);
        let write = || rrun_sys::record::create(Path::new(&file), 0o666)?.write_all(&[0; RESERVE]);
        if !Path::new(&file).exists() && write().is_err() {
            // Half of it would be in the way.
            let _ = fs::remove_file(reserve(path));
        }
        Ok(connection)
    }

    fn connect_once(&self, path: &Path) -> Result<Connection, Error> {
        // SQLite would open a FIFO or a device, and call it a disk that fails. A folder it refuses.
        if fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir()) {
            let code = ffi::Error::new(ffi::SQLITE_NOTADB);
            let text = "it is not a regular file".to_owned();
            return Err(rusqlite::Error::SqliteFailure(code, Some(text)).into());
        }
        let mut connection = Connection::open(path)?;
        connection.busy_timeout(BUSY)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        // First of all, as it wants no more than the first page: the tables of a later version may
        // be such that this SQLite calls them malformed.
        match version(&connection)? {
            0 => {}
            found if found == self.version => {}
            found => return Err(Error::Version(found, self.version)),
        }
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        if version(&connection)? == 0 {
            let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            // Another process may have been first.
            if version(&tx)? == 0 {
                tx.execute_batch(self.schema)?;
                tx.pragma_update(None, "user_version", self.version)?;
            }
            tx.commit()?;
        }
        check(&connection)?;
        // Another process may have made the tables.
        match version(&connection)? {
            found if found == self.version => Ok(connection),
            found => Err(Error::Version(found, self.version)),
        }
    }
}

/// Reads every page: damage anywhere is found here, while the database can still be set aside, and
/// not by each call that comes upon it.
fn check(connection: &Connection) -> Result<(), Error> {
    let Some(found) = fault(connection)? else { return Ok(()) };
    let code = ffi::Error::new(ffi::SQLITE_CORRUPT);
    Err(rusqlite::Error::SqliteFailure(code, Some(found)).into())
}

/// The first thing that is damaged in a database; every page is read.
///
/// # Errors
/// What SQLite says; of a page that cannot be read as well, which it counts among the damaged ones:
/// a disk that fails is no damage.
pub fn fault(connection: &Connection) -> rusqlite::Result<Option<String>> {
    let found: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    let code = found.rsplit_once("unable to get the page. error code=");
    let code = code.and_then(|(_, code)| code.trim().parse::<i32>().ok());
    // The extended codes have the plain one in their lowest byte.
    let is_unread = code.is_some_and(|code| code & 0xff != ffi::SQLITE_CORRUPT);
    if is_unread || found.contains("failed to get page ") {
        let code = ffi::Error::new(ffi::SQLITE_IOERR);
        let text = format!("disk I/O error: {found}");
        return Err(rusqlite::Error::SqliteFailure(code, Some(text)));
    }
    Ok((found != "ok").then_some(found))
}

/// Begins the log anew after a sync that failed. The kernel has told of what it could not write, and
/// takes it for written from then on: what follows it in the log would be lost with it when the power
/// goes. It is still in memory, from where it gets into the database.
pub fn begin_log_anew(connection: &Connection) {
    let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
    let begin = || connection.query_row(checkpoint, [], |row| row.get::<_, bool>(0));
    // The first one may be told of that very failure.
    match begin().or_else(|_| begin()) {
        Ok(false) => {}
        Ok(true) => tracing::warn!("the log of a database is used, and not begun anew"),
        Err(error) => tracing::warn!("the log of a database is not begun anew: {error}"),
    }
}

/// Runs `work`, which gives something back, and once more if the disk has no room for its record
/// (`is_full`): with the room that was kept, and with the log begun anew.
///
/// # Errors
/// Those of `work`.
pub fn give_back<T, E>(
    connection: &mut Connection,
    is_full: impl Fn(&E) -> bool,
    mut work: impl FnMut(&mut Connection) -> Result<T, E>,
) -> Result<T, E> {
    match work(connection) {
        Err(error) if is_full(&error) => {
            if let Some(path) = connection.path() {
                // Once: it is kept again by whoever opens the database on a disk with room.
                let _ = fs::remove_file(reserve(Path::new(path)));
            }
            let checkpoint = "PRAGMA wal_checkpoint(PASSIVE)";
            if let Err(error) = connection.query_row(checkpoint, [], |_| Ok(())) {
                tracing::warn!("the log of a database on a full disk grows: {error}");
            }
            work(connection)
        }
        done => done,
    }
}

/// The file that keeps room.
fn reserve(path: &Path) -> String {
    format!("{}.reserve", path.display())
}

fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// The damaged file stays for whoever wants to look; SQLite's side files go with it, because they
/// would be applied to the new one.
fn set_aside(path: &Path) -> Result<(), Error> {
    for end in ["", "-wal", "-shm"] {
        let from = format!("{}{end}", path.display());
        let to = format!("{}.damaged{end}", path.display());
        match fs::rename(&from, &to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::File(from, error));
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
