//! What the host offers, looked up once before any plan is made.

use crate::cgroup::Layout;
use crate::{Context, Result};
use rrun_sys::limit::{self, Files};
use rrun_sys::{capability, kernel, lsm};
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
    /// Asks the kernel, looks at the host below `/sys`, and at the control groups below `cgroup_root`,
    /// usually `/sys/fs/cgroup`.
    ///
    /// # Errors
    /// What capget(2) says.
    pub fn detect(cgroup_root: &Path) -> Result<Host> {
        Ok(Host { cgroups: Layout::detect(cgroup_root).ok(), ..Host::without_groups()? })
    }

    /// As [`Host::detect`], as if no control groups were mounted: for who has them on record. Where v1
    /// is, they are found in the table of mounts, which is long where many containers run.
    ///
    /// # Errors
    /// As [`Host::detect`].
    pub fn without_groups() -> Result<Host> {
        let permitted = capability::permitted().context(|| "capget")?;
        let (bounding, last_cap) = capability::bounding();
        let page_size = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE)
            .ok()
            .flatten()
            .and_then(|size| u64::try_from(size).ok())
            .unwrap_or(4096);
        Ok(Host {
            cgroups: None,
            capabilities: permitted & bounding,
            last_cap,
            page_size,
            seccomp: kernel::takes_filters(),
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
