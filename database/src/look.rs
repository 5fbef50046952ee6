//! A database as whoever looks sees it: open for reading, while others may have it open, and nothing
//! is changed.

use super::{BUSY, Database, Error, fault, version};
use rusqlite::{Connection, OpenFlags};
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;

/// What is seen of a database.
#[derive(Debug)]
pub struct Look {
    /// It is open for reading; or what is wrong with all of it.
    pub records: Result<Connection, String>,
    /// Shared: nobody makes it anew meanwhile.
    _lock: Option<File>,
}

impl Database {
    /// Opens the database in `folder` for whoever only looks.
    ///
    /// # Errors
    /// [`Error::Renewed`] while another process makes it anew; another version; what keeps it from
    /// being read now. That it is gone or damaged is none.
    pub fn look(&self, folder: &Path) -> Result<Look, Error> {
        let lock = match rrun_sys::record::open(&folder.join(self.lock)) {
            Ok(file) => match file.try_lock_shared() {
                Ok(()) => Some(file),
                Err(TryLockError::WouldBlock) => return Err(Error::Renewed),
                Err(TryLockError::Error(error)) => {
                    return Err(Error::File(self.lock.into(), error));
                }
            },
            // Whoever opens the database says what is wrong with it.
            Err(_) => None,
        };
        Ok(Look { records: self.read(&folder.join(self.file))?, _lock: lock })
    }

    fn read(&self, path: &Path) -> Result<Result<Connection, String>, Error> {
        match fs::symlink_metadata(path) {
            Ok(found) if found.is_file() => {}
            Ok(_) => return Ok(Err("it is no regular file".to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Err("it is gone".to_owned()));
            }
            Err(error) => return Err(Error::File(path.display().to_string(), error)),
        }
        match self.connect_to_read(path) {
            Err(error) if error.is_damage() => Ok(Err(format!("it is damaged: {error}"))),
            done => done,
        }
    }

    fn connect_to_read(&self, path: &Path) -> Result<Result<Connection, String>, Error> {
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        connection.busy_timeout(BUSY)?;
        // First, as a later version may have tables that this SQLite calls malformed.
        match version(&connection)? {
            0 => return Ok(Err("it has no tables".to_owned())),
            found if found == self.version => {}
            found if self.upgrade.is_some_and(|(from, _)| from == found) => {
                return Err(Error::Older(found, self.version));
            }
            found => return Err(Error::Version(found, self.version)),
        }
        if fault(&connection)?.is_none() {
            return Ok(Ok(connection));
        }
        let mut check = connection.prepare("PRAGMA quick_check")?;
        let faults = check.query_map([], |row| row.get(0))?;
        let faults: Vec<String> = faults.collect::<rusqlite::Result<_>>()?;
        Ok(Err(format!("it is damaged: {}", faults.join("; "))))
    }
}
