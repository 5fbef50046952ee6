//! The end of a container: what is told of it, and its record.

use crate::clock::now;
use crate::own_log;
use nix::libc::SIGKILL;
use rrun_error::reason;
use rrun_runtime::cgroup;
use rrun_runtime::plan::Cgroups;
use rrun_shim_protocol::{Exit, ExitReason, exit_record};
use rrun_sys::step;
use std::path::Path;

/// What is told of a container whose init has ended with `code`, or was never executed.
pub fn new(code: i32, start_error: Option<String>, cgroups: &Cgroups) -> Exit {
    if let Some(message) = start_error {
        let reason = ExitReason::StartError;
        return Exit { code: 128, at: now(), reason, message, output_lost: 0 };
    }
    // By SIGKILL, which a shell tells of its child in the same way. A process that outlived the
    // kill of another ends for a reason of its own.
    let out_of_memory =
        code == 128 + SIGKILL && cgroup::stats::oom_kills(cgroups).is_ok_and(|kills| kills > 0);
    let reason = if out_of_memory { ExitReason::OutOfMemory } else { ExitReason::Ended };
    Exit { code, at: now(), reason, ..Exit::default() }
}

/// Writes the record that a daemon finds when it was not there.
pub fn record(run_dir: &Path, id: &str, started_at: i64, exit: &Exit) {
    let write = || exit_record::write(run_dir, id, started_at, exit);
    if let Err(error) = step::run("shim.exit.record", write) {
        own_log::note(run_dir, &format!("exit record of {id}: {}", reason(&error)));
    }
}
