//! Control groups that are being removed.
//!
//! A dying process leaves its group a little after its parent has reaped it, and until then the
//! group is busy. The loop does not wait for that: it tries again when a timer rings. Nor does it go
//! through many nested groups, of which two thousand take more than a second: a thread does, which is
//! there only for as long. There is one at most.

use crate::connections::Requester;
use crate::poll::{Key, Poll, Token};
use crate::process::is_reaped;
use nix::sys::eventfd::{EfdFlags, EventFd};
use rrun_runtime::cgroup::{self, Tried};
use rrun_runtime::plan::CgroupDir;
use rrun_shim_protocol::Reply;
use rrun_sys::step::{self, Point};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

/// The first pause between two tries; each is twice the one before, up to the longest.
const PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(64);

/// How many nested groups the loop goes through itself: those of some execs.
const FEW: usize = 16;

/// The stack of the thread: a walk through groups is no recursion.
const STACK: usize = 64 << 10;

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

impl Removal {
    fn is_late(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
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
pub struct Removals {
    poll: Rc<Poll>,
    pending: Vec<Pending>,
    thread: Option<Thread>,
}

struct Pending {
    removal: Removal,
    next: Instant,
    pause: Duration,
    /// It is the thread's.
    nests_many: bool,
}

/// The thread, and what it is at.
struct Thread {
    pending: Pending,
    began: Instant,
    work: JoinHandle<rrun_runtime::Result<bool>>,
    bell: Arc<EventFd>,
}

/// Rings when it is dropped, whatever has become of the thread.
struct Ring(Arc<EventFd>);

impl Drop for Ring {
    fn drop(&mut self) {
        let _ = self.0.write(1);
    }
}

impl Removals {
    /// None yet.
    pub fn new(poll: Rc<Poll>) -> Removals {
        Removals { poll, pending: Vec::new(), thread: None }
    }

    /// Tries at once.
    pub fn begin(&mut self, removal: Removal, now: Instant) -> Option<Removed> {
        step::pass("runtime.delete.cgroup", Point::Before);
        let pending = Pending { removal, next: now, pause: PAUSE, nests_many: false };
        self.go_on(pending, now)
    }

    /// When to try again. What waits for the thread has no time of its own.
    pub fn next(&self) -> Option<Instant> {
        let timed = self.pending.iter().filter(|pending| !self.waits_for_thread(pending));
        timed.map(|pending| pending.next).min()
    }

    /// Tries those whose time has come; what is done with.
    pub fn due(&mut self, now: Instant) -> Vec<Removed> {
        let all = std::mem::take(&mut self.pending);
        let (due, later): (Vec<Pending>, _) =
            all.into_iter().partition(|p| p.next <= now && !self.waits_for_thread(p));
        self.pending = later;
        due.into_iter().filter_map(|pending| self.go_on(pending, now)).collect()
    }

    /// The thread has been through its groups.
    pub fn thread_ended(&mut self, now: Instant) -> Option<Removed> {
        let Thread { pending, began, work, bell } = self.thread.take()?;
        self.poll.remove(&*bell);
        // One that has panicked is as one that found them busy.
        let removed = work.join().unwrap_or(Ok(false));
        let is_late = pending.removal.is_late(began);
        self.tried(pending, removed, is_late, now)
    }

    fn waits_for_thread(&self, pending: &Pending) -> bool {
        pending.nests_many && self.thread.is_some()
    }

    fn go_on(&mut self, mut pending: Pending, now: Instant) -> Option<Removed> {
        let Removal { dirs, process, .. } = &pending.removal;
        let is_alive = process.as_ref().is_some_and(|process| !is_reaped(process.as_fd()));
        let tried = match (is_alive, pending.nests_many) {
            (true, _) => Ok(Tried::Busy),
            (false, true) => Ok(Tried::Many),
            (false, false) => cgroup::try_remove_few(dirs, FEW),
        };
        let removed = match tried {
            Ok(Tried::Many) => {
                pending.nests_many = true;
                return self.hand_over(pending, now);
            }
            tried => tried.map(|tried| tried == Tried::Gone),
        };
        let is_late = pending.removal.is_late(now);
        self.tried(pending, removed, is_late, now)
    }

    /// Leaves it to the thread, after what that is at.
    fn hand_over(&mut self, pending: Pending, now: Instant) -> Option<Removed> {
        if self.thread.is_some() {
            self.pending.push(pending);
            return None;
        }
        match self.start(&pending.removal.dirs) {
            Ok((work, bell)) => {
                self.thread = Some(Thread { pending, began: now, work, bell });
                None
            }
            // There is none to be had: everybody has to wait.
            Err(_) => {
                let removed = cgroup::try_remove(&pending.removal.dirs);
                let is_late = pending.removal.is_late(now);
                self.tried(pending, removed, is_late, now)
            }
        }
    }

    fn start(
        &self,
        dirs: &[CgroupDir],
    ) -> io::Result<(JoinHandle<rrun_runtime::Result<bool>>, Arc<EventFd>)> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let bell = Arc::new(EventFd::from_value_and_flags(0, flags)?);
        self.poll.add(&*bell, Token::Removal)?;
        let (ring, dirs) = (Ring(Arc::clone(&bell)), dirs.to_vec());
        let thread = Builder::new().name("rrun-shim-rm".to_owned()).stack_size(STACK);
        let work = thread.spawn(move || {
            let _ring = ring;
            cgroup::try_remove(&dirs)
        });
        Ok((work.inspect_err(|_| self.poll.remove(&*bell))?, bell))
    }

    fn tried(
        &mut self,
        mut pending: Pending,
        removed: rrun_runtime::Result<bool>,
        is_late: bool,
        now: Instant,
    ) -> Option<Removed> {
        let left = match removed {
            Ok(true) => None,
            Ok(false) if !is_late => {
                pending.next = now + pending.pause;
                pending.pause = (2 * pending.pause).min(LONGEST_PAUSE);
                self.pending.push(pending);
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

    /// A new group, in any hierarchy.
    fn group(name: &str) -> PathBuf {
        let roots = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/pids"];
        let is_root = |root: &PathBuf| root.join("cgroup.procs").exists();
        let root = roots.map(PathBuf::from).into_iter().find(is_root).unwrap();
        let path = root.join(format!("rrun-removals-{name}-{}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        path
    }

    fn removals() -> Removals {
        Removals::new(Rc::new(Poll::new().unwrap()))
    }

    impl BusyGroup {
        fn new() -> BusyGroup {
            let path = group("busy");
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
        let (mut removals, now) = (removals(), Instant::now());
        // The caller goes on at once, and what is left is tried later.
        assert!(removals.begin(removal(None), now).is_none());
        let next = removals.next().unwrap();
        assert!(next > now && removals.due(now).is_empty());
        assert!(removals.due(next).is_empty() && removals.next().unwrap() > next);
        let late = self::removals().begin(removal(Some(now)), now);
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
    /// A group with so many in it.
    fn nesting(name: &str, count: usize) -> CgroupDir {
        let path = group(name);
        (0..count).for_each(|n| std::fs::create_dir(path.join(n.to_string())).unwrap());
        CgroupDir { path, unified: true, inherit_cpuset: false }
    }

    #[test]
    fn many_nested_groups_are_removed_beside_the_loop_one_removal_after_the_other() {
        if !nix::unistd::geteuid().is_root() {
            return println!("skipped: needs root");
        }
        let (mut removals, now) = (removals(), Instant::now());
        let removal = |dir: &CgroupDir, key| Removal {
            dirs: vec![dir.clone()],
            process: None,
            until: Some(now),
            then: Then::Finish(key),
        };
        let few = nesting("few", FEW);
        let removed = removals.begin(removal(&few, 1), now);
        assert!(removed.is_some_and(|removed| removed.left.is_none()) && !few.path.exists());
        let many = ["one", "two"].map(|name| nesting(name, 10 * FEW));
        for (dir, key) in many.iter().zip(2..) {
            assert!(removals.begin(removal(dir, key), now).is_none());
        }
        for (dir, key) in many.iter().zip(2..) {
            assert!(removals.next().is_none() && removals.due(Instant::now()).is_empty());
            let deadline = Instant::now() + Duration::from_secs(60);
            let rung = loop {
                let ready = removals.poll.wait(Some(deadline)).unwrap();
                assert!(Instant::now() < deadline, "the thread does not end");
                if let Some(ready) = ready.first() {
                    break ready.token;
                }
            };
            assert_eq!(rung, Token::Removal);
            let removed = removals.thread_ended(Instant::now()).unwrap();
            assert!(removed.left.is_none(), "{:?}", removed.left);
            assert!(matches!(removed.then, Then::Finish(done) if done == key));
            assert!(!dir.path.exists());
            assert!(removals.due(Instant::now()).is_empty());
        }
        assert!(removals.thread.is_none() && removals.pending.is_empty());
    }
}
