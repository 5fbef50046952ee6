//! What the shim's program is executed as to have criu make processes again: it attaches what the
//! container's mounts are made from, in a mount namespace that ends with it, tells the shim how far it
//! is, and ends when the processes go on. They are the shim's children then, as orphans of a subreaper
//! are.

use crate::attach;
use crate::process::to_wire;
use minicbor::{Decode, Encode};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns};
use nix::unistd::Pid;
use rrun_runtime::criu::{self, Confined, Helper, Options};
use rrun_runtime::plan::{MountSource, Namespace, Plan, RootfsSource, Slot};
use rrun_runtime::{Context, Error, Kind, Result, cgroup};
use rrun_shim_protocol::{AskRefusal, Restore, WireError};
use rrun_sys::step::{self, Steps};
use rrun_sys::{fdpass, pidfd};
use std::ffi::OsString;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The first argument; the shim's process id, the number of the channel and the path of a [`Task`]
/// follow.
pub const FLAG: &str = "--restore";

/// The longest message.
pub const MESSAGE: usize = 16 << 10;

/// What is to be restored, where. Descriptors are numbers that the helper has been handed.
#[derive(Debug, Encode, Decode)]
#[cbor(map)]
pub struct Task {
    #[n(0)]
    pub plan: Plan,
    #[n(1)]
    pub restore: Restore,
    /// The slots of the plan.
    #[n(2)]
    pub slots: Vec<i32>,
    /// The pod's own mount namespace.
    #[n(3)]
    pub pod_mounts: Option<i32>,
}

/// What the helper tells.
#[derive(Debug, Encode, Decode)]
#[cbor(map)]
pub enum Told {
    /// This process is to be placed into the groups by somebody else; an [`Answer`] is waited for.
    #[n(0)]
    Place(#[n(0)] i32),
    /// The hooks that belong into the daemon's namespaces are to be run for this one, likewise.
    #[n(1)]
    Hooks(#[n(0)] i32),
    /// All is made and stands still until it is answered. The first process' pidfd comes along, and the
    /// master of its terminal, if it has one.
    #[n(2)]
    Ready(#[n(0)] i32),
    /// The processes go on.
    #[n(3)]
    Running,
    /// Nothing is restored.
    #[n(4)]
    Failed(#[n(0)] WireError),
}

/// What the shim answers.
#[derive(Debug, Encode, Decode)]
#[cbor(map)]
pub struct Answer {
    /// Why it is not done.
    #[n(0)]
    pub refusal: Option<AskRefusal>,
}

/// Restores, and tells how that goes.
pub fn main(mut args: impl Iterator<Item = OsString>) -> ExitCode {
    let mut next = || args.next().unwrap_or_default();
    let (shim, number, task) = (next(), next(), PathBuf::from(next()));
    let number = number.to_string_lossy().parse().ok();
    let Some(channel) = number.and_then(|number| rrun_sys::inherited::copy(number).ok()) else {
        return ExitCode::FAILURE;
    };
    let done = attach::prepare(&shim).map_err(kernel).and_then(|()| restored(&task, &channel));
    let told = match &done {
        Ok(()) => Told::Running,
        Err(error) => Told::Failed(short(to_wire(error))),
    };
    let _ = tell(&channel, &told, &[]);
    if done.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn kernel(words: String) -> Error {
    Error::new(Kind::Kernel, words)
}

fn invalid(words: impl Into<String>) -> Error {
    Error::new(Kind::Invalid, words)
}

/// An image may have a say in the words.
fn short(mut error: WireError) -> WireError {
    for words in &mut error.chain {
        *words = rrun_error::printable_line(words).chars().take(1000).collect();
    }
    error.chain.truncate(10);
    error
}

fn tell(channel: &OwnedFd, told: &Told, fds: &[BorrowedFd<'_>]) -> Result<()> {
    let bytes = minicbor::to_vec(told).map_err(|error| invalid(error.to_string()))?;
    fdpass::send(channel.as_fd(), &bytes, fds).map(drop).context(|| "tell the shim")
}

fn restored(path: &Path, channel: &OwnedFd) -> Result<()> {
    let bytes = rrun_sys::record::read(path).context(|| format!("read {}", path.display()))?;
    // It has the variables of the container's environment.
    let _ = std::fs::remove_file(path);
    let task: Task = minicbor::decode(&bytes).map_err(|error| invalid(error.to_string()))?;
    let (plan, restore) = (&task.plan, &task.restore);
    let places = Places::make(&task)?;
    attach::attach(&places.wanted).map_err(kernel)?;
    let Restore { criu, images, work, .. } = restore.clone();
    let options = Options::of_pod(criu, images, work);
    let process = &plan.process;
    let profile = |kind: &str, name: &Option<String>| name.as_ref().map(|n| format!("{kind}:{n}"));
    let wanted = criu::Restore {
        options: &options,
        plan,
        root: &places.root,
        place: &places.place,
        joined: &places.joined,
        attached: &places.attached,
        lsm_profile: profile("apparmor", &process.apparmor)
            .or_else(|| profile("selinux", &process.selinux)),
        lsm_mount_context: None,
    };
    let kept = Kept::of(&places.joined);
    let mut inside = Inside { channel, plan, joined: &places.joined, worker: 0, first: None, kept };
    criu::restore(&wanted, &mut inside).map(drop)
}

/// Where all is attached.
struct Places {
    wanted: attach::Wanted,
    root: PathBuf,
    place: PathBuf,
    joined: Vec<(String, PathBuf)>,
    attached: Vec<(String, PathBuf)>,
}

impl Places {
    /// Makes what others are attached to.
    fn make(task: &Task) -> Result<Places> {
        let (plan, bundle) = (&task.plan, &task.restore.bundle);
        let slot = |slot: &Slot| {
            let found = task.slots.get(usize::from(slot.0)).copied();
            found.ok_or_else(|| invalid(format!("slot {} is empty", slot.0)))
        };
        let mut wanted = attach::Wanted::default();
        let (root, place) = (folder(bundle, "rootfs")?, folder(bundle, "place")?);
        let RootfsSource::Detached(at) = &plan.rootfs.source else {
            return Err(invalid("the root is no detached mount"));
        };
        wanted.mounts.push((slot(at)?, root.clone()));
        let mut attached = Vec::new();
        for (number, mount) in plan.mounts.iter().enumerate() {
            let at = || folder(bundle, &format!("mounts/{number}"));
            let path = match &mount.source {
                MountSource::Pod(name) => {
                    let none = || invalid("the pod has no mounts of its own");
                    let pod = task.pod_mounts.ok_or_else(none)?;
                    wanted.pod_dirs.push((pod, name.into(), at()?));
                    at()?
                }
                MountSource::Detached(number) => {
                    wanted.mounts.push((slot(number)?, at()?));
                    at()?
                }
                _ => continue,
            };
            attached.push((mount.target.clone(), path));
        }
        let mut joined = Vec::new();
        let namespaces = &plan.namespaces;
        for (kind, namespace) in [
            ("pid", &namespaces.pid),
            ("net", &namespaces.network),
            ("ipc", &namespaces.ipc),
            ("uts", &namespaces.uts),
            ("cgroup", &namespaces.cgroup),
            ("user", &namespaces.user),
            ("time", &namespaces.time),
        ] {
            match namespace {
                Namespace::Host | Namespace::New => {}
                Namespace::Path(path) => joined.push((kind.to_owned(), path.clone())),
                Namespace::Slot(at) => {
                    let path = folder(bundle, "namespaces")?.join(kind);
                    rrun_sys::record::create(&path, 0o600)
                        .context(|| format!("make {}", path.display()))?;
                    wanted.namespaces.push((slot(at)?, path.clone()));
                    joined.push((kind.to_owned(), path));
                }
            }
        }
        Ok(Places { wanted, root, place, joined, attached })
    }
}

fn folder(bundle: &Path, name: &str) -> Result<PathBuf> {
    let path = bundle.join(name);
    std::fs::create_dir_all(&path).context(|| format!("make {}", path.display()))?;
    Ok(path)
}

/// What is done while the processes are made.
struct Inside<'a> {
    channel: &'a OwnedFd,
    plan: &'a Plan,
    joined: &'a [(String, PathBuf)],
    worker: i32,
    /// The first process, once it is there.
    first: Option<(i32, OwnedFd)>,
    kept: Kept,
}

/// What a namespace of the pod's says, which criu overwrites with what the image has: the name of the
/// host, and limits.
struct Kept(Vec<Values>);

struct Values {
    namespace: PathBuf,
    flag: CloneFlags,
    files: Vec<(PathBuf, Vec<u8>)>,
}

impl Kept {
    fn of(joined: &[(String, PathBuf)]) -> Kept {
        let each = joined.iter().filter_map(|(kind, path)| {
            let (flag, files): (_, &[&str]) = match kind.as_str() {
                "uts" => (CloneFlags::CLONE_NEWUTS, &UTS),
                "ipc" => (CloneFlags::CLONE_NEWIPC, &IPC),
                _ => return None,
            };
            let read = |name: &&str| {
                let file = Path::new("/proc/sys").join(name);
                let value = std::fs::read(&file).ok()?;
                Some((file, value))
            };
            let values = within(path, flag, || files.iter().filter_map(read).collect()).ok()?;
            Some(Values { namespace: path.clone(), flag, files: values })
        });
        Kept(each.collect())
    }

    fn put_back(&self) -> Result<()> {
        for Values { namespace, flag, files } in &self.0 {
            within(namespace, *flag, || -> Result<()> {
                for (file, value) in files {
                    // Most are as they were, and some only have one value here.
                    if std::fs::read(file).ok().as_ref() != Some(value) {
                        let written = std::fs::File::options().write(true).open(file);
                        written
                            .and_then(|mut file| file.write_all(value))
                            .context(|| format!("write {}", file.display()))?;
                    }
                }
                Ok(())
            })??;
        }
        Ok(())
    }
}

const UTS: [&str; 2] = ["kernel/hostname", "kernel/domainname"];
const IPC: [&str; 13] = [
    "kernel/msgmax",
    "kernel/msgmnb",
    "kernel/msgmni",
    "kernel/sem",
    "kernel/shmall",
    "kernel/shmmax",
    "kernel/shmmni",
    "kernel/shm_rmid_forced",
    "fs/mqueue/queues_max",
    "fs/mqueue/msg_max",
    "fs/mqueue/msgsize_max",
    "fs/mqueue/msg_default",
    "fs/mqueue/msgsize_default",
];

/// Does something in a namespace, which is a thread's own for as long.
fn within<T: Send>(path: &Path, flag: CloneFlags, work: impl FnOnce() -> T + Send) -> Result<T> {
    let entered = || -> Result<T> {
        let namespace = std::fs::File::open(path).context(|| format!("open {}", path.display()))?;
        setns(&namespace, flag).context(|| format!("enter {}", path.display()))?;
        Ok(work())
    };
    let done = std::thread::scope(|scope| scope.spawn(entered).join());
    done.unwrap_or_else(|_| Err(Error::new(Kind::Ended, "a thread has ended")))
}

impl Inside<'_> {
    fn confined(&self) -> Confined<'_> {
        Confined { plan: self.plan, joined: self.joined, worker: self.worker }
    }

    /// Waits for the shim's answer, or for the end of a process.
    fn answered(&self, process: Option<BorrowedFd<'_>>) -> Result<()> {
        let gone = || Error::new(Kind::Ended, "the shim has ended");
        let mut watched = vec![PollFd::new(self.channel.as_fd(), PollFlags::POLLIN)];
        watched.extend(process.map(|process| PollFd::new(process, PollFlags::POLLIN)));
        loop {
            match poll(&mut watched, PollTimeout::NONE) {
                Err(nix::Error::EINTR) => continue,
                other => other.context(|| "wait for the shim")?,
            };
            let is_ready = |fd: &PollFd<'_>| fd.revents().is_some_and(|found| !found.is_empty());
            if watched.first().is_some_and(is_ready) {
                break;
            }
            if watched.get(1).is_some_and(is_ready) {
                return Err(Error::new(Kind::Ended, "the first process has been killed"));
            }
        }
        let (mut buffer, mut fds) = (vec![0; MESSAGE], Vec::new());
        let length = fdpass::receive(self.channel.as_fd(), &mut buffer, &mut fds);
        let length = length.context(|| "hear the shim")?;
        let bytes = buffer.get(..length).filter(|bytes| !bytes.is_empty()).ok_or_else(gone)?;
        let answer: Answer = minicbor::decode(bytes).map_err(|error| invalid(error.to_string()))?;
        match answer.refusal {
            None => Ok(()),
            Some(refusal) => Err(kernel(refusal.words)),
        }
    }
}

impl Helper for Inside<'_> {
    fn place(&mut self, pid: i32) -> Result<()> {
        self.worker = pid;
        let groups = &self.plan.cgroups;
        if groups.asked {
            tell(self.channel, &Told::Place(pid), &[])?;
            return self.answered(None).context(|| "be placed into the control groups");
        }
        // Whoever discards the container removes them.
        let mut steps: Steps<Error> = Steps::default();
        cgroup::create(groups, &mut steps)?;
        step::run("shim.restore.place", || cgroup::place(groups, Pid::from_raw(pid)))?;
        steps.commit();
        Ok(())
    }

    fn namespaces_made(&mut self, pid: i32) -> Result<()> {
        if !self.plan.hooks.as_ref().is_some_and(|hooks| hooks.ask) {
            return Ok(());
        }
        tell(self.channel, &Told::Hooks(pid), &[])?;
        self.answered(None).context(|| "hooks")
    }

    fn ready(&mut self, pid: i32, console: Option<BorrowedFd<'_>>) -> Result<()> {
        match (self.plan.process.terminal, console) {
            (true, None) => return Err(invalid("the image has no terminal of its container")),
            (false, Some(_)) => return Err(invalid("the image has a terminal of its container")),
            _ => {}
        }
        self.kept.put_back()?;
        step::run("shim.restore.places", || self.confined().check_places(pid))?;
        let process = pidfd::open(pid).context(|| "open the first process")?;
        let fds: Vec<_> = std::iter::once(process.as_fd()).chain(console).collect();
        tell(self.channel, &Told::Ready(pid), &fds)?;
        self.answered(Some(process.as_fd()))?;
        self.first = Some((pid, process));
        Ok(())
    }

    fn goes_on(&mut self) -> Result<()> {
        let gone = || Error::new(Kind::Ended, "there is no first process");
        let (pid, process) = self.first.as_ref().ok_or_else(gone)?;
        let checked = step::run("shim.restore.rights", || self.confined().check_rights(*pid));
        if checked.is_err() {
            // Also those that are no children of the first: before criu has them go on.
            let _ = pidfd::send_signal(process.as_fd(), nix::libc::SIGKILL);
            cgroup::kill(&self.plan.cgroups)?;
        }
        checked
    }
}
