//! What a container finds mounted: the defaults, and what its client mounts over them.

use crate::error::{Context, Error, Result};
use crate::model::{
    ContainerConfig, IdMapping, ImageSpec, MountPropagation, MountSpec, NamespaceMode, PodConfig,
    UserNamespace,
};
use serde_json::{Value, json};
use std::path::{Component, Path};

/// What the mounts depend on.
pub(crate) struct MountInput<'a> {
    pub(crate) config: &'a ContainerConfig,
    /// Folder of hosts, hostname and resolv.conf.
    pub(crate) files: &'a Path,
    /// `/proc/self/mountinfo`, and for each mount with propagation the real path of its source:
    /// only these are looked at, because a dead network file system hangs whoever does.
    pub(crate) mountinfo: &'a str,
    pub(crate) real_paths: &'a [(String, String)],
    /// The pod's own user namespace.
    pub(crate) users: Option<&'a UserNamespace>,
}

/// Mounts in the order in which they are made, and the propagation that the root needs.
pub(crate) fn mounts(input: &MountInput<'_>) -> Result<(Vec<Value>, Option<&'static str>)> {
    let config = input.config;
    let mut asked: Vec<(String, &MountSpec)> = Vec::with_capacity(config.mounts.len());
    for mount in &config.mounts {
        let target = clean(&mount.container_path);
        if target == "/" {
            return Err(Error::invalid(format!("mount {}: the root", mount.container_path)));
        }
        // A plan knows an image by where it is mounted.
        let twice = |other: &(String, &MountSpec)| {
            other.0 == target && (mount.image.is_some() || other.1.image.is_some())
        };
        if asked.iter().any(twice) {
            return Err(Error::invalid(format!("mount {target}: an image and something else")));
        }
        asked.push((target, mount));
    }
    let whole_dev = asked.iter().any(|(target, _)| target == "/dev");
    let mut all: Vec<(String, Value)> = Vec::new();
    for (target, mount) in defaults(input) {
        let covered = whole_dev && Path::new(&target).starts_with("/dev");
        if !covered && asked.iter().all(|(other, _)| *other != target) {
            all.push((target, mount));
        }
    }
    let mut root = None;
    for (target, mount) in &asked {
        let entry = match &mount.image {
            Some(image) => Ok(self::image(target, image)),
            None => bind(input, target, mount, &mut root),
        };
        all.push((target.clone(), entry.context(|| format!("mount {target}"))?));
    }
    // Stable: what covers comes before what it would cover.
    all.sort_by_key(|(target, _)| Path::new(target).components().count());
    Ok((all.into_iter().map(|(_, mount)| mount).collect(), root))
}

/// An absolute path without `.`, `..` and doubled slashes.
fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in Path::new(path).components() {
        match part {
            Component::Normal(name) => parts.push(name.to_str().unwrap_or_default()),
            Component::ParentDir => {
                parts.pop();
            }
            _ => {}
        }
    }
    format!("/{}", parts.join("/"))
}

/// What every container has.
fn defaults(input: &MountInput<'_>) -> Vec<(String, Value)> {
    let security = &input.config.security;
    let rw = if security.privileged { "rw" } else { "ro" };
    let file_rw = if security.readonly_rootfs { "ro" } else { "rw" };
    let mount = |target: &str, kind: &str, source: &str, options: &[&str]| {
        let options: Vec<&str> = options.to_vec();
        let value =
            json!({"destination": target, "type": kind, "source": source, "options": options});
        (target.to_owned(), value)
    };
    let mut all = vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", rw]),
        mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", rw]),
    ];
    // The pod's own is in the mount namespace that its shim has made, which takes this place.
    all.push(mount("/dev/shm", "bind", "/dev/shm", &["rbind", "nosuid", "noexec", "nodev", "rw"]));
    for name in ["hostname", "hosts", "resolv.conf"] {
        let source = input.files.join(name);
        let options = ["rbind", "rprivate", file_rw];
        let (target, mut file) =
            mount(&format!("/etc/{name}"), "bind", &source.to_string_lossy(), &options);
        if let Some(users) = input.users {
            map_ids(&mut file, &users.uids, &users.gids);
        }
        all.push((target, file));
    }
    all
}

/// Whether the container uses the pod's `/dev/shm`: not on the host's IPC, and not under a mount
/// of its client's own.
pub(crate) fn uses_pod_shm(pod: &PodConfig, config: &ContainerConfig) -> bool {
    let covered =
        |mount: &MountSpec| matches!(clean(&mount.container_path).as_str(), "/dev" | "/dev/shm");
    pod.security.namespaces.ipc != NamespaceMode::Node && !config.mounts.iter().any(covered)
}

/// Where images are mounted, in the order in which they were asked for.
pub(crate) fn image_volumes(config: &ContainerConfig) -> impl Iterator<Item = String> {
    let images = config.mounts.iter().filter(|mount| mount.image.is_some());
    images.map(|mount| clean(&mount.container_path))
}

/// An image as a volume. The mount itself is made before, and takes the place of this one. Programs
/// in it may be executed, as with other runtimes.
fn image(target: &str, image: &ImageSpec) -> Value {
    let options = ["ro", "nodev", "rprivate"];
    json!({"destination": target, "type": "overlay", "source": image.image, "options": options})
}

fn bind(
    input: &MountInput<'_>,
    target: &str,
    mount: &MountSpec,
    root: &mut Option<&'static str>,
) -> Result<Value> {
    let mut options = vec!["rbind"];
    match mount.propagation {
        MountPropagation::Private => options.push("rprivate"),
        MountPropagation::Bidirectional => {
            if !source_peers(input, mount).0 {
                let message = format!("{} is not on a shared mount", mount.host_path);
                return Err(Error::invalid(message));
            }
            options.push("rshared");
            *root = Some("rshared");
        }
        MountPropagation::HostToContainer => {
            let (shared, slave) = source_peers(input, mount);
            if !shared && !slave {
                let message = format!("{} is not on a shared or slave mount", mount.host_path);
                return Err(Error::invalid(message));
            }
            options.push("rslave");
            root.get_or_insert("rslave");
        }
    }
    options.push(match (mount.readonly, mount.recursive_read_only) {
        (true, true) => "rro",
        (true, false) => "ro",
        (false, _) => "rw",
    });
    let mut entry = json!({
        "destination": target, "type": "bind", "source": mount.host_path, "options": options
    });
    if !mount.uid_mappings.is_empty() {
        map_ids(&mut entry, &mount.uid_mappings, &mount.gid_mappings);
    }
    Ok(entry)
}

/// Ranges of ids as a configuration has them.
pub(super) fn mappings(ids: &[IdMapping]) -> Value {
    let one = |id: &IdMapping| json!({"containerID": id.container_id, "hostID": id.host_id, "size": id.length});
    Value::Array(ids.iter().map(one).collect())
}

fn map_ids(entry: &mut Value, uids: &[IdMapping], gids: &[IdMapping]) {
    entry["uidMappings"] = mappings(uids);
    entry["gidMappings"] = mappings(gids);
}

fn source_peers(input: &MountInput<'_>, mount: &MountSpec) -> (bool, bool) {
    let real = input.real_paths.iter().find(|(asked, _)| *asked == mount.host_path);
    peers(input.mountinfo, real.map_or(mount.host_path.as_str(), |(_, real)| real))
}

/// Whether the mount that `path` is on is shared, and whether it is a slave: proc_pid_mountinfo(5).
fn peers(mountinfo: &str, path: &str) -> (bool, bool) {
    let mut found = (0, (false, false));
    for line in mountinfo.lines() {
        let mut fields = line.split(' ');
        let Some(point) = fields.nth(4) else { continue };
        let point = unescape(point);
        let depth = Path::new(&point).components().count();
        if depth >= found.0 && Path::new(path).starts_with(&point) {
            let tags: Vec<&str> = fields.skip(1).take_while(|field| *field != "-").collect();
            let has = |tag: &str| tags.iter().any(|field| field.starts_with(tag));
            found = (depth, (has("shared:"), has("master:")));
        }
    }
    found.1
}

/// Space, tab, newline and backslash are octal there.
fn unescape(text: &str) -> String {
    let plain = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    plain.iter().fold(text.to_owned(), |text, (code, plain)| text.replace(code, plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deepest_mount_that_holds_a_path_says_how_it_propagates() {
        let info = "22 1 8:1 / / rw - ext4 /dev/sda rw\n\
                    23 22 0:5 / /mnt rw shared:7 - tmpfs t rw\n\
                    24 23 0:6 / /mnt/a\\040b rw,nosuid master:7 - tmpfs t rw\n";
        assert_eq!(peers(info, "/etc"), (false, false));
        assert_eq!(peers(info, "/mnt"), (true, false));
        assert_eq!(peers(info, "/mnt/x"), (true, false));
        assert_eq!(peers(info, "/mntx"), (false, false));
        assert_eq!(peers(info, "/mnt/a b/c"), (false, true));
        assert_eq!(peers("broken\n\n", "/"), (false, false));
    }

    #[test]
    fn a_target_is_made_plain() {
        for (path, plain) in [("/a//b/./c", "/a/b/c"), ("a", "/a"), ("/../a/..", "/"), ("", "/")] {
            assert_eq!(clean(path), plain);
        }
    }
}
