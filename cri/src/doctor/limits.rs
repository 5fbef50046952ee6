//! Limits and settings of the kernel.

use super::Row;
use nix::sys::resource::{Resource, getrlimit};
use std::fs;

/// Some ten descriptors for each pod, and as many for each exec.
const DESCRIPTORS: u64 = 65_536;

/// A file below `/proc/sys`, the least that will do, and what follows from less.
type Setting = (&'static str, u64, &'static str);

const SETTINGS: [Setting; 6] = [
    ("kernel/pid_max", 65_536, "with many pods there are no process ids left"),
    ("kernel/threads-max", 65_536, "with many pods no thread can be made"),
    ("fs/inotify/max_user_instances", 512, "what watches files in pods fails with EMFILE"),
    ("fs/inotify/max_user_watches", 65_536, "what watches files in pods fails with ENOSPC"),
    ("user/max_user_namespaces", 1, "pods with user namespaces of their own are refused"),
    ("user/max_net_namespaces", 512, "so many pods with networks of their own at most"),
];

pub(super) fn rows() -> Vec<Row> {
    let mut rows = vec![descriptors()];
    rows.extend(SETTINGS.into_iter().map(setting));
    let swap = fs::read_to_string("/proc/swaps").is_ok_and(|text| text.lines().count() > 1);
    let row = Row::new("limit", "swap", if swap { "on" } else { "off" });
    rows.push(row.note_unless(!swap, "a kubelet does not start unless failSwapOn is false"));
    rows
}

fn descriptors() -> Row {
    let hard = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(_, hard)| hard);
    let row = Row::new("limit", "open files (hard)", hard.to_string());
    let follows = format!(
        "the daemon raises its own limit to this: with many pods and streams it has no descriptors \
         left; the unit file says {} (LimitNOFILE)",
        1 << 20
    );
    row.note_unless(hard >= DESCRIPTORS, follows)
}

fn setting((name, least, follows): Setting) -> Row {
    let key = name.replace('/', ".");
    match fs::read_to_string(format!("/proc/sys/{name}")) {
        Ok(text) => judged(key, text.trim(), least, follows),
        Err(error) => Row::new("limit", key, rrun_error::reason(&error)),
    }
}

fn judged(key: String, value: &str, least: u64, follows: &str) -> Row {
    let is_enough = value.parse::<u64>().is_ok_and(|value| value >= least);
    Row::new("limit", key, value).note_unless(is_enough, format!("less than {least}: {follows}"))
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn a_setting_that_is_too_small_is_a_note() {
        assert_eq!(judged("k".into(), "128", 512, "x").verdict, Verdict::Note);
        assert_eq!(judged("k".into(), "512", 512, "x").verdict, Verdict::Ok);
    }
}
