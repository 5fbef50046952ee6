//! The verb `kill`.

use crate::cli::Kill;
use crate::first_process::ProcessStart;
use crate::id::Id;
use crate::invalid;
use crate::log::Log;
use crate::record::Folder;
use crate::several;
use crate::status::{self, Status};
use nix::sys::signal::Signal;
use rrun_runtime::{Context, Error, Kind, Result, cgroup};
use rrun_sys::pidfd;
use std::os::fd::AsFd;
use std::path::Path;
use std::str::FromStr;

/// Sends a signal to the first process, or to all.
pub fn kill(root: &Path, options: &Kill, log: &Log) -> Result<()> {
    let signal = signal(&options.signal)?;
    let send = |id: &Id| send(root, id, options.all, signal).context(|| format!("kill {id}"));
    several::each(root, &options.id, options.regex, log, send)
}

fn send(root: &Path, id: &Id, all: bool, signal: i32) -> Result<()> {
    let folder = Folder::open(root, id)?;
    let record = folder.read()?;
    // Without a PID namespace of its own the others outlive the first process.
    if all || (!record.own_pids && signal == libc::SIGKILL) {
        if signal != libc::SIGKILL {
            record.check_groups()?;
            return cgroup::signal(&record.groups, signal);
        }
        if let Some(init) = record.init.and_then(ProcessStart::open) {
            // It may have ended meanwhile.
            let _ = pidfd::send_signal(init.as_fd(), signal);
        }
        return cgroup::kill(&record.own_groups());
    }
    if Status::of(&folder, &record) == Status::Stopped {
        return Err(Error::new(Kind::Ended, "container not running"));
    }
    let init = status::live(&record)?;
    pidfd::send_signal(init.as_fd(), signal)?;
    // One that is frozen hears a signal later, but is killed now.
    if signal == libc::SIGKILL { cgroup::thaw(&record.groups) } else { Ok(()) }
}

/// A signal by number, or by name with or without `SIG`.
fn signal(text: &str) -> Result<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return match number {
            1..=64 => Ok(number),
            _ => Err(invalid(format!("{number} is no signal"))),
        };
    }
    let upper = text.to_ascii_uppercase();
    let name = if upper.starts_with("SIG") { upper } else { format!("SIG{upper}") };
    if let Some(offset) = name.strip_prefix("SIGRTMIN+")
        && let Ok(offset @ 0..=30) = offset.parse::<i32>()
    {
        return Ok(libc::SIGRTMIN() + offset);
    }
    Signal::from_str(&name)
        .map(|signal| signal as i32)
        .map_err(|_| invalid(format!("{text:?} is no signal")))
}

#[cfg(test)]
mod tests {
    use super::signal;

    #[test]
    fn signals_have_names_and_numbers() {
        for (text, number) in
            [("9", 9), ("KILL", 9), ("SIGTERM", 15), ("sigint", 2), ("34", 34), ("RTMIN+3", 37)]
        {
            assert_eq!(signal(text).unwrap(), number, "{text}");
        }
        for text in ["0", "65", "-9", "NOPE", ""] {
            assert!(signal(text).is_err(), "{text}");
        }
    }
}
