//! Executing a program from where it cannot be written.
//!
//! A process that enters a container shows its program as `/proc/<pid>/exe` there, and whoever
//! may open that could write the host's file (CVE-2019-5736). Executed through a detached
//! read-only mount it is the same file, with its pages shared, and cannot be opened for writing.

use crate::mount;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::Mode;
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Opens the program at `path` through a detached read-only copy of its mount, for execveat(2)
/// with an empty path, or for `/proc/self/fd/<n>`.
///
/// # Errors
/// What open_tree(2) and mount_setattr(2) say; `EPERM` without CAP_SYS_ADMIN.
pub fn protected(path: &Path) -> Result<OwnedFd, Errno> {
    let path = CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL)?;
    let file = openat(AT_FDCWD, path.as_c_str(), OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
    let copy = mount::clone_tree(file.as_fd(), c"", false)?;
    let attributes = mount::MountAttr {
        set: libc::MOUNT_ATTR_RDONLY,
        propagation: libc::MS_PRIVATE,
        ..Default::default()
    };
    mount::set_attributes(copy.as_fd(), c"", &attributes, false)?;
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;
    use std::process::Command;

    #[test]
    fn a_protected_program_runs_and_cannot_be_opened_for_writing() {
        if !nix::unistd::geteuid().is_root() {
            return println!("skipped: needs root");
        }
        let copy = std::env::temp_dir().join(format!("rrun-exe-{}", std::process::id()));
        std::fs::copy("/bin/true", &copy).unwrap();
        let program = protected(&copy).unwrap();
        let path = format!("/proc/self/fd/{}", program.as_raw_fd());
        assert!(Command::new(&path).status().unwrap().success());
        let refused = std::fs::OpenOptions::new().write(true).open(&path).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EROFS));
        std::fs::remove_file(copy).unwrap();
    }
}
