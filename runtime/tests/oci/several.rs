//! Verbs for all containers whose ids match an expression.

use crate::bundle::{Bundle, wait_for_end};
use crate::{is_peer, is_runc};
use std::process::Stdio;

/// Containers of one bundle, each in groups of its own.
struct Several {
    bundle: Bundle,
    ids: Vec<String>,
}

impl Several {
    fn start(ends: &[&str]) -> Several {
        let mut bundle = Bundle::new(&["sleep", "1000"]);
        let ids: Vec<String> = ends.iter().map(|end| format!("{}-{end}", bundle.id)).collect();
        let dir = bundle.dir.to_str().unwrap().to_owned();
        for id in &ids {
            bundle.linux()["cgroupsPath"] = format!("/{id}").into();
            bundle.write();
            let mut run = bundle.limited(&["run", "--detach", "--bundle", &dir, id]);
            assert!(run.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success());
        }
        Several { bundle, ids }
    }

    fn pid(&self, at: usize) -> i32 {
        let state = self.bundle.ok(&["state", &self.ids[at]]);
        let state: serde_json::Value = serde_json::from_str(&state).unwrap();
        i32::try_from(state["pid"].as_i64().unwrap()).unwrap()
    }
}

impl Drop for Several {
    fn drop(&mut self) {
        for id in &self.ids {
            let _ = self.bundle.call(&["delete", "--force", id]);
        }
    }
}

#[test]
fn those_that_match_are_killed_and_deleted_and_the_others_live_on() {
    if is_runc() {
        return println!("skipped: runc has no such option");
    }
    let several = Several::start(&["a1", "a22", "b1"]);
    let (bundle, ids) = (&several.bundle, &several.ids);
    let pids = [several.pid(0), several.pid(1)];
    // ^ and $ are needed: a part of an id is enough.
    bundle.ok(&["kill", "--regex", "a[0-9]{1,2}$", "KILL"]);
    pids.into_iter().for_each(wait_for_end);
    assert!(several.pid(2) > 0);
    bundle.ok(&["delete", "--regex", "a"]);
    for id in &ids[..2] {
        bundle.fails(&["state", id]);
    }
    assert_eq!(bundle.ok(&["list", "--quiet"]), format!("{}\n", ids[2]));
    // None is no error, and one that cannot be is told and leaves the others.
    bundle.ok(&["delete", "--regex", "nobody"]);
    let output = bundle.call(&["delete", "--regex", "."]);
    assert!(output.status.success());
    assert!(!output.stderr.is_empty(), "a running one is not deleted without force");
    bundle.ok(&["delete", "--force", "-r", "."]);
    assert_eq!(bundle.ok(&["list", "--quiet"]), "");
}

#[test]
fn what_is_no_expression_is_refused() {
    if is_peer() {
        return;
    }
    let bundle = Bundle::new(&["true"]);
    for verb in ["kill", "delete"] {
        let words = bundle.fails(&[verb, "--regex", "a(b"]);
        assert!(words.contains("is no regular expression"), "{words}");
        assert!(bundle.fails(&[verb, "a(b"]).contains("is no container id"));
    }
}
