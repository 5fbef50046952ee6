//! The end of a control group: what is in it is killed, then it is removed.

use crate::error::Result;
use crate::table::Shared;

/// Where processes go that cannot die: every hierarchy takes them there.
const ROOT: &str = "/";

/// How often a group is tried again that is busy with nobody in it; a try takes up to 50 ms.
const BUSY_TRIES: usize = 40;

impl Shared {
    /// Kills everything in a group and removes it. What hangs in the kernel, so that it does not
    /// die, is moved to the root group and ends there when it can: nobody waits for it, and it does
    /// nothing any more.
    pub(crate) async fn end_group(&self, cgroup: &str) -> Result<()> {
        let host = &self.ports.host;
        host.kill_group(cgroup).await?;
        let Err(busy) = host.remove_group(cgroup).await else { return Ok(()) };
        let moved = host.move_processes(cgroup, ROOT).await?;
        if !moved.is_empty() {
            tracing::warn!(cgroup, processes = ?moved, "killed, and not dead");
        }
        // What dies is listed no more, and its group is busy until the kernel has done with it: on a
        // busy machine that takes longer than a try does.
        let mut last = Err(busy);
        for _ in 0..BUSY_TRIES {
            last = host.remove_group(cgroup).await;
            if last.is_ok() {
                break;
            }
        }
        last
    }
}
