//! What a pod takes of the disk: a walk, as `du` does one.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::sys::stat::{FileStat, SFlag};

use crate::error::{Context, Result};
use crate::model::{Pod, VolumeSource};
use crate::node::DiskUsage;

/// Measures the pod whose folder is `dir` and whose logs are below `logs`.
pub fn measure(pod: &Pod, dir: &Path, logs: &Path) -> Result<DiskUsage> {
    let own =
        |s: &VolumeSource| matches!(s, VolumeSource::EmptyDir(_) | VolumeSource::Projected { .. });
    let mut usage = DiskUsage { hosts: tree(&dir.join("etc-hosts"))?, ..Default::default() };
    for volume in pod.spec.volumes.iter().filter(|v| own(&v.source)) {
        let bytes = tree(&dir.join("volumes").join(&volume.name))?;
        usage.volumes.insert(volume.name.clone(), bytes);
    }
    for (_, container) in pod.spec.all() {
        usage.logs.insert(container.name.clone(), tree(&logs.join(&container.name))?);
    }
    Ok(usage)
}

/// Bytes of the blocks of everything below `root` on its file system; a file with several names
/// counts once. What vanishes meanwhile is left out: the tree is the pod's own and it changes. No
/// symlink is followed.
fn tree(root: &Path) -> Result<u64> {
    let top = match std::fs::symlink_metadata(root) {
        Ok(found) => found,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(0),
        Err(e) => return Err(e).context(|| format!("stat {}", root.display())),
    };
    let (mut seen, mut bytes) = (BTreeSet::new(), top.blocks() * 512);
    if top.is_dir() {
        let mut add = |stat: &FileStat| {
            let is_folder = stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFDIR.bits();
            let is_other = stat.st_dev != top.dev();
            if !is_other && (stat.st_nlink == 1 || is_folder || seen.insert(stat.st_ino)) {
                bytes += u64::try_from(stat.st_blocks).unwrap_or(0) * 512;
            }
        };
        let visited = rrun_sys::tree::visit(root, &mut add);
        visited.context(|| format!("look through {}", root.display()))?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_takes_the_blocks_of_its_files_each_once_and_follows_no_link() {
        let dir = tempfile::tempdir().unwrap();
        let (root, outside) = (dir.path().join("a"), dir.path().join("outside"));
        std::fs::create_dir_all(root.join("b")).unwrap();
        let empty = tree(&root).unwrap();
        std::fs::write(&outside, vec![1; 1 << 20]).unwrap();
        std::os::unix::fs::symlink(&outside, root.join("link")).unwrap();
        std::fs::write(root.join("b/file"), vec![1; 64 << 10]).unwrap();
        std::fs::hard_link(root.join("b/file"), root.join("again")).unwrap();
        let sparse = std::fs::File::create(root.join("sparse")).unwrap();
        sparse.set_len(1 << 30).unwrap();
        let grown = tree(&root).unwrap() - empty;
        assert!((64 << 10..128 << 10).contains(&grown), "{grown}");
        assert_eq!(tree(&dir.path().join("none")).unwrap(), 0);
    }
}
