//! Capabilities of a container.

use crate::error::{Error, Result};
use crate::model::{Capability, ContainerSecurity};

/// By number, capabilities(7).
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// What a container has that asks for nothing.
const DEFAULT: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// Sets of capabilities, bit n for capability n.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sets {
    /// Bounding, permitted and effective set.
    pub(crate) held: u64,
    /// Inheritable and ambient set.
    pub(crate) ambient: u64,
}

/// The sets of a container. `all` is what the daemon itself can pass on: that, and not every
/// capability that there is, is what `ALL` and privileged mean.
pub(crate) fn sets(security: &ContainerSecurity, all: u64) -> Result<Sets> {
    if security.privileged {
        return Ok(Sets { held: all, ambient: 0 });
    }
    let Capability { add, drop, add_ambient } = &security.capabilities;
    let is_all = |name: &String| name.eq_ignore_ascii_case("ALL");
    let mut held = bits(&DEFAULT)?;
    // The whole before the single ones: `drop: [ALL], add: [CHOWN]` leaves CHOWN.
    if add.iter().chain(add_ambient).any(is_all) {
        held = all;
    }
    if drop.iter().any(is_all) {
        held = 0;
    }
    let single = |names: &[String]| {
        let single: Vec<&String> = names.iter().filter(|name| !is_all(name)).collect();
        bits(&single)
    };
    held |= single(add)? | single(add_ambient)?;
    held &= !single(drop)?;
    let ambient = if add_ambient.iter().any(is_all) { all } else { single(add_ambient)? };
    Ok(Sets { held, ambient: ambient & held })
}

fn bits<S: AsRef<str>>(names: &[S]) -> Result<u64> {
    names.iter().try_fold(0, |bits, name| {
        let name = name.as_ref().to_ascii_uppercase();
        let short = name.strip_prefix("CAP_").unwrap_or(&name);
        let number = NAMES.iter().position(|known| *known == short);
        let number =
            number.ok_or_else(|| Error::invalid(format!("capability {name:?} is unknown")))?;
        Ok(bits | 1 << number)
    })
}

/// Names as an OCI configuration has them.
pub(crate) fn names(bits: u64) -> Vec<String> {
    let set = NAMES.iter().enumerate().filter(|(number, _)| bits & (1 << number) != 0);
    set.map(|(_, name)| format!("CAP_{name}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: u64 = (1 << 41) - 1;

    fn held(add: &[&str], drop: &[&str]) -> Vec<String> {
        let text = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
        let mut security = ContainerSecurity::default();
        security.capabilities.add = text(add);
        security.capabilities.drop = text(drop);
        names(sets(&security, ALL).unwrap().held)
    }

    #[test]
    fn adds_and_drops_apply_the_whole_before_the_single() {
        assert_eq!(held(&[], &[]).len(), 14);
        assert_eq!(held(&["NET_ADMIN"], &[]).len(), 15);
        assert_eq!(held(&[], &["CAP_CHOWN"]).len(), 13);
        assert_eq!(held(&[], &["ALL"]).len(), 0);
        assert_eq!(held(&["CHOWN"], &["ALL"]), ["CAP_CHOWN"]);
        assert_eq!(held(&["ALL"], &[]).len(), 41);
        assert_eq!(held(&["all"], &["SYS_ADMIN"]).len(), 40);
        assert_eq!(held(&["CHOWN"], &["CHOWN"]).len(), 13);
        assert_eq!(held(&["ALL", "CHOWN"], &["ALL"]), ["CAP_CHOWN"]);
    }

    #[test]
    fn all_is_what_the_daemon_itself_has() {
        let privileged = ContainerSecurity { privileged: true, ..ContainerSecurity::default() };
        assert_eq!(sets(&privileged, 0b1011).unwrap().held, 0b1011);
    }

    #[test]
    fn an_ambient_capability_is_held_too_unless_it_is_dropped() {
        let mut security = ContainerSecurity::default();
        security.capabilities.add_ambient = vec!["NET_ADMIN".into()];
        let sets_of = |security: &ContainerSecurity| sets(security, ALL).unwrap();
        assert_eq!(names(sets_of(&security).ambient), ["CAP_NET_ADMIN"]);
        assert_eq!(names(sets_of(&security).held).len(), 15);
        security.capabilities.drop = vec!["NET_ADMIN".into()];
        assert_eq!(sets_of(&security).ambient, 0);
    }

    #[test]
    fn an_unknown_capability_is_refused() {
        let mut security = ContainerSecurity::default();
        security.capabilities.add = vec!["FLY".into()];
        assert!(sets(&security, ALL).unwrap_err().to_string().contains("FLY"));
    }
}
