//! What the shared databases of images and networks hold for pods and containers.

use anyhow::{Context, Result};
use rusqlite::{Connection, OpenFlags};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The tables whose rows belong to a pod or a container, and what names one of them. Images,
/// layers and the cursors of subnets stay when a pod goes.
const TABLES: [(&str, &str); 4] = [
    ("lease", "holder"),
    ("attachment", "id"),
    ("address", "id || ' ' || subnet || ' host ' || host"),
    ("port", "id || ' ' || protocol || ' ' || port || ' ' || host_ip"),
];

/// The databases, by the ends of their paths.
const NAMES: [&str; 2] = ["/images/records.db", "/network/network.db"];

/// The rows of every database below the roots; read beside whoever works with it.
pub fn rows(roots: &[PathBuf]) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for line in super::files::below(roots)? {
        let Some(path) = line.strip_prefix("file ") else { continue };
        if !NAMES.iter().any(|name| path.ends_with(name)) {
            continue;
        }
        read(Path::new(path), &mut found).with_context(|| path.to_owned())?;
    }
    Ok(found)
}

fn read(path: &Path, found: &mut BTreeSet<String>) -> rusqlite::Result<()> {
    let database = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    database.busy_timeout(Duration::from_secs(5))?;
    for (table, name) in TABLES {
        let exists = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = ?1)";
        if !database.query_row(exists, [table], |row| row.get::<_, bool>(0))? {
            continue;
        }
        let mut select = database.prepare(&format!("SELECT {name} FROM {table}"))?;
        for row in select.query_map([], |row| row.get::<_, String>(0))? {
            found.insert(format!("{table} {}", row?));
        }
    }
    Ok(())
}
