//! Descriptors that whoever started this program has opened for the one that it starts.

use nix::errno::Errno;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// Where they begin: after the standard ones.
const FIRST: RawFd = 3;

/// So many descriptors from 3 on, which are handed on under their numbers.
///
/// Nobody in this process owns them: they stay open until it ends, so that whatever else it opens
/// has other numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inherited {
    end: RawFd,
}

impl Default for Inherited {
    /// None.
    fn default() -> Inherited {
        Inherited { end: FIRST }
    }
}

impl Inherited {
    /// The first `count` of them. Ask before this process opens anything: its own descriptors would
    /// fill a gap, and be taken for its caller's.
    ///
    /// # Errors
    /// The number of the first one that is not open.
    pub fn take(count: u32) -> Result<Inherited, RawFd> {
        let end = RawFd::try_from(count).ok().and_then(|count| FIRST.checked_add(count));
        let end = end.unwrap_or(RawFd::MAX);
        match (FIRST..end).find(|fd| !is_open(*fd)) {
            Some(fd) => Err(fd),
            None => Ok(Inherited { end }),
        }
    }

    /// The first one under another number, which is closed with what it is given to.
    ///
    /// # Errors
    /// `EBADF` when there is none; what fcntl(2) says.
    pub fn first(self) -> Result<OwnedFd, Errno> {
        if self.end == FIRST {
            return Err(Errno::EBADF);
        }
        copy(FIRST)
    }

    /// The number after the last one.
    pub fn end(self) -> RawFd {
        self.end
    }
}

/// A descriptor whose number this program was told, under another number. The one that was handed stays
/// open until this process ends.
///
/// # Errors
/// `EBADF` when there is none.
pub fn copy(number: RawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: integers only; a new descriptor is made.
    let fd = Errno::result(unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, FIRST) })?;
    // SAFETY: it is open, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn is_open(fd: RawFd) -> bool {
    // SAFETY: integers only, and nothing is changed.
    Errno::result(unsafe { libc::fcntl(fd, libc::F_GETFD) }).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_open_is_told_by_its_number() {
        assert_eq!(Inherited::take(0), Ok(Inherited::default()));
        assert_eq!(Inherited::default().end(), 3);
        let Err(gap) = Inherited::take(u32::MAX) else { panic!("all are open") };
        assert!(gap >= 3);
    }
}
