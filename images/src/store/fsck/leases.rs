//! Who holds what, and whether there still is such a one.

use std::collections::BTreeSet;

use rusqlite::Connection;

use super::rows::rows;
use super::{Containers, Fault, Remedy, Store, is_held, names};
use crate::error::Result;
use crate::store::{Holder, HolderKind};

pub(super) fn check(store: &mut Store<'_>, db: &Connection, containers: &Containers) -> Result<()> {
    let sql = "SELECT holder, max(writable), is_image FROM
               (SELECT holder, writable, 1 AS is_image FROM lease
                UNION ALL SELECT holder, 0, 0 FROM layer_lease)
               GROUP BY holder ORDER BY holder";
    let held = rows(db, sql, [], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, bool>(1)?, row.get::<_, bool>(2)?))
    })?;
    // Asked after the leases were read: a container is on record before it has one.
    let known = containers();
    let mut writable = BTreeSet::new();
    for (text, is_writable, is_image) in held {
        let Ok(holder) = text.parse::<Holder>() else {
            let table = if is_image { "lease" } else { "layer_lease" };
            let remedy = Remedy::Delete(table, "holder=?1", text.clone());
            store.look.add(Fault::Records, text, format!("{table}: no holder"), remedy);
            continue;
        };
        let is_gone = match holder.kind() {
            HolderKind::Pull => (!is_held(store.root, &holder.file_name())?)
                .then_some(("its pull has ended", Remedy::Open)),
            HolderKind::Container => known
                .as_ref()
                .is_ok_and(|known| !known.contains(holder.name()))
                .then(|| ("no container of that id is on record", Remedy::Release(holder.clone()))),
            // Nobody else can tell whether they are gone.
            HolderKind::Volume | HolderKind::Person => None,
        };
        let folder = store.root.join("writable").join(holder.file_name());
        if let Some((what, remedy)) = is_gone {
            store.look.add(Fault::Lease, &holder, what, remedy);
        } else if is_writable && !folder.join("upper").is_dir() {
            let remedy = Remedy::Nothing("what was written is lost: remove the container");
            store.look.add(Fault::Lease, &holder, "its writable layer is gone", remedy);
        }
        if is_writable {
            writable.insert(holder.file_name());
        }
    }
    if let Err(why) = known {
        store.look.note(format!("leases of containers are not judged: {why}"));
    }
    for name in names(store.root, "writable")? {
        let path = format!("writable/{name}");
        match Holder::of_file_name(&name) {
            Err(_) => store.look.note(format!("{path}: not of the store, left alone")),
            Ok(holder) if !writable.contains(&name) => {
                let what = "nobody holds this writable layer";
                store.look.add(Fault::Orphan, path, what, Remedy::Release(holder));
            }
            Ok(_) => {}
        }
    }
    Ok(())
}
