//! The documents by which an image came, as they were: what its name stood for first, which may be an
//! index, and its manifest last. An archive of `docker save` has none.

use rusqlite::{Connection, params};

use super::Disk;
use crate::digest::ImageId;
use crate::error::Result;

/// Records them in the place of those before.
pub(super) fn set(tx: &Connection, id: &str, documents: &[Vec<u8>]) -> Result<()> {
    tx.prepare_cached("DELETE FROM document WHERE image=?1")?.execute([id])?;
    let insert = "INSERT INTO document(image, pos, bytes) VALUES(?1, ?2, ?3)";
    for (pos, bytes) in documents.iter().enumerate() {
        let pos = i64::try_from(pos).unwrap_or(i64::MAX);
        tx.prepare_cached(insert)?.execute(params![id, pos, bytes])?;
    }
    Ok(())
}

pub(super) fn of(tx: &Connection, id: &ImageId) -> Result<Vec<Vec<u8>>> {
    let mut select = tx.prepare_cached("SELECT bytes FROM document WHERE image=?1 ORDER BY pos")?;
    let rows = select.query_map([id.to_string()], |r| r.get(0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

impl Disk {
    /// Those of an image; none where they are not known.
    pub(crate) fn documents(&self, id: &ImageId) -> Result<Vec<Vec<u8>>> {
        self.records(|r| r.read(|tx| of(tx, id)))
    }
}
