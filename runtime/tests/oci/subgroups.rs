//! Execs in a group below the container's, and in a container that is paused.

use crate::bundle::{Bundle, hierarchies, text, wait_for_end};
use crate::support::await_that;
use crate::{is_crun, is_peer, on_v2};
use std::path::PathBuf;
use std::process::Stdio;

/// The container's group in every hierarchy.
fn groups(bundle: &Bundle) -> Vec<PathBuf> {
    hierarchies().into_iter().map(|root| root.join(&bundle.id)).filter(|dir| dir.is_dir()).collect()
}

fn running() -> Bundle {
    let bundle = Bundle::new(&["sleep", "1000"]);
    bundle.start();
    bundle
}

/// Where an exec with these options runs: `controllers:/path` a line.
fn place(bundle: &Bundle, options: &[&str]) -> Vec<String> {
    let args = [&["exec"], options, &[&bundle.id, "cat", "/proc/self/cgroup"]].concat();
    let lines = bundle.ok(&args);
    lines.lines().map(|line| line.split_once(':').unwrap().1.to_owned()).collect()
}

#[test]
fn one_group_for_all_controllers_is_joined_in_each_hierarchy_that_has_it() {
    let bundle = running();
    for dir in groups(&bundle) {
        std::fs::create_dir_all(dir.join("sub/below")).unwrap();
        // On v1 a group takes nobody before it has these.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let Ok(value) = std::fs::read(dir.join(file)) else { continue };
            if !on_v2() {
                std::fs::write(dir.join("sub").join(file), &value).unwrap();
                std::fs::write(dir.join("sub/below").join(file), &value).unwrap();
            }
        }
    }
    for path in ["sub/below", "/sub/below"] {
        let all = place(&bundle, &["--cgroup", path]);
        let below = format!("/{}/sub/below", bundle.id);
        // Debian's kernels have an empty hierarchy that nobody mounts.
        let (ours, _): (Vec<&String>, Vec<_>) =
            all.iter().partition(|line| line.contains(&bundle.id));
        assert!(!ours.is_empty() && ours.iter().all(|line| line.ends_with(&below)), "{all:?}");
    }
    // They are not the exec's own: they stay.
    assert!(groups(&bundle).iter().all(|dir| dir.join("sub/below").is_dir()));
    let all = place(&bundle, &["--cgroup", "/"]);
    let own = format!(":/{}", bundle.id);
    assert!(all.iter().any(|line| line.ends_with(&own)), "{all:?}");
}

#[test]
fn each_controller_has_a_group_of_its_own() {
    if on_v2() || is_crun() {
        return println!("skipped: it is for controllers of v1, which crun does not know apart");
    }
    let bundle = running();
    for (controller, sub) in [("memory", "m"), ("cpu", "c"), ("cpuacct", "c")] {
        let root = hierarchies().into_iter().find(|root| root.ends_with(controller)).unwrap();
        std::fs::create_dir_all(root.join(&bundle.id).join(sub)).unwrap();
    }
    let all = place(&bundle, &["--cgroup", "memory:m", "--cgroup", "cpu,cpuacct:/c"]);
    let of = |name: &str| {
        let line =
            all.iter().find(|line| line.split(':').next().unwrap().split(',').any(|n| n == name));
        line.unwrap().rsplit_once(':').unwrap().1.to_owned()
    };
    assert_eq!(of("memory"), format!("/{}/m", bundle.id));
    assert_eq!(of("cpu"), format!("/{}/c", bundle.id));
    assert_eq!(of("cpuacct"), format!("/{}/c", bundle.id));
    assert_eq!(of("pids"), format!("/{}", bundle.id));
    bundle.fails(&["exec", "--cgroup", "whaaat:/", &bundle.id, "true"]);
    bundle.fails(&["exec", "--cgroup", "cpu:nonexistent", &bundle.id, "true"]);
}

#[test]
fn a_group_that_is_not_there_or_not_below_is_refused_and_not_made() {
    if is_crun() {
        return println!("skipped: crun passes over what is not there on v1");
    }
    let bundle = running();
    for path in ["nonexistent", "..", "../../system", "a/../.."] {
        bundle.fails(&["exec", "--cgroup", path, &bundle.id, "true"]);
    }
    assert!(groups(&bundle).iter().all(|dir| !dir.join("nonexistent").exists()));
    if !is_peer() {
        let words = bundle.fails(&["exec", "--cgroup", "..", &bundle.id, "true"]);
        assert!(words.contains("bad sub cgroup path"), "{words}");
        let words = bundle.fails(&["exec", "--cgroup", "nonexistent", &bundle.id, "true"]);
        assert!(words.contains("--cgroup") && words.contains("ENOENT"), "{words}");
    }
}

#[test]
fn an_exec_that_does_not_mind_waits_until_its_paused_container_is_resumed() {
    if is_crun() {
        return println!("skipped: crun has no such option");
    }
    let bundle = running();
    bundle.ok(&["pause", &bundle.id]);
    bundle.fails(&["exec", &bundle.id, "true"]);
    let ran = bundle.rootfs().join("ran");
    let exec = ["exec", "--ignore-paused", &bundle.id, "sh", "-c", "echo ran; : > /ran"];
    let mut exec = bundle.limited(&exec).stdout(Stdio::piped()).spawn().unwrap();
    // It has come to where it waits when the group holds one process more.
    let group = groups(&bundle).remove(0);
    let members = || {
        let procs = |dir: &PathBuf| std::fs::read_to_string(dir.join("cgroup.procs")).unwrap();
        let below = std::fs::read_dir(&group).unwrap().flatten().map(|entry| entry.path());
        let below = below.filter(|path| path.is_dir()).collect::<Vec<_>>();
        [std::slice::from_ref(&group), &below[..]]
            .concat()
            .iter()
            .map(|dir| procs(dir).lines().count())
            .sum::<usize>()
    };
    await_that("it waits", || members() > 1);
    assert!(!ran.exists() && exec.try_wait().unwrap().is_none());
    assert_eq!(bundle.status(), "paused");
    bundle.ok(&["resume", &bundle.id]);
    let output = exec.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(text(&output.stdout), "ran\n");
    let pid = bundle.pid();
    bundle.ok(&["delete", "--force", &bundle.id]);
    wait_for_end(pid);
}
