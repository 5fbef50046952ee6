//! An image into processes.

use super::external::{self, DESCRIPTORS};
use super::groups;
use super::message::{InheritedFd, JoinedNamespace, Type, Wanted};
use super::options::{Folders, Options};
use super::shared;
use super::worker::Worker;
use crate::plan::{MountSource, Plan};
use crate::{Context, Error, Kind, Result};
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use rrun_sys::in_root::{self, Leaf};
use rrun_sys::step;
use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// What is restored, and how.
#[derive(Debug)]
pub struct Restore<'a> {
    /// What a dump has too.
    pub options: &'a Options,
    /// The container as its configuration has it now: where its mounts and groups are.
    pub plan: &'a Plan,
    /// The folder that is to be its root.
    pub root: &'a Path,
    /// An empty folder that the root can be mounted at, out of sight.
    pub place: &'a Path,
    /// Namespaces that are somebody else's: their kinds, as `/proc/<pid>/ns` calls them, and paths.
    pub joined: &'a [(String, PathBuf)],
    /// Where this process finds what a plan has as a descriptor, or in the pod's mounts: targets, and
    /// paths.
    pub attached: &'a [(String, PathBuf)],
    /// A profile of AppArmor or SELinux instead of the one in the image, `TYPE:NAME`.
    pub lsm_profile: Option<String>,
    /// A context for mounts instead of the one in the image.
    pub lsm_mount_context: Option<String>,
}

/// What a restore is told on the way.
pub trait Helper {
    /// The process that restores waits to be placed into the groups, where what it makes stays.
    fn place(&mut self, pid: i32) -> Result<()>;
    /// The first process has its namespaces, and nothing else yet.
    fn namespaces_made(&mut self, pid: i32) -> Result<()>;
    /// All is as it was, and stands still until this returns. The first process is a child of this
    /// one. With it comes the master of its terminal, where it has one of its own.
    fn ready(&mut self, pid: i32, console: Option<BorrowedFd<'_>>) -> Result<()>;
    /// They have got back their rights, and are about to go on. criu has them go on whatever is said
    /// here: an error is only of use to whoever has killed them.
    fn goes_on(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Restores a tree of processes with the standard descriptors of this one, and blocks until it runs.
/// Nothing of one that fails is left. Gives the master of its terminal, where it had one of its own.
/// Step `runtime.restore.tree`.
///
/// # Errors
/// The folders; what `helper` says; what criu says, with the path of its log.
pub fn restore(restore: &Restore<'_>, helper: &mut dyn Helper) -> Result<Option<OwnedFd>> {
    shared::check(&restore.options.images, restore.attached)?;
    let (fds, inherited) = inherited(restore)?;
    make_targets(restore.plan, restore.root)?;
    step::run("runtime.restore.tree", || {
        let (source, target) = (c_path(restore.root)?, c_path(restore.place)?);
        let worker = Worker::start(&restore.options.criu, |command| {
            command.stdin(Stdio::inherit()).stdout(Stdio::inherit()).stderr(Stdio::inherit());
            rrun_sys::command::hand_on(command, fds);
            rrun_sys::command::bind_privately(command, source, target);
        })?;
        let folders = Folders::open(restore.options, "restore.log", worker.pid())?;
        helper.place(worker.pid())?;
        let mut wanted = wanted(restore, &folders, worker.pid())?;
        wanted.inherited = inherited;
        // Only now: some of them are the groups.
        for (target, source) in sources(restore)? {
            wanted.external.push(format!("mnt[{}]:{}", text(&target)?, text(&source)?));
        }
        let mut console: Option<OwnedFd> = None;
        worker.ask((Type::Restore, wanted), &folders, |notice, fd| {
            let pid = || {
                let pid = notice.pid.filter(|pid| *pid > 0);
                pid.ok_or_else(|| Error::new(Kind::Invalid, "criu names no process"))
            };
            match notice.script.as_deref() {
                Some("setup-namespaces") => helper.namespaces_made(pid()?),
                Some("post-restore") => helper.ready(pid()?, console.as_ref().map(AsFd::as_fd)),
                Some("pre-resume") => helper.goes_on(),
                Some("orphan-pts-master") => {
                    console = fd;
                    Ok(())
                }
                _ => Ok(()),
            }
        })?;
        Ok(console)
    })
}

fn wanted(restore: &Restore<'_>, folders: &Folders, worker: i32) -> Result<Wanted> {
    let cgroups = groups::mode(restore.options.cgroups, worker, &restore.plan.cgroups)?;
    let mut wanted = Wanted {
        root: Some(text(restore.place)?),
        as_sibling: Some(true),
        evasive_devices: Some(true),
        lsm_profile: restore.lsm_profile.clone(),
        lsm_mount_context: restore.lsm_mount_context.clone(),
        cgroup_roots: groups::roots(worker)?,
        ..restore.options.wanted(folders, cgroups)
    };
    for (kind, path) in restore.joined.iter().filter(|(kind, _)| !is_inherited(kind)) {
        if kind == "cgroup" {
            let why = "a cgroup namespace that is joined cannot be restored";
            return Err(Error::new(Kind::Invalid, why));
        }
        wanted.joined.push(JoinedNamespace { kind: kind.clone(), path: text(path)? });
    }
    Ok(wanted)
}

/// Namespaces that are given by a descriptor; others by a path.
fn is_inherited(kind: &str) -> bool {
    kind == "net" || kind == "pid"
}

/// What the host has for each mount that an image may only name. The image names fewer.
fn sources(restore: &Restore<'_>) -> Result<Vec<(PathBuf, PathBuf)>> {
    let (plan, host) = (restore.plan, external::mounted("self")?);
    let attached = restore.attached.iter();
    let mut all: Vec<_> =
        attached.map(|(target, path)| (PathBuf::from(target), path.clone())).collect();
    for mount in &plan.mounts {
        let target = PathBuf::from(&mount.target);
        match &mount.source {
            MountSource::Bind { path, recursive } => {
                let path = std::fs::canonicalize(path)
                    .context(|| format!("mount {}: {}", mount.target, path.display()))?;
                if *recursive {
                    let below = external::below(&path, &host).into_iter();
                    all.extend(below.map(|(inside, source)| (target.join(inside), source)));
                }
                all.push((target, path));
            }
            MountSource::New { fstype, .. } if fstype == "cgroup2" => {
                let unified = plan.cgroups.dirs.iter().find(|dir| dir.unified);
                all.extend(unified.map(|dir| (target, dir.path.clone())));
            }
            _ => {}
        }
    }
    let null = PathBuf::from("/dev/null");
    all.extend(plan.masked.iter().map(|path| (PathBuf::from(path), null.clone())));
    // In a user namespace they are binds.
    all.extend(plan.devices.iter().map(|device| {
        let path = PathBuf::from(&device.path);
        (path.clone(), path)
    }));
    Ok(all)
}

/// Makes what is missing of the directories and files of the root that are mounted over, as a create
/// does. What is below another mount comes with that one.
fn make_targets(plan: &Plan, root: &Path) -> Result<()> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let opened = open(root, flags, Mode::empty()).context(|| format!("open {}", root.display()))?;
    for mount in &plan.mounts {
        let target = Path::new(&mount.target);
        let covered = |other: &crate::plan::Mount| {
            let other = Path::new(&other.target);
            other != target && target.starts_with(other)
        };
        if plan.mounts.iter().any(covered) {
            continue;
        }
        let is_file = match &mount.source {
            MountSource::Bind { path, .. } => !path.is_dir(),
            _ => false,
        };
        let leaf = if is_file { Leaf::File } else { Leaf::Directory };
        in_root::ensure(opened.as_fd(), &c_path(target)?, leaf)
            .context(|| format!("make {}", mount.target))?;
    }
    Ok(())
}

/// The descriptors that an image leaves to the restore: namespaces, and the standard ones.
fn inherited(restore: &Restore<'_>) -> Result<(Vec<OwnedFd>, Vec<InheritedFd>)> {
    let (mut fds, mut all) = (Vec::<OwnedFd>::new(), Vec::<InheritedFd>::new());
    for (kind, path) in restore.joined.iter().filter(|(kind, _)| is_inherited(kind)) {
        let file = File::open(path).context(|| format!("open {}", path.display()))?;
        let fd = file.as_raw_fd();
        all.push(InheritedFd { key: external::namespace_key(kind), fd });
        fds.push(file.into());
    }
    let list = restore.options.images.join(DESCRIPTORS);
    let context = || format!("read {}", list.display());
    let json = rrun_sys::record::read(&list).context(context)?;
    let listed: Vec<String> = serde_json::from_slice(&json)
        .map_err(|error| Error::new(Kind::Invalid, error.to_string()))
        .context(context)?;
    for (at, key) in (0..3).zip(&listed) {
        let of_outside = key.starts_with("pipe:") || key.starts_with("file[");
        if !of_outside || all.iter().any(|given| given.key == *key) {
            continue;
        }
        let mut fd = at;
        // One file for several of them, such as /dev/null: it must do for reading and for writing.
        if listed.iter().filter(|other| *other == key).count() > 1
            && let Ok(both) = File::options().read(true).write(true).open(own(at))
        {
            fd = both.as_raw_fd();
            fds.push(both.into());
        }
        all.push(InheritedFd { key: key.clone(), fd });
    }
    Ok((fds, all))
}

fn own(fd: i32) -> String {
    format!("/proc/self/fd/{fd}")
}

fn c_path(path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| Error::new(Kind::Invalid, format!("{path:?} has a zero byte")))
}

fn text(path: &Path) -> Result<String> {
    let text = path.to_str().map(str::to_owned);
    text.ok_or_else(|| Error::new(Kind::Invalid, format!("{path:?} is not UTF-8")))
}
