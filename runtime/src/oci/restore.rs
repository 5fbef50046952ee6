//! The verb `restore`.

use crate::checkpoint::common;
use crate::cli::{Global, Restore};
use crate::create::{self, Decided, take_back};
use crate::descriptors::Given;
use crate::first_process::ProcessStart;
use crate::log::Log;
use crate::record::Record;
use crate::relay::Relay;
use crate::wait::Forwarded;
use crate::{console, delete, hooks, invalid};
use rrun_runtime::criu::{self, Helper};
use rrun_runtime::plan::Cgroups;
use rrun_runtime::{Context, Error, Kind, Result, cgroup, systemd};
use rrun_sys::pidfd;
use rrun_sys::step::{self, Steps};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

/// Makes a container of an image, which runs when that is done. Unless detached, waits for its end,
/// deletes it, and gives the exit code of its program.
pub fn restore(called: (&Global, &Given), options: &Restore, log: &Log) -> Result<u8> {
    let id = &options.id;
    let forwarded = if options.detach { None } else { Some(Forwarded::take()?) };
    let mut hooked = None;
    let restored = make(called, options, &mut hooked, log);
    if let (Err(_), Some(record)) = (&restored, hooked) {
        // All of it is taken back by now, and the hooks of its end run all the same.
        hooks::stopped(&record, log);
    }
    let (init, console) = restored.context(|| format!("restore {id}"))?;
    let Some(forwarded) = forwarded else { return Ok(0) };
    let relay = console.map(Relay::new).transpose()?;
    let code = forwarded.wait(init.as_fd(), relay)?;
    let folder = delete::claim(&called.0.root, id, false)?;
    let record = folder.read()?;
    delete::release(&folder, &record)?;
    hooks::stopped(&record, log);
    Ok(code)
}

/// The first process, and the master of its terminal where nobody else has it.
fn make(
    called: (&Global, &Given),
    options: &Restore,
    hooked: &mut Option<Record>,
    log: &Log,
) -> Result<(OwnedFd, Option<OwnedFd>)> {
    let create = options.create();
    let Decided { plan, mut record, joined, .. } = create::decide(called, &create, log)?;
    let common = common(&options.image, &record.annotations)?;
    let (terminal, socket) = (plan.process.terminal, options.console_socket.as_deref());
    let socket = console::connect(terminal, socket, !options.detach)?;
    let mut steps = Steps::default();
    let parts = (&plan, &mut record);
    let folder = create::begin(&called.0.root, &options.id, parts, &mut steps)?;
    let place = folder.path().join("root");
    step::run("oci.restore.root", || std::fs::create_dir(&place))
        .context(|| format!("make {}", place.display()))?;
    let wanted = criu::Restore {
        options: &common,
        plan: &plan,
        root: &record.rootfs,
        place: &place,
        joined: &joined.others,
        attached: &[],
        lsm_profile: options.lsm_profile.clone(),
        lsm_mount_context: options.lsm_mount_context.clone(),
    };
    let (kept, ready) = (record.clone(), Arc::new(Mutex::new(None)));
    let first = Arc::clone(&ready);
    let mut inside = Inside { groups: &plan.cgroups, record: &record, hooked, ready, first: None };
    let tree = || criu::restore(&wanted, &mut inside);
    let undo = move || {
        let first = first.lock().unwrap_or_else(PoisonError::into_inner).take();
        take_back(&kept, first)
    };
    let console = steps.run("oci.restore.tree", tree, undo)?;
    let first = inside.first.take();
    let (start, init) = first.ok_or_else(|| Error::new(Kind::Ended, "criu has made no process"))?;
    let console = match (socket, console) {
        (Some(socket), Some(master)) => {
            step::run("oci.restore.terminal", || console::send(&master, &socket))?;
            None
        }
        (Some(_), None) => return Err(invalid("the image has no terminal of its container")),
        (None, console) => console,
    };
    step::run("oci.restore.unroot", || std::fs::remove_dir(&place))
        .context(|| format!("remove {}", place.display()))?;
    create::finish(&folder, &mut record, start, options.pid_file.as_deref())?;
    steps.commit();
    Ok((init, console))
}

/// What is done while the processes are made.
struct Inside<'a> {
    groups: &'a Cgroups,
    record: &'a Record,
    hooked: &'a mut Option<Record>,
    /// The first process, for who takes all of it back.
    ready: Arc<Mutex<Option<OwnedFd>>>,
    first: Option<(ProcessStart, OwnedFd)>,
}

impl Helper for Inside<'_> {
    fn place(&mut self, pid: i32) -> Result<()> {
        let pid = nix::unistd::Pid::from_raw(pid);
        if let Some(scope) = self.record.scope() {
            return systemd::place(&scope, &self.record.description(), self.groups, pid);
        }
        let mut steps: Steps<Error> = Steps::default();
        cgroup::create(self.groups, &mut steps)?;
        step::run("oci.restore.place", || cgroup::place(self.groups, pid))?;
        steps.commit();
        Ok(())
    }

    fn namespaces_made(&mut self, pid: i32) -> Result<()> {
        *self.hooked = Some(self.record.clone());
        step::run("oci.restore.hooks", || hooks::creating(self.record, pid))
    }

    /// It may end as soon as it goes on.
    fn ready(&mut self, pid: i32, _: Option<BorrowedFd<'_>>) -> Result<()> {
        let context = || "open the first process";
        let init = pidfd::open(pid).context(context)?;
        let copy = init.try_clone().context(context)?;
        *self.ready.lock().unwrap_or_else(PoisonError::into_inner) = Some(copy);
        self.first = ProcessStart::of(pid).map(|start| (start, init));
        Ok(())
    }
}
