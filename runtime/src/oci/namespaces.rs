//! Namespaces that a configuration names by their paths.

use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, fstat};
use oci_spec::runtime::{LinuxNamespaceType, Spec};
use rrun_runtime::plan::{Namespace, Slot};
use rrun_runtime::planning::NamespaceOverrides;
use rrun_runtime::{Context, Result};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use crate::invalid;

/// The namespaces that are joined, opened.
#[derive(Default)]
pub struct JoinedNamespaces {
    /// What each of them is for a plan.
    pub over: NamespaceOverrides,
    /// Those that are not this process's own: as `/proc/<pid>/ns` calls them, and where they are.
    pub others: Vec<(String, PathBuf)>,
    fds: Vec<OwnedFd>,
}

impl JoinedNamespaces {
    /// Opens the paths of a configuration, each once: what is looked at is what is joined. One
    /// that leads to this process's own namespace counts as none, because whatever is set in it
    /// would be set on the host (a sysctl, the host name).
    ///
    /// # Errors
    /// A path that cannot be opened, or is no namespace of its kind.
    pub fn open(spec: &Spec) -> Result<JoinedNamespaces> {
        let mut joined = JoinedNamespaces::default();
        let listed = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_deref());
        for entry in listed.unwrap_or_default() {
            let Some(path) = entry.path().as_ref().filter(|path| path.is_absolute()) else {
                continue;
            };
            let over = &mut joined.over;
            let (place, name) = match entry.typ() {
                LinuxNamespaceType::Pid => (&mut over.pid, "pid"),
                LinuxNamespaceType::Network => (&mut over.network, "net"),
                LinuxNamespaceType::Ipc => (&mut over.ipc, "ipc"),
                LinuxNamespaceType::Uts => (&mut over.uts, "uts"),
                LinuxNamespaceType::Cgroup => (&mut over.cgroup, "cgroup"),
                LinuxNamespaceType::Time => (&mut over.time, "time"),
                // Refused when the plan is made.
                LinuxNamespaceType::Mount | LinuxNamespaceType::User => continue,
            };
            let opened = open_namespace(path, name);
            let (fd, own) = opened.context(|| format!("linux.namespaces: {}", path.display()))?;
            if own {
                *place = Some(Namespace::Host);
                continue;
            }
            let slot =
                u8::try_from(joined.fds.len()).map_err(|_| invalid("too many namespaces"))?;
            *place = Some(Namespace::Slot(Slot(slot)));
            joined.others.push((name.to_owned(), path.clone()));
            joined.fds.push(fd);
        }
        Ok(joined)
    }

    /// The descriptors, in the order of their slots.
    pub fn slots(&self) -> Vec<BorrowedFd<'_>> {
        self.fds.iter().map(AsFd::as_fd).collect()
    }
}

/// A namespace, and whether it is this process's own.
fn open_namespace(path: &Path, name: &str) -> Result<(OwnedFd, bool)> {
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let fd = open(path, flags, Mode::empty())?;
    let own = open(format!("/proc/self/ns/{name}").as_str(), flags, Mode::empty())?;
    if rrun_sys::namespace::kind(fd.as_fd()) != rrun_sys::namespace::kind(own.as_fd()) {
        return Err(invalid(format!("is no {name} namespace")));
    }
    let own = fstat(&own)?;
    let found = fstat(&fd)?;
    Ok((fd, (found.st_dev, found.st_ino) == (own.st_dev, own.st_ino)))
}
