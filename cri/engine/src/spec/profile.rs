//! Seccomp, AppArmor and SELinux: which profile is meant, in the new fields and the old ones.

use crate::check;
use crate::config::Lsm;
use crate::error::{Error, Result};
use crate::model::{ContainerSecurity, PodSecurity, SeLinux, SecurityProfile};
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

/// The seccomp profile of a pod's own process. It always has one: what asks for none gets the
/// default, which costs it nothing.
pub(crate) fn pod_seccomp(security: &PodSecurity, profiles: &Path) -> Result<Seccomp> {
    let asked = match &security.seccomp {
        Some(profile) => Some(profile.clone()),
        None => from_text(&security.seccomp_profile_path, "seccomp")?,
    };
    Ok(match asked {
        Some(SecurityProfile::Localhost(file)) => Seccomp::File(inside(profiles, &file)?),
        _ => Seccomp::RuntimeDefault,
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
    let path = profiles.join(path);
    check::length("seccomp profile", path.as_os_str().len())?;
    Ok(path)
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

/// Which AppArmor profile a process changes to when it is executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AppArmor {
    Unconfined,
    /// The runtime's own; `asked` when somebody asked for it, and not only for nothing else.
    Default {
        asked: bool,
    },
    /// One that the node's administrator has loaded.
    Localhost(String),
}

/// The AppArmor profile of a container. Without AppArmor there is no default; with `privileged`
/// neither, but a profile that is named is applied all the same.
pub(crate) fn apparmor(security: &ContainerSecurity, lsm: &Lsm) -> Result<AppArmor> {
    let asked = match &security.apparmor {
        Some(profile) => Some(profile.clone()),
        None => from_text(&security.apparmor_profile, "AppArmor")?,
    };
    meant(asked.as_ref(), security.privileged, lsm)
}

/// The AppArmor profile of a pod's own process.
pub(crate) fn pod_apparmor(security: &PodSecurity, lsm: &Lsm) -> Result<AppArmor> {
    meant(security.apparmor.as_ref(), security.privileged, lsm)
}

fn meant(asked: Option<&SecurityProfile>, privileged: bool, lsm: &Lsm) -> Result<AppArmor> {
    let field = "linux.security_context.apparmor";
    match asked {
        Some(SecurityProfile::Localhost(name)) => {
            // The deprecated prefix comes in the new field too.
            let name = name.strip_prefix("localhost/").unwrap_or(name);
            match (name, lsm.apparmor) {
                ("", _) => Err(Error::invalid(format!("{field}: localhost_ref is empty"))),
                (name, false) => {
                    let message = format!("{field}: profile {name}: this kernel has no AppArmor");
                    Err(Error::invalid(message))
                }
                (name, true) => Ok(AppArmor::Localhost(name.to_owned())),
            }
        }
        Some(SecurityProfile::Unconfined) => Ok(AppArmor::Unconfined),
        _ if privileged || !lsm.apparmor => Ok(AppArmor::Unconfined),
        asked => Ok(AppArmor::Default { asked: asked.is_some() }),
    }
}

/// Refuses a SELinux label: this release sets none. One without any part asks for nothing.
pub(crate) fn refuse_selinux(label: Option<&SeLinux>, lsm: &Lsm) -> Result<()> {
    if label.is_none_or(|label| *label == SeLinux::default()) {
        return Ok(());
    }
    let why = match lsm.selinux {
        true => "SELinux labels are not supported by this release",
        false => "this kernel has no SELinux",
    };
    Err(Error::invalid(format!("linux.security_context.selinux_options: {why}")))
}
