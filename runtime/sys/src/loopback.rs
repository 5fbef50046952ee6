//! The loopback device: netdevice(7).

use crate::call::syscall;
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use std::os::fd::AsFd;

/// struct ifreq with flags.
#[repr(C)]
struct Request {
    name: [u8; libc::IFNAMSIZ],
    flags: i16,
    padding: [u8; 22],
}

/// Brings up `lo` in the caller's network namespace.
///
/// # Errors
/// What the kernel says.
pub fn up() -> Result<(), Errno> {
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    let mut name = [0; libc::IFNAMSIZ];
    name[..2].copy_from_slice(b"lo");
    let flags = (libc::IFF_UP | libc::IFF_RUNNING) as i16;
    let request = Request { name, flags, padding: [0; 22] };
    let pointer = std::ptr::from_ref(&request);
    // SAFETY: SIOCSIFFLAGS reads a struct ifreq.
    unsafe { syscall!(libc::SYS_ioctl, socket.as_fd(), libc::SIOCSIFFLAGS, pointer)? };
    Ok(())
}
