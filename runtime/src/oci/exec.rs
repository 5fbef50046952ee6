//! The verb `exec`.

use crate::cli::Exec;
use crate::descriptors::Given;
use crate::log::Log;
use crate::record::{Folder, Record, write_whole};
use crate::status::Status;
use crate::subgroup::{self, Subgroup};
use crate::wait::Forwarded;
use crate::{config, console, invalid, pidfd_socket, protect, rootless, status};
use oci_spec::runtime::{Capability, Process};
use rrun_runtime::plan::ExecPlan;
use rrun_runtime::planning;
use rrun_runtime::run::{self, Beside, Caller};
use rrun_runtime::{Context, Result};
use rrun_sys::{pidfd, step};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// The number of CAP_SYS_PTRACE: capabilities(7).
const SYS_PTRACE: u32 = 19;

/// Runs one more process; unless detached, waits for its end and gives its exit code.
pub fn exec(root: &Path, options: &Exec, given: &Given, log: &Log) -> Result<u8> {
    protect::executable()?;
    rrun_sys::limit::raise_files();
    start(root, options, given, log).context(|| format!("exec in {}", options.id))
}

fn start(root: &Path, options: &Exec, given: &Given, log: &Log) -> Result<u8> {
    let folder = Folder::open(root, &options.id)?;
    let record = folder.read()?;
    let status = Status::of(&folder, &record);
    match status {
        Status::Running | Status::Created => {}
        Status::Paused if options.ignore_paused => {}
        status => return Err(invalid(format!("cannot run a process in one that is {status}"))),
    }
    let init = status::live(&record)?;
    let caller = rootless::caller();
    let mut plan = plan((&folder, &record), (init.as_fd(), caller), options, log)?;
    if plan.process.terminal && plan.process.terminal_size.is_none() {
        // That of this terminal, if it is one.
        plan.process.terminal_size = rrun_sys::pty::size(std::io::stdin().as_fd()).ok();
    }
    if folder.start_socket().exists() {
        check_beside_first(&plan)?;
    }
    plan.process.keyring.clone_from(&record.keyring);
    let terminal = console::connect(
        plan.process.terminal,
        options.console_socket.as_deref(),
        !options.detach,
    )?;
    let pidfd_socket = pidfd_socket::connect(options.pidfd_socket.as_deref())?;
    let stdio = if plan.process.terminal { None } else { Some(console::own_stdio()?) };
    let forwarded = if options.detach { None } else { Some(Forwarded::take()?) };

    let beside = Beside { inherited: given.inherited, no_pivot: false, caller };
    let mut child = run::exec_beside(&plan, init.as_fd(), stdio, beside)?;
    child.wait_running()?;
    for clamped in child.take_clamped() {
        log.warning(&clamped);
    }
    if let Some(socket) = terminal {
        step::run("oci.exec.terminal", || console::hand_over(&mut child, &socket))?;
    }
    if let Some(socket) = pidfd_socket {
        step::run("oci.exec.pidfd", || pidfd_socket::hand_over(&child, "setns", &socket))?;
    }
    if let Some(file) = &options.pid_file {
        let pid = child.pid().to_string();
        step::run("oci.exec.pid-file", || write_whole(file, pid.as_bytes()))?;
    }
    let Some(forwarded) = forwarded else { return Ok(0) };
    let relay = console::relay(&mut child)?;
    forwarded.wait(child.pidfd(), relay)
}

/// The first process of a container that was not started has not laid down what this program may: who
/// may trace it would have all of that.
fn check_beside_first(plan: &ExecPlan) -> Result<()> {
    let sets = &plan.process.capabilities;
    let all = sets.bounding | sets.permitted | sets.inheritable;
    match all & (1 << SYS_PTRACE) {
        0 => Ok(()),
        _ => Err(invalid(
            "a process with CAP_SYS_PTRACE is not run beside a first process that waits for its start",
        )),
    }
}

fn plan(
    (folder, record): (&Folder, &Record),
    (init, caller): (BorrowedFd<'_>, Caller),
    options: &Exec,
    log: &Log,
) -> Result<ExecPlan> {
    let host = rootless::host_without_groups(caller)?;
    let mut process = match &options.process {
        Some(file) => from_file(file, options, log)?,
        None => from_record(record, options)?,
    };
    let root = root_of(init, record.init.map_or(0, |init| init.pid))?;
    config::set_home(&mut process, Some(&root))?;
    planning::warnings(&process, &host).iter().for_each(|warning| log.warning(warning));
    let mut plan =
        planning::exec_plan(&process, &record.groups, &host, folder.read_filter(record)?)?;
    let asked = Subgroup::parse(&options.cgroup)?;
    plan.cgroups = subgroup::of_exec(record, asked.as_ref())?;
    Ok(plan)
}

/// The root of a process, whose number may be another one's by now: the descriptor is asked after
/// it was opened.
fn root_of(process: BorrowedFd<'_>, pid: i32) -> Result<OwnedFd> {
    let root = config::open_root(&PathBuf::from(format!("/proc/{pid}/root")));
    pidfd::send_signal(process, 0).map_err(|_| status::ended())?;
    root
}

/// The process of a file. A terminal may be asked for there, or beside it.
fn from_file(file: &Path, options: &Exec, log: &Log) -> Result<Process> {
    let mut process = config::process(file, log)?;
    if options.tty {
        process.set_terminal(Some(true));
    }
    Ok(process)
}

/// The container's own process as it was created, with what the options change.
fn from_record(record: &Record, options: &Exec) -> Result<Process> {
    if options.command.is_empty() {
        return Err(invalid("neither a program nor --process"));
    }
    let mut process = record.process.clone();
    process.set_args(Some(options.command.clone())).set_terminal(Some(options.tty));
    if let Some(cwd) = &options.cwd {
        process.set_cwd(cwd.clone());
    }
    process.env_mut().get_or_insert_default().extend(options.env.iter().cloned());
    if let Some(user) = &options.user {
        let (uid, gid) = config::user(user)?;
        process.user_mut().set_uid(uid).set_gid(gid).set_additional_gids(None);
        // The home of another user.
        process.env_mut().get_or_insert_default().retain(|entry| !entry.starts_with("HOME="));
    }
    if !options.additional_gids.is_empty() {
        process.user_mut().set_additional_gids(Some(options.additional_gids.clone()));
    }
    if options.no_new_privs {
        process.set_no_new_privileges(Some(true));
    }
    if options.apparmor.is_some() {
        process.set_apparmor_profile(options.apparmor.clone());
    }
    if options.process_label.is_some() {
        process.set_selinux_label(options.process_label.clone());
    }
    add_capabilities(&mut process, &options.cap)?;
    Ok(process)
}

/// As runc has it: to every set but the inheritable one, the ambient one only for a process that
/// has some.
fn add_capabilities(process: &mut Process, names: &[String]) -> Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    let mut sets = process.capabilities().clone().unwrap_or_default();
    for name in names {
        let cap: Capability = serde_json::from_value(name.to_uppercase().into())
            .map_err(|_| invalid(format!("--cap {name:?} is no capability")))?;
        let add = |set: &Option<std::collections::HashSet<Capability>>| {
            let mut set = set.clone().unwrap_or_default();
            set.insert(cap);
            Some(set)
        };
        let (bounding, effective, permitted) =
            (add(sets.bounding()), add(sets.effective()), add(sets.permitted()));
        sets.set_bounding(bounding).set_effective(effective).set_permitted(permitted);
    }
    process.set_capabilities(Some(sets));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rrun_runtime::Kind;

    #[test]
    fn a_number_that_another_process_has_by_now_gives_no_root() {
        let mut ended = std::process::Command::new("true").spawn().unwrap();
        let process = pidfd::open(ended.id().try_into().unwrap()).unwrap();
        ended.wait().unwrap();
        let own = std::process::id().try_into().unwrap();
        assert_eq!(root_of(process.as_fd(), own).unwrap_err().kind(), Kind::Ended);
        let process = pidfd::open(own).unwrap();
        root_of(process.as_fd(), own).unwrap();
    }
}
