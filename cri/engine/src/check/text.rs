//! Text of a client that becomes a path or a name: what no call of the kernel takes is refused by its
//! field, and not by the call that comes upon it.
//!
//! The text itself is left out of the error: it has more bytes than an answer's header takes.

use crate::error::{Error, Result};
use crate::model::{ContainerConfig, ContainerSecurity, PodConfig, SecurityProfile};
use std::path::Path;

/// The longest path that the kernel takes (PATH_MAX without the NUL).
pub(crate) const PATH_MAX: usize = 4095;

/// The longest name in a path (NAME_MAX).
const NAME_MAX: usize = 255;

/// Refuses text with a NUL, at which the kernel's would end.
fn plain(field: &str, text: &str) -> Result<()> {
    match text.contains('\0') {
        true => Err(Error::invalid(format!("{field}: there is a NUL in it"))),
        false => Ok(()),
    }
}

/// Refuses what can be no path.
fn path(field: &str, text: &str) -> Result<()> {
    plain(field, text)?;
    length(field, text.len())?;
    match text.split('/').map(str::len).find(|length| *length > NAME_MAX) {
        Some(length) => {
            let message = format!("{field}: a name of {length} bytes in it, and {NAME_MAX} may be");
            Err(Error::invalid(message))
        }
        None => Ok(()),
    }
}

/// Refuses the length of a path that the kernel would not take.
pub(crate) fn length(field: &str, length: usize) -> Result<()> {
    match length > PATH_MAX {
        true => {
            Err(Error::invalid(format!("{field}: a path of {length} bytes, and {PATH_MAX} may be")))
        }
        false => Ok(()),
    }
}

pub(super) fn of_pod(config: &PodConfig) -> Result<()> {
    plain("metadata.name", &config.name)?;
    plain("metadata.namespace", &config.namespace)?;
    plain("metadata.uid", &config.uid)?;
    path("log_directory", &config.log_directory)?;
    path("cgroup_parent", &config.cgroup_parent)?;
    for (name, value) in &config.sysctls {
        // A dot separates as a slash does.
        path("sysctls", &name.replace('.', "/"))?;
        plain(&format!("sysctls: {name}"), value)?;
    }
    for (field, words) in config.dns.iter().flat_map(|dns| {
        [("servers", &dns.servers), ("searches", &dns.searches), ("options", &dns.options)]
    }) {
        words.iter().try_for_each(|word| plain(&format!("dns_config.{field}"), word))?;
    }
    let security = &config.security;
    path("seccomp_profile_path", &security.seccomp_profile_path)?;
    profiles(security.seccomp.as_ref(), security.apparmor.as_ref())
}

pub(super) fn of_container(pod: &PodConfig, config: &ContainerConfig) -> Result<()> {
    plain("metadata.name", &config.name)?;
    for (field, words) in [("command", &config.command), ("args", &config.args)] {
        words.iter().try_for_each(|word| plain(field, word))?;
    }
    path("working_dir", &config.working_dir)?;
    path("log_path", &config.log_path)?;
    let log = Path::new(&pod.log_directory).join(&config.log_path);
    length("log_path: with the pod's log_directory", log.as_os_str().len())?;
    for (at, mount) in config.mounts.iter().enumerate() {
        path(&format!("mounts[{at}].container_path"), &mount.container_path)?;
        path(&format!("mounts[{at}].host_path"), &mount.host_path)?;
        path(&format!("mounts[{at}].image_sub_path"), &mount.image_sub_path)?;
    }
    for (at, device) in config.devices.iter().enumerate() {
        path(&format!("devices[{at}].container_path"), &device.container_path)?;
        path(&format!("devices[{at}].host_path"), &device.host_path)?;
    }
    of_security(&config.security)
}

fn of_security(security: &ContainerSecurity) -> Result<()> {
    for (field, paths) in
        [("masked_paths", &security.masked_paths), ("readonly_paths", &security.readonly_paths)]
    {
        paths.iter().try_for_each(|it| path(field, it))?;
    }
    plain("run_as_username", &security.run_as_username)?;
    path("seccomp_profile_path", &security.seccomp_profile_path)?;
    plain("apparmor_profile", &security.apparmor_profile)?;
    profiles(security.seccomp.as_ref(), security.apparmor.as_ref())
}

/// A seccomp profile is a file; an AppArmor profile has any name that was loaded.
fn profiles(seccomp: Option<&SecurityProfile>, apparmor: Option<&SecurityProfile>) -> Result<()> {
    if let Some(SecurityProfile::Localhost(file)) = seccomp {
        path("linux.security_context.seccomp.localhost_ref", file)?;
    }
    match apparmor {
        Some(SecurityProfile::Localhost(name)) => {
            plain("linux.security_context.apparmor.localhost_ref", name)
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use crate::check;
    use crate::config::Lsm;
    use crate::error::{Kind, Result};
    use crate::model::{
        ContainerConfig, DeviceSpec, Dns, ImageSpec, MountSpec, PodConfig, SecurityProfile,
    };

    fn pod() -> PodConfig {
        PodConfig {
            name: "web".into(),
            namespace: "default".into(),
            uid: "1".into(),
            log_directory: "/logs".into(),
            ..PodConfig::default()
        }
    }

    fn container() -> ContainerConfig {
        ContainerConfig {
            name: "c".into(),
            image: ImageSpec { image: "i".into(), ..ImageSpec::default() },
            ..ContainerConfig::default()
        }
    }

    fn mount() -> MountSpec {
        MountSpec { host_path: "/h".into(), container_path: "/c".into(), ..MountSpec::default() }
    }

    fn device() -> DeviceSpec {
        DeviceSpec { host_path: "/dev/null".into(), ..DeviceSpec::default() }
    }

    fn check_refused(field: &str, odd: &str, checked: Result<()>) {
        let error = checked.expect_err(field);
        assert_eq!(error.kind(), Kind::Invalid, "{field}: {error}");
        let text = error.to_string();
        assert!(text.starts_with(field), "{field}: {error}");
        assert!(odd.len() < 99 || text.len() < 200, "{field}: the error is as long as the path");
    }

    type PodField = (&'static str, bool, fn(&mut PodConfig, String));
    type ContainerField = (&'static str, bool, fn(&mut ContainerConfig, String));

    /// With a NUL; with too many bytes, with too many in one name.
    fn odd(begin: &str) -> [String; 3] {
        let long = format!("{begin}{}", "d/".repeat(2048));
        [format!("{begin}a\0b"), long, format!("{begin}{}", "n".repeat(256))]
    }

    const POD: [PodField; 11] = [
        ("metadata.name", false, |p, text| p.name = text),
        ("metadata.namespace", false, |p, text| p.namespace = text),
        ("metadata.uid", false, |p, text| p.uid = text),
        ("log_directory", true, |p, text| p.log_directory = text),
        ("cgroup_parent", true, |p, text| p.cgroup_parent = text),
        ("sysctls", true, |p, text| {
            p.sysctls.insert(format!("net{text}"), "1".into());
        }),
        ("sysctls: net.a", false, |p, text| {
            p.sysctls.insert("net.a".into(), text);
        }),
        ("dns_config.servers", false, |p, text| {
            p.dns = Some(Dns { servers: vec![text], ..Dns::default() });
        }),
        ("dns_config.searches", false, |p, text| {
            p.dns = Some(Dns { searches: vec![text], ..Dns::default() });
        }),
        ("linux.security_context.seccomp.localhost_ref", true, |p, text| {
            p.security.seccomp = Some(SecurityProfile::Localhost(text));
        }),
        ("linux.security_context.apparmor.localhost_ref", false, |p, text| {
            p.security.apparmor = Some(SecurityProfile::Localhost(text));
        }),
    ];

    const CONTAINER: [ContainerField; 14] = [
        ("metadata.name", false, |c, text| c.name = text),
        ("command", false, |c, text| c.command = vec!["a".into(), text]),
        ("args", false, |c, text| c.args = vec![text]),
        ("working_dir", true, |c, text| c.working_dir = text),
        ("log_path", true, |c, text| c.log_path = text.trim_start_matches('/').to_owned()),
        ("mounts[1].container_path", true, |c, text| {
            c.mounts = vec![mount(), MountSpec { container_path: text, ..mount() }];
        }),
        ("mounts[0].host_path", true, |c, text| {
            c.mounts = vec![MountSpec { host_path: text, ..mount() }];
        }),
        ("mounts[0].image_sub_path", true, |c, text| {
            let image = Some(ImageSpec { image: "i".into(), ..ImageSpec::default() });
            let image_sub_path = text.trim_start_matches('/').to_owned();
            let (host_path, readonly) = (String::new(), true);
            c.mounts = vec![MountSpec { image, image_sub_path, host_path, readonly, ..mount() }];
        }),
        ("devices[0].container_path", true, |c, text| {
            c.devices = vec![DeviceSpec { container_path: text, ..device() }];
        }),
        ("devices[0].host_path", true, |c, text| {
            c.devices = vec![DeviceSpec { host_path: text, ..device() }];
        }),
        ("masked_paths", true, |c, text| c.security.masked_paths = vec![text]),
        ("readonly_paths", true, |c, text| c.security.readonly_paths = vec![text]),
        ("linux.security_context.seccomp.localhost_ref", true, |c, text| {
            c.security.seccomp = Some(SecurityProfile::Localhost(text));
        }),
        ("linux.security_context.apparmor.localhost_ref", false, |c, text| {
            c.security.apparmor = Some(SecurityProfile::Localhost(text));
        }),
    ];

    #[test]
    fn what_can_be_no_path_or_has_a_nul_is_refused_by_its_field() {
        let lsm = Lsm { apparmor: true, selinux: false };
        check::pod(&pod(), "", &lsm, &Default::default()).unwrap();
        for (field, is_path, change) in POD {
            for odd in odd("/").into_iter().take(if is_path { 3 } else { 1 }) {
                let mut config = pod();
                change(&mut config, odd.clone());
                check_refused(field, &odd, check::pod(&config, "", &lsm, &Default::default()));
            }
        }
        check::container(&pod(), &container(), &lsm, &Default::default()).unwrap();
        for (field, is_path, change) in CONTAINER {
            for odd in odd("/").into_iter().take(if is_path { 3 } else { 1 }) {
                let mut config = container();
                change(&mut config, odd.clone());
                check_refused(
                    field,
                    &odd,
                    check::container(&pod(), &config, &lsm, &Default::default()),
                );
            }
        }
    }

    #[test]
    fn the_longest_path_is_taken_and_a_log_counts_with_the_folder_that_it_is_in() {
        let longest = format!("/{}", "d/".repeat(2047));
        let mut config = container();
        config.mounts = vec![MountSpec { host_path: longest.clone(), ..mount() }];
        config.working_dir = format!("/{}", "n".repeat(255));
        check::container(&pod(), &config, &Lsm::default(), &Default::default()).unwrap();
        config.log_path = longest.trim_matches('/').to_owned();
        let checked = check::container(&pod(), &config, &Lsm::default(), &Default::default());
        check_refused("log_path: with the pod's log_directory", &longest, checked);
    }
}
