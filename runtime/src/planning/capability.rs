//! Capabilities by name.

use super::Host;
use crate::plan::Capabilities;
use oci_spec::runtime::{Capability, Process};
use std::collections::HashSet;

type Set = Option<HashSet<Capability>>;

/// The sets that can be granted. What cannot is left out, and told by [`warnings`]: that is what
/// runtime-spec asks for, and what lets a privileged pod start where the runtime itself runs with
/// less than everything.
pub fn plan(process: &Process, host: &Host) -> Capabilities {
    let Some(sets) = process.capabilities() else { return Capabilities::default() };
    let grantable = grantable(host);
    let bits = |set: &Set| mask(set) & grantable;
    let permitted = bits(sets.permitted());
    let inheritable = bits(sets.inheritable());
    Capabilities {
        bounding: bits(sets.bounding()),
        // capset(2) refuses an effective one that is not permitted, prctl(2) an ambient one that
        // is not both permitted and inheritable.
        effective: bits(sets.effective()) & permitted,
        permitted,
        inheritable,
        ambient: bits(sets.ambient()) & permitted & inheritable,
    }
}

/// What was asked for and is left out, one sentence a set.
pub fn warnings(process: &Process, host: &Host) -> Vec<String> {
    let Some(sets) = process.capabilities() else { return Vec::new() };
    let given = plan(process, host);
    let mut warnings = Vec::new();
    for (name, set, given) in [
        ("bounding", sets.bounding(), given.bounding),
        ("effective", sets.effective(), given.effective),
        ("permitted", sets.permitted(), given.permitted),
        ("inheritable", sets.inheritable(), given.inheritable),
        ("ambient", sets.ambient(), given.ambient),
    ] {
        let mut missing: Vec<String> = set
            .iter()
            .flatten()
            .filter(|cap| given & (1 << number(**cap)) == 0)
            .map(|cap| format!("CAP_{cap}"))
            .collect();
        if !missing.is_empty() {
            missing.sort();
            let list = missing.join(", ");
            warnings.push(format!("process.capabilities.{name}: cannot grant {list}"));
        }
    }
    warnings
}

fn grantable(host: &Host) -> u64 {
    let known = match host.last_cap {
        63.. => u64::MAX,
        last => (1 << (last + 1)) - 1,
    };
    host.capabilities & known
}

pub fn mask(set: &Set) -> u64 {
    set.iter().flatten().fold(0, |mask, cap| mask | 1 << number(*cap))
}

/// The number of a capability: `include/uapi/linux/capability.h`.
fn number(cap: Capability) -> u32 {
    use Capability as C;
    match cap {
        C::Chown => 0,
        C::DacOverride => 1,
        C::DacReadSearch => 2,
        C::Fowner => 3,
        C::Fsetid => 4,
        C::Kill => 5,
        C::Setgid => 6,
        C::Setuid => 7,
        C::Setpcap => 8,
        C::LinuxImmutable => 9,
        C::NetBindService => 10,
        C::NetBroadcast => 11,
        C::NetAdmin => 12,
        C::NetRaw => 13,
        C::IpcLock => 14,
        C::IpcOwner => 15,
        C::SysModule => 16,
        C::SysRawio => 17,
        C::SysChroot => 18,
        C::SysPtrace => 19,
        C::SysPacct => 20,
        C::SysAdmin => 21,
        C::SysBoot => 22,
        C::SysNice => 23,
        C::SysResource => 24,
        C::SysTime => 25,
        C::SysTtyConfig => 26,
        C::Mknod => 27,
        C::Lease => 28,
        C::AuditWrite => 29,
        C::AuditControl => 30,
        C::Setfcap => 31,
        C::MacOverride => 32,
        C::MacAdmin => 33,
        C::Syslog => 34,
        C::WakeAlarm => 35,
        C::BlockSuspend => 36,
        C::AuditRead => 37,
        C::Perfmon => 38,
        C::Bpf => 39,
        C::CheckpointRestore => 40,
    }
}
