//! The process of a container, or of an exec.

use super::{Host, capability, invalid, paths};
use crate::Result;
use crate::plan::{self, Rlimit, Seccomp, User};
use oci_spec::runtime::{PosixRlimitType, Process};
use rrun_sys::limit::Files;
use std::collections::HashMap;

const FILES: u32 = libc::RLIMIT_NOFILE as _;

pub fn plan(process: &Process, host: &Host, seccomp: Option<Seccomp>) -> Result<plan::Process> {
    let args = process.args().clone().unwrap_or_default();
    if args.first().is_none_or(String::is_empty) {
        return Err(invalid("process.args: no command specified"));
    }
    if args.iter().any(|arg| arg.contains('\0')) {
        return Err(invalid("process.args: an argument holds a NUL"));
    }
    if !process.cwd().is_absolute() {
        return Err(invalid(format!("process.cwd: {:?} is not absolute", process.cwd())));
    }
    let adj = process.oom_score_adj();
    if adj.is_some_and(|adj| !(-1000..=1000).contains(&adj)) {
        return Err(invalid("process.oomScoreAdj is not within -1000 to 1000"));
    }
    let terminal = process.terminal().unwrap_or(false);
    Ok(plan::Process {
        args,
        env: env(process.env().as_deref().unwrap_or_default())?,
        cwd: paths::inside(process.cwd(), "process.cwd")?,
        user: user(process.user())?,
        capabilities: capability::plan(process, host),
        no_new_privileges: process.no_new_privileges().unwrap_or(false),
        seccomp,
        rlimits: rlimits(process, host)?,
        oom_score_adj: adj,
        terminal,
        terminal_size: if terminal { terminal_size(process) } else { None },
        apparmor: apparmor(process, host)?,
        selinux: label(process.selinux_label(), host, "process.selinuxLabel")?.map(str::to_owned),
        keyring: None,
    })
}

/// The number that is no id: setresuid(2) and its like take it for "leave it as it is", and who was
/// to be nobody would be root.
const NO_ID: u32 = u32::MAX;

fn user(user: &oci_spec::runtime::User) -> Result<User> {
    let groups = user.additional_gids().clone().unwrap_or_default();
    let ids = [("uid", user.uid()), ("gid", user.gid())].into_iter();
    for (name, id) in ids.chain(groups.iter().map(|gid| ("additionalGids", *gid))) {
        if id == NO_ID {
            return Err(invalid(format!("process.user.{name}: {id} is no id")));
        }
    }
    Ok(User { uid: user.uid(), gid: user.gid(), groups, umask: user.umask(), outside: None })
}

/// The profile to change to. Without AppArmor everything is unconfined, and nothing else.
fn apparmor(process: &Process, host: &Host) -> Result<Option<String>> {
    match process.apparmor_profile().as_deref() {
        None | Some("") => Ok(None),
        Some("unconfined") if !host.apparmor => Ok(None),
        Some(_) if !host.apparmor => {
            Err(invalid("process.apparmorProfile: AppArmor is not active on this host"))
        }
        Some(profile) => Ok(Some(profile.to_owned())),
    }
}

/// An SELinux label, which must not be dropped where nobody would enforce it.
pub fn label<'a>(label: &'a Option<String>, host: &Host, field: &str) -> Result<Option<&'a str>> {
    match label.as_deref().filter(|label| !label.is_empty()) {
        Some(_) if !host.selinux => {
            Err(invalid(format!("{field}: SELinux is not active on this host")))
        }
        label => Ok(label),
    }
}

/// The environment, where the last of a name wins: getenv(3) would find the first.
fn env(list: &[String]) -> Result<Vec<Vec<u8>>> {
    let mut places: HashMap<&str, usize> = HashMap::with_capacity(list.len());
    let mut env: Vec<&String> = Vec::with_capacity(list.len());
    for entry in list {
        let name = entry.split_once('=').map_or("", |(name, _)| name);
        if name.is_empty() || entry.contains('\0') {
            return Err(invalid(format!("process.env: {entry:?} is not NAME=value")));
        }
        let place = *places.entry(name).or_insert(env.len());
        match env.get_mut(place) {
            Some(old) => *old = entry,
            None => env.push(entry),
        }
    }
    Ok(env.into_iter().map(|entry| entry.clone().into_bytes()).collect())
}

/// Rows and columns; those of a terminal are 16 bits wide.
fn terminal_size(process: &Process) -> Option<(u16, u16)> {
    let size = process.console_size()?;
    let fit = |n: u64| u16::try_from(n).unwrap_or(u16::MAX);
    Some((fit(size.height()), fit(size.width())))
}

fn rlimits(process: &Process, host: &Host) -> Result<Vec<Rlimit>> {
    let mut limits: Vec<Rlimit> = Vec::new();
    for limit in process.rlimits().iter().flatten() {
        let planned =
            Rlimit { resource: resource(limit.typ()), soft: limit.soft(), hard: limit.hard() };
        if limits.iter().any(|other| other.resource == planned.resource) {
            return Err(invalid(format!("process.rlimits: {} is there twice", limit.typ())));
        }
        if planned.soft > planned.hard {
            let message = format!("process.rlimits: {}: soft is above hard", limit.typ());
            return Err(invalid(message));
        }
        limits.push(planned);
    }
    if let Some(Files { soft, hard }) = host.files
        && !limits.iter().any(|limit| limit.resource == FILES)
    {
        limits.push(Rlimit { resource: FILES, soft, hard });
    }
    Ok(limits)
}

fn resource(kind: PosixRlimitType) -> u32 {
    use PosixRlimitType as R;
    // Signed with one C library and not with another.
    let number = match kind {
        R::RlimitCpu => libc::RLIMIT_CPU,
        R::RlimitFsize => libc::RLIMIT_FSIZE,
        R::RlimitData => libc::RLIMIT_DATA,
        R::RlimitStack => libc::RLIMIT_STACK,
        R::RlimitCore => libc::RLIMIT_CORE,
        R::RlimitRss => libc::RLIMIT_RSS,
        R::RlimitNproc => libc::RLIMIT_NPROC,
        R::RlimitNofile => libc::RLIMIT_NOFILE,
        R::RlimitMemlock => libc::RLIMIT_MEMLOCK,
        R::RlimitAs => libc::RLIMIT_AS,
        R::RlimitLocks => libc::RLIMIT_LOCKS,
        R::RlimitSigpending => libc::RLIMIT_SIGPENDING,
        R::RlimitMsgqueue => libc::RLIMIT_MSGQUEUE,
        R::RlimitNice => libc::RLIMIT_NICE,
        R::RlimitRtprio => libc::RLIMIT_RTPRIO,
        R::RlimitRttime => libc::RLIMIT_RTTIME,
    };
    number as _
}
