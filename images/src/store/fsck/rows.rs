//! The database: whether it is whole, and each of its rows by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, Params, Row};

use super::{Fault, Finding, Found, Look, Remedy, Store, is_held, shown, split_of};
use crate::config;
use crate::digest::ImageId;
use crate::error::{Context, Result};
use crate::layer::Format;
use crate::reference::Reference;
use crate::store::schema::DATABASE;
use crate::store::verify::DAMAGED;
use crate::store::{LayerKey, Origin, records, restore};

/// How long another process is waited for that writes.
pub(super) const BUSY: Duration = Duration::from_secs(20);

/// The database, open for reading as long as it is looked at.
pub(super) struct Records {
    seen: rrun_database::Look,
    fault: Option<Found>,
}

impl Records {
    pub(super) fn open(root: &Path) -> Result<Records> {
        let seen = DATABASE.look(root)?;
        let fault = seen.records.as_ref().err().map(|what| {
            let (object, what) = (DATABASE.file.to_owned(), what.clone());
            let finding = Finding { fault: Fault::Records, object, what };
            Found { finding, remedy: Remedy::Renew }
        });
        Ok(Records { seen, fault })
    }

    pub(super) fn db(&self) -> Option<&Connection> {
        self.seen.records.as_ref().ok()
    }

    pub(super) fn fault(&self) -> Option<&Found> {
        self.fault.as_ref()
    }
}

pub(super) fn rows<T>(
    db: &Connection,
    sql: &str,
    of: impl Params,
    row: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    db.prepare(sql)?.query_map(of, row)?.collect()
}

/// The layers on record whose names can be read, with the bytes of their splits and what they are.
pub(super) fn layers(db: &Connection) -> Result<Vec<(LayerKey, (u64, Format))>> {
    layers_that(db, "1")
}

/// Those of which an image may be made: any other is looked at by the pull that wants it.
pub(super) fn durable_layers(db: &Connection) -> Result<Vec<(LayerKey, (u64, Format))>> {
    layers_that(db, "durable=1")
}

fn layers_that(db: &Connection, are: &str) -> Result<Vec<(LayerKey, (u64, Format))>> {
    let sql = format!("SELECT key, split, format FROM layer WHERE {are} ORDER BY key");
    let all = rows(db, &sql, [], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?, row.get::<_, String>(2)?))
    })?;
    let read = |(key, split, format): (String, i64, String)| {
        // Of a format that nobody knows something is said at its row.
        let format = Format::parse(&format).ok()?;
        Some((key.parse().ok()?, (split.cast_unsigned(), format)))
    };
    Ok(all.into_iter().filter_map(read).collect())
}

pub(super) fn check(store: &mut Store<'_>, db: &Connection) -> Result<()> {
    let leads_nowhere = "SELECT DISTINCT \"table\" FROM pragma_foreign_key_check";
    for table in rows(db, leads_nowhere, [], |row| row.get::<_, String>(0))? {
        let what = format!("rows of the table {table} are of images that have no row");
        store.look.add(Fault::Records, DATABASE.file, what, Remedy::Renew);
    }
    check_layers(store, db)?;
    let images = rows(db, "SELECT id, config, removed FROM image", [], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, Vec<u8>>(1)?, row.get::<_, bool>(2)?))
    })?;
    // Read after them: an image is recorded after its layers.
    let known = layers(db)?.into_iter().map(|(key, _)| key).collect();
    for (text, config, is_removed) in images {
        let Ok(id) = text.parse::<ImageId>() else {
            store.look.add(Fault::Records, text, "it is no image's id", Remedy::Renew);
            continue;
        };
        check_image(store, db, (&id, &config, is_removed), &known)?;
    }
    for name in rows(db, "SELECT name FROM name", [], |row| row.get::<_, String>(0))? {
        if let Err(e) = name.parse::<Reference>() {
            let remedy = Remedy::Delete("name", "name=?1", name.clone());
            store.look.add(Fault::Records, name, e, remedy);
        }
    }
    check_journal(&mut store.look, db)
}

fn check_layers(store: &mut Store<'_>, db: &Connection) -> Result<()> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").context("boot id")?;
    let sql = "SELECT key, implied, format, split, durable=0 AND boot<>?1 FROM layer ORDER BY key";
    for ([text, implied, format], split, is_doubtful) in rows(db, sql, [boot.trim()], |row| {
        let texts: [String; 3] = [row.get(0)?, row.get(1)?, row.get(2)?];
        Ok((texts, row.get::<_, i64>(3)?, row.get::<_, bool>(4)?))
    })? {
        let Ok(key) = text.parse::<LayerKey>() else {
            let remedy = Remedy::Delete("layer", "key=?1", text.clone());
            store.look.add(Fault::Records, text, "it is no layer's name", remedy);
            continue;
        };
        if is_held(store.root, key.as_str())? {
            continue;
        }
        let object = shown(&key);
        let is_kind = |path: &Path, folder: bool| {
            std::fs::symlink_metadata(path).is_ok_and(|found| match folder {
                true => found.is_dir(),
                false => found.is_file(),
            })
        };
        let fetch = || Remedy::Fetch(key.clone());
        if is_doubtful {
            let what = "it was not synced before the last boot ended";
            store.look.add(Fault::Layer, object, what, Remedy::Open);
        } else if !is_kind(&store.root.join("layers").join(key.as_str()), true) {
            store.look.add(Fault::Layer, object, "its folder is gone", fetch());
        } else if serde_json::from_str::<Vec<String>>(&implied).is_err() {
            let remedy = Remedy::Delete("layer", "key=?1", text);
            store.look.add(Fault::Records, object, "its directories cannot be read", remedy);
        } else if let Err(e) = Format::parse(&format) {
            let remedy = Remedy::Delete("layer", "key=?1", text);
            store.look.add(Fault::Records, object, e, remedy);
        } else if split > 0 && !is_kind(&split_of(store.root, &key), false) {
            store.look.add(Fault::Split, object, "it is gone", fetch());
        } else if split == 0 && std::fs::symlink_metadata(split_of(store.root, &key)).is_ok() {
            let file = Remedy::File(split_of(store.root, &key));
            store.look.add(Fault::Split, object, "its layer has none", file);
        }
    }
    Ok(())
}

fn check_image(
    store: &mut Store<'_>,
    db: &Connection,
    (id, config, is_removed): (&ImageId, &[u8], bool),
    known: &BTreeSet<LayerKey>,
) -> Result<()> {
    if is_removed {
        let held = "SELECT 1 FROM lease WHERE image=?1";
        if rows(db, held, [id.to_string()], |_| Ok(()))?.is_empty() {
            let what = "it was removed, and nobody holds it";
            store.look.add(Fault::Records, id, what, Remedy::Unheld);
        }
        return Ok(());
    }
    let parsed = id.digest().verify(config).and_then(|()| config::parse(config));
    let parsed = match parsed {
        Ok(parsed) => parsed,
        Err(e) => {
            let what = format!("its config, in the records: {e}");
            store.look.add(Fault::Image, id, what, Remedy::Config(id.clone()));
            return Ok(());
        }
    };
    let wanted = LayerKey::of_image(parsed.diff_ids.into_iter());
    let sql = "SELECT key FROM image_layer WHERE image=?1 ORDER BY pos";
    let recorded = rows(db, sql, [id.to_string()], |row| row.get::<_, String>(0))?;
    if !are_layers(&recorded, &wanted) {
        let what = "its layers on record are not those of its config";
        store.look.add(Fault::Image, id, what, Remedy::Layers(id.clone()));
        return Ok(());
    }
    let missing = recorded.iter().filter_map(|text| text.parse::<LayerKey>().ok());
    let missing: Vec<LayerKey> = missing.filter(|key| !known.contains(key)).collect();
    for key in &missing {
        // It is unpacked, or fetched anew, just now.
        let claims = [key.to_string(), format!("{key}{DAMAGED}")];
        if !is_held(store.root, &claims[0])? && !is_held(store.root, &claims[1])? {
            let what = format!("its layer {} has no record", shown(key));
            store.look.add(Fault::Image, id, what, Remedy::Fetch(key.clone()));
        }
    }
    if !missing.is_empty() {
        return Ok(());
    }
    match restore::fault(store.root, db, id) {
        Ok(None) => {}
        Ok(Some(what)) => store.look.add(Fault::Copy, id, what, Remedy::SaveCopy(id.clone())),
        // A row of it cannot be read, of which something is said elsewhere.
        Err(_) => store.look.note(format!("image {id}: its copy is not compared")),
    }
    Ok(())
}

/// Whether these are the layers, with the one of directories on top or without.
fn are_layers(recorded: &[String], wanted: &[LayerKey]) -> bool {
    let mut all: BTreeMap<usize, &str> = wanted.iter().map(LayerKey::as_str).enumerate().collect();
    let directories = LayerKey::directories(wanted);
    if recorded.len() == wanted.len() + 1 {
        all.insert(wanted.len(), directories.as_str());
    }
    recorded.iter().map(String::as_str).eq(all.into_values())
}

/// Whoever asks for the journal reads all of it.
fn check_journal(look: &mut Look, db: &Connection) -> Result<()> {
    let sql = "SELECT seq, image, names, origin FROM journal";
    let entries = rows(db, sql, [], |row| {
        let texts: [String; 3] = [row.get(1)?, row.get(2)?, row.get(3)?];
        Ok((row.get::<_, i64>(0)?, texts))
    })?;
    for (seq, [image, names, origin]) in entries {
        let what = if image.parse::<ImageId>().is_err() {
            format!("{image:?} is no image's id")
        } else if serde_json::from_str::<Vec<String>>(&names).is_err() {
            "its names cannot be read".to_owned()
        } else if Origin::of(&origin).is_none() {
            format!("nobody is called {origin:?}")
        } else {
            continue;
        };
        let remedy = Remedy::Delete("journal", "seq=?1", seq.to_string());
        look.add(Fault::Journal, format!("entry {seq}"), what, remedy);
    }
    let (count, last) = db
        .query_row("SELECT count(*), coalesce(max(at), 0) FROM journal", [], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
        })
        .context("journal")?;
    if last > records::now() {
        look.note(format!("journal: of {count} entries the last is of a time to come"));
    }
    Ok(())
}
