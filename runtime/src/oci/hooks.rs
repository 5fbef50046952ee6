//! The hooks that run here and not in the container: `prestart` and `createRuntime`, `poststart`,
//! `poststop`.

use crate::cli::Create;
use crate::log::Log;
use crate::record::Record;
use rrun_runtime::Result;
use rrun_runtime::hooks::run;
use rrun_runtime::planning::HookPlace;
use std::path::Path;

/// What hooks are told of a container.
pub fn place(options: &Create, bundle: &Path) -> HookPlace {
    HookPlace { id: options.id.to_string(), bundle: bundle.to_owned() }
}

/// When all mounts are made and the root is not entered yet.
pub fn creating(record: &Record, pid: i32) -> Result<()> {
    run("createRuntime", &record.hooks.create, &record.hooks.creating.of(pid))
}

/// When the program runs.
pub fn started(record: &Record) -> Result<()> {
    let pid = record.init.map_or(0, |init| init.pid);
    run("poststart", &record.hooks.start, &record.hooks.running.of(pid))
}

/// When nothing is left of the container: one that fails is told, and the others run.
pub fn stopped(record: &Record, log: &Log) {
    let state = record.hooks.stopped.of(0);
    for hook in &record.hooks.stop {
        if let Err(error) = run("poststop", std::slice::from_ref(hook), &state) {
            log.warning(&error.to_string());
        }
    }
}
