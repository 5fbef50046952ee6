//! The verb `create`.

use crate::cli::{CgroupManager, Create, Global};
use crate::descriptors::Given;
use crate::first_process::ProcessStart;
use crate::id::Id;
use crate::log::Log;
use crate::namespaces::JoinedNamespaces;
use crate::record::{Folder, Record, write_whole};
use crate::{config, console, delete, hooks, pidfd_socket, protect, rootless};
use oci_spec::runtime::{LinuxResources, Spec};
use rrun_runtime::plan::{Cgroups, Namespace, Plan};
use rrun_runtime::planning::{self, Host, Overrides};
use rrun_runtime::run::{self, Beside, Caller, Child, ParentTask};
use rrun_runtime::systemd::{self, Scope};
use rrun_runtime::{Context, Error, Kind, Result, cgroup, seccomp};
use rrun_sys::step::{self, Steps};
use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// How far a container is brought.
pub enum Until<'a> {
    /// Its program waits for another command to start it.
    Created,
    /// Its program runs: whoever made it lets it go, and nobody else has to find it.
    Running {
        /// The child keeps the master of its terminal, if nobody waits for it at a console socket.
        foreground: bool,
        /// What comes before the start.
        prepared: &'a mut dyn FnMut(&mut Child) -> Result<()>,
    },
}

/// Makes a container, and leaves nothing of it when that fails.
pub fn create(
    called: (&Global, &Given),
    options: &Create,
    until: Until<'_>,
    log: &Log,
) -> Result<(Child, Record)> {
    protect::executable()?;
    rrun_sys::limit::raise_files();
    let mut hooked = None;
    let made = make(called, options, (until, &mut hooked), log);
    if let (Err(_), Some(record)) = (&made, hooked) {
        // All of it is taken back by now, and the hooks of its end run all the same.
        hooks::stopped(&record, log);
    }
    made.context(|| format!("create {}", options.id))
}

/// A container of which all is decided and nothing made.
pub struct Decided {
    pub plan: Plan,
    /// What is to be on record of it.
    pub record: Record,
    /// The namespaces that it joins, open.
    pub joined: JoinedNamespaces,
    /// Who makes it.
    pub caller: Caller,
}

/// Reads a bundle, and decides what is to be made of it.
pub fn decide((global, given): (&Global, &Given), options: &Create, log: &Log) -> Result<Decided> {
    let (bundle, mut spec) = config::bundle(&options.bundle, options.config.as_deref(), log)?;
    let process = spec.process().clone();
    if let Some(process) = spec.process_mut() {
        given.announce(process);
    }
    let caller = rootless::caller();
    let host = rootless::host(caller)?;
    let group = group(global, options, (&spec, &host, caller));
    if group.is_none() {
        leave_groups(&mut spec, log);
    }
    let joined = JoinedNamespaces::open(&spec)?;
    let over = overrides((global, options), &bundle, &joined, group);
    let scope = scope(&spec, &over)?;
    if scope.is_some() {
        tell_unset_properties(&spec, log);
    }
    let file = config::file(&bundle, options.config.as_deref());
    let plan = plan(&mut spec, &host, &over, log);
    let mut plan = plan.context(|| format!("{}", file.display()))?;
    if caller != Caller::Root {
        leave_devices(&mut plan.cgroups);
    }
    plan.process.keyring = (!options.no_new_keyring).then(|| format!("_ses.{}", options.id));
    let mut record = record(&spec, &plan, options, bundle)?;
    record.process = process.unwrap_or_default();
    record.keyring.clone_from(&plan.process.keyring);
    record.scope = scope.as_ref().map(Scope::path);
    record.joined = joined.others.iter().map(|(kind, _)| kind.clone()).collect();
    let resources = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
    record.resources = planning::created_resources(resources, &host)?;
    Ok(Decided { plan, record, joined, caller })
}

/// Makes the folder of a container, with what is about to be made. The folder is locked for as long
/// as it is open, and goes with the steps when they are taken back.
pub fn begin(
    root: &Path,
    id: &Id,
    (plan, record): (&Plan, &mut Record),
    steps: &mut Steps<Error>,
) -> Result<Folder> {
    let path = root.join(id.as_str());
    // Before the steps, so that it is locked until they are taken back.
    let folder = step::run("oci.create.folder", || Folder::make(root, id))?;
    // Registered only now: a folder that was there already is another container's.
    let write = || {
        // Whoever finds the record knows what is whose.
        record.made = cgroup::missing(&plan.cgroups)?;
        folder.write_made(record)
    };
    steps.run("oci.create.record", write, move || Folder::remove(&path))?;
    if let Some(seccomp) = &plan.process.seccomp {
        step::run("oci.create.filter", || folder.write_filter(seccomp))?;
    }
    Ok(folder)
}

fn make(
    called: (&Global, &Given),
    options: &Create,
    (until, hooked): (Until<'_>, &mut Option<Record>),
    log: &Log,
) -> Result<(Child, Record)> {
    let Decided { plan, mut record, joined, caller } = decide(called, options, log)?;
    let foreground = matches!(until, Until::Running { foreground: true, .. });
    let terminal =
        console::connect(plan.process.terminal, options.console_socket.as_deref(), foreground)?;
    let pidfd_socket = pidfd_socket::connect(options.pidfd_socket.as_deref())?;
    let mut steps = Steps::default();
    let folder = begin(&called.0.root, &options.id, (&plan, &mut record), &mut steps)?;
    let stdio = if plan.process.terminal { None } else { Some(console::own_stdio()?) };
    // The executor takes back the groups when its own steps fail; later ones fail here.
    let beside = Beside { inherited: called.1.inherited, no_pivot: options.no_pivot, caller };
    let slots = joined.slots();
    let mut child = match until {
        Until::Created => {
            run::start_socket::spawn(&plan, &slots, stdio, &folder.start_socket(), beside)?
        }
        Until::Running { .. } => run::spawn_beside(&plan, &slots, stdio, beside)?,
    };
    *hooked = Some(record.clone());
    prepare(&mut child, &plan.cgroups, &record, &mut steps)?;
    for clamped in child.take_clamped() {
        log.warning(&clamped);
    }
    if let Some(socket) = terminal {
        step::run("oci.create.terminal", || console::hand_over(&mut child, &socket))?;
    }
    if let Some(socket) = pidfd_socket {
        step::run("oci.create.pidfd", || pidfd_socket::hand_over(&child, "standard", &socket))?;
    }
    let died = || Error::new(Kind::Ended, "the process died while it was being prepared");
    let init = ProcessStart::of(child.pid().as_raw()).ok_or_else(died)?;
    let pid_file = options.pid_file.as_deref();
    match until {
        Until::Created => finish(&folder, &mut record, init, pid_file)?,
        Until::Running { prepared, .. } => {
            prepared(&mut child)?;
            step::run("oci.start.release", || child.release().and_then(|()| child.wait_running()))?;
            // Not before: nobody else could start it.
            finish(&folder, &mut record, init, pid_file)?;
            step::run("oci.start.hooks", || hooks::started(&record))?;
        }
    }
    steps.commit();
    Ok((child, record))
}

/// Has the first process on record, and its number in the file that was asked for.
pub fn finish(
    folder: &Folder,
    record: &mut Record,
    init: ProcessStart,
    pid_file: Option<&Path>,
) -> Result<()> {
    record.init = Some(init);
    step::run("oci.create.state", || folder.write(record))?;
    if let Some(file) = pid_file {
        let pid = init.pid.to_string();
        step::run("oci.create.pid-file", || write_whole(file, pid.as_bytes()))?;
    }
    Ok(())
}

fn tell_unset_properties(spec: &Spec, log: &Log) {
    for name in unset_properties(spec) {
        let text = "no property of a scope is set but those of its limits";
        log.warning(&format!("annotations: {name}: {text}"));
    }
}

/// Waits until the first process is ready, and has it placed where systemd makes its groups. Its
/// undo ends that process and takes back what was made for it; groups that were there before are not
/// touched, whoever came into them meanwhile.
fn prepare(
    child: &mut Child,
    groups: &Cgroups,
    record: &Record,
    steps: &mut Steps<Error>,
) -> Result<()> {
    let ready = Arc::new(Mutex::new(None));
    let init = Arc::clone(&ready);
    let kept = record.clone();
    let wait = || {
        child.wait_helped(|asked, pid| match (asked, record.scope()) {
            (ParentTask::Place, Some(scope)) => {
                systemd::place(&scope, &record.description(), groups, pid)
            }
            (ParentTask::RunHooks, _) => {
                step::run("oci.create.hooks", || hooks::creating(record, pid.as_raw()))
            }
            _ => Err(Error::new(Kind::Invalid, "nobody here can do that")),
        })?;
        *ready.lock().unwrap_or_else(PoisonError::into_inner) = Some(child.pidfd_owned()?);
        Ok(())
    };
    let take_back = move || {
        let init = init.lock().unwrap_or_else(PoisonError::into_inner).take();
        take_back(&kept, init)
    };
    steps.run("oci.create.prepare", wait, take_back)
}

/// Ends the first process, and removes the groups that were made for it.
pub fn take_back(record: &Record, init: Option<OwnedFd>) -> Result<()> {
    if let Some(init) = init {
        delete::end_process(init.as_fd())?;
    }
    if record.scope.is_none() {
        cgroup::kill(&Cgroups { dirs: record.made.clone(), ..Cgroups::default() })?;
    }
    record.release_groups()
}

/// The group that it has if it names none; `None` where it has no groups of its own. Somebody else than
/// root has them where he was given some to make them in, and where he names one, which fails if he was
/// not.
fn group(
    global: &Global,
    options: &Create,
    (spec, host, caller): (&Spec, &Host, Caller),
) -> Option<String> {
    let named = spec.linux().as_ref().and_then(|linux| linux.cgroups_path().as_ref());
    let is_named = named.is_some_and(|path| !path.as_os_str().is_empty());
    match global.cgroup_manager {
        CgroupManager::Disabled => None,
        _ if global.is_systemd() => Some(format!(":rrun:{}", options.id)),
        // Where crun has it: no group above it is made, which nobody would remove.
        _ if caller == Caller::Root || is_named => Some(format!("/{}", options.id)),
        _ => rootless::group(host, &options.id),
    }
}

/// Has it stay in the groups of the caller, which nobody limits for it.
fn leave_groups(spec: &mut Spec, log: &Log) {
    let Some(linux) = spec.linux_mut() else { return };
    if linux.resources().as_ref().is_some_and(|limits| *limits != LinuxResources::default()) {
        log.warning("linux.resources: nothing is limited without control groups");
    }
    linux.set_resources(None).set_cgroups_path(None);
}

/// Only the host's root may say which devices are opened. Inside of a user namespace no node is made, and
/// those that are there are opened by the rights that the caller has.
fn leave_devices(groups: &mut Cgroups) {
    groups.writes.retain(|write| !write.file.starts_with("devices."));
    groups.device_filter = None;
}

/// What this command line knows beside the configuration.
fn overrides(
    (global, options): (&Global, &Create),
    bundle: &Path,
    joined: &JoinedNamespaces,
    cgroup: Option<String>,
) -> Overrides {
    Overrides {
        bundle: bundle.to_owned(),
        namespaces: joined.over.clone(),
        cgroup,
        systemd: global.is_systemd(),
        hooks: Some(hooks::place(options, bundle)),
        ..Overrides::default()
    }
}

/// The scope that it is to be, where systemd makes the groups and can be reached.
fn scope(spec: &Spec, over: &Overrides) -> Result<Option<Scope>> {
    let scope = planning::scope(spec, over)?;
    if scope.is_some() {
        systemd::check().context(|| "--systemd-cgroup")?;
    }
    Ok(scope)
}

/// Annotations by which crun and runc set properties of a container's scope.
fn unset_properties(spec: &Spec) -> BTreeSet<&str> {
    let names = spec.annotations().iter().flat_map(|all| all.keys());
    names.map(String::as_str).filter(|name| name.starts_with("org.systemd.property.")).collect()
}

fn plan(spec: &mut Spec, host: &Host, over: &Overrides, log: &Log) -> Result<Plan> {
    let bundle = &over.bundle;
    let rootfs = spec.root().as_ref().map(|root| bundle.join(root.path()));
    if let (Some(process), Some(rootfs)) = (spec.process_mut(), rootfs) {
        config::set_home(process, config::open_root(&rootfs).ok().as_ref())?;
        planning::warnings(process, host).iter().for_each(|warning| log.warning(warning));
    }
    if let Some(profile) = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref()) {
        let warnings = seccomp::warnings(profile, seccomp::Arch::NATIVE);
        warnings.iter().for_each(|warning| log.warning(&format!("linux.seccomp: {warning}")));
    }
    planning::plan(spec, host, over)
}

fn record(spec: &Spec, plan: &Plan, options: &Create, bundle: PathBuf) -> Result<Record> {
    let hooks = planning::runtime_hooks(spec, &hooks::place(options, &bundle))?;
    let rootfs = spec.root().as_ref().map(|root| bundle.join(root.path())).unwrap_or_default();
    let mut record = Record::new(&options.id, bundle);
    record.oci_version.clone_from(spec.version());
    record.rootfs = rootfs;
    record.annotations = spec.annotations().clone().unwrap_or_default();
    record.groups = Cgroups { dirs: plan.cgroups.dirs.clone(), ..Cgroups::default() };
    record.own_pids = plan.namespaces.pid == Namespace::New;
    record.seccomp_flags = plan.process.seccomp.as_ref().map(|seccomp| seccomp.flags);
    record.listener = plan.process.seccomp.as_ref().and_then(|seccomp| seccomp.listener.clone());
    record.hooks = hooks;
    Ok(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_of_a_scope_that_are_not_set_are_named() {
        let mut spec = Spec::default();
        let names = ["org.systemd.property.After", "org.systemd.property.TimeoutStopUSec", "a.b"];
        spec.set_annotations(Some(names.map(|name| (name.to_owned(), "x".to_owned())).into()));
        assert_eq!(unset_properties(&spec).into_iter().collect::<Vec<_>>(), names[..2]);
        spec.set_annotations(None);
        assert!(unset_properties(&spec).is_empty());
    }
}
