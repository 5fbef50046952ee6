//! Records of pulls on disk: `pulled/<hash of the id>`, and `pulling/<hash of the name>.<pod>` while
//! a pull is under way or after its process was killed.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::files;
use crate::clock::Timestamp;
use crate::error::{Context, Result};
use crate::ids::PodUid;
use crate::pull_records::{PullRecord, PullState, PulledImage};
use crate::record::{Format, lock};

const PULLED: Format = Format { name: "pulled", version: 1 };
const PULLING: Format = Format { name: "pulling", version: 1 };

/// The records below one folder.
pub struct Pulls<'a>(pub &'a Path);

impl Pulls<'_> {
    /// What is on record of an image that is here.
    pub fn find(&self, image: &str, id: &str) -> Result<PullState> {
        let record = PULLED.read(&self.0.join("pulled").join(hash(id)))?;
        let name = format!("{}.", hash(image));
        let pulling = self.names("pulling")?.iter().any(|found| found.starts_with(&name));
        Ok(PullState { record, pulling })
    }

    /// A pull begins.
    pub fn begin(&self, pod: &PodUid, image: &str) -> Result<()> {
        self.make()?;
        PULLING.write(&self.pulling(pod, image), &image)
    }

    /// The images whose pulls are under way for a pod.
    pub fn of(&self, pod: &PodUid) -> Result<Vec<String>> {
        let (own, torn) = (format!(".{pod}"), format!(".{pod}.new"));
        let mut found = Vec::new();
        for name in self.names("pulling")? {
            let path = self.0.join("pulling").join(&name);
            if name.ends_with(&own) {
                found.extend(PULLING.read::<String>(&path)?);
            } else if name.ends_with(&torn) {
                // Its process was killed before the pull itself began.
                remove(&path)?;
            }
        }
        Ok(found)
    }

    /// A pull is over. The record of what came is there before that of the pull goes.
    pub fn end(&self, pod: &PodUid, image: &str, pulled: Option<PulledImage>) -> Result<()> {
        if let Some(pulled) = pulled {
            self.make()?;
            let _lock = lock(&self.0.join("lock"))?;
            let path = self.0.join("pulled").join(hash(&pulled.id));
            // One that cannot be read allows nobody anything: it is begun anew.
            let mut record: PullRecord = PULLED.read(&path).ok().flatten().unwrap_or_default();
            record.add(image, pulled);
            PULLED.write(&path, &record)?;
        }
        remove(&self.pulling(pod, image))
    }

    /// Forgets an image that was removed.
    pub fn forget(&self, id: &str) -> Result<()> {
        if self.names("pulled")?.is_empty() {
            return Ok(());
        }
        let _lock = lock(&self.0.join("lock"))?;
        remove(&self.0.join("pulled").join(hash(id)))
    }

    /// Forgets images that are gone.
    pub fn retain(&self, present: &BTreeSet<String>, before: Timestamp) -> Result<()> {
        let names = self.names("pulled")?;
        if names.is_empty() {
            return Ok(());
        }
        let _lock = lock(&self.0.join("lock"))?;
        for name in names {
            let path = self.0.join("pulled").join(name);
            let gone = |found: &PullRecord| !present.contains(&found.id) && found.updated < before;
            if PULLED.read(&path).ok().flatten().is_some_and(|found| gone(&found)) {
                remove(&path)?;
            }
        }
        Ok(())
    }

    fn pulling(&self, pod: &PodUid, image: &str) -> std::path::PathBuf {
        self.0.join("pulling").join(format!("{}.{pod}", hash(image)))
    }

    fn make(&self) -> Result<()> {
        ["pulled", "pulling"].iter().try_for_each(|sub| files::make_dirs(&self.0.join(sub), 0o700))
    }

    fn names(&self, sub: &str) -> Result<Vec<String>> {
        let path = self.0.join(sub);
        match fs::read_dir(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            other => {
                let entries = other.context(|| format!("read {}", path.display()))?;
                Ok(entries.flatten().filter_map(|e| e.file_name().into_string().ok()).collect())
            }
        }
    }
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        other => other.context(|| format!("remove {}", path.display())),
    }
}

fn hash(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pull_records::Access;

    fn pulled_image(id: &str, hash: &str, at: i64) -> PulledImage {
        let access = Access::Credentials(BTreeSet::from([hash.to_owned()]));
        PulledImage { id: id.to_owned(), access, at: Timestamp::from_nanos(at) }
    }

    #[test]
    fn what_was_pulled_is_known_to_the_next_process_and_so_is_a_pull_that_was_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (PodUid::parse("u-1").unwrap(), PodUid::parse("u-2").unwrap());
        let pulls = Pulls(dir.path());
        assert_eq!(pulls.find("r/a:1", "id").unwrap(), PullState::default());
        pulls.begin(&one, "r/a:1").unwrap();
        assert!(pulls.find("r/a:1", "id").unwrap().pulling);
        assert!(!pulls.find("r/b:1", "id").unwrap().pulling);
        assert_eq!(pulls.of(&one).unwrap(), ["r/a:1"]);
        let torn = dir.path().join(format!("pulling/{}.{two}.new", hash("r/a:1")));
        fs::write(&torn, "pul").unwrap();
        assert_eq!(pulls.of(&two).unwrap(), [""; 0]);
        assert!(!torn.exists());
        // The one that goes well does not hide the one that was cut off.
        pulls.begin(&two, "r/a:1").unwrap();
        pulls.end(&two, "r/a:1", Some(pulled_image("id", "h2", 5))).unwrap();
        let found = pulls.find("r/a:1", "id").unwrap();
        assert!(found.pulling && found.record.is_some());
        pulls.end(&one, "r/a:1", Some(pulled_image("id", "h1", 6))).unwrap();
        let found = pulls.find("r/a:1", "id").unwrap();
        let both = Access::Credentials(["h1", "h2"].map(str::to_owned).into());
        assert!(!found.pulling);
        assert_eq!(found.record.unwrap().access["docker.io/r/a"], both);
        pulls.begin(&one, "r/a:1").unwrap();
        pulls.end(&one, "r/a:1", None).unwrap();
        assert!(!pulls.find("r/a:1", "id").unwrap().pulling);
    }

    #[test]
    fn images_that_are_gone_are_forgotten_but_not_what_came_meanwhile() {
        let dir = tempfile::tempdir().unwrap();
        let pod = PodUid::parse("u-1").unwrap();
        let pulls = Pulls(dir.path());
        for (id, at) in [("here", 1), ("gone", 1), ("late", 9)] {
            pulls.end(&pod, id, Some(pulled_image(id, "h", at))).unwrap();
        }
        pulls.retain(&BTreeSet::from(["here".to_owned()]), Timestamp::from_nanos(5)).unwrap();
        let known =
            || ["here", "gone", "late"].map(|id| pulls.find(id, id).unwrap().record.is_some());
        assert_eq!(known(), [true, false, true]);
        pulls.forget("late").unwrap();
        pulls.forget("late").unwrap();
        assert_eq!(known(), [true, false, false]);
    }
}
