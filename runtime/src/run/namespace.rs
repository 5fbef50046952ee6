//! A pod's own namespaces: made, set up inside, pinned on the host.

use super::Child;
use super::compile::{self, sysctl_path};
use super::pod_mounts::{in_thread, own_namespace};
use crate::plan::IdMaps;
use crate::{Context, Error, Kind, Result};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag};
use nix::mount::{MntFlags, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::wait::WaitPidFlag;
use rrun_sys::{mount, pidfd, procfs, step};
use std::ffi::CString;
use std::io::{ErrorKind, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A kind of namespace that needs no process to live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamespaceKind {
    /// Network.
    Network,
    /// System V IPC and POSIX message queues.
    Ipc,
    /// Host name.
    Uts,
    /// Users, with [`Setup::id_maps`]; the others belong to it.
    User,
}

impl NamespaceKind {
    fn flag(self) -> CloneFlags {
        match self {
            NamespaceKind::Network => CloneFlags::CLONE_NEWNET,
            NamespaceKind::Ipc => CloneFlags::CLONE_NEWIPC,
            NamespaceKind::Uts => CloneFlags::CLONE_NEWUTS,
            NamespaceKind::User => CloneFlags::CLONE_NEWUSER,
        }
    }

    fn file(self) -> &'static str {
        match self {
            NamespaceKind::Network => "net",
            NamespaceKind::Ipc => "ipc",
            NamespaceKind::Uts => "uts",
            NamespaceKind::User => "user",
        }
    }
}

/// What is set inside new namespaces.
#[derive(Clone, Debug, Default)]
pub struct Setup<'a> {
    /// Host name, for a new UTS namespace.
    pub hostname: Option<&'a str>,
    /// Names below `/proc/sys` (with `/` or `.`) and values.
    pub sysctls: &'a [(String, String)],
    /// Bring up `lo`, for a new network namespace.
    pub loopback: bool,
    /// The ids of a new user namespace; there when there is one.
    pub id_maps: Option<&'a IdMaps>,
}

/// Makes the namespaces `kinds`, one descriptor each in the same order, and sets them up. The
/// caller's own stay as they are: a thread makes them, or a process where a user namespace is one of
/// them, which no thread may make.
///
/// # Errors
/// The name of what could not be made or set, and the kernel's answer.
pub fn make(kinds: &[NamespaceKind], setup: &Setup<'_>) -> Result<Vec<OwnedFd>> {
    let made = match (kinds.contains(&NamespaceKind::User), setup.id_maps) {
        (true, Some(id_maps)) => by_process(kinds, id_maps, setup),
        (false, None) => in_thread(|| build(kinds, setup)),
        _ => Err(Error::new(Kind::Invalid, "a user namespace goes with id maps")),
    };
    made.context(|| "make namespaces")
}

fn by_process(
    kinds: &[NamespaceKind],
    id_maps: &IdMaps,
    setup: &Setup<'_>,
) -> Result<Vec<OwnedFd>> {
    let owned = kinds.iter().filter(|kind| **kind != NamespaceKind::User);
    let flags = owned.fold(CloneFlags::empty(), |all, kind| all | kind.flag());
    let steps = compile::namespaces(flags, id_maps, setup.hostname, setup.sysctls)?;
    let mut child = Child::start(steps, None, true)?;
    child.wait_placed(|_| Ok(()))?;
    let open = |kind: &NamespaceKind| {
        let path = format!("/proc/{}/ns/{}", child.pid(), kind.file());
        std::fs::File::open(&path).map(OwnedFd::from).context(|| format!("open {path}"))
    };
    let opened = kinds.iter().map(open).collect::<Result<Vec<OwnedFd>>>();
    // It is known by its number until it is reaped.
    child.signal(nix::libc::SIGKILL)?;
    pidfd::wait(child.pidfd(), WaitPidFlag::WEXITED)?;
    let opened = opened?;
    let network = kinds.iter().position(|kind| *kind == NamespaceKind::Network);
    if let Some(network) = network.and_then(|at| opened.get(at)).filter(|_| setup.loopback) {
        let up = || {
            setns(network, CloneFlags::CLONE_NEWNET).context(|| "join the network namespace")?;
            rrun_sys::loopback::up().context(|| "bring up lo")
        };
        in_thread(up)?;
    }
    Ok(opened)
}

fn build(kinds: &[NamespaceKind], setup: &Setup<'_>) -> Result<Vec<OwnedFd>> {
    let proc = procfs::open().context(|| "open /proc")?;
    let flags = kinds.iter().fold(CloneFlags::empty(), |all, kind| all | kind.flag());
    unshare(flags).context(|| "unshare")?;
    // The host's own name, sysctls and `lo` are nobody's to change here.
    if let Some(name) = setup.hostname.filter(|_| kinds.contains(&NamespaceKind::Uts)) {
        nix::unistd::sethostname(name).context(|| format!("set host name {name}"))?;
    }
    if setup.loopback && kinds.contains(&NamespaceKind::Network) {
        rrun_sys::loopback::up().context(|| "bring up lo")?;
    }
    for (name, value) in setup.sysctls {
        let path = sysctl_path(name)?;
        // What /proc/sys shows depends on the namespaces of the one who looks.
        let file = procfs::open_file(proc.as_fd(), &path, OFlag::O_WRONLY);
        let written = file
            .map_err(Error::from)
            .and_then(|file| Ok(std::fs::File::from(file).write_all(value.as_bytes())?));
        written.context(|| format!("sysctl {name}"))?;
    }
    kinds.iter().map(|kind| own_namespace(&proc, kind.file())).collect()
}

/// Binds a namespace to the file `path`, which is made (with its parents) if it is missing.
///
/// # Errors
/// `Exists` when a namespace is bound there already.
pub fn pin(namespace: BorrowedFd<'_>, path: &Path) -> Result<()> {
    let context = || format!("pin {}", path.display());
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).context(context)?;
    }
    let file = rrun_sys::record::open_or_make(path);
    // A bound namespace cannot be opened for writing.
    if let Err(error) = &file
        && error.kind() == ErrorKind::PermissionDenied
    {
        return Err(Error::new(Kind::Exists, "something is bound there").context(context()));
    }
    drop(file.context(context)?);
    let copy = mount::clone_tree(namespace, c"", false).context(context)?;
    let target = CString::new(path.as_os_str().as_bytes());
    let target = target.map_err(|_| Error::new(Kind::Invalid, "a NUL in the path"))?;
    let flags = nix::fcntl::OFlag::O_PATH | nix::fcntl::OFlag::O_CLOEXEC;
    let target =
        nix::fcntl::openat(AT_FDCWD, target.as_c_str(), flags, nix::sys::stat::Mode::empty())
            .context(context)?;
    mount::attach(copy.as_fd(), target.as_fd()).context(context)
}

/// Takes back [`pin`]; what is gone already is done. Steps `runtime.delete.pin` and
/// `runtime.delete.pin-file`.
///
/// # Errors
/// What the kernel says.
pub fn unpin(path: &Path) -> Result<()> {
    let context = || format!("unpin {}", path.display());
    step::run("runtime.delete.pin", || detach(path)).context(context)?;
    step::run("runtime.delete.pin-file", || match std::fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other.context(context),
    })
}

fn detach(path: &Path) -> Result<()> {
    loop {
        match umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            // There may be more than one, if it was pinned twice by somebody else.
            Ok(()) => {}
            // Not mounted, or not there.
            Err(Errno::EINVAL | Errno::ENOENT) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        }
    }
}
