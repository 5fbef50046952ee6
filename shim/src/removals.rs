//! Control groups that are being removed.
//!
//! A dying process leaves its group a little after its parent has reaped it, and until then the
//! group is busy. The loop does not wait for that: it tries again when a timer rings.

use crate::connections::Requester;
use crate::poll::Key;
use crate::process::is_reaped;
use rrun_runtime::cgroup;
use rrun_runtime::plan::CgroupDir;
use rrun_shim_protocol::Reply;
use rrun_sys::step::{self, Point};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// The first pause between two tries; each is twice the one before, up to the longest.
const PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(64);

/// How many times as long as a try took the loop is left alone after it.
const LOOP_SHARE: u32 = 4;

/// How long a group may be busy after its last process is known to be dead.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// Some directories on their way out.
pub struct Removal {
    /// The directories, with those nested in them.
    pub dirs: Vec<CgroupDir>,
    /// A process that must be reaped first.
    pub process: Option<OwnedFd>,
    /// When to give up; `None` never does.
    pub until: Option<Instant>,
    /// What waits for it.
    pub then: Then,
}

/// What is done when groups are gone, or cannot be removed.
pub enum Then {
    /// An ended container is told.
    Finish(Key),
    /// A container is forgotten, and who asked for that answered.
    Forget(Key, Requester),
    /// A group for execs of this container can be used again.
    FreeExecGroup(Key, usize),
    /// Somebody is answered, whether or not they are gone.
    Answer(Requester, Reply),
    /// Everything of the pod is gone.
    ShutDown,
}

/// What came of a removal: words when something is left.
pub struct Removed {
    /// What waited for it.
    pub then: Then,
    /// Why something is left.
    pub left: Option<String>,
}

/// The removals that are not done.
#[derive(Default)]
pub struct Removals(Vec<Pending>);

struct Pending {
    removal: Removal,
    next: Instant,
    pause: Duration,
}

impl Removals {
    /// Tries at once.
    pub fn begin(&mut self, removal: Removal, now: Instant) -> Option<Removed> {
        step::pass("runtime.delete.cgroup", Point::Before);
        let pending = Pending { removal, next: now, pause: PAUSE };
        self.go_on(pending, now)
    }

    /// When to try again.
    pub fn next(&self) -> Option<Instant> {
        self.0.iter().map(|pending| pending.next).min()
    }

    /// Tries those whose time has come; what is done with.
    pub fn due(&mut self, now: Instant) -> Vec<Removed> {
        let (due, later) = std::mem::take(&mut self.0).into_iter().partition(|p| p.next <= now);
        self.0 = later;
        let due: Vec<Pending> = due;
        due.into_iter().filter_map(|pending| self.go_on(pending, now)).collect()
    }

    fn go_on(&mut self, mut pending: Pending, now: Instant) -> Option<Removed> {
        let Removal { dirs, process, until, .. } = &pending.removal;
        let is_alive = process.as_ref().is_some_and(|process| !is_reaped(process.as_fd()));
        let began = Instant::now();
        let removed = if is_alive { Ok(false) } else { cgroup::try_remove(dirs) };
        let is_late = until.is_some_and(|until| until <= now);
        let left = match removed {
            Ok(true) => None,
            Ok(false) if !is_late => {
                // Thousands of nested groups take their time, which the loop has for others.
                let took = began.elapsed();
                pending.next = now + took + pending.pause.max(LOOP_SHARE * took);
                pending.pause = (2 * pending.pause).min(LONGEST_PAUSE);
                self.0.push(pending);
                return None;
            }
            Ok(false) => Some("remove groups: they are busy".to_owned()),
            Err(error) => Some(format!("remove groups: {error}")),
        };
        step::pass("runtime.delete.cgroup", Point::After);
        Some(Removed { then: pending.removal.then, left })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;
    use std::process::{Child, Command};

    /// A group of this test's own, in any hierarchy, with a process in it.
    struct BusyGroup {
        dir: CgroupDir,
        sleeper: Child,
    }

    impl BusyGroup {
        fn new() -> BusyGroup {
            let roots = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/pids"];
            let is_root = |root: &PathBuf| root.join("cgroup.procs").exists();
            let root = roots.map(PathBuf::from).into_iter().find(is_root).unwrap();
            let path = root.join(format!("rrun-removals-{}", std::process::id()));
            std::fs::create_dir(&path).unwrap();
            let sleeper = Command::new("sleep").arg("1000").spawn().unwrap();
            std::fs::write(path.join("cgroup.procs"), sleeper.id().to_string()).unwrap();
            BusyGroup { dir: CgroupDir { path, unified: true, inherit_cpuset: false }, sleeper }
        }

        fn end(&mut self) {
            self.sleeper.kill().unwrap();
            self.sleeper.wait().unwrap();
        }
    }

    impl Drop for BusyGroup {
        fn drop(&mut self) {
            let deadline = Instant::now() + Duration::from_secs(5);
            self.end();
            while !cgroup::try_remove(std::slice::from_ref(&self.dir)).unwrap() {
                assert!(Instant::now() < deadline, "the group is still busy");
            }
        }
    }

    #[test]
    fn a_busy_group_is_tried_again_when_its_time_has_come_and_never_waited_for() {
        if !nix::unistd::geteuid().is_root() {
            return println!("skipped: needs root");
        }
        let mut group = BusyGroup::new();
        let dir = group.dir.clone();
        let removal = |until| {
            let dirs = vec![dir.clone()];
            Removal { dirs, process: None, until, then: Then::ShutDown }
        };
        let (mut removals, now) = (Removals::default(), Instant::now());
        // The caller goes on at once, and what is left is tried later.
        assert!(removals.begin(removal(None), now).is_none());
        let next = removals.next().unwrap();
        assert!(next > now && removals.due(now).is_empty());
        assert!(removals.due(next).is_empty() && removals.next().unwrap() > next);
        let late = Removals::default().begin(removal(Some(now)), now);
        assert!(late.and_then(|removed| removed.left).is_some_and(|left| left.contains("busy")));
        group.end();
        let deadline = now + Duration::from_secs(20);
        let removed = loop {
            let when = removals.next().unwrap();
            assert!(Instant::now() < deadline, "the group of a dead process is still busy");
            if let Some(removed) = removals.due(when).pop() {
                break removed;
            }
            std::thread::yield_now();
        };
        assert!(removed.left.is_none() && removals.next().is_none());
        assert!(!dir.path.exists());
    }
}
