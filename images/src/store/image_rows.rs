//! What is on record of images, as it is read.

use std::collections::HashMap;
use std::time::SystemTime;

use rusqlite::{Connection, OptionalExtension, params_from_iter};

use super::key::Holder;
use super::records::{NameKind, time};
use crate::digest::ImageId;
use crate::error::Result;

/// A row of `image` with its names.
#[derive(Debug)]
pub(crate) struct ImageRow {
    pub id: ImageId,
    pub config: Vec<u8>,
    pub size: u64,
    pub used: SystemTime,
    pub detected: SystemTime,
    pub names: Vec<(String, NameKind)>,
    pub holders: Vec<Holder>,
}

/// All images, or one; those that only leases keep are not shown.
pub(crate) fn images(tx: &Connection, one: Option<&ImageId>) -> Result<Vec<ImageRow>> {
    let one = one.map(ImageId::to_string);
    let (mut names, mut holders) =
        (names_by_image(tx, one.as_deref())?, holders_by_image(tx, one.as_deref())?);
    let columns = "id, config, size, used, detected";
    let mut select = tx.prepare_cached(&match &one {
        Some(_) => format!("SELECT {columns} FROM image WHERE id=?1 AND removed=0"),
        None => format!("SELECT {columns} FROM image WHERE removed=0 ORDER BY id"),
    })?;
    let rows = select.query_map(params_from_iter(&one), |r| {
        let (id, config): (String, Vec<u8>) = (r.get(0)?, r.get(1)?);
        let (size, used, detected): (i64, i64, i64) = (r.get(2)?, r.get(3)?, r.get(4)?);
        Ok((id, config, size, used, detected))
    })?;
    let mut images = Vec::new();
    for row in rows {
        let (id, config, size, used, detected) = row?;
        images.push(ImageRow {
            names: names.remove(&id).unwrap_or_default(),
            holders: holders.remove(&id).unwrap_or_default(),
            id: id.parse()?,
            config,
            size: size.cast_unsigned(),
            used: time(used),
            detected: time(detected),
        });
    }
    Ok(images)
}

/// The config of an image, as it was pulled.
pub(crate) fn config(tx: &Connection, id: &ImageId) -> Result<Option<Vec<u8>>> {
    let mut select = tx.prepare_cached("SELECT config FROM image WHERE id=?1 AND removed=0")?;
    Ok(select.query_row([id.to_string()], |r| r.get(0)).optional()?)
}

/// Something by the image that it is of.
type ByImage<T> = HashMap<String, Vec<T>>;

/// The names of one image.
pub(super) fn names(tx: &Connection, id: &str) -> Result<Vec<(String, NameKind)>> {
    Ok(names_by_image(tx, Some(id))?.remove(id).unwrap_or_default())
}

fn names_by_image(tx: &Connection, one: Option<&str>) -> Result<ByImage<(String, NameKind)>> {
    let mut all = ByImage::new();
    let mut select = tx.prepare_cached(match one {
        Some(_) => "SELECT image, name, kind FROM name WHERE image=?1 ORDER BY name",
        None => "SELECT image, name, kind FROM name ORDER BY name",
    })?;
    let rows = select.query_map(params_from_iter(one), |r| {
        let kind = if r.get::<_, i64>(2)? == 0 { NameKind::Tag } else { NameKind::Digest };
        Ok((r.get(0)?, (r.get(1)?, kind)))
    })?;
    for row in rows {
        let (image, name) = row?;
        all.entry(image).or_default().push(name);
    }
    Ok(all)
}

fn holders_by_image(tx: &Connection, one: Option<&str>) -> Result<ByImage<Holder>> {
    let mut all = ByImage::new();
    let mut select = tx.prepare_cached(match one {
        Some(_) => "SELECT image, holder FROM lease WHERE image=?1 ORDER BY holder",
        None => "SELECT image, holder FROM lease ORDER BY holder",
    })?;
    let rows =
        select.query_map(params_from_iter(one), |r| Ok((r.get(0)?, r.get::<_, String>(1)?)))?;
    for row in rows {
        let (image, holder): (String, String) = row?;
        all.entry(image).or_default().push(holder.parse()?);
    }
    Ok(all)
}
