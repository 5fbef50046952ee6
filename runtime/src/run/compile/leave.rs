//! Leaving the host's root: pivot_root(2), or chroot(2) where the caller knows that it cannot be
//! (the host's root is the kernel's first one, a RAM disk, which nobody can pivot out of).

use super::Compiler;
use super::text::c_string;
use crate::{Context, Result};
use rrun_sys::program::{MountOp, Reg};
use std::ffi::CString;

impl Compiler<'_> {
    /// All of the host is out of reach then. Without a pivot that is so for who cannot call
    /// chroot(2) alone, and of the host's mounts only the root is left to who can.
    pub(super) fn leave_the_hosts_root(&mut self, root: Reg) -> Result<()> {
        if !self.beside.no_pivot {
            self.program.step("pivot into the root", MountOp::Pivot(root));
            return Ok(());
        }
        let mounts =
            std::fs::read("/proc/self/mountinfo").context(|| "read /proc/self/mountinfo")?;
        let others = on_the_root(&mounts)?;
        self.program.step("change into the root", MountOp::Chroot { root, others });
        Ok(())
    }
}

/// Where something is mounted directly on the root mount, in a `mountinfo`: proc(5). What is mounted
/// below those goes with them.
fn on_the_root(mountinfo: &[u8]) -> Result<Vec<CString>> {
    let mounts = mountinfo.split(|byte| *byte == b'\n').filter_map(|line| {
        let mut fields = line.split(|byte| *byte == b' ');
        let (id, parent) = (fields.next()?, fields.next()?);
        Some((id, parent, fields.nth(2)?))
    });
    let (mut roots, mut others) = (Vec::new(), Vec::new());
    for (id, parent, path) in mounts {
        if path == b"/" {
            roots.push(id);
        } else {
            others.push((parent, path));
        }
    }
    let others = others.into_iter().filter(|(parent, _)| roots.contains(parent));
    others.map(|(_, path)| c_string(unescaped(path))).collect()
}

/// Space, tab, newline and backslash are octal there: `\040`.
fn unescaped(path: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((byte, after)) = rest.split_first() {
        let octal = after.first_chunk::<3>().filter(|_| *byte == b'\\');
        let octal = octal.and_then(|digits| str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(escaped) => {
                plain.push(escaped);
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                plain.push(*byte);
                rest = after;
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_on_the_root_are_told_from_those_on_other_mounts() {
        let text = br"1 1 0:2 / / rw - rootfs rootfs rw
20 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw
21 20 0:5 / /proc rw - proc proc rw
22 21 0:6 / /proc/sys/fs/binfmt_misc rw - binfmt_misc none rw
23 20 0:7 / /mnt/a\040b\134 rw - tmpfs none rw
24 1 0:8 / /old rw - tmpfs none rw
torn";
        let all = on_the_root(text).unwrap();
        assert_eq!(all, [c"/proc".into(), c"/mnt/a b\\".into(), CString::from(c"/old")]);
    }
}
