//! Threads that may never come back.

use crate::call::syscall;
use nix::errno::Errno;
use std::io;
use std::thread::{Builder, JoinHandle};

/// Starts a thread with a table of descriptors of its own, which is empty: for work that may hang
/// in the kernel for ever. A process that is killed ends with its last thread, and what its
/// threads share stays open until then: locks would be held and sockets be bound by a dead
/// process. A thread of this kind holds nothing.
///
/// `work` must neither use nor own a descriptor that was opened before, and what it opens is below
/// `/proc/thread-self/fd`: `/proc/self/fd` shows those of the others.
///
/// # Errors
/// The thread cannot be made (`EAGAIN`).
pub fn spawn_without_descriptors(
    name: &str,
    work: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    Builder::new().name(name.to_owned()).spawn(move || {
        // Without it (before kernel 5.9) the work is done all the same.
        let _ = close_all();
        work();
    })
}

fn close_all() -> Result<(), Errno> {
    // SAFETY: three integers. The table is this thread's alone from here on (CLOSE_RANGE_UNSHARE),
    // so that no other thread loses a descriptor.
    unsafe { syscall!(libc::SYS_close_range, 0_u32, u32::MAX, libc::CLOSE_RANGE_UNSHARE) }.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::sync::mpsc;

    #[test]
    fn a_thread_without_descriptors_holds_none_and_takes_none_from_the_others() {
        let mine = fs::File::open("/dev/null").unwrap();
        let (done, open) = mpsc::channel();
        let count = || fs::read_dir("/proc/thread-self/fd").unwrap().count();
        let thread = spawn_without_descriptors("empty", move || done.send(count()).unwrap());
        // The folder itself.
        assert_eq!(open.recv().unwrap(), 1);
        thread.unwrap().join().unwrap();
        assert!(mine.metadata().is_ok());
    }

    #[test]
    fn a_thread_without_descriptors_reads_the_file_that_it_has_found() {
        use std::os::fd::AsFd;
        let path = std::env::temp_dir().join(format!("rrun-thread-{}", std::process::id()));
        fs::write(&path, "mine").unwrap();
        let name = std::ffi::CString::new(path.as_os_str().as_encoded_bytes()).unwrap();
        let (done, read) = mpsc::channel();
        let work = move || {
            let root = fs::File::open("/").unwrap();
            done.send(crate::in_root::read_regular(root.as_fd(), &name, 100).unwrap()).unwrap();
        };
        spawn_without_descriptors("reads", work).unwrap().join().unwrap();
        assert_eq!(read.recv().unwrap(), b"mine");
        fs::remove_file(path).unwrap();
    }
}
