//! The caller's own capabilities.

use crate::call::syscall;
use nix::errno::Errno;

/// The caller's permitted set, bit n for capability n.
///
/// # Errors
/// None that is known.
pub fn permitted() -> Result<u64, Errno> {
    let header = [0x2008_0522_u32, 0];
    let mut data = [0_u32; 6];
    // SAFETY: header and two data structs, as version 3 of capget(2) has them.
    unsafe { syscall!(libc::SYS_capget, header.as_ptr(), data.as_mut_ptr())? };
    let [_, low, _, _, high, _] = data;
    Ok(u64::from(high) << 32 | u64::from(low))
}
