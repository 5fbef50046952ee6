//! Device filters of cgroup v2: bpf(2).

use crate::call::{fresh, syscall};
use nix::errno::Errno;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

const BPF_PROG_LOAD: u32 = 5;
const BPF_PROG_ATTACH: u32 = 8;
const BPF_PROG_DETACH: u32 = 9;
const BPF_PROG_GET_FD_BY_ID: u32 = 13;
const BPF_PROG_QUERY: u32 = 16;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
const BPF_F_ALLOW_MULTI: u32 = 2;
const BPF_F_REPLACE: u32 = 4;

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
pub fn attach_device_filter(group: BorrowedFd<'_>, filter: &[u8]) -> Result<(), Errno> {
    attach(group, &load(filter)?, None)
}

/// Puts `filter` in the place of those that are attached to the group itself; at no moment is the
/// group without one that had one.
///
/// # Errors
/// As [`attach_device_filter`].
pub fn replace_device_filter(group: BorrowedFd<'_>, filter: &[u8]) -> Result<(), Errno> {
    let old = attached(group)?;
    attach(group, &load(filter)?, old.first())?;
    for program in old.iter().skip(1) {
        // target_fd, attach_bpf_fd, attach_type
        let detach = [group.as_raw_fd() as u32, program.as_raw_fd() as u32, BPF_CGROUP_DEVICE];
        let size = size_of_val(&detach);
        // SAFETY: three integers, as the kernel has them.
        unsafe { syscall!(libc::SYS_bpf, BPF_PROG_DETACH, detach.as_ptr(), size)? };
    }
    Ok(())
}

/// Loads a filter and drops it: whether the kernel has such programs.
///
/// # Errors
/// `EINVAL` where there are none for control groups, `ENOSYS` where there are none at all.
pub fn try_device_filter() -> Result<(), Errno> {
    // r0 = 0; exit
    load(&[0xb7, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0]).map(drop)
}

fn load(filter: &[u8]) -> Result<OwnedFd, Errno> {
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
    unsafe { Ok(fresh(syscall!(libc::SYS_bpf, BPF_PROG_LOAD, pointer, size)?)) }
}

fn attach(group: BorrowedFd<'_>, program: &OwnedFd, old: Option<&OwnedFd>) -> Result<(), Errno> {
    let flags = if old.is_some() { BPF_F_ALLOW_MULTI | BPF_F_REPLACE } else { BPF_F_ALLOW_MULTI };
    // target_fd, attach_bpf_fd, attach_type, attach_flags, replace_bpf_fd
    let attach = [
        group.as_raw_fd() as u32,
        program.as_raw_fd() as u32,
        BPF_CGROUP_DEVICE,
        flags,
        old.map_or(0, |old| old.as_raw_fd() as u32),
    ];
    let size = size_of_val(&attach);
    // SAFETY: five integers, as the kernel has them.
    unsafe { syscall!(libc::SYS_bpf, BPF_PROG_ATTACH, attach.as_ptr(), size)? };
    Ok(())
}

/// The head of `union bpf_attr` for `BPF_PROG_QUERY`.
#[repr(C)]
struct Query {
    target: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    ids: u64,
    count: u32,
    /// The kernel reads no further than what it knows of.
    rest: u32,
}

/// The device filters that are attached to the group itself.
fn attached(group: BorrowedFd<'_>) -> Result<Vec<OwnedFd>, Errno> {
    // The kernel attaches no more to one group.
    let mut ids = [0u32; 64];
    let mut query = Query {
        target: group.as_raw_fd() as u32,
        attach_type: BPF_CGROUP_DEVICE,
        query_flags: 0,
        attach_flags: 0,
        ids: ids.as_mut_ptr() as u64,
        count: ids.len() as u32,
        rest: 0,
    };
    let (pointer, size) = (std::ptr::from_mut(&mut query), size_of::<Query>());
    // SAFETY: the attributes and the array that they point at are alive, and the kernel writes at
    // most `count` numbers to it.
    unsafe { syscall!(libc::SYS_bpf, BPF_PROG_QUERY, pointer, size)? };
    let mut programs = Vec::new();
    for id in ids.iter().take(query.count as usize) {
        // prog_id, next_id, open_flags
        let open = [*id, 0, 0];
        let size = size_of_val(&open);
        // SAFETY: three integers; returns a fresh descriptor, close-on-exec.
        match unsafe { syscall!(libc::SYS_bpf, BPF_PROG_GET_FD_BY_ID, open.as_ptr(), size) } {
            // SAFETY: just returned by the kernel.
            Ok(fd) => programs.push(unsafe { fresh(fd) }),
            // Detached meanwhile.
            Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(programs)
}
