//! Texts of a plan as C strings.

use crate::{Error, Kind, Result, sysctl};
use std::ffi::CString;

/// A string without a NUL inside.
pub(super) fn c_string(text: impl Into<Vec<u8>>) -> Result<CString> {
    CString::new(text).map_err(|error| {
        let text = String::from_utf8_lossy(&error.into_vec()).into_owned();
        Error::new(Kind::Invalid, format!("a NUL in {text:?}"))
    })
}

/// Directory and name of a path inside a root.
pub(super) fn split(path: &str) -> Result<(CString, CString)> {
    let trimmed = path.trim_end_matches('/');
    let (parent, name) = trimmed.rsplit_once('/').unwrap_or(("", trimmed));
    if matches!(name, "" | "." | "..") {
        return Err(Error::new(Kind::Invalid, format!("{path:?} has no name at its end")));
    }
    let parent = if parent.is_empty() { "/" } else { parent };
    Ok((c_string(parent)?, c_string(name)?))
}

/// Path below `/proc` of a sysctl. It is opened below the host's /proc/sys: nothing may lead out of
/// there.
pub(in crate::run) fn sysctl_path(name: &str) -> Result<CString> {
    let path = sysctl::path(name)
        .ok_or_else(|| Error::new(Kind::Invalid, format!("sysctl name {name:?}")))?;
    c_string(format!("sys/{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_split_at_its_last_name() {
        let parts = |path| {
            let (parent, name) = split(path).unwrap();
            (parent.into_string().unwrap(), name.into_string().unwrap())
        };
        assert_eq!(parts("/dev/null"), ("/dev".into(), "null".into()));
        assert_eq!(parts("/x/"), ("/".into(), "x".into()));
        assert!(split("/dev/..").is_err());
        assert!(split("/").is_err());
    }
}
