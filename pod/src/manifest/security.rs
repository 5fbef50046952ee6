//! Security contexts.

use super::fields::{Fields, Item, Read};
use super::values::local_path_fault;
use crate::model::{Capabilities, ContainerSecurity, GroupsPolicy, PodSecurity, Profile, SeLinux};
use crate::sysctl;

/// `spec.securityContext`.
pub fn pod(item: &Item<'_>) -> Read<PodSecurity> {
    item.object(|f| {
        f.refuse(&["windowsOptions"])?;
        f.ignore(&["seLinuxChangePolicy"]);
        let one = |item: &Item<'_>| {
            item.object(|f| {
                Ok((
                    sysctl::dotted(&f.need("name", |i| i.checked(sysctl_fault))?),
                    f.or("value", Item::text, String::new())?,
                ))
            })
        };
        // It is about persistent volumes: all that there are here are the pod's own.
        f.word("fsGroupChangePolicy", |i| i.one_of(&[("Always", ()), ("OnRootMismatch", ())]))?;
        f.ignore(&["fsGroupChangePolicy"]);
        let groups = [("Merge", GroupsPolicy::Merge), ("Strict", GroupsPolicy::Strict)];
        Ok(PodSecurity {
            run_as_user: f.opt("runAsUser", Item::id)?,
            run_as_group: f.opt("runAsGroup", Item::id)?,
            run_as_non_root: f.opt("runAsNonRoot", Item::boolean)?,
            fs_group: f.opt("fsGroup", Item::id)?,
            supplemental_groups: f.list("supplementalGroups", Item::id)?,
            supplemental_groups_policy: f
                .word("supplementalGroupsPolicy", |i| i.one_of(&groups))?,
            sysctls: f.list("sysctls", one)?,
            seccomp: f.opt("seccompProfile", profile)?,
            apparmor: f.opt("appArmorProfile", profile)?,
            selinux: f.opt("seLinuxOptions", selinux)?,
        })
    })
}

/// `securityContext` of a container.
pub fn container(item: &Item<'_>) -> Read<ContainerSecurity> {
    item.object(|f| {
        f.refuse(&["windowsOptions"])?;
        let escalation = f.get("allowPrivilegeEscalation");
        let security = ContainerSecurity {
            privileged: f.opt("privileged", Item::boolean)?,
            run_as_user: f.opt("runAsUser", Item::id)?,
            run_as_group: f.opt("runAsGroup", Item::id)?,
            run_as_non_root: f.opt("runAsNonRoot", Item::boolean)?,
            read_only_root_filesystem: f.opt("readOnlyRootFilesystem", Item::boolean)?,
            allow_privilege_escalation: escalation.as_ref().map(Item::boolean).transpose()?,
            capabilities: f.opt("capabilities", capabilities)?,
            unmasked_proc: f.word_or(
                "procMount",
                |i| i.one_of(&[("Default", false), ("Unmasked", true)]),
                false,
            )?,
            seccomp: f.opt("seccompProfile", profile)?,
            apparmor: f.opt("appArmorProfile", profile)?,
            selinux: f.opt("seLinuxOptions", selinux)?,
        };
        let adds_admin =
            security.capabilities.as_ref().is_some_and(|c| c.add.iter().any(|c| c == "SYS_ADMIN"));
        if let (Some(at), Some(false)) = (escalation, security.allow_privilege_escalation) {
            if security.privileged == Some(true) {
                return Err(at.fault("cannot be false when privileged is true"));
            }
            if adds_admin {
                return Err(at.fault("cannot be false when capabilities.add has SYS_ADMIN"));
            }
        }
        Ok(security)
    })
}

fn capabilities(item: &Item<'_>) -> Read<Capabilities> {
    let name = |item: &Item<'_>| {
        let text = item.text()?;
        let bare = text.strip_prefix("CAP_").unwrap_or(&text).to_ascii_uppercase();
        let ok = !bare.is_empty() && bare.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if ok { Ok(bare) } else { Err(item.fault(format!("{text:?} is not a capability"))) }
    };
    item.object(|f| Ok(Capabilities { add: f.list("add", name)?, drop: f.list("drop", name)? }))
}

fn profile(item: &Item<'_>) -> Read<Profile> {
    item.object(|f| {
        let kind = f.need("type", |i| {
            i.one_of(&[("RuntimeDefault", 0), ("Unconfined", 1), ("Localhost", 2)])
        })?;
        let localhost = f.get("localhostProfile").filter(|i| i.text().is_ok_and(|t| !t.is_empty()));
        match (kind, localhost) {
            (2, Some(at)) => Ok(Profile::Localhost(at.checked(local_path_fault)?)),
            (2, None) => Err(f.here().fault("localhostProfile is required when type is Localhost")),
            (_, Some(at)) => Err(at.fault("may only be set when type is Localhost")),
            (0, None) => Ok(Profile::RuntimeDefault),
            (_, None) => Ok(Profile::Unconfined),
        }
    })
}

fn selinux(item: &Item<'_>) -> Read<SeLinux> {
    item.object(|f: &mut Fields<'_>| {
        Ok(SeLinux {
            user: f.or("user", Item::text, String::new())?,
            role: f.or("role", Item::text, String::new())?,
            kind: f.or("type", Item::text, String::new())?,
            level: f.or("level", Item::text, String::new())?,
        })
    })
}

fn sysctl_fault(name: &str) -> Option<&'static str> {
    let part = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'/' | b'-' | b'_');
    let ok = !name.is_empty()
        && name.bytes().all(part)
        && !name.contains("..")
        && !name.starts_with(['.', '/'])
        && !name.ends_with(['.', '/']);
    (!ok).then_some("is not the name of a sysctl")
}
