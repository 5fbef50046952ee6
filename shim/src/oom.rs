//! Whether a container has ended for want of memory.
//!
//! Its own group says so where it is still there. systemd removes a scope's group in the moment in
//! which its last process ends, before that can be heard of. The pod's group counts the same kill
//! and stays: what it has counted beyond the containers that can still be asked, and beyond those
//! that have been asked, was in those that are gone.

use rrun_runtime::cgroup::OomKills;

/// The kills in a pod.
#[derive(Default)]
pub struct PodKills {
    /// Of the pod's count, those that belong to nobody who may end yet: from before the first
    /// container, and in containers that have ended.
    settled: Option<u64>,
}

/// How often the pod is counted anew while others are being killed.
const TRIES: u32 = 16;

impl PodKills {
    /// A container is there. Its group is asked before anybody can be killed in it.
    pub fn begin(&mut self, container: &OomKills) {
        if self.settled.is_none() {
            self.settled = container.count_above();
        }
    }

    /// Whether the kernel has killed in a container that has ended. `was_killed`: it has ended in
    /// the way that it would have then. `others`: those that have not ended yet.
    pub fn end(&mut self, container: &OomKills, was_killed: bool, others: &[&OomKills]) -> bool {
        if let Ok(Some(kills)) = container.count() {
            self.settle(kills);
            return was_killed && kills > 0;
        }
        let Some(missing) = self.missing(container, others) else {
            return was_killed && container.was_heard_of();
        };
        let others_are_gone = others.iter().any(|other| matches!(other.count(), Ok(None)));
        match (was_killed, others_are_gone) {
            // Who is heard of next has a part in them.
            (true, true) => self.settle(missing.min(1)),
            (false, true) => {}
            (_, false) => self.settle(missing),
        }
        was_killed && missing > 0
    }

    /// Kills that the pod has counted and nobody else has.
    fn missing(&self, container: &OomKills, others: &[&OomKills]) -> Option<u64> {
        let settled = self.settled?;
        let count = || -> u64 {
            others.iter().map(|other| other.count().ok().flatten().unwrap_or(0)).sum()
        };
        // One that is killed between the two counts is in one of them alone.
        let mut before = count();
        let mut tries = 0;
        loop {
            let above = container.count_above()?;
            let after = count();
            if before == after || tries == TRIES {
                return Some(above.saturating_sub(settled).saturating_sub(before));
            }
            (before, tries) = (after, tries + 1);
        }
    }

    fn settle(&mut self, kills: u64) {
        if let Some(settled) = &mut self.settled {
            *settled += kills;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rrun_runtime::plan::{CgroupDir, Cgroups};
    use std::fs;
    use std::path::PathBuf;

    /// A pod's group as v2 shows it, with groups of containers that come, kill and go.
    struct Pod(tempfile::TempDir);

    impl Pod {
        fn new(count: u64) -> Pod {
            let pod = Pod(tempfile::tempdir().unwrap());
            fs::write(pod.0.path().join("memory.events"), format!("oom_kill {count}\n")).unwrap();
            pod
        }

        fn dir(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn container(&self, name: &str) -> OomKills {
            let path = self.dir(name);
            fs::create_dir(&path).unwrap();
            fs::write(path.join("memory.events"), "low 0\noom_kill 0\n").unwrap();
            let dirs = vec![CgroupDir { path, unified: true, inherit_cpuset: false }];
            OomKills::of(&Cgroups { dirs, ..Cgroups::default() }).unwrap()
        }

        /// One is killed in a container.
        fn kill(&self, name: &str) {
            for dir in [self.0.path().to_owned(), self.dir(name)] {
                let file = dir.join("memory.events");
                let text = fs::read_to_string(&file).unwrap();
                let count: u64 = text.split_whitespace().next_back().unwrap().parse().unwrap();
                fs::write(file, format!("oom_kill {}\n", count + 1)).unwrap();
            }
        }

        /// Its group goes.
        fn remove(&self, name: &str) {
            fs::remove_dir_all(self.dir(name)).unwrap();
        }
    }

    #[test]
    fn a_container_is_told_by_its_own_group_where_that_is_there() {
        let (pod, mut kills) = (Pod::new(3), PodKills::default());
        let all = ["a", "b", "c"].map(|name| pod.container(name));
        let [a, b, c] = &all;
        kills.begin(a);
        pod.kill("a");
        pod.kill("b");
        assert!(kills.end(a, true, &[b, c]));
        // It outlived the kill of another.
        assert!(!kills.end(b, false, &[c]));
        assert!(!kills.end(c, true, &[]));
    }

    #[test]
    fn a_container_whose_group_is_gone_is_told_by_the_pods_and_by_who_is_left() {
        let (pod, mut kills) = (Pod::new(3), PodKills::default());
        let all = ["a", "b", "c", "d"].map(|name| pod.container(name));
        let [a, b, c, d] = &all;
        kills.begin(a);
        kills.begin(b);
        // What is killed in one that goes on is that one's.
        pod.kill("d");
        pod.remove("a");
        assert!(!kills.end(a, true, &[b, c, d]));
        pod.kill("b");
        pod.kill("b");
        pod.remove("b");
        assert!(kills.end(b, true, &[c, d]));
        pod.remove("c");
        assert!(!kills.end(c, true, &[d]), "those of b are settled");
        pod.remove("d");
        assert!(kills.end(d, true, &[]));
    }

    #[test]
    fn two_that_go_at_once_are_both_told() {
        let (pod, mut kills) = (Pod::new(0), PodKills::default());
        let all = ["a", "b", "c"].map(|name| pod.container(name));
        let [a, b, c] = &all;
        kills.begin(a);
        for name in ["a", "b"] {
            pod.kill(name);
        }
        for name in ["a", "b", "c"] {
            pod.remove(name);
        }
        assert!(!kills.end(c, false, &[a, b]), "it has ended by itself");
        assert!(kills.end(a, true, &[b]));
        assert!(kills.end(b, true, &[]));
    }

    #[test]
    fn nothing_is_told_of_a_pod_that_is_gone() {
        let (pod, mut kills) = (Pod::new(0), PodKills::default());
        let a = pod.container("a");
        kills.begin(&a);
        pod.kill("a");
        drop(pod);
        assert!(!kills.end(&a, true, &[]));
    }
}
