//! One raw system call.
//!
//! The child of a clone uses these and nothing of the C library: its wrappers for ids take locks
//! and signal threads that are not there in the child.

use libc::{c_long, c_void};
use nix::errno::Errno;
use std::os::fd::{FromRawFd, OwnedFd};

/// An argument of a system call.
pub(crate) trait Arg {
    /// Its value in a register.
    fn word(self) -> c_long;
}

macro_rules! integer_args {
    ($($kind:ty),*) => { $(impl Arg for $kind {
        fn word(self) -> c_long {
            self as c_long
        }
    })* };
}
integer_args!(i32, u32, i64, u64, usize);

impl<T> Arg for *const T {
    fn word(self) -> c_long {
        self.cast::<c_void>() as c_long
    }
}

impl<T> Arg for *mut T {
    fn word(self) -> c_long {
        self.cast::<c_void>() as c_long
    }
}

impl Arg for std::os::fd::BorrowedFd<'_> {
    fn word(self) -> c_long {
        c_long::from(std::os::fd::AsRawFd::as_raw_fd(&self))
    }
}

/// Calls `number` with `words`.
///
/// # Safety
/// The words must be what this system call expects, pointers valid for what it does with them.
pub(crate) unsafe fn raw<const N: usize>(
    number: c_long,
    words: [c_long; N],
) -> Result<c_long, Errno> {
    let mut all = [0; 6];
    for (to, from) in all.iter_mut().zip(words) {
        *to = from;
    }
    let [a, b, c, d, e, f] = all;
    // SAFETY: as promised by the caller; the surplus zeros are ignored by the kernel.
    Errno::result(unsafe { libc::syscall(number, a, b, c, d, e, f) })
}

/// Takes ownership of a descriptor that a system call has just returned.
///
/// # Safety
/// `fd` must be such a fresh descriptor, known to nobody else.
pub(crate) unsafe fn fresh(fd: c_long) -> OwnedFd {
    // SAFETY: as promised by the caller; descriptors fit into an int.
    unsafe { OwnedFd::from_raw_fd(fd as libc::c_int) }
}

/// `syscall!(SYS_x, a, b, …)`: a raw call whose arguments are turned into words.
macro_rules! syscall {
    ($number:expr $(, $arg:expr)* $(,)?) => {
        $crate::call::raw($number, [$($crate::call::Arg::word($arg)),*])
    };
}
pub(crate) use syscall;
