//! Whose groups are whose.

use crate::bundle::{Bundle, hierarchies, text};
use crate::checkpoint;
use crate::{is_crun, is_peer, is_runc};
use serde_json::json;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// A bundle that cannot be made, in the group of another.
fn broken_in(cgroup: &str) -> Bundle {
    let mut bundle = Bundle::new(&["true"]);
    bundle.linux()["cgroupsPath"] = cgroup.into();
    bundle.mount(json!({
        "destination": "/x", "type": "bind", "source": "/no/such/source", "options": ["bind"]
    }));
    bundle
}

#[test]
fn a_group_with_processes_is_refused_and_they_live_on() {
    if is_peer() {
        return;
    }
    let first = Bundle::new(&["sleep", "1000"]);
    first.start();
    let (code, output) = broken_in(&format!("/{}", first.id)).run();
    assert_eq!(code, 1);
    assert!(output.contains("holds processes of somebody else"), "{output}");
    assert_eq!(first.status(), "running");
}

/// Directories that the test has made, of no use to anybody.
struct Made(Vec<PathBuf>);

impl Made {
    fn new(bundle: &Bundle) -> Made {
        let dirs: Vec<PathBuf> =
            hierarchies().into_iter().map(|root| root.join(&bundle.id)).collect();
        dirs.iter().for_each(|dir| std::fs::create_dir(dir).unwrap());
        Made(dirs)
    }

    fn all_there(&self) -> bool {
        self.0.iter().all(|dir| dir.exists())
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for dir in &self.0 {
            // A process that was killed may leave a moment later.
            let is_busy = || {
                let removed = std::fs::remove_dir(dir);
                removed.is_err_and(|e| e.raw_os_error() == Some(libc::EBUSY))
            };
            let deadline = Instant::now() + Duration::from_secs(60);
            while is_busy() && Instant::now() < deadline {
                std::thread::yield_now();
            }
        }
    }
}

/// A process that belongs to nobody here.
struct Stranger(Child);

impl Stranger {
    fn in_groups(made: &Made) -> Stranger {
        let child = Command::new("sleep").arg("1000").spawn().unwrap();
        for dir in &made.0 {
            // Those of a controller may have no room for it; one is enough.
            let _ = std::fs::write(dir.join("cgroup.procs"), child.id().to_string());
        }
        let told = made.0.iter().map(|dir| std::fs::read_to_string(dir.join("cgroup.procs")));
        assert!(told.flatten().any(|text| text.contains(&child.id().to_string())));
        Stranger(child)
    }

    fn lives(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn an_empty_group_that_was_there_is_used_and_left_where_it_is() {
    if is_peer() {
        return;
    }
    let mut bundle = broken_in("/");
    bundle.linux()["cgroupsPath"] = format!("/{}", bundle.id).into();
    let made = Made::new(&bundle);
    let (code, output) = bundle.run();
    assert!(code != 0 && output.contains("/no/such/source"), "{output}");
    assert!(made.all_there(), "an undo has taken what it had not made");
    bundle.config["mounts"].as_array_mut().unwrap().pop();
    assert_eq!(bundle.run().0, 0);
    assert!(made.all_there());
}

/// A container that names no group, created: where it is in each hierarchy.
fn create_unnamed() -> (Bundle, String) {
    let mut bundle = Bundle::new(&["sleep", "1000"]);
    bundle.linux().as_object_mut().unwrap().remove("cgroupsPath");
    bundle.create();
    let groups = std::fs::read_to_string(format!("/proc/{}/cgroup", bundle.pid())).unwrap();
    (bundle, groups)
}

#[test]
fn a_container_that_names_no_group_has_no_group_above_its_own_that_would_stay() {
    if is_runc() {
        // It is below the caller's.
        return;
    }
    let (bundle, groups) = create_unnamed();
    // In a hierarchy that is not mounted here it is where its caller is.
    let own: Vec<_> = groups.lines().filter(|line| line.ends_with(&bundle.id)).collect();
    let is_at_the_top =
        |line: &&str| line.splitn(3, ':').nth(2) == Some(&format!("/{}", bundle.id));
    assert!(!own.is_empty() && own.iter().all(is_at_the_top), "{groups}");
    bundle.ok(&["delete", "--force", &bundle.id]);
    assert!(bundle.groups().is_empty());
}

#[test]
fn containers_that_name_no_group_come_and_go_at_once_without_a_failure() {
    std::thread::scope(|threads| {
        let come_and_go = || {
            for _ in 0..10 {
                let (bundle, _) = create_unnamed();
                bundle.ok(&["delete", "--force", &bundle.id]);
                assert!(bundle.groups().is_empty());
            }
        };
        threads.spawn(come_and_go);
        threads.spawn(come_and_go);
    });
}

#[test]
fn a_forced_delete_kills_its_container_and_not_who_came_into_its_group() {
    if is_peer() {
        return;
    }
    let bundle = Bundle::new(&["sleep", "1000"]);
    let made = Made::new(&bundle);
    bundle.start();
    let pid = bundle.pid();
    let mut stranger = Stranger::in_groups(&made);
    bundle.ok(&["delete", "--force", &bundle.id]);
    crate::bundle::wait_for_end(pid);
    assert!(stranger.lives());
    drop(stranger);
    drop(made);
}

#[test]
fn a_frozen_group_is_refused() {
    if is_peer() {
        return;
    }
    let bundle = Bundle::new(&["true"]);
    let made = Made::new(&bundle);
    for (file, frozen, thawed) in
        [("cgroup.freeze", "1", "0"), ("freezer.state", "FROZEN", "THAWED")]
    {
        let Some(dir) = made.0.iter().find(|dir| dir.join(file).exists()) else { continue };
        std::fs::write(dir.join(file), frozen).unwrap();
        let (code, output) = bundle.run();
        std::fs::write(dir.join(file), thawed).unwrap();
        assert!(code == 1 && output.contains("is frozen"), "{output}");
    }
    assert_eq!(bundle.run().0, 0);
}

#[test]
fn a_forced_delete_leaves_nothing_of_a_container_whose_state_somebody_has_removed() {
    if is_peer() {
        // runc and crun answer 0, and its processes and groups stay.
        return;
    }
    for started in [false, true] {
        let bundle = Bundle::new(&["sleep", "1000"]);
        bundle.create();
        if started {
            bundle.ok(&["start", &bundle.id]);
        }
        let pid = bundle.pid();
        std::fs::remove_file(bundle.root.join(&bundle.id).join("state.json")).unwrap();
        let words = bundle.fails(&["delete", &bundle.id]);
        assert!(words.contains("cannot delete"), "{words}");
        bundle.ok(&["delete", "--force", &bundle.id]);
        crate::bundle::wait_for_end(pid);
        assert!(bundle.groups().is_empty() && !bundle.root.join(&bundle.id).exists());
    }
}

#[test]
fn what_cannot_be_told_from_others_then_is_said_and_kept() {
    if is_peer() {
        return;
    }
    let bundle = Bundle::new(&["sleep", "1000"]);
    let made = Made::new(&bundle);
    bundle.start();
    let pid = bundle.pid();
    let state = bundle.root.join(&bundle.id).join("state.json");
    let kept = std::fs::read(&state).unwrap();
    std::fs::remove_file(&state).unwrap();
    let words = bundle.fails(&["delete", "--force", &bundle.id]);
    assert!(words.contains(&format!("process {pid}")), "{words}");
    std::fs::write(&state, kept).unwrap();
    assert_eq!(bundle.status(), "running");
    bundle.ok(&["delete", "--force", &bundle.id]);
    crate::bundle::wait_for_end(pid);
    drop(made);
}

#[test]
fn without_a_manager_it_stays_in_the_callers_groups_and_is_told_that_nothing_limits_it() {
    if is_runc() {
        return;
    }
    let mut bundle = Bundle::new(&["cat", "/proc/self/cgroup"]);
    bundle.linux()["resources"] = json!({ "pids": { "limit": 7 } });
    bundle.write();
    let dir = bundle.dir.to_str().unwrap();
    let args = ["--cgroup-manager", "disabled", "run", "--bundle", dir, &bundle.id];
    let output = bundle.call(&args);
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap();
    assert_eq!(text(&output.stdout), own);
    assert!(is_crun() || said.contains("linux.resources"), "{said}");
}

#[test]
fn what_is_done_by_groups_is_refused_to_one_that_has_none() {
    if is_peer() {
        return;
    }
    let bundle = Bundle::new(&["sleep", "1000"]);
    bundle.write();
    let dir = bundle.dir.to_str().unwrap();
    let create = ["--cgroup-manager", "disabled", "create", "--bundle", dir, &bundle.id];
    let null = std::process::Stdio::null;
    let created = bundle.limited(&create).stdout(null()).stderr(null()).status().unwrap();
    assert!(created.success() && bundle.groups().is_empty());
    bundle.ok(&["start", &bundle.id]);
    let state = bundle.state();
    assert_eq!(state["cgroupManager"], "disabled", "{state}");
    let id = bundle.id.as_str();
    for args in [
        &["update", "--pids-limit", "7", id][..],
        &["pause", id],
        &["resume", id],
        &["ps", id],
        &["events", "--stats", id],
        &["kill", "--all", id, "TERM"],
    ] {
        let words = bundle.fails(args);
        assert!(words.contains("it has no control group"), "{args:?}: {words}");
    }
    assert_eq!(bundle.status(), "running");
    assert_eq!(bundle.ok(&["exec", id, "hostname"]), "boxed\n");
    let pid = bundle.pid();
    bundle.ok(&["kill", "--all", id, "KILL"]);
    crate::bundle::wait_for_end(pid);
    bundle.ok(&["delete", id]);
}

#[test]
fn a_checkpoint_from_groups_that_others_share_takes_none_of_theirs() {
    if is_peer() {
        return;
    }
    if !checkpoint::has_criu() {
        return println!("{}", checkpoint::ABSENT);
    }
    let bundle = Bundle::sh(checkpoint::COUNT);
    bundle.write();
    let (dir, image) = (bundle.dir.to_str().unwrap(), bundle.dir.join("image"));
    let null = std::process::Stdio::null;
    let unmanaged = |args: &[&str]| {
        let args = [&["--cgroup-manager", "disabled"], args, &["--bundle", dir, &bundle.id]];
        let status = bundle.limited(&args.concat()).stdout(null()).stderr(null()).status();
        assert!(status.unwrap().success(), "{args:?}");
    };
    unmanaged(&["create"]);
    bundle.ok(&["start", &bundle.id]);
    bundle.await_count_above(0);
    // criu looks only at groups that it is not in itself.
    let own = Made::new(&bundle);
    std::fs::write(own.0[0].join("cgroup.procs"), bundle.pid().to_string()).unwrap();
    let other = Bundle::new(&["true"]);
    let made = Made::new(&other);
    let flags = ["--image-path", image.to_str().unwrap()];
    let refused = bundle.fails(
        &[&["checkpoint", "--manage-cgroups-mode", "full"], &flags[..], &[&bundle.id]].concat(),
    );
    assert!(refused.contains("is not the container's alone"), "{refused}");
    bundle.checkpointed(&[]);
    drop(made);
    unmanaged(&[&["restore", "--detach"], &flags[..]].concat());
    bundle.await_count_above(bundle.count() + 1);
    let again: Vec<PathBuf> = hierarchies().iter().map(|root| root.join(&other.id)).collect();
    assert!(again.iter().all(|dir| !dir.exists()), "{again:?}");
}
