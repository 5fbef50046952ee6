//! What a container's configuration names on the host: looked up beside the pod's queue, because
//! any of it may never answer.

use super::cdi;
use super::devices::{self, HostDevice};
use super::profile::{self, Seccomp};
use crate::config::Settings;
use crate::dirs;
use crate::error::{Context, Error, Result};
use crate::host_paths::Look;
use crate::model::{ContainerConfig, DeviceSpec, MountPropagation, MountSpec, PodSecurity};
use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The longest seccomp profile that is read, bytes.
const PROFILE_MAX: u64 = 4 << 20;

/// What was found.
#[derive(Debug)]
pub(crate) struct OnHost {
    /// The devices that were asked for, or all of the host for a privileged container.
    pub(crate) devices: Vec<HostDevice>,
    /// What the files of the node say of CDI devices.
    pub(crate) cdi: cdi::Devices,
    /// Sources of mounts with propagation: as asked for, and without symbolic links.
    pub(crate) real_paths: Vec<(String, String)>,
    /// Which seccomp profile is meant, and its text where it is one of the node.
    pub(crate) seccomp: Seccomp,
    pub(crate) profile: Vec<u8>,
}

/// The profiles of a pod's own process.
#[derive(Clone, Debug)]
pub(crate) struct PodProfiles {
    /// Name of the AppArmor profile, which is loaded; `None` is unconfined.
    pub(crate) apparmor: Option<String>,
    /// Which seccomp profile is meant, and its text where it is one of the node.
    pub(crate) seccomp: Seccomp,
    pub(crate) text: Vec<u8>,
}

/// Looks up what a pod's own process is confined by. `profiles` is the folder of relative seccomp
/// profiles.
pub(crate) fn look_up_pod(
    look: &Look,
    security: &PodSecurity,
    profiles: &Path,
) -> Result<PodProfiles> {
    let seccomp = profile::pod_seccomp(security, profiles)?;
    let text = text_of(look, &seccomp)?;
    Ok(PodProfiles { apparmor: None, seccomp, text })
}

/// Looks it all up. A missing source of a mount is made as a directory and stays, as every runtime
/// does it.
pub(crate) fn look_up(
    look: &Look,
    config: &ContainerConfig,
    settings: &Settings,
) -> Result<OnHost> {
    for mount in config.mounts.iter().filter(|mount| mount.image.is_none()) {
        let make = || make_source(Path::new(&mount.host_path));
        look.at(&mount.host_path, make).context(|| format!("mount {}", mount.container_path))?;
    }
    let of = |device: &DeviceSpec| look.at(&device.host_path, || devices::asked(device));
    let asked: Vec<_> = config.devices.iter().map(of).collect::<Result<_>>()?;
    let mut devices: Vec<_> = asked.into_iter().flatten().collect();
    if config.security.privileged {
        let host = look.at("/dev", || devices::of_host(Path::new("/dev")))?;
        devices = devices::with_host(devices, host);
    }
    let cdi = cdi::look_up(look, config, &settings.cdi_spec_dirs)?;
    let seccomp = profile::seccomp(&config.security, &settings.seccomp_profiles)?;
    let profile = text_of(look, &seccomp)?;
    let real_paths = real_paths(look, &config.mounts)?;
    Ok(OnHost { devices, cdi, real_paths, seccomp, profile })
}

fn make_source(source: &Path) -> Result<()> {
    // The end of a link is looked at as well: whoever mounts it goes there. A link that leads
    // nowhere is there already: the mount will say so.
    match source.metadata().or_else(|_| source.symlink_metadata()) {
        Ok(_) => Ok(()),
        Err(_) => dirs::make(source),
    }
}

fn real_paths(look: &Look, mounts: &[MountSpec]) -> Result<Vec<(String, String)>> {
    let propagated = |mount: &&MountSpec| {
        mount.propagation != MountPropagation::Private && mount.image.is_none()
    };
    let real = |mount: &MountSpec| {
        let real = look.at(&mount.host_path, || {
            fs::canonicalize(&mount.host_path).context(|| format!("mount {}", mount.host_path))
        })?;
        Ok((mount.host_path.clone(), real.to_string_lossy().into_owned()))
    };
    mounts.iter().filter(propagated).map(real).collect()
}

fn text_of(look: &Look, seccomp: &Seccomp) -> Result<Vec<u8>> {
    match seccomp {
        Seccomp::File(path) => look.at(&path.to_string_lossy(), || read_profile(path)),
        Seccomp::None | Seccomp::RuntimeDefault => Ok(Vec::new()),
    }
}

/// A seccomp profile of the node.
fn read_profile(path: &Path) -> Result<Vec<u8>> {
    let what = || format!("seccomp profile {}", path.display());
    let name = CString::new(path.as_os_str().as_bytes())
        .map_err(|_| Error::invalid("NUL in its path"))
        .context(what)?;
    let read = fs::File::open("/")
        .and_then(|root| rrun_sys::in_root::read_regular(root.as_fd(), &name, PROFILE_MAX));
    match read {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(Error::not_found(format!("{}: not found", what())))
        }
        read => read.context(what),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_missing_source_of_a_mount_is_made_as_a_folder_and_what_is_there_stays() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        make_source(&at("missing/deep")).unwrap();
        assert!(at("missing/deep").is_dir());
        fs::write(at("file"), "as it was").unwrap();
        make_source(&at("file")).unwrap();
        assert_eq!(fs::read_to_string(at("file")).unwrap(), "as it was");
        // Nothing is made where a link leads: the mount says that nothing is there.
        symlink(at("nowhere"), at("link")).unwrap();
        make_source(&at("link")).unwrap();
        assert!(!at("nowhere").exists());
        let below = make_source(&at("file/below")).unwrap_err().to_string();
        assert!(below.contains("ENOTDIR"), "{below}");
    }
}
