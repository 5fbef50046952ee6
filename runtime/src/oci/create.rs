//! The verb `create`.

use crate::cli::Create;
use crate::first_process::ProcessStart;
use crate::log::Log;
use crate::namespaces::Joined;
use crate::record::{Folder, Record, write_whole};
use crate::{config, console, delete, protect};
use oci_spec::runtime::Spec;
use rrun_runtime::plan::{Cgroups, Namespace, Plan};
use rrun_runtime::run::{self, Child};
use rrun_runtime::spec::{self, Host, Overrides};
use rrun_runtime::{Context, Error, Kind, Result, cgroup};
use rrun_sys::step::{self, Steps};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Makes a container whose program waits for its start.
///
/// In the `foreground` the child keeps the master of its terminal, if nobody waits for it at a
/// console socket.
pub fn create(root: &Path, options: &Create, foreground: bool, log: &Log) -> Result<Child> {
    options.check()?;
    protect::executable()?;
    make(root, options, foreground, log).doing(|| format!("create {}", options.id))
}

fn make(root: &Path, options: &Create, foreground: bool, log: &Log) -> Result<Child> {
    let (bundle, mut spec) = config::bundle(&options.bundle, log)?;
    let process = spec.process().clone();
    let joined = Joined::open(&spec)?;
    let host = Host::detect(Path::new(config::CGROUP_ROOT))?;
    let mut plan = plan((&mut spec, &joined), &host, &bundle, options, log)?;
    plan.process.keyring = (!options.no_new_keyring).then(|| format!("_ses.{}", options.id));
    let terminal =
        console::connect(plan.process.terminal, options.console_socket.as_deref(), foreground)?;
    let mut record = record(&spec, &plan, options, bundle);
    record.process = process.unwrap_or_default();
    record.keyring.clone_from(&plan.process.keyring);
    let resources = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
    record.resources = spec::created_resources(resources, &host)?;

    let mut steps = Steps::default();
    let path = root.join(options.id.as_str());
    let folder = step::run("oci.create.folder", || Folder::make(root, &options.id))?;
    // Registered only now: a folder that was there already is another container's.
    let write = || {
        // Whoever finds the record knows what is whose.
        record.made = cgroup::missing(&plan.cgroups)?;
        folder.write(&record)
    };
    steps.run("oci.create.record", write, move || Folder::remove(&path))?;
    if let Some(seccomp) = &plan.process.seccomp {
        step::run("oci.create.filter", || folder.write_filter(seccomp))?;
    }
    let stdio = if plan.process.terminal { None } else { Some(console::own_stdio()?) };
    // The executor takes back the groups when its own steps fail; later ones fail here.
    let mut child = run::gate::spawn(&plan, &joined.slots(), stdio, &folder.gate())?;
    prepare(&mut child, &record, &mut steps)?;
    for clamped in child.take_clamped() {
        log.warning(&clamped);
    }
    if let Some(socket) = terminal {
        step::run("oci.create.terminal", || console::hand_over(&mut child, &socket))?;
    }
    record.init = ProcessStart::of(child.pid().as_raw());
    if record.init.is_none() {
        return Err(Error::new(Kind::Ended, "the process died while it was being prepared"));
    }
    step::run("oci.create.state", || folder.write(&record))?;
    if let Some(file) = &options.pid_file {
        let pid = child.pid().to_string();
        step::run("oci.create.pid-file", || write_whole(file, pid.as_bytes()))?;
    }
    steps.commit();
    Ok(child)
}

/// Waits until the first process is ready. Its undo ends that process and takes back what was made
/// for it; groups that were there before are not touched, whoever came into them meanwhile.
fn prepare(child: &mut Child, record: &Record, steps: &mut Steps<Error>) -> Result<()> {
    let ready = Arc::new(Mutex::new(None));
    let init = Arc::clone(&ready);
    let made = Cgroups { dirs: record.made.clone(), ..Cgroups::default() };
    let wait = || {
        child.wait_ready()?;
        *ready.lock().unwrap_or_else(PoisonError::into_inner) = Some(child.pidfd_owned()?);
        Ok(())
    };
    let take_back = move || {
        if let Some(init) = init.lock().unwrap_or_else(PoisonError::into_inner).take() {
            delete::end_process(init.as_fd())?;
        }
        cgroup::kill(&made)?;
        cgroup::remove(&made.dirs)
    };
    steps.run("oci.create.prepare", wait, take_back)
}

fn plan(
    (spec, joined): (&mut Spec, &Joined),
    host: &Host,
    bundle: &Path,
    options: &Create,
    log: &Log,
) -> Result<Plan> {
    let rootfs = spec.root().as_ref().map(|root| bundle.join(root.path()));
    if let (Some(process), Some(rootfs)) = (spec.process_mut(), rootfs) {
        config::set_home(process, &rootfs)?;
        spec::warnings(process, host).iter().for_each(|warning| log.warning(warning));
    }
    let over = Overrides {
        bundle: bundle.to_owned(),
        namespaces: joined.over.clone(),
        cgroup: Some(format!("/rrun-oci/{}", options.id)),
        ..Overrides::default()
    };
    spec::plan(spec, host, &over).doing(|| format!("{}", bundle.join("config.json").display()))
}

fn record(spec: &Spec, plan: &Plan, options: &Create, bundle: PathBuf) -> Record {
    let rootfs = spec.root().as_ref().map(|root| bundle.join(root.path())).unwrap_or_default();
    let mut record = Record::new(&options.id, bundle);
    record.oci_version.clone_from(spec.version());
    record.rootfs = rootfs;
    record.annotations = spec.annotations().clone().unwrap_or_default();
    record.groups = Cgroups { dirs: plan.cgroups.dirs.clone(), ..Cgroups::default() };
    record.own_pids = plan.namespaces.pid == Namespace::New;
    record.seccomp_flags = plan.process.seccomp.as_ref().map(|seccomp| seccomp.flags);
    record
}
