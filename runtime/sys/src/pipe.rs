//! Pipes and terminals, read without blocking.

use crate::call::syscall;
use nix::errno::Errno;
use std::os::fd::BorrowedFd;

/// How many bytes can be read now (FIONREAD).
///
/// # Errors
/// `ENOTTY` for what cannot tell.
pub fn readable(fd: BorrowedFd<'_>) -> Result<u64, Errno> {
    let mut count: libc::c_int = 0;
    let pointer = std::ptr::from_mut(&mut count);
    // SAFETY: FIONREAD writes an int.
    unsafe { syscall!(libc::SYS_ioctl, fd, libc::FIONREAD, pointer)? };
    Ok(u64::try_from(count).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::fd::AsFd;

    #[test]
    fn a_pipe_tells_how_much_is_in_it() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        assert_eq!(readable(reader.as_fd()), Ok(0));
        writer.write_all(b"12345").unwrap();
        assert_eq!(readable(reader.as_fd()), Ok(5));
    }
}
