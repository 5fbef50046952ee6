//! The end of a control group: what is in it is killed, then it is removed.

use crate::error::Result;
use crate::table::Shared;

/// Where processes go that cannot die: every hierarchy takes them there.
const ROOT: &str = "/";

impl Shared {
    /// Kills everything in a group and removes it. What hangs in the kernel, so that it does not
    /// die, is moved to the root group and ends there when it can: nobody waits for it, and it does
    /// nothing any more.
    pub(crate) async fn end_group(&self, cgroup: &str) -> Result<()> {
        let host = &self.ports.host;
        host.kill_group(cgroup).await?;
        let Err(busy) = host.remove_group(cgroup).await else { return Ok(()) };
        let moved = host.move_processes(cgroup, ROOT).await?;
        if moved.is_empty() {
            return Err(busy);
        }
        tracing::warn!(cgroup, processes = ?moved, "killed, and not dead");
        host.remove_group(cgroup).await
    }
}
