//! Seccomp, AppArmor and SELinux: which profile is meant, in the new fields and the old ones.

use crate::config::Lsm;
use crate::error::{Error, Kind, Result};
use crate::model::{ContainerSecurity, SecurityProfile};
use std::path::{Path, PathBuf};

/// Which seccomp filter a container gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seccomp {
    None,
    RuntimeDefault,
    /// A profile of the node.
    File(PathBuf),
}

/// The seccomp profile that is meant; relative ones are below `profiles`.
pub(crate) fn seccomp(security: &ContainerSecurity, profiles: &Path) -> Result<Seccomp> {
    if security.privileged {
        return Ok(Seccomp::None);
    }
    let asked = match &security.seccomp {
        Some(profile) => Some(profile.clone()),
        None => from_text(&security.seccomp_profile_path, "seccomp")?,
    };
    Ok(match asked {
        None | Some(SecurityProfile::Unconfined) => Seccomp::None,
        Some(SecurityProfile::RuntimeDefault) => Seccomp::RuntimeDefault,
        Some(SecurityProfile::Localhost(file)) => Seccomp::File(inside(profiles, &file)?),
    })
}

/// The path that the kubelet sends is absolute; one that is not stays below the folder.
fn inside(profiles: &Path, file: &str) -> Result<PathBuf> {
    let path = Path::new(file);
    let climbs = path.components().any(|part| part == std::path::Component::ParentDir);
    if file.is_empty() || climbs {
        let message = format!("seccomp profile {file:?} is no file below {}", profiles.display());
        return Err(Error::invalid(message));
    }
    Ok(profiles.join(path))
}

/// The deprecated spelling: `runtime/default`, `unconfined`, `localhost/<name>`.
fn from_text(text: &str, what: &str) -> Result<Option<SecurityProfile>> {
    Ok(Some(match text {
        "" => return Ok(None),
        "runtime/default" | "docker/default" => SecurityProfile::RuntimeDefault,
        "unconfined" => SecurityProfile::Unconfined,
        _ => match text.strip_prefix("localhost/") {
            Some(name) => SecurityProfile::Localhost(name.to_owned()),
            None => return Err(Error::invalid(format!("{what} profile {text:?} is unknown"))),
        },
    }))
}

/// The AppArmor profile to change to; `None` is unconfined.
pub(crate) fn apparmor(security: &ContainerSecurity) -> Result<Option<SecurityProfile>> {
    if security.privileged {
        return Ok(None);
    }
    let asked = match &security.apparmor {
        Some(profile) => Some(profile.clone()),
        None => from_text(&security.apparmor_profile, "AppArmor")?,
    };
    Ok(asked.filter(|profile| *profile != SecurityProfile::Unconfined))
}

/// Refuses labels and profiles that would be passed over in silence.
pub(crate) fn check_lsm(security: &ContainerSecurity, lsm: &Lsm) -> Result<()> {
    match apparmor(security)? {
        Some(SecurityProfile::Localhost(name)) if !lsm.apparmor => {
            let message = format!("AppArmor profile {name}: this kernel has no AppArmor");
            return Err(Error::invalid(message));
        }
        // On a kernel without AppArmor the default is that there is none.
        Some(SecurityProfile::RuntimeDefault) if lsm.apparmor => {
            let message = "AppArmor profile RuntimeDefault: not supported by this release";
            return Err(Error::new(Kind::Unimplemented, message));
        }
        _ => {}
    }
    match &security.selinux {
        Some(_) if lsm.selinux => {
            let message = "SELinux options: not supported by this release";
            Err(Error::new(Kind::Unimplemented, message))
        }
        _ => Ok(()),
    }
}
