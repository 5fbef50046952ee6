//! Which ids a pod with a user namespace of its own has: the record `userns` in its folder says so for
//! as long as the pod has one. Whoever gives out a range has the lock of the folder of all pods.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::files;
use crate::error::{Context, Error, Kind, Result};
use crate::record::{Format, lock_folder};
use crate::users::UserRange;

const RANGE: Format = Format { name: "userns", version: 1 };

/// A pod's folder.
const CLAIM: Format = Format { name: "claim", version: 1 };

/// The range of the pod whose folder this is, below that of all pods: the one that it has, else the
/// first that nobody has. `claims` is the folder of all of this machine, whatever its `root`: it is empty
/// after a boot, when no pod runs that could not have another range.
pub fn range(pods: &Path, folder: &Path, claims: &Path) -> Result<UserRange> {
    files::make_dirs(claims, 0o700)?;
    let _machine = lock_folder(claims)?;
    let _lock = lock_folder(pods)?;
    if let Some(own) = read(folder)?
        && !is_others(claims, own, folder)
    {
        claim(claims, own, folder)?;
        return Ok(own);
    }
    // The range of a record that cannot be read may be any: nobody gets one beside it.
    let taken: BTreeSet<u32> = files::folders(pods)?
        .iter()
        .filter_map(|other| read(&pods.join(other)).transpose())
        .map(|range| range.map(UserRange::first))
        .collect::<Result<_>>()?;
    let is_free =
        |range: &UserRange| !taken.contains(&range.first()) && !is_others(claims, *range, folder);
    let free = UserRange::all().find(is_free);
    let text = "could not find an empty slot to allocate a user namespace";
    let free = free.ok_or_else(|| Error::new(Kind::Unavailable, text))?;
    claim(claims, free, folder)?;
    RANGE.write(&folder.join(RANGE.name), &free.first())?;
    Ok(free)
}

fn claim(claims: &Path, range: UserRange, folder: &Path) -> Result<()> {
    CLAIM.write(&claims.join(range.first().to_string()), &folder.to_path_buf())
}

/// Whether a pod has it, perhaps of another `root`. What cannot be read may say so.
fn is_others(claims: &Path, range: UserRange, folder: &Path) -> bool {
    match CLAIM.read::<PathBuf>(&claims.join(range.first().to_string())) {
        Ok(None) => false,
        Ok(Some(other)) if other == folder => false,
        Ok(Some(other)) => read(&other).map_or(true, |its| its == Some(range)),
        Err(_) => true,
    }
}

/// Gives back what the pod of a folder has.
pub fn release(folder: &Path, claims: &Path) -> Result<()> {
    let Ok(Some(own)) = read(folder) else { return Ok(()) };
    let path = claims.join(own.first().to_string());
    if !matches!(CLAIM.read::<PathBuf>(&path), Ok(Some(owner)) if owner == folder) {
        return Ok(());
    }
    match fs::remove_file(&path) {
        Err(e) if e.kind() != ErrorKind::NotFound => {
            Err(e).context(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

fn read(folder: &Path) -> Result<Option<UserRange>> {
    let path = folder.join(RANGE.name);
    let Some(first) = RANGE.read(&path)? else { return Ok(None) };
    let wrong = || Error::new(Kind::Internal, format!("no range of ids begins with {first}"));
    UserRange::from_first(first).ok_or_else(wrong).map(Some).context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With the claims of the machine beside the pods.
    fn range(pods: &Path, folder: &Path) -> Result<UserRange> {
        super::range(pods, folder, &pods.join("claims"))
    }

    #[test]
    fn pods_of_two_roots_have_different_ranges_and_after_a_boot_too() {
        let dir = tempfile::tempdir().unwrap();
        let claims = dir.path().join("claims");
        let [one, two] = ["one", "two"].map(|name| folder(dir.path(), name));
        let [a, b] = [folder(&one, "a"), folder(&two, "b")];
        let first = super::range(&one, &a, &claims).unwrap();
        let second = super::range(&two, &b, &claims).unwrap();
        assert_ne!(first, second);
        assert_eq!(super::range(&two, &b, &claims).unwrap(), second);
        // The claims are gone, and b begins first with what a has on record.
        fs::remove_dir_all(&claims).unwrap();
        RANGE.write(&b.join("userns"), &first.first()).unwrap();
        assert_eq!(super::range(&two, &b, &claims).unwrap(), first);
        assert_ne!(super::range(&one, &a, &claims).unwrap(), first);
        release(&b, &claims).unwrap();
        fs::remove_dir_all(&b).unwrap();
        assert_eq!(super::range(&one, &folder(&one, "c"), &claims).unwrap(), first);
    }

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
