//! What is kept of a container that was removed: how it ended, why it went, its last lines.
//!
//! Tombstones are records in one list, `<folder>/tombstones`; when that has become long it is set
//! aside as `tombstones.before`, and the one from before that goes.

use std::fmt;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::error::{Context, Result};
use crate::record::{Format, lock};

const TOMBSTONE: Format = Format { name: "tombstone", version: 1 };

/// The longest list, in bytes: some thousand containers.
const LONGEST: u64 = 4 << 20;

/// Why a container was removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// So many dead ones of it are kept, and these are newer.
    PerContainer {
        /// How many.
        kept: usize,
    },
    /// There were too many dead ones in all, and each container keeps an equal share.
    Share {
        /// How many may stay in all.
        maximum: usize,
        /// How many of each.
        share: usize,
    },
    /// There were too many dead ones in all, and it was the oldest.
    Oldest {
        /// How many may stay in all.
        maximum: usize,
    },
    /// Of an init container: it was made anew.
    MadeAnew,
    /// Its pod was removed.
    PodRemoved,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::PerContainer { kept } => write!(
                f,
                "{kept} dead containers of one are kept, and it had newer ones \
                 (--maximum-dead-containers-per-container)"
            ),
            Cause::Share { maximum, share } => write!(
                f,
                "{maximum} dead containers are kept in all, that is {share} of each, and it had \
                 newer ones (--maximum-dead-containers)"
            ),
            Cause::Oldest { maximum } => write!(
                f,
                "{maximum} dead containers are kept in all, and it was the oldest \
                 (--maximum-dead-containers)"
            ),
            Cause::MadeAnew => write!(f, "the init container was made anew"),
            Cause::PodRemoved => write!(f, "its pod was removed"),
        }
    }
}

/// One container that is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tombstone {
    /// The runtime's id of it.
    pub id: String,
    /// Its name in the pod.
    pub container: String,
    /// Its pod's.
    pub namespace: String,
    /// Its pod's name.
    pub pod: String,
    /// Its pod's.
    pub uid: String,
    /// The image as the runtime named it.
    pub image: String,
    /// How often the container had been started before.
    pub restart_count: u32,
    /// Whether it had ended; else it was never started, or the runtime did not know.
    pub ended: bool,
    /// Its exit code, if it had ended.
    pub exit_code: i32,
    /// `Completed`, `Error`, `OOMKilled`, …
    pub reason: String,
    /// The runtime's words, and its own.
    pub message: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was started; zero if it was not.
    pub started_at: Timestamp,
    /// When it ended; zero if it had not.
    pub finished_at: Timestamp,
    /// When it was removed.
    pub removed_at: Timestamp,
    /// Why.
    pub cause: Cause,
    /// The last lines of its log, at most 80 and 2 KiB.
    pub log_end: String,
}

impl Tombstone {
    /// `namespace/pod/container`
    pub fn full_name(&self) -> String {
        format!("{}/{}/{}", self.namespace, self.pod, self.container)
    }

    /// Whether `text` names it: its id or a beginning of that, `pod/container`, the same with the
    /// namespace before it, or the container's or the pod's name alone.
    pub fn is_called(&self, text: &str) -> bool {
        let short = format!("{}/{}", self.pod, self.container);
        let in_default = self.namespace == "default" && short == text;
        let alone = self.container == text || self.pod == text;
        let id = !text.is_empty() && self.id.starts_with(text);
        id || in_default || alone || self.full_name() == text
    }
}

/// Adds one to the list in `folder`, which is made if it is not there.
///
/// # Errors
/// Those of the file system.
pub fn keep(folder: &Path, tombstone: &Tombstone) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.context(|| format!("make {}", folder.display()))?;
    // Of several processes that collect, one at a time sets the list aside.
    let _lock = lock(&folder.join("tombstones.lock"))?;
    let path = folder.join("tombstones");
    if fs::metadata(&path).is_ok_and(|file| file.len() > LONGEST) {
        let before = path.with_extension("before");
        fs::rename(&path, before).context(|| format!("rename {}", path.display()))?;
    }
    let file = rrun_sys::record::append(&path, 0o600);
    let mut file = file.context(|| format!("open {}", path.display()))?;
    TOMBSTONE.append(&mut file, tombstone)
}

/// All that are kept, the oldest first; of a container that is there twice, the last. Its process was
/// killed between the tombstone and the removal, and another one removed it.
///
/// # Errors
/// Those of the file system.
pub fn all(folder: &Path) -> Result<Vec<Tombstone>> {
    let path = folder.join("tombstones");
    let mut all: Vec<Tombstone> = TOMBSTONE.read_list(&path.with_extension("before"))?;
    all.extend(TOMBSTONE.read_list::<Tombstone>(&path)?);
    let mut known = std::collections::BTreeSet::new();
    all.reverse();
    all.retain(|one| known.insert(one.id.clone()));
    all.reverse();
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tombstone(id: &str) -> Tombstone {
        Tombstone {
            id: id.into(),
            container: "main".into(),
            namespace: "default".into(),
            pod: "web".into(),
            uid: "u-1".into(),
            image: "img:1".into(),
            restart_count: 3,
            ended: true,
            exit_code: 137,
            reason: "OOMKilled".into(),
            message: String::new(),
            created_at: Timestamp::from_nanos(1),
            started_at: Timestamp::from_nanos(2),
            finished_at: Timestamp::from_nanos(3),
            removed_at: Timestamp::from_nanos(4),
            cause: Cause::PerContainer { kept: 2 },
            log_end: "bye\n".into(),
        }
    }

    #[test]
    fn a_tombstone_is_read_back_and_of_two_of_a_container_the_last_counts() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("rrun");
        assert_eq!(all(&folder).unwrap(), []);
        let (one, two) = (tombstone("aa01"), tombstone("aa02"));
        let again = Tombstone { cause: Cause::PodRemoved, ..one.clone() };
        [&one, &two, &again].iter().for_each(|stone| keep(&folder, stone).unwrap());
        assert_eq!(all(&folder).unwrap(), [two, again]);
    }

    #[test]
    fn a_long_list_is_set_aside_and_still_read() {
        let dir = tempfile::tempdir().unwrap();
        let stone = Tombstone { log_end: "x".repeat(1 << 20), ..tombstone("aa00") };
        for n in 0..12 {
            keep(dir.path(), &Tombstone { id: format!("aa{n:02}"), ..stone.clone() }).unwrap();
        }
        let kept: Vec<String> = all(dir.path()).unwrap().into_iter().map(|one| one.id).collect();
        assert_eq!(kept, ["aa04", "aa05", "aa06", "aa07", "aa08", "aa09", "aa10", "aa11"]);
    }

    #[test]
    fn it_is_found_by_its_id_and_by_the_names_of_pod_and_container() {
        let stone = tombstone("aa01");
        for text in ["aa01", "aa", "main", "web", "web/main", "default/web/main"] {
            assert!(stone.is_called(text), "{text}");
        }
        for text in ["", "ab", "mai", "db/main", "other/web/main"] {
            assert!(!stone.is_called(text), "{text}");
        }
    }

    #[test]
    fn a_link_or_a_fifo_in_the_place_of_the_list_is_an_error_with_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let (list, precious) = (dir.path().join("tombstones"), dir.path().join("precious"));
        fs::write(&precious, "as it was").unwrap();
        std::os::unix::fs::symlink(&precious, &list).unwrap();
        let expected = format!("open {}: not a regular file", list.display());
        assert_eq!(keep(dir.path(), &tombstone("aa01")).unwrap_err().to_string(), expected);
        assert_eq!(fs::read_to_string(&precious).unwrap(), "as it was");
        fs::remove_file(&list).unwrap();
        nix::unistd::mkfifo(&list, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(keep(dir.path(), &tombstone("aa01")).unwrap_err().to_string(), expected);
    }
}
