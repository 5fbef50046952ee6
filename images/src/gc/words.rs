//! How a collection is told.

use std::fmt;

use super::{Amount, Cause, Keep, Room, Verdict};

/// How many percent are used, as the kubelet counts: what is free is rounded down.
pub fn percent(capacity: u64, available: u64) -> u8 {
    if capacity == 0 {
        return 0;
    }
    let free = u128::from(available.min(capacity)) * 100 / u128::from(capacity);
    100 - u8::try_from(free).unwrap_or(100)
}

/// `91 % of the disk and 3 % of its inodes`
impl fmt::Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Room { capacity, available } = self;
        write!(f, "{} % of the disk", percent(capacity.bytes, available.bytes))?;
        match capacity.inodes {
            0 => Ok(()),
            inodes => write!(f, " and {} % of its inodes", percent(inodes, available.inodes)),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Keep(why) => why.fmt(f),
            Verdict::Remove { why, .. } => why.fmt(f),
        }
    }
}

impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Keep::InUse(holder) => return write!(f, "{holder} has it"),
            Keep::Pinned => "the configuration pins it (images.pinned)",
            Keep::Named => "a pod of rrun names it",
            Keep::Young => "it came less than images.image_minimum_gc_age ago",
            Keep::FreesNothing => "it would free nothing: images that stay have its layers",
            Keep::Enough => "nobody uses it, and enough is free without it",
            Keep::NotRemoved(why) => return write!(f, "it could not be removed: {why}"),
            Keep::HasName => "it has a name (--all)",
        })
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Cause::Age => "it was not used for longer than images.image_maximum_gc_age",
            Cause::Space => "the disk was too full, and of all unused ones its turn had come",
            Cause::Pruned => "nobody used it",
        })
    }
}

/// What could not be freed, in the words of the kubelet's event.
pub(crate) fn shortage(room: &Room, wanted: Amount, freed: Amount) -> String {
    let used = percent(room.capacity.bytes, room.available.bytes);
    if freed.bytes >= wanted.bytes {
        let used = percent(room.capacity.inodes, room.available.inodes);
        return format!(
            "Insufficient free inodes on the node's image filesystem ({used}% of {} used). Failed \
             to free sufficient inodes by deleting unused images (freed {} inodes).",
            room.capacity.inodes, freed.inodes
        );
    }
    format!(
        "Insufficient free disk space on the node's image filesystem ({used}% of {} used). Failed \
         to free sufficient space by deleting unused images (freed {} bytes). Investigate disk \
         usage, as it could be used by active images, logs, volumes, or other data.",
        size(room.capacity.bytes),
        freed.bytes
    )
}

/// `12.3 GiB`, as the kubelet's event spells it.
fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    for unit in ["KiB", "MiB", "GiB"] {
        value /= 1024.0;
        if value < 1024.0 {
            return format!("{value:.1} {unit}");
        }
    }
    format!("{:.1} TiB", value / 1024.0)
}
