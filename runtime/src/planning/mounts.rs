//! The mounts of a container, in the order of its configuration.

use super::mount_options::{self, Options};
use super::{Host, Overrides, invalid, namespaces, paths, process};
use crate::cgroup::{Hierarchy, Layout, Mode};
use crate::plan::{Cgroups, IdMaps, Link, Mount, MountSource, Namespace, Slot, attr};
use crate::{Context, Result};
use oci_spec::runtime::{Mount as Entry, Spec};
use std::path::Path;

/// Mounts, and what belongs to them.
#[derive(Debug, Default)]
pub struct Made {
    pub mounts: Vec<Mount>,
    pub links: Vec<Link>,
}

/// What is planned already.
pub struct Parts<'a> {
    pub groups: &'a Cgroups,
    pub id_maps: Option<&'a IdMaps>,
}

/// What a mount is made from, beside its entry.
struct MountContext<'a> {
    host: &'a Host,
    over: &'a Overrides,
    groups: &'a Cgroups,
    label: Option<&'a str>,
    id_maps: Option<&'a IdMaps>,
}

pub fn plan(spec: &Spec, host: &Host, over: &Overrides, of: Parts<'_>) -> Result<Made> {
    let label = match spec.linux() {
        Some(linux) => process::label(linux.mount_label(), host, "linux.mountLabel")?,
        None => None,
    };
    let Parts { groups, id_maps } = of;
    let context = MountContext { host, over, groups, label, id_maps };
    let mut made = Made::default();
    let mut placed = vec![false; over.pod_dirs.len()];
    for entry in spec.mounts().iter().flatten() {
        let target = target(entry)?;
        if let Some(at) = over.pod_dirs.iter().position(|(path, _)| *path == target) {
            placed[at] = true;
            made.mounts.push(pod_dir(&over.pod_dirs[at]));
            continue;
        }
        let detached = over.detached.iter().find(|(path, _)| *path == target);
        let planned = match detached {
            Some((_, slot)) => self::detached(entry, *slot, target.clone(), &mut made),
            None => one(&context, entry, target.clone(), &mut made),
        };
        planned.context(|| format!("mounts: {target}"))?;
    }
    let missing = over.pod_dirs.iter().zip(placed).filter(|(_, there)| !there);
    made.mounts.extend(missing.map(|(entry, _)| pod_dir(entry)));
    Ok(made)
}

/// Where an entry is mounted.
pub fn target(entry: &Entry) -> Result<String> {
    let target = paths::inside(entry.destination(), "mounts.destination")?;
    if target == "/" {
        return Err(invalid("mounts: nothing is mounted over the root"));
    }
    Ok(target)
}

fn pod_dir((target, name): &(String, String)) -> Mount {
    Mount {
        target: target.clone(),
        source: MountSource::Pod(name.clone()),
        set: attr::NOSUID | attr::NODEV | attr::NOEXEC,
        clear: 0,
        recursive_attrs: false,
        propagation: None,
        copy_up: false,
        id_map: None,
    }
}

fn detached(entry: &Entry, slot: Slot, target: String, made: &mut Made) -> Result<()> {
    let options = mount_options::parse(entry.options().as_deref().unwrap_or_default())?;
    made.mounts.push(mount(&options, MountSource::Detached(slot), target)?);
    Ok(())
}

fn one(context: &MountContext<'_>, entry: &Entry, target: String, made: &mut Made) -> Result<()> {
    let id_map = id_map(context, entry)?;
    let options = mount_options::parse(entry.options().as_deref().unwrap_or_default())?;
    let fstype = entry.typ().as_deref().unwrap_or("");
    if options.copy_up && fstype != "tmpfs" {
        return Err(invalid("tmpcopyup is for tmpfs"));
    }
    if options.bind.is_some() || fstype == "bind" {
        made.mounts.push(Mount { id_map, ..bind(context.over, entry, &options, target)? });
        return Ok(());
    }
    if id_map.is_some() {
        return Err(invalid("uidMappings and gidMappings are for a bind"));
    }
    match (fstype, &context.host.cgroups) {
        ("", _) => Err(invalid("neither a type nor a bind")),
        // What is mounted is the host's, whose superblock a container must not change, or its shape.
        ("cgroup" | "cgroup2", _) if !options.data.is_empty() => {
            let name = &options.data[0].0;
            Err(invalid(format!("option {name:?} means nothing to control groups")))
        }
        ("cgroup", None) => Err(invalid("no control groups are mounted on this host")),
        ("cgroup", Some(layout)) if layout.mode != Mode::V2 => {
            own_groups(layout, context.groups, &options, target, made)
        }
        ("cgroup", Some(_)) => {
            made.mounts.push(fresh(context, entry, "cgroup2", &options, target)?);
            Ok(())
        }
        _ => {
            made.mounts.push(fresh(context, entry, fstype, &options, target)?);
            Ok(())
        }
    }
}

fn mount(options: &Options, source: MountSource, target: String) -> Result<Mount> {
    let (set, clear, recursive_attrs) = options.attributes()?;
    let (propagation, copy_up) = (options.propagation, options.copy_up);
    Ok(Mount { target, source, set, clear, recursive_attrs, propagation, copy_up, id_map: None })
}

/// The user namespace by which a mount is mapped: the container's own, which has the same maps, if
/// that was made before.
fn id_map(context: &MountContext<'_>, entry: &Entry) -> Result<Option<Slot>> {
    let asked =
        (namespaces::ranges(entry.uid_mappings()), namespaces::ranges(entry.gid_mappings()));
    if entry.uid_mappings().is_none() && entry.gid_mappings().is_none() {
        return Ok(None);
    }
    match (&context.over.namespaces.user, context.id_maps) {
        (Some(Namespace::Slot(slot)), Some(own))
            if asked == (own.users.clone(), own.groups.clone()) =>
        {
            Ok(Some(*slot))
        }
        _ => Err(invalid("uidMappings and gidMappings are not supported")),
    }
}

fn bind(over: &Overrides, entry: &Entry, options: &Options, target: String) -> Result<Mount> {
    if let Some((name, _)) = options.data.iter().find(|(name, _)| !settled(name)) {
        return Err(invalid(format!("option {name:?} means nothing to a bind")));
    }
    let source = entry.source().as_deref().filter(|path| !path.as_os_str().is_empty());
    let source = source.ok_or_else(|| invalid("a bind without a source"))?;
    paths::text(source, "source")?;
    let recursive = options.bind.unwrap_or(false);
    let source = MountSource::Bind { path: over.bundle.join(source), recursive };
    mount(options, source, target)
}

/// Options of a superblock that are off unless somebody turned them on: a bind changes neither.
fn settled(name: &str) -> bool {
    matches!(name, "async" | "nomand" | "nolazytime" | "iversion")
}

fn fresh(
    context: &MountContext<'_>,
    entry: &Entry,
    fstype: &str,
    options: &Options,
    target: String,
) -> Result<Mount> {
    let mut data = options.data.clone();
    let own = matches!(
        fstype,
        "proc" | "sysfs" | "tmpfs" | "mqueue" | "devpts" | "cgroup2" | "ramfs" | "bpf"
    );
    if !own && options.plain.set & attr::RDONLY != 0 {
        // A file system on a device is not even written to by mounting it.
        data.push(("ro".to_owned(), None));
    }
    if let Some(label) = context.label
        && matches!(fstype, "tmpfs" | "mqueue" | "ramfs" | "devpts")
    {
        data.push(("context".to_owned(), Some(label.to_owned())));
    }
    let source = match entry.source() {
        Some(source) => paths::text(source, "source")?,
        None => fstype,
    };
    let source =
        MountSource::New { fstype: fstype.to_owned(), source: source.to_owned(), options: data };
    // A new mount has nothing yet that could be cleared.
    Ok(Mount { clear: 0, ..mount(options, source, target)? })
}

/// What stands for `/sys/fs/cgroup` where v1 hierarchies are: a tmpfs with the container's own
/// group of each hierarchy, under the names that the host mounts them by, and a link for each
/// controller that shares one (`cpu` to `cpu,cpuacct`). A cgroup namespace would show the same.
fn own_groups(
    layout: &Layout,
    groups: &Cgroups,
    options: &Options,
    target: String,
    made: &mut Made,
) -> Result<()> {
    let readonly = (options.plain.set | options.recursive.set) & attr::RDONLY;
    let tmpfs = MountSource::New {
        fstype: "tmpfs".to_owned(),
        source: "tmpfs".to_owned(),
        options: vec![("mode".to_owned(), Some("755".to_owned()))],
    };
    made.mounts.push(Mount { clear: 0, ..mount(options, tmpfs, target.clone())? });

    let v1 = layout.v1.iter().map(|h| (h.path.as_path(), controllers(h)));
    let unified = layout.unified.iter().map(|path| (path.as_path(), &[][..]));
    for (root, controllers) in v1.chain(unified) {
        let Some(own) = groups.dirs.iter().find(|dir| dir.path.starts_with(root)) else {
            continue;
        };
        let name = name(root)?;
        made.mounts.push(Mount {
            target: format!("{target}/{name}"),
            source: MountSource::Bind { path: own.path.clone(), recursive: false },
            set: attr::NOSUID | attr::NODEV | attr::NOEXEC | readonly,
            clear: 0,
            recursive_attrs: false,
            propagation: None,
            copy_up: false,
            id_map: None,
        });
        let others = controllers.iter().filter(|c| *c != name && !c.starts_with("name="));
        made.links.extend(others.map(|controller| Link {
            path: format!("{target}/{controller}"),
            target: name.to_owned(),
        }));
    }
    Ok(())
}

fn controllers(hierarchy: &Hierarchy) -> &[String] {
    &hierarchy.controllers
}

fn name(root: &Path) -> Result<&str> {
    root.file_name()
        .and_then(|name| name.to_str())
        .ok_or_else(|| invalid(format!("{} has no usable name", root.display())))
}
