//! The systemd driver: on a host whose first process is systemd, all control groups are its, and
//! whoever wants one asks for a unit.
//!
//! A container is a scope: a unit of processes that somebody else has started, made for the process
//! that [`crate::run`] has cloned and that waits to be placed ([`crate::plan::Cgroups::asked`]). The
//! scope is delegated: what is below its group is the container's own. The values of the group's
//! files are written by us all the same, and told to systemd too, which would undo them else the
//! next time it reads its units (see [`properties`]).
//!
//! Whoever places speaks D-Bus: `rrun-oci` for itself, the daemon for its shims. systemd 244 is the
//! oldest.

mod bus;
mod message;
mod properties;
#[cfg(test)]
mod tests;
mod unit;

pub use unit::{Scope, Slice};

use crate::plan::Cgroups;
use crate::{Context, Error, Kind, Result, cgroup};
use bus::{Bus, Refusal};
use message::{Body, Property, Value};
use nix::unistd::Pid;
use rrun_sys::step;
use std::path::Path;

/// Whether systemd is the first process here, as sd_booted(3) finds out.
pub fn is_running() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// Makes a scope of a process that waits, and its groups with all that is written to them: those of
/// v1 hierarchies which systemd does not use are made and joined here. `description` says whose the
/// scope is: [`stop`] wants it again. Steps `runtime.create.scope` and `runtime.create.scope-groups`.
/// Blocks for 30 seconds at most.
///
/// # Errors
/// `Exists` when there is such a unit; what systemd, or the kernel of the files, says. The scope
/// stays when the files were refused: the caller stops it.
pub fn place(scope: &Scope, description: &str, groups: &Cgroups, pid: Pid) -> Result<()> {
    step::run("runtime.create.scope", || {
        start(&mut Bus::connect()?, scope, description, groups, pid)
    })
    .context(|| format!("make {}", scope.name()))?;
    step::run("runtime.create.scope-groups", || cgroup::join(groups, pid))
}

fn start(
    bus: &mut Bus,
    scope: &Scope,
    description: &str,
    groups: &Cgroups,
    pid: Pid,
) -> Result<()> {
    let text = |text: &str| Value::Text(text.to_owned());
    let mut all = vec![
        ("Description", text(description)),
        ("Slice", text(scope.slice().name())),
        ("PIDs", Value::Numbers(u32::try_from(pid.as_raw()).into_iter().collect())),
        ("Delegate", Value::Bool(true)),
        // Not stopped before others at a shutdown, and not waited for by anything.
        ("DefaultDependencies", Value::Bool(false)),
        // One that has failed would keep its name from the next.
        ("CollectMode", text("inactive-or-failed")),
        ("MemoryAccounting", Value::Bool(true)),
        ("CPUAccounting", Value::Bool(true)),
        ("TasksAccounting", Value::Bool(true)),
        // systemd has a limit of its own for a unit that says nothing.
        ("TasksMax", Value::Number(u64::MAX)),
    ];
    let unified = groups.dirs.iter().all(|dir| dir.unified);
    all.push((if unified { "IOAccounting" } else { "BlockIOAccounting" }, Value::Bool(true)));
    all.extend(properties::of(groups));
    start_transient(bus, scope.name(), all)
}

/// Makes a slice and its groups with all that is written to them; without groups, systemd's part
/// alone. One that is there gets these limits. Steps `runtime.create.slice` and
/// `runtime.create.slice-groups`. Blocks for 30 seconds at most.
///
/// # Errors
/// What systemd, or the kernel of the files, says. The slice stays when the files were refused.
pub fn make_slice(slice: &Slice, description: &str, groups: &Cgroups) -> Result<()> {
    step::run("runtime.create.slice", || {
        start_slice(&mut Bus::connect()?, slice, description, groups)
    })
    .context(|| format!("make {slice}"))?;
    step::run("runtime.create.slice-groups", || cgroup::complete(groups))
}

fn start_slice(bus: &mut Bus, slice: &Slice, description: &str, groups: &Cgroups) -> Result<()> {
    let mut all = vec![("Description", Value::Text(description.to_owned()))];
    let limits = properties::of(groups);
    if !limits.is_empty() {
        let accounts = ["MemoryAccounting", "CPUAccounting", "TasksAccounting"];
        all.extend(accounts.map(|account| (account, Value::Bool(true))));
        all.extend(limits.clone());
    }
    match start_transient(bus, slice.name(), all) {
        Err(error) if error.kind() == Kind::Exists && limits.is_empty() => Ok(()),
        Err(error) if error.kind() == Kind::Exists => set_properties(bus, slice.name(), limits),
        other => other,
    }
}

fn start_transient(bus: &mut Bus, unit: &str, properties: Vec<Property>) -> Result<()> {
    let text = |text: &str| Value::Text(text.to_owned());
    let arguments = [text(unit), text("replace"), Value::Properties(properties), Value::NoUnits];
    let job = bus.manager("StartTransientUnit", &arguments)?;
    done(bus, &job)
}

/// Kills what is in a scope and stops it; one that is gone is done. False for one that has another
/// `description`, and so is somebody else's: it is not touched, and nor are the groups to be. Step
/// `runtime.delete.scope`. Blocks for 30 seconds at most.
///
/// # Errors
/// What systemd says, or the kernel to the kill.
pub fn stop(scope: &Scope, description: &str, groups: &Cgroups) -> Result<bool> {
    let stop = || stop_ours(&mut Bus::connect()?, scope, description, groups);
    step::run("runtime.delete.scope", stop).context(|| format!("stop {}", scope.name()))
}

fn stop_ours(bus: &mut Bus, scope: &Scope, description: &str, groups: &Cgroups) -> Result<bool> {
    match bus.text_of(scope.name(), "Description") {
        // One that has gone since it was looked up has the name of its unit for a description.
        Ok(found) if found != description => return is_gone(bus, scope.name()),
        Ok(_) => {
            // systemd would ask them first and wait.
            cgroup::kill(groups)?;
            stop_unit(bus, scope.name())?;
        }
        Err(refusal) => gone_is_done(refusal)?,
    }
    Ok(true)
}

/// Stops a slice with all that is in it; one that is gone is done. Step `runtime.delete.slice`.
///
/// # Errors
/// What systemd says.
pub fn stop_slice(slice: &Slice) -> Result<()> {
    let stop = || stop_unit(&mut Bus::connect()?, slice.name());
    step::run("runtime.delete.slice", stop).context(|| format!("stop {slice}"))
}

fn stop_unit(bus: &mut Bus, unit: &str) -> Result<()> {
    let text = |text: &str| Value::Text(text.to_owned());
    match bus.manager("StopUnit", &[text(unit), text("replace")]) {
        Ok(job) => done(bus, &job)?,
        Err(refusal) => return gone_is_done(refusal),
    }
    // One that has failed is forgotten, which one that has not need not be.
    match bus.manager("ResetFailedUnit", &[text(unit)]) {
        Ok(_) | Err(Refusal::Said(..)) => Ok(()),
        Err(Refusal::Broken(error)) => Err(error),
    }
}

fn is_gone(bus: &mut Bus, unit: &str) -> Result<bool> {
    match bus.text_of(unit, "LoadState") {
        Ok(state) => Ok(state == "not-found"),
        Err(refusal) => gone_is_done(refusal).map(|()| true),
    }
}

fn gone_is_done(refusal: Refusal) -> Result<()> {
    match refusal {
        Refusal::Said(name, _) if name == "NoSuchUnit" || name == "UnknownObject" => Ok(()),
        other => Err(other.into()),
    }
}

/// Tells systemd what was written to a scope's groups, as it would undo it else. Values that it
/// need not know are passed over. Step `runtime.update.scope`.
///
/// # Errors
/// What systemd says.
pub fn tell(scope: &Scope, change: &Cgroups) -> Result<()> {
    let properties = properties::of(change);
    if properties.is_empty() {
        return Ok(());
    }
    let tell = || set_properties(&mut Bus::connect()?, scope.name(), properties);
    step::run("runtime.update.scope", tell).context(|| format!("tell limits of {}", scope.name()))
}

fn set_properties(bus: &mut Bus, unit: &str, properties: Vec<Property>) -> Result<()> {
    // For as long as the unit lives.
    let arguments =
        [Value::Text(unit.to_owned()), Value::Bool(true), Value::Properties(properties)];
    bus.manager("SetUnitProperties", &arguments)?;
    Ok(())
}

/// Whether systemd can be reached, so that a container is refused before anything is made of it.
///
/// # Errors
/// `Kernel`, with each socket that was tried and why it would not do.
pub fn check() -> Result<()> {
    Bus::connect().map(drop)
}

fn done(bus: &mut Bus, job: &Body) -> Result<()> {
    match bus.end_of_job(job)?.as_str() {
        "done" => Ok(()),
        result => {
            Err(Error::new(Kind::Kernel, format!("systemd: the job has ended as {result:?}")))
        }
    }
}
