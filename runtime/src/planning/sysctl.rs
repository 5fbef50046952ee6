//! Kernel parameters: only those that belong to a namespace which the host does not share.

use super::invalid;
use crate::Result;
use crate::plan::{Namespace, Namespaces};
use oci_spec::runtime::Linux;

/// What `kernel/` holds for each IPC namespace.
const IPC: [&str; 12] = [
    "auto_msgmni",
    "msg_next_id",
    "msgmax",
    "msgmnb",
    "msgmni",
    "sem",
    "sem_next_id",
    "shm_next_id",
    "shm_rmid_forced",
    "shmall",
    "shmmax",
    "shmmni",
];

/// Names with `/`, in the order of the alphabet.
pub fn plan(linux: &Linux, namespaces: &Namespaces) -> Result<Vec<(String, String)>> {
    let mut planned = Vec::new();
    for (name, value) in linux.sysctl().iter().flatten() {
        let path = path(name)
            .ok_or_else(|| invalid(format!("linux.sysctl: {name:?} is no parameter's name")))?;
        allowed(&path, namespaces)
            .map_err(|why| invalid(format!("linux.sysctl: {name}: {why}")))?;
        planned.push((path, value.clone()));
    }
    planned.sort();
    Ok(planned)
}

/// The name below `/proc/sys`, as sysctl(8) reads it: the separator that comes first is the one
/// that separates, and the other one is a plain character then, but that `.` stands for `/` and
/// `/` for `.` in names with dots (`net.ipv4.conf.eth0/100.forwarding`).
fn path(name: &str) -> Option<String> {
    let first = name.find(['.', '/'])?;
    let path: String = match name.as_bytes()[first] {
        b'/' => name.to_owned(),
        _ => name
            .chars()
            .map(|c| match c {
                '.' => '/',
                '/' => '.',
                other => other,
            })
            .collect(),
    };
    let plain = path.split('/').all(|part| !matches!(part, "" | "." | ".."));
    (plain && !path.contains('\0')).then_some(path)
}

fn allowed(path: &str, namespaces: &Namespaces) -> Result<(), &'static str> {
    let own = |namespace: &Namespace, without| match namespace {
        Namespace::Host => Err(without),
        _ => Ok(()),
    };
    match path.split_once('/') {
        Some(("net", _)) => own(&namespaces.network, "needs a network namespace of its own"),
        Some(("fs", rest)) if rest.starts_with("mqueue/") => {
            own(&namespaces.ipc, "needs an IPC namespace of its own")
        }
        Some(("kernel", name)) if IPC.contains(&name) => {
            own(&namespaces.ipc, "needs an IPC namespace of its own")
        }
        Some(("kernel", "domainname")) => own(&namespaces.uts, "needs a UTS namespace of its own"),
        Some(("kernel", "hostname")) => Err("is what the field hostname is for"),
        _ => Err("is not namespaced: it would change the host"),
    }
}
