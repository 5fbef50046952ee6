//! From a plan to the steps of a child. The order is the kernel's and the attacker's:
//!
//! 1. Join the control groups: whatever comes later, even a hang, is accounted and can be killed.
//! 2. `oom_score_adj` and security labels, through the host's procfs: the container's own may be
//!    anything (CVE-2019-16884).
//! 3. Join namespaces by path or descriptor.
//! 4. Copy bind sources while the host's mounts are still there; a dead network file system
//!    hangs this child and nobody else.
//! 5. Enter the pod's mount namespace. A user namespace: join it, or make it and have the parent map
//!    its ids; become its root. Then unshare, and hand over where there is a PID namespace too. A
//!    cgroup namespace's root is the group one is in at that moment.
//! 6. Names and sysctls: they need the namespaces and nothing of the container's files.
//! 7. Root over `/` (or where hooks look for it), mounts in order, devices, links, hooks, pivot. All
//!    of the host is out of reach.
//! 8. Where a PID namespace is joined: hand over, only now (see [`NamespaceOp::Handover`]). `proc` and
//!    what is mounted below it come after, because it shows the PID namespace of who mounts it.
//! 9. Masked and read-only paths, terminal, working directory, read-only root.
//! 10. Say that all is ready, wait for the release.
//! 11. The process: see [`process`].

mod change;
mod enter;
mod hooks;
mod leave;
mod listener;
mod mounts;
mod process;
mod text;

use super::{Beside, Caller, Stdio};
use crate::plan::{Capabilities, ExecPlan, FIRST, IdMaps, Namespace, Plan, Process, Slot, VERSION};
use crate::{Context, Error, Kind, Result};
pub(super) use change::{add as add_mounts, remove as remove_mounts};
use listener::Connected;
use nix::sched::CloneFlags;
use rrun_sys::program::report::ParentTask;
use rrun_sys::program::{
    ChannelOp, CredentialOp, DescriptorOp, ExecOp, FileOp, MountOp, NamespaceOp, Program, Reg,
    Strings,
};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use text::c_string;
pub(super) use text::sysctl_path;

/// What comes beside a plan.
#[derive(Default)]
pub(super) struct Inputs<'fd> {
    pub(super) slots: &'fd [BorrowedFd<'fd>],
    pub(super) pod_mounts: Option<BorrowedFd<'fd>>,
    pub(super) stdio: Option<Stdio>,
    /// `tasks` files of v1 groups, open for writing.
    pub(super) tasks: Vec<(String, OwnedFd)>,
    /// A listening socket to wait at instead of the channel.
    pub(super) start_socket: Option<OwnedFd>,
    pub(super) beside: Beside,
}

/// A child that can be cloned.
pub(super) struct Compiled<'fd> {
    pub(super) program: Program<'fd>,
    /// `CLONE_NEW*` for the clone itself.
    pub(super) namespaces: CloneFlags,
    /// Another process goes on in its place.
    pub(super) handover: bool,
    /// What its new user namespace maps.
    pub(super) id_maps: Option<IdMaps>,
}

struct Compiler<'fd> {
    program: Program<'fd>,
    slots: Vec<Reg>,
    /// Those of the slots that are mounts.
    taken: Vec<Reg>,
    proc: Reg,
    unshare: CloneFlags,
    clone: CloneFlags,
    handover: Handover,
    id_maps: Option<IdMaps>,
    beside: Beside,
    listener: Option<Connected>,
}

/// Whether another process goes on in the place of the one that was cloned: a PID or time
/// namespace that is joined or unshared holds only for children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Handover {
    No,
    /// As soon as the namespaces are there: nobody else is in them.
    Early,
    /// Only when nothing of the host is within reach: see [`NamespaceOp::Handover`].
    Late,
}

const NEWUSER: CloneFlags = CloneFlags::CLONE_NEWUSER;

/// `CLONE_NEWTIME`, which is not in nix.
const CLONE_NEWTIME: CloneFlags = CloneFlags::from_bits_retain(libc::CLONE_NEWTIME);

/// The steps of a container's init.
pub(super) fn init<'fd>(plan: &Plan, given: Inputs<'fd>) -> Result<Compiled<'fd>> {
    check_version(plan.version)?;
    let mut compiler = Compiler::new(given.slots)?;
    compiler.hand_on(given.beside);
    compiler.connect_listener(&plan.process, None)?;
    compiler.begin(given.stdio)?;
    compiler.stdio_from_outside(&plan.process);
    if plan.cgroups.asked {
        compiler
            .program
            .step("be placed into the control groups", ChannelOp::Ask(ParentTask::Place));
    }
    compiler.join(given.tasks);
    compiler.oom_score_and_labels(&plan.process)?;
    compiler.namespaces(plan)?;
    let unprivileged = compiler.beside.caller == Caller::Unprivileged;
    if unprivileged {
        // The host's mounts are there as a copy, too.
        compiler.user_namespace(plan)?;
        compiler.unshare(plan)?;
    }
    let mut mounts = compiler.open_sources(plan)?;
    // Hooks find the host's files, and those of the container below them.
    match plan.hooks.as_ref().and_then(|hooks| hooks.rootfs.as_ref()) {
        None => compiler.enter_pod_mounts(given.pod_mounts),
        Some(rootfs) => {
            compiler.copy_pod_mounts(given.pod_mounts, plan, &mut mounts)?;
            compiler.go_to_rootfs(rootfs)?;
        }
    }
    if !unprivileged {
        compiler.user_namespace(plan)?;
        compiler.unshare(plan)?;
    }
    compiler.settings(&plan.sysctls)?;
    compiler.mounts(plan, &mut mounts)?;
    compiler.close_slots();
    if compiler.handover == Handover::Late {
        compiler.program.step("hand over to the PID namespace", NamespaceOp::Handover);
    }
    compiler.finish_root(plan, mounts)?;
    compiler.learn_pid();
    match given.start_socket {
        None => {
            compiler.program.step("ready", ChannelOp::Ready);
            compiler.program.step("wait for the start", ChannelOp::Await);
        }
        Some(listener) => {
            compiler.expect_program(&plan.process)?;
            let listener = compiler.program.own(listener);
            compiler.program.step("ready", ChannelOp::Ready);
            compiler.program.step("wait for the start", ChannelOp::Accept(listener));
        }
    }
    compiler.process(&plan.process, plan.hooks.as_ref())?;
    Ok(compiler.done())
}

/// The steps of one more process in a container whose init is `init`.
pub(super) fn exec<'fd>(
    plan: &ExecPlan,
    init: BorrowedFd<'fd>,
    given: Inputs<'fd>,
) -> Result<Compiled<'fd>> {
    check_version(plan.version)?;
    let mut compiler = Compiler::new(&[])?;
    compiler.hand_on(given.beside);
    compiler.connect_listener(&plan.process, Some(init))?;
    compiler.begin(given.stdio)?;
    compiler.stdio_from_outside(&plan.process);
    compiler.join(given.tasks);
    compiler.oom_score_and_labels(&plan.process)?;
    let fd = compiler.program.borrow(init);
    let tries = match compiler.beside.caller {
        Caller::Root => enter::all().to_vec(),
        _ => vec![enter::others(init).context(|| "look at the container's namespaces")?],
    };
    let tries = tries.into();
    compiler.program.step("enter the container", NamespaceOp::EnterProcess { fd, tries });
    compiler.become_root();
    for reg in [fd, compiler.proc] {
        compiler.program.step("close", DescriptorOp::Close(reg));
    }
    compiler.program.step("hand over to the PID namespace", NamespaceOp::Handover);
    compiler.handover = Handover::Late;
    compiler.learn_pid();
    compiler.terminal(&plan.process, None);
    compiler.process(&plan.process, None)?;
    Ok(compiler.done())
}

/// The steps of a reaper: groups, namespaces and ids of `plan`, an empty root, `binary`.
pub(super) fn reaper<'fd>(
    plan: &Plan,
    binary: BorrowedFd<'fd>,
    given: Inputs<'fd>,
) -> Result<Compiled<'fd>> {
    check_version(plan.version)?;
    let mut compiler = Compiler::new(given.slots)?;
    compiler.begin(None)?;
    compiler.join(given.tasks);
    compiler.oom_score_and_labels(&plan.process)?;
    compiler.namespaces(plan)?;
    compiler.enter_pod_mounts(given.pod_mounts);
    compiler.user_namespace(plan)?;
    compiler.unshare(plan)?;
    let root = compiler.empty_root();
    compiler.program.step("enter the empty root", MountOp::Cover(root));
    compiler.program.step("enter the empty root", MountOp::Pivot(root));
    compiler.close_slots();
    let file = compiler.program.borrow(binary);
    let mut process = plan.process.clone();
    process.capabilities = Capabilities::default();
    compiler.identity(&process)?;
    compiler.program.step("close on exec", DescriptorOp::CloseOnExec(0));
    // No child of it is ever waited for: the kernel reaps what is adopted.
    compiler.program.step("ignore children", CredentialOp::IgnoreChildren);
    let name = plan.process.args.first().map_or("rrun-reaper", String::as_str);
    let arguments = Strings::from(vec![c_string(name)?]);
    let environment = Strings::from(Vec::new());
    compiler.program.step("execute the reaper", ExecOp::RunFd { file, arguments, environment });
    Ok(compiler.done())
}

/// The steps of a process that makes a user namespace, and others that belong to it, and waits until
/// somebody has them.
pub(super) fn namespaces(
    kinds: CloneFlags,
    id_maps: &IdMaps,
    hostname: Option<&str>,
    sysctls: &[(String, String)],
) -> Result<Compiled<'static>> {
    let mut compiler = Compiler::new(&[])?;
    compiler.begin(None)?;
    compiler.new_user_namespace(id_maps);
    compiler.program.step("unshare", NamespaceOp::Unshare(kinds));
    if let Some(name) = hostname.filter(|_| kinds.contains(CloneFlags::CLONE_NEWUTS)) {
        compiler.hostname(name);
    }
    compiler.settings(sysctls)?;
    compiler.program.step("ready", ChannelOp::Ready);
    compiler.program.step("wait", ChannelOp::Await);
    Ok(compiler.done())
}

fn check_version(version: u16) -> Result<()> {
    if (FIRST..=VERSION).contains(&version) {
        return Ok(());
    }
    let text = format!("plan version {version}, this executor knows up to {VERSION}");
    Err(Error::new(Kind::Invalid, text))
}

impl<'fd> Compiler<'fd> {
    fn new(slots: &[BorrowedFd<'fd>]) -> Result<Compiler<'fd>> {
        let mut program = Program::default();
        let slots = slots.iter().map(|slot| program.borrow(*slot)).collect();
        let proc = program.own(rrun_sys::procfs::open().context(|| "open /proc")?);
        Ok(Compiler {
            program,
            slots,
            taken: Vec::new(),
            proc,
            unshare: CloneFlags::CLONE_NEWNS,
            clone: CloneFlags::empty(),
            handover: Handover::No,
            id_maps: None,
            beside: Beside::default(),
            listener: None,
        })
    }

    fn done(self) -> Compiled<'fd> {
        Compiled {
            program: self.program,
            namespaces: self.clone,
            handover: self.handover != Handover::No,
            id_maps: self.id_maps,
        }
    }

    fn hand_on(&mut self, beside: Beside) {
        self.beside = beside;
        self.program.hand_on(beside.inherited);
    }

    fn begin(&mut self, stdio: Option<Stdio>) -> Result<()> {
        // Whoever maps the ids of somebody who is not root must see him as his own. He has nothing yet
        // that his parent has not.
        if self.beside.caller != Caller::Unprivileged {
            self.program.step("hide memory", CredentialOp::NotDumpable);
        }
        self.program.step("reset signals", CredentialOp::ResetSignals);
        // What is made on the way has the mode that it is made with, whatever the caller's mask.
        self.program.step("set umask", CredentialOp::Umask(0));
        let null = || -> Result<OwnedFd> {
            let mut options = std::fs::OpenOptions::new();
            Ok(options
                .read(true)
                .write(true)
                .open("/dev/null")
                .context(|| "open /dev/null")?
                .into())
        };
        let fds = match stdio {
            Some(stdio) => [stdio.stdin, stdio.stdout, stdio.stderr],
            None => [null()?, null()?, null()?],
        };
        let mut regs = Vec::with_capacity(3);
        for fd in fds {
            regs.push(self.program.own(above_stdio(fd)?));
        }
        if let [stdin, stdout, stderr] = regs[..] {
            self.program.step("set stdio", DescriptorOp::Stdio([stdin, stdout, stderr]));
        }
        Ok(())
    }

    /// What a user namespace does not have the ids of can only be given away before it is joined.
    fn stdio_from_outside(&mut self, process: &Process) {
        if let Some(uid) = process.user.outside.filter(|_| !process.terminal) {
            self.program.step("give stdio to the user", DescriptorOp::OwnStdio { uid });
        }
    }

    fn join(&mut self, tasks: Vec<(String, OwnedFd)>) {
        for (path, fd) in tasks {
            let reg = self.program.own(fd);
            self.program.step(format!("join {path}"), FileOp::Join(reg));
        }
    }

    fn slot(&self, slot: Slot) -> Result<Reg> {
        self.slots.get(usize::from(slot.0)).copied().ok_or_else(|| {
            let text = format!("slot {} of {}", slot.0, self.slots.len());
            Error::new(Kind::Invalid, text)
        })
    }

    /// A slot for a mount, which is attached and closed as such.
    fn take_slot(&mut self, slot: Slot) -> Result<Reg> {
        let reg = self.slot(slot)?;
        if self.taken.contains(&reg) {
            return Err(Error::new(Kind::Invalid, format!("slot {} is taken", slot.0)));
        }
        self.taken.push(reg);
        Ok(reg)
    }

    fn close_slots(&mut self) {
        let taken = std::mem::take(&mut self.taken);
        for reg in std::mem::take(&mut self.slots).into_iter().filter(|reg| !taken.contains(reg)) {
            self.program.step("close", DescriptorOp::Close(reg));
        }
        self.program.step("close", DescriptorOp::Close(self.proc));
    }

    fn namespaces(&mut self, plan: &Plan) -> Result<()> {
        let all = &plan.namespaces;
        let is_new = all.user == Namespace::New;
        if is_new != plan.id_maps.is_some() || matches!(all.user, Namespace::Path(_)) {
            let text = "a user namespace is new and has id maps, or is in a slot, or is the host's";
            return Err(Error::new(Kind::Invalid, text));
        }
        if is_new && !matches!(all.pid, Namespace::New | Namespace::Host) {
            let text = "a joined PID namespace does not go with a new user namespace";
            return Err(Error::new(Kind::Invalid, text));
        }
        // What a user namespace does not own cannot be set up from inside, and its `proc` must be
        // mounted while another is there. Who is in the user namespace and in a PID namespace of it
        // cannot look into this process: its memory is hidden, and the host's.
        let is_inside = all.user != Namespace::Host;
        for (name, kind, namespace) in [
            ("network", CloneFlags::CLONE_NEWNET, &all.network),
            ("ipc", CloneFlags::CLONE_NEWIPC, &all.ipc),
            ("uts", CloneFlags::CLONE_NEWUTS, &all.uts),
            ("cgroup", CloneFlags::CLONE_NEWCGROUP, &all.cgroup),
            ("pid", CloneFlags::CLONE_NEWPID, &all.pid),
            ("time", CLONE_NEWTIME, &all.time),
        ] {
            // A PID namespace is made for children only, so by the clone itself; a time namespace
            // likewise.
            let by_clone = kind == CloneFlags::CLONE_NEWPID || kind == CLONE_NEWTIME;
            let label = format!("join the {name} namespace");
            match namespace {
                Namespace::Host => continue,
                Namespace::New if by_clone && !is_inside => self.clone |= kind,
                Namespace::New => self.unshare |= kind,
                Namespace::Path(path) => {
                    let path = c_string(path.as_os_str().as_encoded_bytes())?;
                    let label = format!("{label} {}", path.to_string_lossy());
                    self.program.step(label, NamespaceOp::EnterPath { path, kind });
                }
                Namespace::Slot(slot) => {
                    let fd = self.slot(*slot).context(|| label.clone())?;
                    self.program.step(label, NamespaceOp::Enter { fd, kinds: kind });
                }
            }
            if by_clone && (is_inside || *namespace != Namespace::New) {
                self.handover = if is_inside { Handover::Early } else { Handover::Late };
            }
        }
        Ok(())
    }

    /// The user namespace owns those that are unshared after it.
    fn user_namespace(&mut self, plan: &Plan) -> Result<()> {
        match (&plan.namespaces.user, &plan.id_maps) {
            (Namespace::Slot(slot), _) => {
                let fd = self.slot(*slot).context(|| "join the user namespace")?;
                let op = NamespaceOp::Enter { fd, kinds: NEWUSER };
                self.program.step("join the user namespace", op);
                self.become_root();
            }
            (Namespace::New, Some(id_maps)) => self.new_user_namespace(id_maps),
            _ => {}
        }
        Ok(())
    }

    /// Its maps are its parent's to write, and root inside is who they say.
    fn new_user_namespace(&mut self, id_maps: &IdMaps) {
        self.id_maps = Some(id_maps.clone());
        self.program.step("make the user namespace", NamespaceOp::Unshare(NEWUSER));
        self.program.step("map ids", ChannelOp::Ask(ParentTask::WriteIdMaps));
        self.become_root();
    }

    /// Other credentials make the memory as visible as `fs.suid_dumpable` says.
    fn become_root(&mut self) {
        let denied = self.beside.caller != Caller::Root;
        let op = CredentialOp::Ids { groups: Box::default(), gid: 0, uid: 0, denied };
        self.program.step("become root", op);
        self.program.step("hide memory", CredentialOp::NotDumpable);
    }

    /// It belongs to the host, and nobody enters it from within a user namespace.
    fn enter_pod_mounts(&mut self, pod_mounts: Option<BorrowedFd<'fd>>) {
        if let Some(pod_mounts) = pod_mounts {
            let fd = self.program.borrow(pod_mounts);
            let op = NamespaceOp::Enter { fd, kinds: CloneFlags::CLONE_NEWNS };
            self.program.step("enter the pod's mount namespace", op);
            self.program.step("close", DescriptorOp::Close(fd));
        }
    }

    fn unshare(&mut self, plan: &Plan) -> Result<()> {
        let named = plan.hostname.is_some() || plan.domainname.is_some();
        if named && plan.namespaces.uts == Namespace::Host {
            // It would rename the host.
            let text = "a host or domain name goes with a UTS namespace that is not the host's";
            return Err(Error::new(Kind::Invalid, text));
        }
        self.program.step("unshare", NamespaceOp::Unshare(self.unshare));
        if self.handover == Handover::Early {
            self.program.step("hand over to the new namespaces", NamespaceOp::Handover);
        }
        self.program.step("make mounts private", MountOp::Private);
        if let Some(name) = &plan.hostname {
            self.hostname(name);
        }
        if let Some(name) = &plan.domainname {
            let op = NamespaceOp::Domainname(name.as_bytes().into());
            self.program.step(format!("set domain name {name}"), op);
        }
        Ok(())
    }

    fn hostname(&mut self, name: &str) {
        let op = NamespaceOp::Hostname(name.as_bytes().into());
        self.program.step(format!("set host name {name}"), op);
    }

    fn settings(&mut self, sysctls: &[(String, String)]) -> Result<()> {
        for (name, value) in sysctls {
            let path = sysctl_path(name)?;
            let value = value.as_bytes().into();
            let op = FileOp::Value { proc: self.proc, path, value, lenient: false };
            self.program.step(format!("sysctl {name}"), op);
        }
        Ok(())
    }
}

/// Standard descriptors must not be overwritten while they are put in place.
fn above_stdio(fd: OwnedFd) -> Result<OwnedFd> {
    // A copy made by the standard library is 3 or above.
    if fd.as_raw_fd() > 2 { Ok(fd) } else { Ok(fd.try_clone()?) }
}
