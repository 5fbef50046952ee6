//! What the processes of a group have open.

use super::members;
use crate::{Result, plan::Cgroups};
use std::fs;

/// How many descriptors of a group are looked at: its processes choose how many they open, and each
/// costs a call of the kernel.
const LOOKED_AT: usize = 20_000;

/// The processes of a group and of those below it, and what they have open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// How many processes there are.
    pub processes: u64,
    /// Their descriptors; `None` where there are too many to look at.
    pub descriptors: Option<u64>,
    /// Those of them that are sockets, likewise.
    pub sockets: Option<u64>,
    /// How many the first process may open (`RLIMIT_NOFILE`); `None` when it is gone.
    pub files_limit: Option<u64>,
}

impl Opened {
    /// Looks at the processes of a container whose first process is `init`.
    ///
    /// # Errors
    /// When the group cannot be read; a group that is gone has no processes.
    pub fn of(groups: &Cgroups, init: i32) -> Result<Opened> {
        // Every hierarchy has the same processes.
        let Some(dir) = groups.dirs.first() else { return Ok(Opened::default()) };
        let mut pids = members::all(&dir.path)?;
        // 0: of a PID namespace that is not seen from here.
        pids.retain(|pid| *pid > 0);
        let looked_at = look(&pids, LOOKED_AT);
        // The number of one that has ended may be anybody's.
        let init = pids.contains(&init).then_some(init);
        Ok(Opened {
            processes: pids.len() as u64,
            descriptors: looked_at.map(|(descriptors, _)| descriptors),
            sockets: looked_at.map(|(_, sockets)| sockets),
            files_limit: init.and_then(files_limit),
        })
    }
}

/// Descriptors and those of them that are sockets; `None` where there are more than `most`.
fn look(pids: &[i32], most: usize) -> Option<(u64, u64)> {
    let (mut descriptors, mut sockets) = (0, 0);
    for pid in pids {
        // A process that has ended meanwhile has none.
        let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        for descriptor in open {
            if descriptors == most as u64 {
                return None;
            }
            descriptors += 1;
            let to = fs::read_link(descriptor.path()).unwrap_or_default();
            sockets += u64::from(to.as_os_str().as_encoded_bytes().starts_with(b"socket:"));
        }
    }
    Some((descriptors, sockets))
}

/// `Max open files            1024                 524288               files`: proc_pid_limits(5).
fn files_limit(pid: i32) -> Option<u64> {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::CgroupDir;
    use std::net::TcpListener;

    #[test]
    fn processes_are_told_with_their_descriptors_sockets_and_the_limit_of_the_first() {
        // A folder that is read as a group is.
        let group = tempfile::tempdir().unwrap();
        let me = std::process::id();
        fs::write(group.path().join("cgroup.procs"), format!("0\n{me}\n")).unwrap();
        let dirs =
            vec![CgroupDir { path: group.path().to_owned(), unified: true, inherit_cpuset: false }];
        let groups = Cgroups { dirs, ..Cgroups::default() };
        let _socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let opened = Opened::of(&groups, me.cast_signed()).unwrap();
        assert_eq!(opened.processes, 1);
        assert!(opened.sockets >= Some(1) && opened.descriptors > opened.sockets, "{opened:?}");
        let limit = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE);
        assert_eq!(opened.files_limit, Some(limit.unwrap().0));
        let of_a_stranger = Opened::of(&groups, 1).unwrap();
        assert_eq!(of_a_stranger.files_limit, None, "1 is not in the group");
    }

    #[test]
    fn more_descriptors_than_are_looked_at_are_not_told() {
        let me = std::process::id().cast_signed();
        assert_eq!(look(&[me], 2), None);
        assert!(look(&[me], 100_000).is_some());
        assert_eq!(look(&[], 0), Some((0, 0)));
    }
}
