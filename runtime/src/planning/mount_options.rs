//! The options of a mount, sorted into what the kernel takes in different places.

use super::invalid;
use crate::Result;
use crate::plan::{Propagation, attr};

/// The options of one mount.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `Some(recursive)` for a bind.
    pub bind: Option<bool>,
    /// Attributes of the mount to set and to clear.
    pub plain: MountAttr,
    /// The same, for it and every mount below (`rro`).
    pub recursive: MountAttr,
    /// Propagation.
    pub propagation: Option<Propagation>,
    /// `tmpcopyup`
    pub copy_up: bool,
    /// The file system's own, for fsconfig(2).
    pub data: Vec<(String, Option<String>)>,
}

/// Attributes to set and to clear, of [`attr`]: struct mount_attr of mount_setattr(2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MountAttr {
    pub set: u64,
    pub clear: u64,
}

impl MountAttr {
    /// A later option wins over an earlier one.
    fn apply(&mut self, change: MountAttr) {
        self.set = self.set & !change.clear | change.set;
        self.clear = self.clear & !change.set | change.clear;
    }
}

/// Sorts the options of a mount.
pub fn parse(options: &[String]) -> Result<Options> {
    let mut sorted = Options::default();
    for option in options {
        one(&mut sorted, option)?;
    }
    Ok(sorted)
}

fn one(sorted: &mut Options, option: &str) -> Result<()> {
    if let Some(change) = attribute(option) {
        sorted.plain.apply(change);
        return Ok(());
    }
    if let Some(change) = option.strip_prefix('r').and_then(attribute) {
        sorted.recursive.apply(change);
        return Ok(());
    }
    if let Some(propagation) = propagation(option) {
        sorted.propagation = Some(propagation);
        return Ok(());
    }
    match option {
        "" | "defaults" => {}
        "bind" => sorted.bind = Some(sorted.bind.unwrap_or(false)),
        "rbind" => sorted.bind = Some(true),
        "tmpcopyup" => sorted.copy_up = true,
        "notmpcopyup" => sorted.copy_up = false,
        "remount" | "idmap" | "ridmap" | "copy-symlink" | "dest-nofollow" | "src-nofollow" => {
            return Err(invalid(format!("option {option:?} is not supported")));
        }
        // What the kernel does anyway; fsconfig(2) knows none of them.
        "loud" | "noiversion" => {}
        other => sorted.data.push(match other.split_once('=') {
            Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
            None => (other.to_owned(), None),
        }),
    }
    Ok(())
}

/// An attribute of a mount, or the absence of one.
fn attribute(name: &str) -> Option<MountAttr> {
    let set = |bit| Some(MountAttr { set: bit, clear: 0 });
    let clear = |bit| Some(MountAttr { set: 0, clear: bit });
    let atime = |value| Some(MountAttr { set: value, clear: attr::ATIME & !value });
    match name {
        "ro" => set(attr::RDONLY),
        "rw" => clear(attr::RDONLY),
        "nosuid" => set(attr::NOSUID),
        "suid" => clear(attr::NOSUID),
        "nodev" => set(attr::NODEV),
        "dev" => clear(attr::NODEV),
        "noexec" => set(attr::NOEXEC),
        "exec" => clear(attr::NOEXEC),
        "nosymfollow" => set(attr::NOSYMFOLLOW),
        "symfollow" => clear(attr::NOSYMFOLLOW),
        "nodiratime" => set(attr::NODIRATIME),
        "diratime" => clear(attr::NODIRATIME),
        "noatime" => atime(attr::NOATIME),
        "strictatime" => atime(attr::STRICTATIME),
        "relatime" | "atime" | "nostrictatime" | "norelatime" => atime(0),
        _ => None,
    }
}

/// How mounts travel. The executor sets it on what is below too, with and without the `r`: a
/// mount of a container has nothing below that its own bind did not bring.
pub fn propagation(name: &str) -> Option<Propagation> {
    match name {
        "private" | "rprivate" => Some(Propagation::Private),
        "slave" | "rslave" => Some(Propagation::Slave),
        "shared" | "rshared" => Some(Propagation::Shared),
        "unbindable" | "runbindable" => Some(Propagation::Unbindable),
        _ => None,
    }
}

impl Options {
    /// Attributes to set, to clear, and whether on every mount below too.
    pub fn attributes(&self) -> Result<(u64, u64, bool)> {
        let (plain, deep) = (self.plain, self.recursive);
        if deep == MountAttr::default() {
            return Ok((plain.set, plain.clear | atime_field(plain), false));
        }
        // On a mount with nothing below it the two are one; else they must agree.
        let covered = plain.set & !deep.set == 0 && plain.clear & !deep.clear == 0;
        if self.bind == Some(true) && !covered {
            return Err(invalid(
                "plain options beside recursive ones are not supported on an rbind: \
                 give them recursively too",
            ));
        }
        let mut both = plain;
        both.apply(deep);
        Ok((both.set, both.clear | atime_field(both), true))
    }
}

/// The whole field when any value of it is set.
fn atime_field(attributes: MountAttr) -> u64 {
    if (attributes.set | attributes.clear) & attr::ATIME != 0 { attr::ATIME } else { 0 }
}
