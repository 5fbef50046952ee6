//! The caller's own capabilities, asked of the kernel without procfs, which takes ten times as long.

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

/// The caller's bounding set, bit n for capability n, and the number of the last capability that the
/// kernel knows: prctl(2).
pub fn bounding() -> (u64, u8) {
    let (mut set, mut last) = (0, 0);
    for number in 0..=63_u8 {
        // SAFETY: integers; it answers 0 or 1, and EINVAL behind the last.
        match unsafe {
            syscall!(libc::SYS_prctl, libc::PR_CAPBSET_READ, u64::from(number), 0, 0, 0)
        } {
            Ok(held) => {
                set |= u64::from(held == 1) << number;
                last = number;
            }
            Err(_) => break,
        }
    }
    (set, last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_answers_is_what_procfs_tells() {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let told = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
            u64::from_str_radix(line.trim(), 16).unwrap()
        };
        let last = std::fs::read_to_string("/proc/sys/kernel/cap_last_cap").unwrap();
        let (set, number) = bounding();
        assert_eq!((set, number.to_string().as_str()), (told("CapBnd:"), last.trim()));
        assert_eq!(permitted().unwrap(), told("CapPrm:"));
    }
}
