//! Where the node's users and those of a pod may not meet. In the words of the API server.

use super::{Refusal, refuse};
use crate::model::{Container, Pod};

/// What a pod with a user namespace of its own may not have.
pub fn check(pod: &Pod) -> Result<(), Refusal> {
    let spec = &pod.spec;
    for (field, of_node) in
        [("hostNetwork", spec.host_network), ("hostPID", spec.host_pid), ("hostIPC", spec.host_ipc)]
    {
        if of_node && !spec.host_users {
            return refuse(format!("spec.{field}"), "Forbidden: when `hostUsers` is false");
        }
    }
    Ok(())
}

/// What only a container of such a pod may have.
pub fn container(pod: &Pod, container: &Container, at: &str) -> Result<(), Refusal> {
    if pod.spec.host_users && container.security.unmasked_proc {
        let why = "Invalid value: \"Unmasked\": `hostUsers` must be false to use `Unmasked`";
        return refuse(format!("{at}.securityContext.procMount"), why);
    }
    Ok(())
}
