//! The beginning of a file that other processes write through mappings of their own, see mmap(2).

use crate::record;
use crate::thread::run_with_descriptors;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::sync_channel;

/// How many bytes are mapped: no page is smaller.
const LENGTH: usize = 4096;

/// The first bytes of a file, as they are at each reading. They are kept in memory (mlock(2)): to
/// read them never waits for a disk.
#[derive(Debug)]
pub struct FirstPage {
    at: NonNull<AtomicU32>,
}

// SAFETY: the mapping is the process', whichever thread has made it, and is there as long as the
// value. It is only read, by atomic loads.
unsafe impl Send for FirstPage {}
// SAFETY: as above.
unsafe impl Sync for FirstPage {}

impl FirstPage {
    /// Maps that of the file at `path`, a regular one of at least 4096 bytes. Whoever shortens the
    /// file later ends a process that reads it (SIGBUS).
    ///
    /// Locks of the file that this process has by fcntl(2) stay: they would end with the first
    /// descriptor of it that is closed in the table that they were taken in, so it is opened and
    /// closed in another one.
    ///
    /// # Errors
    /// As [`record::open`]; `UnexpectedEof` for a shorter file; what mmap(2) and mlock(2) say; no
    /// thread can be made.
    pub fn map(path: &Path) -> io::Result<FirstPage> {
        let (done, mapped) = sync_channel(1);
        let path = path.to_owned();
        run_with_descriptors(Vec::new(), move |_| {
            let page = record::open(&path).and_then(|file| FirstPage::of(&file));
            // Whoever waits for it lives on.
            let _ = done.send(page);
        })?;
        mapped.recv().map_err(|_| io::Error::other("the thread broke off"))?
    }

    fn of(file: &File) -> io::Result<FirstPage> {
        if file.metadata()?.len() < LENGTH as u64 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let (flags, fd) = (libc::MAP_SHARED, file.as_raw_fd());
        // SAFETY: a mapping of its own, where the kernel has room for it; `file` is open.
        let at = unsafe { libc::mmap(null_mut(), LENGTH, libc::PROT_READ, flags, fd, 0) };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let at = NonNull::new(at).ok_or(io::ErrorKind::AddrNotAvailable)?;
        let page = FirstPage { at: at.cast() };
        // SAFETY: the mapping that was just made, which is changed in nothing.
        match unsafe { libc::mlock(at.as_ptr(), LENGTH) } {
            0 => Ok(page),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Its first words, one behind the other: what is written before a word that is read here is seen
    /// in the words behind it.
    pub fn words<const N: usize>(&self) -> [u32; N] {
        const { assert!(N * size_of::<u32>() <= LENGTH) };
        // SAFETY: it lies in the mapping, which is there as long as `self`, is aligned to pages, and
        // is nowhere written by this program but by atomic stores or behind its back, as by others.
        let word = |at: usize| unsafe { self.at.add(at).as_ref() }.load(Ordering::Acquire);
        std::array::from_fn(word)
    }
}

impl Drop for FirstPage {
    fn drop(&mut self) {
        // SAFETY: the mapping that [`FirstPage::of`] has made, of which no reference is left.
        unsafe { libc::munmap(self.at.as_ptr().cast(), LENGTH) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::fcntl::{FcntlArg, fcntl};
    use std::fs::OpenOptions;
    use std::os::unix::fs::FileExt;
    use std::path::PathBuf;

    /// A file with this many bytes, gone with the value.
    struct Scratch(PathBuf, File);

    impl Scratch {
        fn new(name: &str, length: u64) -> Scratch {
            let path = std::env::temp_dir().join(format!("rrun-{name}-{}", std::process::id()));
            let mut options = OpenOptions::new();
            let file = options.read(true).write(true).create_new(true).open(&path).unwrap();
            file.set_len(length).unwrap();
            Scratch(path, file)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    fn lock(kind: libc::c_int) -> libc::flock {
        let (l_type, l_whence) = (kind as libc::c_short, libc::SEEK_SET as libc::c_short);
        libc::flock { l_type, l_whence, l_start: 7, l_len: 1, l_pid: 0 }
    }

    #[test]
    fn what_is_written_to_the_file_is_read_at_once() {
        let file = Scratch::new("first-page", LENGTH as u64);
        let page = FirstPage::map(&file.0).unwrap();
        assert_eq!(page.words::<3>(), [0; 3]);
        for number in 1..1000_u32 {
            file.1.write_all_at(&number.to_ne_bytes(), 4).unwrap();
            assert_eq!(page.words::<3>(), [0, number, 0]);
        }
    }

    #[test]
    fn a_file_that_has_no_whole_page_or_is_none_is_an_error() {
        let file = Scratch::new("no-page", LENGTH as u64 - 1);
        let kind = |path: &Path| FirstPage::map(path).unwrap_err().kind();
        assert_eq!(kind(&file.0), io::ErrorKind::UnexpectedEof);
        assert_eq!(kind(Path::new("/dev/zero")), io::ErrorKind::InvalidInput);
        assert_eq!(kind(Path::new("/nowhere")), io::ErrorKind::NotFound);
    }

    #[test]
    fn locks_that_the_process_has_of_the_file_stay() {
        let file = Scratch::new("locked-page", LENGTH as u64);
        fcntl(&file.1, FcntlArg::F_SETLK(&lock(libc::F_WRLCK))).unwrap();
        drop(FirstPage::map(&file.0).unwrap());
        // Another table of descriptors is another owner of locks.
        let (done, found) = sync_channel(1);
        let path = file.0.clone();
        let ask = move |_: &[std::os::fd::OwnedFd]| {
            let opened = OpenOptions::new().write(true).read(true).open(path).unwrap();
            let mut found = lock(libc::F_WRLCK);
            fcntl(&opened, FcntlArg::F_GETLK(&mut found)).unwrap();
            done.send(found.l_type).unwrap();
        };
        run_with_descriptors(Vec::new(), ask).unwrap();
        assert_eq!(libc::c_int::from(found.recv().unwrap()), libc::F_WRLCK);
    }
}
