//! Which namespaces a container gets.

use super::{NamespaceOverrides, invalid};
use crate::Result;
use crate::plan::{IdMaps, IdRange, Namespace, Namespaces};
use oci_spec::runtime::{Linux, LinuxIdMapping, LinuxNamespaceType};

pub fn plan(linux: &Linux, over: &NamespaceOverrides) -> Result<Namespaces> {
    let listed = linux.namespaces().as_deref().unwrap_or_default();
    for (at, entry) in listed.iter().enumerate() {
        if listed[..at].iter().any(|other| other.typ() == entry.typ()) {
            return Err(invalid(format!("linux.namespaces: {:?} is there twice", entry.typ())));
        }
        if let Some(path) = entry.path()
            && !path.is_absolute()
        {
            return Err(invalid(format!("linux.namespaces: {path:?} is not absolute")));
        }
    }
    let find = |kind: LinuxNamespaceType| listed.iter().find(|entry| entry.typ() == kind);
    match find(LinuxNamespaceType::Mount) {
        None => return Err(invalid("linux.namespaces: a container needs a mount namespace")),
        Some(entry) if entry.path().is_some() => {
            return Err(invalid("linux.namespaces: joining a mount namespace is not supported"));
        }
        Some(_) => {}
    }
    let user = match (&over.user, find(LinuxNamespaceType::User)) {
        (Some(other), _) => other.clone(),
        (None, None) => Namespace::Host,
        (None, Some(entry)) if entry.path().is_some() => {
            return Err(invalid("linux.namespaces: joining a user namespace is not supported"));
        }
        (None, Some(_)) => Namespace::New,
    };
    let one = |kind: LinuxNamespaceType, over: &Option<Namespace>| match (over, find(kind)) {
        (Some(other), _) => other.clone(),
        (None, None) => Namespace::Host,
        (None, Some(entry)) => entry.path().clone().map_or(Namespace::New, Namespace::Path),
    };
    Ok(Namespaces {
        pid: one(LinuxNamespaceType::Pid, &over.pid),
        network: one(LinuxNamespaceType::Network, &over.network),
        ipc: one(LinuxNamespaceType::Ipc, &over.ipc),
        uts: one(LinuxNamespaceType::Uts, &over.uts),
        cgroup: one(LinuxNamespaceType::Cgroup, &over.cgroup),
        user,
        time: one(LinuxNamespaceType::Time, &over.time),
    })
}

/// The ids of a new user namespace, which has none of its own accord.
pub fn id_maps(linux: &Linux) -> Result<Option<IdMaps>> {
    let listed = linux.namespaces().as_deref().unwrap_or_default();
    let new = listed.iter().any(|entry| entry.typ() == LinuxNamespaceType::User);
    let users = ranges(linux.uid_mappings());
    let groups = ranges(linux.gid_mappings());
    for (field, ranges) in [("linux.uidMappings", &users), ("linux.gidMappings", &groups)] {
        match (new, ranges.is_empty()) {
            (true, true) => {
                return Err(invalid(format!("{field}: a user namespace needs them")));
            }
            (false, false) => {
                return Err(invalid(format!("{field} without a user namespace of its own")));
            }
            _ => {}
        }
        if ranges.iter().any(|range| range.count == 0) {
            return Err(invalid(format!("{field}: a range of size 0")));
        }
    }
    Ok(new.then_some(IdMaps { users, groups }))
}

pub fn ranges(mappings: &Option<Vec<LinuxIdMapping>>) -> Vec<IdRange> {
    let range = |mapping: &LinuxIdMapping| IdRange {
        inside: mapping.container_id(),
        outside: mapping.host_id(),
        count: mapping.size(),
    };
    mappings.iter().flatten().map(range).collect()
}

/// A host or domain name. In a joined UTS namespace it is set as well, for all who share it; in
/// the host's it would rename the host.
pub fn name(name: &Option<String>, uts: &Namespace, field: &str) -> Result<Option<String>> {
    let Some(name) = name.as_deref().filter(|name| !name.is_empty()) else { return Ok(None) };
    // __NEW_UTS_LEN
    if name.len() > 64 || name.contains('\0') {
        return Err(invalid(format!("{field}: {name:?} is longer than 64 bytes")));
    }
    match uts {
        Namespace::Host => Err(invalid(format!("{field} without a UTS namespace of its own"))),
        _ => Ok(Some(name.to_owned())),
    }
}
