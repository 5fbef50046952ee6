//! The program that enters a container is one that nobody inside can write.

use nix::errno::Errno;
use rrun_runtime::{Context, Result};
use std::ffi::OsStr;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// Does so before the command line is read, where one of its words is a verb that needs it: to read it
/// twice takes half a millisecond. What goes wrong is told when the verb asks again.
pub fn early() {
    let enters = |word: &OsStr| word == "create" || word == "run" || word == "exec";
    if std::env::args_os().any(|word| enters(&word)) {
        let _ = executable();
    }
}

/// Executes this program again from a detached read-only mount, or from a sealed copy in memory, unless
/// it comes from such a one already. A container's `#!/proc/self/exe` would otherwise get at the host's file
/// (CVE-2019-5736).
pub fn executable() -> Result<()> {
    let path = Path::new("/proc/self/exe");
    let place = nix::sys::statvfs::statvfs(path).context(|| "look at /proc/self/exe")?;
    if place.flags().contains(nix::sys::statvfs::FsFlags::ST_RDONLY) {
        return Ok(());
    }
    let program = match rrun_sys::exe::protected(path) {
        // Somebody else than root has no mounts of his own, and a copy takes longer.
        Err(Errno::EPERM) => match rrun_sys::memfd::sealed_program(path) {
            Ok(None) => return Ok(()),
            Ok(Some(copy)) => copy,
            Err(errno) => return Err(errno).context(|| "copy /proc/self/exe"),
        },
        mount => mount.context(|| "protect /proc/self/exe")?,
    };
    let mut args = std::env::args_os();
    let mut command = Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()));
    if let Some(name) = args.next() {
        command.arg0(name);
    }
    Err(command.args(args).exec()).context(|| "execute /proc/self/exe again")
}
