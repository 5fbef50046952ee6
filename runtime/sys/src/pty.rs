//! Terminals and their size.

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

/// Rows and columns of a terminal; a pseudo terminal that nobody gave a size has 0 and 0.
///
/// # Errors
/// `ENOTTY` when it is none.
pub fn size(terminal: BorrowedFd<'_>) -> Result<(u16, u16), Errno> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    let pointer = std::ptr::from_mut(&mut size);
    // SAFETY: TIOCGWINSZ writes a struct winsize.
    unsafe { syscall!(libc::SYS_ioctl, terminal, libc::TIOCGWINSZ, pointer)? };
    Ok((size.ws_row, size.ws_col))
}
