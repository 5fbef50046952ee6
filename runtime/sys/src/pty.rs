//! Pseudo terminals, seen from the master.

use crate::call::syscall;
use nix::errno::Errno;
use std::os::fd::BorrowedFd;

/// Gives a terminal a size; its foreground process gets SIGWINCH when that is new.
///
/// # Errors
/// `ENOTTY` when it is none.
pub fn set_size(terminal: BorrowedFd<'_>, rows: u16, columns: u16) -> Result<(), Errno> {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    let pointer = std::ptr::from_ref(&size);
    // SAFETY: TIOCSWINSZ reads a struct winsize.
    unsafe { syscall!(libc::SYS_ioctl, terminal, libc::TIOCSWINSZ, pointer)? };
    Ok(())
}
