//! The end of a container: what is told of it, and its record.

use crate::own_log;
use rrun_error::reason;
use rrun_shim_protocol::{Exit, ExitReason, exit_record};
use rrun_sys::step;
use rrun_sys::time::now;
use std::path::Path;

/// What is told of a container whose init has ended with `code`, for want of memory or not, or was
/// never executed.
pub fn new(code: i32, start_error: Option<String>, out_of_memory: bool) -> Exit {
    if let Some(message) = start_error {
        let reason = ExitReason::StartError;
        return Exit { code: 128, at: now(), reason, message, output_lost: 0 };
    }
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
