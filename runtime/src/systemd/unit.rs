//! Names of units, and the control groups that they mean.

use crate::{Error, Kind, Result};
use std::fmt;
use std::path::{Component, Path, PathBuf};

/// The longest name of a unit, bytes.
const LONGEST: usize = 255;

const SLICE: &str = ".slice";
const SCOPE: &str = ".scope";

/// A slice: a group of units. Its name says where it is: `a-b.slice` is in `a.slice`, `-.slice` is
/// the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice(String);

impl Slice {
    /// Where a container goes that names no slice.
    pub fn system() -> Slice {
        Slice("system.slice".to_owned())
    }

    /// Checks the name of a slice.
    ///
    /// # Errors
    /// `Invalid` for what systemd.slice(5) does not call one.
    pub fn parse(name: &str) -> Result<Slice> {
        let no_slice = || Error::new(Kind::Invalid, format!("{name:?} is no slice of systemd"));
        let stem = name.strip_suffix(SLICE).ok_or_else(no_slice)?;
        let parts_have_names = stem.split('-').all(|part| !part.is_empty());
        match is_name(name) && (stem == "-" || parts_have_names) {
            true => Ok(Slice(name.to_owned())),
            false => Err(no_slice()),
        }
    }

    /// The slice that a path means: its last part, where those before it lead there, or a name by
    /// itself.
    ///
    /// # Errors
    /// `Invalid` for a path that is not where systemd has the slice.
    pub fn of_path(path: &str) -> Result<Slice> {
        let plain = path.trim_end_matches('/');
        let name = plain.rsplit_once('/').map_or(plain, |(_, name)| name);
        let slice = Slice::parse(name)?;
        if plain.contains('/') && slice.path() != Path::new(plain) {
            let place = slice.path();
            let words = format!("{plain:?}: systemd has {name} at {}", place.display());
            return Err(Error::new(Kind::Invalid, words));
        }
        Ok(slice)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0
    }

    /// Its control group, below the roots of the hierarchies: `/a.slice/a-b.slice`.
    pub fn path(&self) -> PathBuf {
        let mut path = PathBuf::from("/");
        let stem = self.0.strip_suffix(SLICE).unwrap_or_default();
        if stem == "-" {
            return path;
        }
        let ends = stem.match_indices('-').map(|(at, _)| at).chain([stem.len()]);
        path.extend(ends.map(|end| format!("{}{SLICE}", &stem[..end])));
        path
    }

    /// The slice of this name within it.
    ///
    /// # Errors
    /// As [`Slice::parse`].
    pub fn child(&self, name: &str) -> Result<Slice> {
        match self.0.strip_suffix(SLICE) {
            Some(stem) if stem != "-" => Slice::parse(&format!("{stem}-{name}{SLICE}")),
            _ => Slice::parse(&format!("{name}{SLICE}")),
        }
    }
}

impl fmt::Display for Slice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A scope: a unit of processes that somebody else than systemd has started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    slice: Slice,
    name: String,
}

impl Scope {
    /// The scope `<prefix>-<name>.scope` in a slice.
    ///
    /// # Errors
    /// `Invalid` when that is no name of a unit.
    pub fn new(slice: Slice, prefix: &str, name: &str) -> Result<Scope> {
        if name.ends_with(SLICE) {
            let words = format!("{name:?}: the processes of a container are in no slice");
            return Err(Error::new(Kind::Invalid, words));
        }
        let unit = match prefix {
            "" => format!("{name}{SCOPE}"),
            prefix => format!("{prefix}-{name}{SCOPE}"),
        };
        match !name.is_empty() && is_name(&unit) {
            true => Ok(Scope { slice, name: unit }),
            false => Err(Error::new(Kind::Invalid, format!("{unit:?} is no name of a unit"))),
        }
    }

    /// `slice:prefix:name`, as the callers of OCI runtimes write it for systemd; without a slice it
    /// is `system.slice`.
    ///
    /// # Errors
    /// `Invalid`, with what is wrong.
    pub fn parse(text: &str) -> Result<Scope> {
        let parts: Vec<&str> = text.split(':').collect();
        let [slice, prefix, name] = parts[..] else {
            let words = format!("{text:?} is not slice:prefix:name, as systemd's driver wants it");
            return Err(Error::new(Kind::Invalid, words));
        };
        let slice = if slice.is_empty() { Slice::system() } else { Slice::of_path(slice)? };
        Scope::new(slice, prefix, name)
    }

    /// The scope whose control group this is; `None` for a group of any other kind.
    pub fn of_path(path: &Path) -> Option<Scope> {
        let name = path.file_name()?.to_str()?;
        let above = path.parent()?;
        let slice = match above.file_name() {
            None => Slice("-.slice".to_owned()),
            Some(slice) => Slice::parse(slice.to_str()?).ok()?,
        };
        let rooted = above.components().next() == Some(Component::RootDir);
        let is_there = rooted && slice.path() == above && name.ends_with(SCOPE) && is_name(name);
        is_there.then(|| Scope { slice, name: name.to_owned() })
    }

    /// The slice that it is in.
    pub fn slice(&self) -> &Slice {
        &self.slice
    }

    /// The unit's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its control group, below the roots of the hierarchies.
    pub fn path(&self) -> PathBuf {
        self.slice.path().join(&self.name)
    }
}

/// systemd.unit(5): letters, digits and `:-_.\`, `@` too.
fn is_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b":-_.\\@".contains(&b);
    name.len() <= LONGEST && name.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_slice_says_where_it_is() {
        for (name, path) in [
            ("-.slice", "/"),
            ("machine.slice", "/machine.slice"),
            (
                "kubepods-burstable-pod1_2.slice",
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1_2.slice",
            ),
        ] {
            let slice = Slice::parse(name).unwrap();
            assert_eq!(slice.path(), Path::new(path));
            assert_eq!(Slice::of_path(name).unwrap(), slice);
        }
    }

    #[test]
    fn what_systemd_does_not_call_a_slice_is_refused_by_name() {
        for name in [
            "",
            ".slice",
            "a",
            "a.scope",
            "-a.slice",
            "a-.slice",
            "a--b.slice",
            "a/b.slice",
            "ä.slice",
        ] {
            let error = Slice::parse(name).unwrap_err();
            assert_eq!(error.kind(), Kind::Invalid);
            assert!(error.to_string().contains(&format!("{name:?}")), "{error}");
        }
    }

    #[test]
    fn a_path_means_a_slice_only_where_systemd_has_it() {
        let good = "/kubepods.slice/kubepods-pod1.slice";
        assert_eq!(Slice::of_path(good).unwrap().name(), "kubepods-pod1.slice");
        assert_eq!(Slice::of_path(&format!("{good}/")).unwrap().name(), "kubepods-pod1.slice");
        for bad in
            ["/kubepods-pod1.slice", "/x/kubepods.slice", "/kubepods/pod1", "/a.slice/b.slice"]
        {
            assert!(Slice::of_path(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_slice_within_a_slice_has_its_name_before_its_own() {
        let parent = Slice::parse("rrun.slice").unwrap();
        assert_eq!(parent.child("ab").unwrap().name(), "rrun-ab.slice");
        assert_eq!(Slice::parse("-.slice").unwrap().child("ab").unwrap().name(), "ab.slice");
    }

    #[test]
    fn slice_prefix_name_is_a_scope() {
        for (text, path) in [
            ("machine.slice:libpod:0a1b", "/machine.slice/libpod-0a1b.scope"),
            (":runc:c1", "/system.slice/runc-c1.scope"),
            ("a-b.slice::c1", "/a.slice/a-b.slice/c1.scope"),
            ("-.slice:x:c1", "/x-c1.scope"),
        ] {
            let scope = Scope::parse(text).unwrap();
            assert_eq!(scope.path(), Path::new(path), "{text}");
            assert_eq!(Scope::of_path(Path::new(path)), Some(scope));
        }
    }

    #[test]
    fn what_is_no_scope_is_refused_and_says_why() {
        for (text, why) in [
            ("/plain/path", "slice:prefix:name"),
            ("a.slice:b", "slice:prefix:name"),
            ("a:b:c", "\"a\" is no slice"),
            ("a.slice:b:../c", "no name of a unit"),
            ("a.slice:b:", "no name of a unit"),
            ("a.slice:b:c.slice", "no slice"),
        ] {
            let error = Scope::parse(text).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn a_group_of_another_kind_is_no_scope() {
        for path in ["/rrun/pod/c", "/a.slice", "/x/c.scope", "c.scope", "/a-b.slice/c.scope"] {
            assert_eq!(Scope::of_path(Path::new(path)), None, "{path}");
        }
    }
}
