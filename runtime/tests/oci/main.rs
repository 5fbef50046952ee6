//! What a runtime behind the OCI command line does, told by containers that it runs; needs root.
//!
//! By default the runtime is this tree's `rrun-oci`, or the one in the folder `$RRUN_BIN`.
//! `RRUN_TEST_RUNTIME=/usr/sbin/runc` runs the same claims on another one, which tests the tests
//! (Debian's crun needs a private mount namespace where `/sys/fs/cgroup/unified` is unmounted and
//! covered by a tmpfs). Every claim is run twice: on the machine's control groups, and in a private
//! mount namespace where the unified hierarchy covers them (a v2 host without limit controllers).

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod bundle;
mod callers;
mod checkpoint;
mod escapes;
mod exec;
mod groups;
mod handed_on;
mod hooks;
mod hostile;
mod life;
mod limits;
mod listener;
mod mounts;
mod process;
mod refusals;
mod rootfs;
mod rootless;
mod seccomp;
mod several;
mod subgroups;
mod systemd;
mod terminal;
mod update;

#[path = "../support/mod.rs"]
mod support;

use std::process::Command;

/// A machine whose control groups are v2, or look so here.
fn on_v2() -> bool {
    std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// A v2 host that limits: a hybrid one keeps the controllers for its v1 hierarchies.
fn v2_limits() -> bool {
    std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers")
        .is_ok_and(|controllers| controllers.contains("memory"))
}

/// The runtime is another one's: what is only promised by this one is not asked of it.
fn is_peer() -> bool {
    std::env::var_os("RRUN_TEST_RUNTIME").is_some()
}

/// The runtime is a crun: what it has not, or does otherwise, is not asked of it.
fn is_crun() -> bool {
    std::env::var("RRUN_TEST_RUNTIME").is_ok_and(|runtime| runtime.contains("crun"))
}

/// The runtime is another one, and none of crun's.
fn is_runc() -> bool {
    is_peer() && !is_crun()
}

#[test]
fn all_of_it_holds_on_v2_without_limit_controllers_too() {
    if on_v2() {
        return;
    }
    let output = Command::new("timeout")
        .args(["--signal=KILL", "3600"])
        .args(["unshare", "--mount", "--propagation", "private", "sh", "-c"])
        .arg("mount --bind /sys/fs/cgroup/unified /sys/fs/cgroup && exec \"$0\" --test-threads=2")
        .arg(std::env::current_exe().unwrap())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("test result: ok"), "{text}");
}
