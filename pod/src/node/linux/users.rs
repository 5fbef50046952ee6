//! Which ids a pod with a user namespace of its own has: the record `userns` in its folder says so for
//! as long as the pod has one. Whoever gives out a range has the lock of the folder of all pods.

use std::collections::BTreeSet;
use std::path::Path;

use super::files;
use crate::error::{Context, Error, Kind, Result};
use crate::record::{Format, lock_folder};
use crate::users::UserRange;

const RANGE: Format = Format { name: "userns", version: 1 };

/// The range of the pod whose folder this is, below that of all pods: the one that it has, else the
/// first that nobody has.
pub fn range(pods: &Path, folder: &Path) -> Result<UserRange> {
    let _lock = lock_folder(pods)?;
    if let Some(own) = read(folder)? {
        return Ok(own);
    }
    // The range of a record that cannot be read may be any: nobody gets one beside it.
    let taken: BTreeSet<u32> = files::folders(pods)?
        .iter()
        .filter_map(|other| read(&pods.join(other)).transpose())
        .map(|range| range.map(UserRange::first))
        .collect::<Result<_>>()?;
    let free = UserRange::all().find(|range| !taken.contains(&range.first()));
    let text = "could not find an empty slot to allocate a user namespace";
    let free = free.ok_or_else(|| Error::new(Kind::Unavailable, text))?;
    RANGE.write(&folder.join(RANGE.name), &free.first())?;
    Ok(free)
}

fn read(folder: &Path) -> Result<Option<UserRange>> {
    let path = folder.join(RANGE.name);
    let Some(first) = RANGE.read(&path)? else { return Ok(None) };
    let wrong = || Error::new(Kind::Internal, format!("no range of ids begins with {first}"));
    UserRange::from_first(first).ok_or_else(wrong).map(Some).context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;

    /// The folder of a pod.
    fn folder(pods: &Path, name: &str) -> PathBuf {
        let folder = pods.join(name);
        fs::create_dir(&folder).unwrap();
        folder
    }

    #[test]
    fn each_pod_has_a_range_of_its_own_for_as_long_as_it_has_a_folder() {
        let dir = tempfile::tempdir().unwrap();
        let pods = dir.path();
        let [a, b, c] = ["a", "b", "c"].map(|name| folder(pods, name));
        let (first, second) = (range(pods, &a).unwrap(), range(pods, &b).unwrap());
        assert_ne!(first, second);
        assert_eq!((range(pods, &a).unwrap(), range(pods, &b).unwrap()), (first, second));
        fs::remove_dir_all(&a).unwrap();
        assert_eq!(range(pods, &c).unwrap(), first, "it is free again");
    }

    #[test]
    fn pods_that_begin_at_the_same_time_have_different_ranges() {
        let dir = tempfile::tempdir().unwrap();
        let pods = dir.path();
        let begin = |n: usize| {
            let (pods, folder) = (pods.to_owned(), folder(pods, &n.to_string()));
            std::thread::spawn(move || range(&pods, &folder).unwrap().first())
        };
        let all: Vec<_> = (0..16).map(begin).collect();
        let found: BTreeSet<u32> = all.into_iter().map(|one| one.join().unwrap()).collect();
        assert_eq!(found.len(), 16);
    }

    #[test]
    fn a_range_that_is_not_known_is_not_given_out_again() {
        let dir = tempfile::tempdir().unwrap();
        let pods = dir.path();
        let [a, b] = ["a", "b"].map(|name| folder(pods, name));
        range(pods, &a).unwrap();
        fs::write(a.join("userns"), "userns 1 torn").unwrap();
        let text = range(pods, &b).unwrap_err().to_string();
        assert!(text.contains(&a.join("userns").display().to_string()), "{text}");
        fs::remove_dir_all(&a).unwrap();
        for id in UserRange::all() {
            let folder = folder(pods, &id.first().to_string());
            RANGE.write(&folder.join("userns"), &id.first()).unwrap();
        }
        let text = range(pods, &b).unwrap_err().to_string();
        assert_eq!(text, "could not find an empty slot to allocate a user namespace");
    }
}
