//! What of a container is the host's, and so is not in an image but named in it.

use crate::{Context, Result};
use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The file of an image that lists the standard descriptors.
pub(super) const DESCRIPTORS: &str = "descriptors.json";

/// File systems whose new instance shows what the namespaces hold.
const OF_NAMESPACES: [&str; 5] = ["proc", "sysfs", "mqueue", "cgroup", "cgroup2"];

/// One line of `/proc/<pid>/mountinfo`: proc(5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mounted {
    device: String,
    /// What of the file system is mounted.
    root: PathBuf,
    /// Where.
    pub(super) target: PathBuf,
    fstype: String,
}

/// The mounts that a process sees.
pub(super) fn mounted(pid: &str) -> Result<Vec<Mounted>> {
    let path = format!("/proc/{pid}/mountinfo");
    let text = std::fs::read(&path).context(|| format!("read {path}"))?;
    Ok(parse(&text))
}

fn parse(text: &[u8]) -> Vec<Mounted> {
    text.split(|byte| *byte == b'\n').filter_map(line).collect()
}

fn line(line: &[u8]) -> Option<Mounted> {
    let fields: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let dash = fields.iter().skip(6).position(|field| *field == b"-")? + 6;
    Some(Mounted {
        device: text(fields.get(2)?),
        root: unescaped(fields.get(3)?),
        target: unescaped(fields.get(4)?),
        fstype: text(fields.get(dash + 1)?),
    })
}

/// The kernel writes blanks and its like as `\040`.
fn unescaped(text: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let octal = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.filter(|_| *first == b'\\').and_then(|d| u8::from_str_radix(d, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    PathBuf::from(std::ffi::OsStr::from_bytes(&bytes))
}

/// Where a container finds mounts that the host has too. A file system that only the container sees
/// is its own, and so is a part of its root, and what namespaces show.
pub(super) fn mounts(container: &[Mounted], host: &[Mounted]) -> BTreeSet<PathBuf> {
    let known: BTreeSet<&str> = host.iter().map(|mount| mount.device.as_str()).collect();
    let is_new = |mount: &&Mounted| {
        mount.root == Path::new("/") && OF_NAMESPACES.contains(&mount.fstype.as_str())
    };
    let new: BTreeSet<&str> =
        container.iter().filter(is_new).map(|mount| mount.device.as_str()).collect();
    let root = container.iter().find(|mount| mount.target == Path::new("/"));
    let of_root = |mount: &&Mounted| {
        root.is_some_and(|root| root.device == mount.device && mount.root.starts_with(&root.root))
    };
    container
        .iter()
        .filter(|mount| mount.target != Path::new("/"))
        .filter(|mount| known.contains(mount.device.as_str()))
        .filter(|mount| !new.contains(mount.device.as_str()) && !of_root(mount))
        .map(|mount| mount.target.clone())
        .collect()
}

/// Where overlays are, but the root.
pub(super) fn overlays(container: &[Mounted]) -> impl Iterator<Item = PathBuf> {
    let is_one = |mount: &&Mounted| mount.fstype == "overlay" && mount.target != Path::new("/");
    container.iter().filter(is_one).map(|mount| mount.target.clone())
}

/// What a bind of `source` brings along that is mounted below it: where below, and the whole path.
pub(super) fn below(source: &Path, host: &[Mounted]) -> Vec<(PathBuf, PathBuf)> {
    let inside = host.iter().filter_map(|mount| {
        let rest = mount.target.strip_prefix(source).ok()?;
        (rest != Path::new("")).then(|| (rest.to_owned(), mount.target.clone()))
    });
    inside.collect()
}

/// The standard descriptors of a process, as `descriptors.json` has them, and the names of those
/// that criu must be told to leave to the restore. runc writes where each of them leads; what begins
/// with `pipe:` is its way to say what this is, and `file[` is ours for files of the host.
pub(super) fn descriptors(pid: i32) -> Result<(Vec<String>, BTreeSet<String>)> {
    let (mut listed, mut external) = (Vec::new(), BTreeSet::new());
    let inside: BTreeSet<u64> = mount_ids(pid)?;
    for fd in 0..3 {
        let path = format!("/proc/{pid}/fd/{fd}");
        let Ok(target) = std::fs::read_link(&path) else {
            listed.push(String::new());
            continue;
        };
        let target = target.display().to_string();
        let found = std::fs::metadata(&path).context(|| format!("look at {path}"))?;
        let of_path = target.starts_with('/');
        match mount_id(pid, fd)? {
            Some(mount) if of_path && !inside.contains(&mount) => {
                let key = format!("file[{mount:x}:{:x}]", found.ino());
                external.insert(key.clone());
                listed.push(key);
            }
            _ => listed.push(target),
        }
    }
    Ok((listed, external))
}

/// The mounts of a process, by their numbers.
fn mount_ids(pid: i32) -> Result<BTreeSet<u64>> {
    let path = format!("/proc/{pid}/mountinfo");
    let text = std::fs::read(&path).context(|| format!("read {path}"))?;
    let text = String::from_utf8_lossy(&text);
    Ok(text.lines().filter_map(|line| line.split(' ').next()?.parse().ok()).collect())
}

/// The mount that an open file is of: proc(5).
fn mount_id(pid: i32, fd: i32) -> Result<Option<u64>> {
    let path = format!("/proc/{pid}/fdinfo/{fd}");
    let text = std::fs::read_to_string(&path).context(|| format!("read {path}"))?;
    Ok(text.lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok()))
}

/// What an image calls a namespace that is somebody else's.
pub(super) fn namespace_key(kind: &str) -> String {
    let (first, rest) = kind.split_at_checked(1).unwrap_or((kind, ""));
    format!("extRoot{}{rest}NS", first.to_ascii_uppercase())
}

/// How criu is told of a namespace of a process that is somebody else's.
pub(super) fn namespace(pid: i32, kind: &str) -> Result<String> {
    let path = format!("/proc/{pid}/ns/{kind}");
    let found = std::fs::metadata(&path).context(|| format!("look at {path}"))?;
    Ok(format!("{kind}[{}]:{}", found.ino(), namespace_key(kind)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &[u8] = b"\
20 1 254:0 / / rw shared:1 - ext4 /dev/vda rw
21 20 0:5 / /dev rw - devtmpfs udev rw
22 20 0:43 / /sys rw - sysfs sysfs rw
23 20 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw
24 20 0:50 / /data rw - tmpfs tmpfs rw
25 24 0:51 / /data/a\\040b rw - tmpfs tmpfs rw
torn line
";

    #[test]
    fn mounts_of_the_host_are_told_from_those_of_the_container() {
        let container = b"\
43 55 254:0 /b/rootfs / rw - ext4 /dev/vda rw
44 43 0:40 / /proc rw - proc proc rw
45 44 0:40 /sys /proc/sys ro - proc proc rw
46 44 0:5 /null /proc/kcore rw - devtmpfs udev rw
47 43 0:43 / /sys ro - sysfs sysfs rw
48 47 0:38 /x /sys/fs/cgroup ro - cgroup2 cgroup2 rw
49 43 0:60 / /dev rw - tmpfs tmpfs rw
50 43 254:0 /etc/hosts /etc/hosts ro - ext4 /dev/vda rw
51 43 254:0 /b/rootfs/x /y ro - ext4 /dev/vda rw
52 43 0:50 / /data rw - tmpfs tmpfs rw
";
        let found = mounts(&parse(container), &parse(HOST));
        let expected = ["/data", "/etc/hosts", "/proc/kcore", "/sys/fs/cgroup"];
        assert_eq!(found, expected.map(PathBuf::from).into());
    }

    #[test]
    fn what_is_mounted_below_a_source_comes_along() {
        let host = parse(HOST);
        let expected = vec![(PathBuf::from("a b"), PathBuf::from("/data/a b"))];
        assert_eq!(below(Path::new("/data"), &host), expected);
        assert!(below(Path::new("/da"), &host).is_empty());
    }

    #[test]
    fn namespaces_are_named_as_runc_names_them() {
        assert_eq!(namespace_key("net"), "extRootNetNS");
        assert_eq!(namespace_key("pid"), "extRootPidNS");
    }
}
