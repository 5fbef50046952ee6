//! Opening the records of networks: [`rrun_database`] says when they are made anew.

use crate::error::{Error, Result};
use rrun_database::Database;
use rrun_sys::step;
use rusqlite::Connection;
use std::fs::{self, File};
use std::path::Path;

pub(super) const RECORDS: Database = Database {
    file: "network.db",
    lock: "network.lock",
    version: 1,
    schema: SCHEMA,
    upgrade: None,
};

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
    let lock = step::run("cni.open.lock", || RECORDS.lock(dir))?;
    // Nothing of them is known otherwise.
    let records = || RECORDS.open::<Error>(dir, &lock, Ok);
    Ok((step::run("cni.open.records", records)?, lock))
}

#[cfg(test)]
mod tests {
    use super::super::Store;
    use super::*;

    #[test]
    fn records_that_cannot_be_opened_are_named_once() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("network.db")).unwrap();
        let refused = Store::open(dir.path()).err().unwrap().to_string();
        assert_eq!(refused.matches("network records").count(), 1, "{refused}");
    }

    #[test]
    fn damaged_records_are_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("network.db"), "no database, for sure".repeat(400)).unwrap();
        let store = Store::open(dir.path()).unwrap();
        store.insert("a", "{}", false).unwrap();
        assert!(dir.path().join("network.db.damaged").exists());
    }
}
