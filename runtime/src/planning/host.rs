//! What the host offers, looked up once before any plan is made.

use crate::cgroup::Layout;
use crate::{Context, Result};
use rrun_sys::limit::{self, Files};
use rrun_sys::lsm;
use std::path::Path;

/// What the host offers. A plan depends on nothing else of it.
#[derive(Clone, Debug)]
pub struct Host {
    /// Its control groups; `None` when nothing is mounted, and then nothing can be limited.
    pub cgroups: Option<Layout>,
    /// Capabilities that this process can pass on: permitted and in its bounding set.
    pub capabilities: u64,
    /// The number of the last capability that the kernel knows.
    pub last_cap: u8,
    /// Bytes in a page.
    pub page_size: u64,
    /// The kernel takes seccomp filters.
    pub seccomp: bool,
    /// AppArmor is active.
    pub apparmor: bool,
    /// SELinux is active.
    pub selinux: bool,
    /// What a process may open that asks for no limit: as much as this program's caller, however
    /// far this process has raised its own.
    pub files: Option<Files>,
}

impl Host {
    /// Looks at the host below `/proc` and `/sys`, and at the control groups below `cgroup_root`,
    /// usually `/sys/fs/cgroup`.
    ///
    /// # Errors
    /// When `/proc/self/status` cannot be read.
    pub fn detect(cgroup_root: &Path) -> Result<Host> {
        Ok(Host { cgroups: Layout::detect(cgroup_root).ok(), ..Host::without_groups()? })
    }

    /// As [`Host::detect`], as if no control groups were mounted: for who has them on record. Where v1
    /// is, they are found in the table of mounts, which is long where many containers run.
    ///
    /// # Errors
    /// As [`Host::detect`].
    pub fn without_groups() -> Result<Host> {
        let status = rrun_sys::procfs::read("/proc/self/status");
        let status = status.context(|| "read /proc/self/status")?;
        let status = String::from_utf8_lossy(&status);
        let capabilities = hex(&status, "CapPrm:") & hex(&status, "CapBnd:");
        let last_cap = std::fs::read_to_string("/proc/sys/kernel/cap_last_cap")
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(40);
        let page_size = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE)
            .ok()
            .flatten()
            .and_then(|size| u64::try_from(size).ok())
            .unwrap_or(4096);
        Ok(Host {
            cgroups: None,
            capabilities,
            last_cap,
            page_size,
            seccomp: status.lines().any(|line| line.starts_with("Seccomp:")),
            apparmor: lsm::apparmor(),
            selinux: lsm::selinux(),
            files: limit::callers_files(),
        })
    }

    /// Every capability that the kernel knows.
    pub fn known_capabilities(&self) -> u64 {
        u64::MAX.checked_shr(63_u32.saturating_sub(self.last_cap.into())).unwrap_or(0)
    }
}

fn hex(status: &str, key: &str) -> u64 {
    status
        .lines()
        .find_map(|line| line.strip_prefix(key))
        .and_then(|text| u64::from_str_radix(text.trim(), 16).ok())
        .unwrap_or(0)
}
