//! The rules of `linux.resources.devices`, boiled down to a policy. They are read in order as the
//! v1 controller reads its files.

use super::invalid;
use crate::Result;
use crate::cgroup::DevicePolicy;
use crate::plan::device_filter::{Access, Rule, Type};
use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

/// Every container may make any node, and use the devices that every container has: mem(4), tty,
/// ptmx and the pts (a console is one of these; the host's, 5:1, is not for containers).
fn always() -> impl Iterator<Item = Rule> {
    let nodes = [Type::Char, Type::Block].map(|kind| Rule {
        kind,
        major: None,
        minor: None,
        access: Access::MKNOD,
    });
    let devices = [
        (1, Some(3)),
        (1, Some(5)),
        (1, Some(7)),
        (1, Some(8)),
        (1, Some(9)),
        (5, Some(0)),
        (5, Some(2)),
        (136, None),
    ]
    .map(|(major, minor)| Rule {
        kind: Type::Char,
        major: Some(major),
        minor,
        access: Access::ALL,
    });
    nodes.into_iter().chain(devices)
}

/// Nothing is allowed before the first rule, and what every container has after the last.
pub fn policy(rules: &[LinuxDeviceCgroup]) -> Result<DevicePolicy> {
    let mut policy =
        DevicePolicy { allow: false, exceptions: Vec::new(), required: !rules.is_empty() };
    for rule in rules {
        apply(&mut policy, rule)?;
    }
    for rule in always() {
        policy.change(rule, true)?;
    }
    Ok(policy)
}

fn apply(policy: &mut DevicePolicy, entry: &LinuxDeviceCgroup) -> Result<()> {
    let access = match entry.access().as_deref() {
        None | Some("") => Access::ALL,
        Some(text) => Access::parse(text)
            .ok_or_else(|| invalid(format!("linux.resources.devices: access {text:?}")))?,
    };
    let (major, minor) = (number(entry.major())?, number(entry.minor())?);
    let kind = match entry.typ().unwrap_or(LinuxDeviceType::A) {
        LinuxDeviceType::C | LinuxDeviceType::U => Type::Char,
        LinuxDeviceType::B => Type::Block,
        LinuxDeviceType::A if (major, minor, access) == (None, None, Access::ALL) => {
            policy.allow = entry.allow();
            policy.exceptions.clear();
            return Ok(());
        }
        LinuxDeviceType::A => {
            return Err(invalid(
                "linux.resources.devices: a rule for all types has no numbers and all access",
            ));
        }
        LinuxDeviceType::P => {
            return Err(invalid("linux.resources.devices: a FIFO needs no rule"));
        }
    };
    policy.change(Rule { kind, major, minor, access }, entry.allow())
}

/// `None` is every number.
fn number(number: Option<i64>) -> Result<Option<u32>> {
    match number {
        None | Some(-1) => Ok(None),
        Some(n) => u32::try_from(n)
            .ok()
            .filter(|n| *n < 1 << 20)
            .map(Some)
            .ok_or_else(|| invalid(format!("linux.resources.devices: no device number {n}"))),
    }
}
