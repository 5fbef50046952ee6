//! Kernel parameters: only those that belong to a namespace which the host does not share.

use super::invalid;
use crate::plan::{Namespace, Namespaces};
use crate::{Context, Result, sysctl};
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
        let path = check(name, namespaces).context(|| "linux.sysctl")?;
        planned.push((path, value.clone()));
    }
    planned.sort();
    Ok(planned)
}

/// The path below `/proc/sys` of a parameter that may be set where these namespaces are.
///
/// # Errors
/// `Invalid`, for one of the host too.
pub fn check(name: &str, namespaces: &Namespaces) -> Result<String> {
    let path =
        sysctl::path(name).ok_or_else(|| invalid(format!("{name:?} is no parameter's name")))?;
    allowed(&path, namespaces).map_err(|why| invalid(format!("{name}: {why}")))?;
    Ok(path)
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
