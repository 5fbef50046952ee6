//! Work inside another network namespace.
//!
//! A socket belongs for life to the namespace of the thread that made it, and `setns(2)` moves one
//! thread only. So a fresh thread goes in, works and ends: no thread that others use is ever left
//! in a pod's namespace, whatever the work does.

use nix::sched::{CloneFlags, setns};
use std::io;
use std::os::fd::AsFd;

/// Runs `work` in the network namespace behind `netns`, on a thread of its own, and waits for it.
/// What it returns (an open socket, for example) may be used anywhere.
///
/// # Errors
/// The thread cannot be made (`EAGAIN`), or the namespace not entered (`EINVAL`: no network
/// namespace; `EPERM`). A panic of `work` goes on in the caller.
pub fn run_in<T: Send>(netns: impl AsFd, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    let netns = netns.as_fd();
    std::thread::scope(|scope| {
        let inside =
            std::thread::Builder::new().name("netns".into()).spawn_scoped(scope, || {
                setns(netns, CloneFlags::CLONE_NEWNET)?;
                Ok(work())
            })?;
        inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn what_is_no_network_namespace_is_refused() {
        let file = File::open("/dev/null").unwrap();
        let refused = run_in(&file, || ()).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EINVAL));
    }
}
