//! Device filters of cgroup v2: bpf(2).

use crate::call::{fresh, syscall};
use nix::errno::Errno;
use std::os::fd::{AsRawFd, OwnedFd};

const BPF_PROG_LOAD: u32 = 5;
const BPF_PROG_ATTACH: u32 = 8;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
const BPF_F_ALLOW_MULTI: u32 = 2;

/// The head of `union bpf_attr` for `BPF_PROG_LOAD`.
#[repr(C)]
struct Load {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel: u32,
    flags: u32,
}

/// Loads `filter` (`struct bpf_insn` after `struct bpf_insn`) and attaches it to the group, whose
/// own it is with those above still in force. It goes with the group.
///
/// # Errors
/// `EINVAL` or `EACCES` for a program that the verifier refuses.
pub fn attach_device_filter(group: OwnedFd, filter: &[u8]) -> Result<(), Errno> {
    // Eight-byte instructions, copied for their alignment.
    let (chunks, []) = filter.as_chunks::<8>() else { return Err(Errno::EINVAL) };
    let instructions: Vec<u64> = chunks.iter().copied().map(u64::from_ne_bytes).collect();
    let load = Load {
        kind: BPF_PROG_TYPE_CGROUP_DEVICE,
        count: u32::try_from(instructions.len()).map_err(|_| Errno::E2BIG)?,
        instructions: instructions.as_ptr() as u64,
        license: c"Apache".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel: 0,
        flags: 0,
    };
    let (pointer, size) = (std::ptr::from_ref(&load), size_of::<Load>());
    // SAFETY: the attributes and the instructions they point at are alive.
    let program = unsafe { fresh(syscall!(libc::SYS_bpf, BPF_PROG_LOAD, pointer, size)?) };
    // target_fd, attach_bpf_fd, attach_type, attach_flags
    let attach = [
        group.as_raw_fd() as u32,
        program.as_raw_fd() as u32,
        BPF_CGROUP_DEVICE,
        BPF_F_ALLOW_MULTI,
    ];
    let size = size_of_val(&attach);
    // SAFETY: four integers, as the kernel has them.
    unsafe { syscall!(libc::SYS_bpf, BPF_PROG_ATTACH, attach.as_ptr(), size)? };
    Ok(())
}
