//! Threads that may never come back.

use crate::call::syscall;
use nix::errno::Errno;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::mpsc::{Receiver, SendError, SyncSender, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::Builder;

type Work = Box<dyn FnOnce() + Send>;

/// The thread that came back and waits for more: to start one costs more than most work.
static IDLE: Mutex<Option<SyncSender<Work>>> = Mutex::new(None);

/// Runs `work` on a thread with a table of descriptors of its own, which is empty: for work that
/// may hang in the kernel for ever. A process that is killed ends with its last thread, and what
/// its threads share stays open until then: locks would be held and sockets be bound by a dead
/// process. A thread of this kind holds nothing.
///
/// `work` must neither use nor own a descriptor that was opened before, must close what it opens,
/// and finds that below `/proc/thread-self/fd`: `/proc/self/fd` shows those of the others.
///
/// # Errors
/// The thread cannot be made (`EAGAIN`).
pub fn run_without_descriptors(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let mut work: Work = Box::new(work);
    let waits = idle().take();
    if let Some(thread) = waits {
        match thread.send(work) {
            Ok(()) => return Ok(()),
            Err(SendError(back)) => work = back,
        }
    }
    Builder::new().name("no-descriptors".into()).spawn(move || serve(work)).map(drop)
}

fn serve(mut work: Work) {
    // Without it (before kernel 5.9) the work is done all the same.
    let _ = close_all();
    loop {
        work();
        let Some(more) = wait() else { return };
        let Ok(next) = more.recv() else { return };
        work = next;
    }
}

/// Where more work comes from, if no other thread waits already: they were many while work hung.
fn wait() -> Option<Receiver<Work>> {
    let mut idle = idle();
    if idle.is_some() {
        return None;
    }
    let (sender, more) = sync_channel(1);
    *idle = Some(sender);
    Some(more)
}

fn idle() -> MutexGuard<'static, Option<SyncSender<Work>>> {
    IDLE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `work` on a thread of its own with these descriptors alone, under the numbers that they have:
/// it gets copies, which go with the thread, and the caller's are closed.
///
/// # Errors
/// The thread cannot be made (`EAGAIN`), or its table (`ENOMEM`; `ENOSYS` before kernel 5.9).
pub fn run_with_descriptors(
    descriptors: Vec<OwnedFd>,
    work: impl FnOnce(&[OwnedFd]) + Send + 'static,
) -> io::Result<()> {
    let numbers: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let (ready, is_ready) = sync_channel(1);
    Builder::new().name("few-descriptors".into()).spawn(move || {
        let alone = close_all_but(&numbers);
        let is_alone = alone.is_ok();
        // Whoever waits for it lives on.
        let _ = ready.send(alone);
        if is_alone {
            // SAFETY: the table is this thread's alone, and holds a copy of each of them, as its
            // maker had them open until it was told so; nobody else owns those copies.
            let own = |number: RawFd| unsafe { OwnedFd::from_raw_fd(number) };
            let copies: Vec<OwnedFd> = numbers.into_iter().map(own).collect();
            work(&copies);
        }
    })?;
    let alone = is_ready.recv().map_err(|_| io::Error::other("the thread broke off"))?;
    drop(descriptors);
    Ok(alone?)
}

/// Gives the thread a table of its own with these alone.
fn close_all_but(numbers: &[RawFd]) -> Result<(), Errno> {
    let mut kept: Vec<u32> = numbers.iter().filter_map(|n| u32::try_from(*n).ok()).collect();
    kept.sort_unstable();
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_FILES)?;
    let mut from = 0;
    for number in kept {
        if let Some(to) = number.checked_sub(1).filter(|to| *to >= from) {
            close_range(from, to, 0)?;
        }
        from = number + 1;
    }
    close_range(from, u32::MAX, 0)
}

fn close_all() -> Result<(), Errno> {
    close_range(0, u32::MAX, libc::CLOSE_RANGE_UNSHARE)
}

/// Closes in a table of this thread alone: by `CLOSE_RANGE_UNSHARE`, or made so before.
fn close_range(from: u32, to: u32, flags: u32) -> Result<(), Errno> {
    // SAFETY: three integers. No other thread loses a descriptor, as the callers see to.
    unsafe { syscall!(libc::SYS_close_range, from, to, flags) }.map(drop)
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
        run_without_descriptors(move || done.send(count()).unwrap()).unwrap();
        // The folder itself.
        assert_eq!(open.recv().unwrap(), 1);
        assert!(mine.metadata().is_ok());
    }

    #[test]
    fn a_thread_with_descriptors_has_copies_of_them_and_of_nothing_else() {
        use std::io::Read;
        let (mut read, write) = io::pipe().unwrap();
        let mine = fs::File::open("/dev/null").unwrap();
        let (go, on) = mpsc::channel::<()>();
        let (done, open) = mpsc::channel();
        let work = move |copies: &[OwnedFd]| {
            on.recv().unwrap();
            done.send(fs::read_dir("/proc/thread-self/fd").unwrap().count()).unwrap();
            nix::unistd::write(&copies[0], b"copy").unwrap();
        };
        run_with_descriptors(vec![write.into()], work).unwrap();
        go.send(()).unwrap();
        // The folder itself, and the one.
        assert_eq!(open.recv().unwrap(), 2);
        let mut said = String::new();
        // To its end: the thread's copy was the last.
        read.read_to_string(&mut said).unwrap();
        assert_eq!(said, "copy");
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
        run_without_descriptors(work).unwrap();
        assert_eq!(read.recv().unwrap(), b"mine");
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn work_that_hangs_or_panics_holds_up_no_other() {
        let (release, hangs) = mpsc::channel::<()>();
        let (done, came) = mpsc::channel();
        run_without_descriptors(move || {
            let _ = hangs.recv();
        })
        .unwrap();
        run_without_descriptors(|| panic!("expected")).unwrap();
        for n in 0..3 {
            let done = done.clone();
            run_without_descriptors(move || done.send(n).unwrap()).unwrap();
            assert_eq!(came.recv().unwrap(), n);
        }
        drop(release);
    }
}
