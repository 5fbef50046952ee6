//! Hooks at all six points, their state on standard input, and what becomes of a container whose
//! hooks fail.

use crate::bundle::{Bundle, MAPPED};
use crate::{is_crun, is_peer, is_runc};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// A program of the host that appends what it reads, and a word, to a file.
fn note(at: &str, word: &str) -> Value {
    let script = format!("read state; echo \"{word} $state\" >> {at}");
    json!({ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"] })
}

fn failing(words: &str) -> Value {
    let script = format!("echo {words} >&2; exit 3");
    json!({ "path": "/bin/sh", "args": ["sh", "-c", script], "timeout": 60 })
}

/// The words and states that were noted.
fn noted(path: &std::path::Path) -> Vec<(String, Value)> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let line = |line: &str| {
        let (word, state) = line.split_once(' ').unwrap();
        (word.to_owned(), serde_json::from_str(state).unwrap())
    };
    text.lines().map(line).collect()
}

#[test]
fn hooks_run_at_their_points_in_order_and_read_the_state() {
    let mut bundle = Bundle::sh("echo program $(cat /inside); sleep 1000");
    let log = bundle.dir.join("log-of-hooks");
    let at = log.to_str().unwrap().to_owned();
    let create = "cat > /dev/null; pwd > /dev/null; test -e /proc/self";
    bundle.config["hooks"] = json!({
        "prestart": [note(&at, "prestart")],
        "createRuntime": [note(&at, "createRuntime")],
        "createContainer": [
            note(&at, "createContainer"),
            { "path": "/bin/sh", "args": ["sh", "-c", create] },
        ],
        "startContainer": [
            { "path": "/bin/sh", "args": ["sh", "-c", "cat > /inside"], "env": ["PATH=/bin"] },
        ],
        "poststart": [note(&at, "poststart")],
        "poststop": [failing("in vain"), note(&at, "poststop")],
    });
    bundle.config["annotations"] = json!({ "a": "b" });
    bundle.create();
    let before = noted(&log);
    let words = |all: &[(String, Value)]| -> Vec<String> {
        all.iter().map(|(word, _)| word.clone()).collect()
    };
    assert_eq!(words(&before), ["prestart", "createRuntime", "createContainer"]);
    assert!(!bundle.rootfs().join("inside").exists(), "it is not started");
    bundle.ok(&["start", &bundle.id]);
    let state: Value = serde_json::from_str(&bundle.ok(&["state", &bundle.id])).unwrap();
    for (word, found) in &noted(&log) {
        assert_eq!((&found["id"], &found["bundle"]), (&state["id"], &state["bundle"]), "{word}");
        assert_eq!(found["annotations"]["a"], "b", "{word}");
        // Those of the container's namespaces see it by its number there.
        if word != "createContainer" {
            assert_eq!(found["pid"], state["pid"], "{word}");
        }
    }
    let statuses: Vec<Value> =
        noted(&log).iter().map(|(_, state)| state["status"].clone()).collect();
    if !is_peer() {
        assert_eq!(statuses, ["creating", "creating", "creating", "running"]);
    }
    let inside: Value =
        serde_json::from_slice(&fs::read(bundle.rootfs().join("inside")).unwrap()).unwrap();
    assert_eq!(inside["id"], state["id"]);
    bundle.ok(&["delete", "--force", &bundle.id]);
    let (last, state) = noted(&log).pop().unwrap();
    // crun ends at the first that fails.
    if !is_crun() {
        assert_eq!((last.as_str(), &state["status"]), ("poststop", &"stopped".into()));
    }
}

#[test]
fn hooks_run_for_a_container_with_users_of_its_own_and_mount_what_its_program_sees() {
    let mut bundle = Bundle::sh("cat /tmp/from-a-hook; grep -c ' /tmp ' /proc/mounts");
    bundle.map_users();
    let log = bundle.dir.join("log-of-hooks");
    // Those of the container's namespaces have its users, and the rights of those on the host.
    fs::write(&log, "").unwrap();
    fs::set_permissions(&log, PermissionsExt::from_mode(0o666)).unwrap();
    let at = log.to_str().unwrap();
    let tmp = bundle.rootfs().join("tmp");
    let mount = format!(
        "mount -t tmpfs hook {0} && cat /proc/self/uid_map > {0}/from-a-hook",
        tmp.display()
    );
    let path = ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"];
    bundle.config["hooks"] = json!({
        "createRuntime": [note(at, "createRuntime")],
        "createContainer": [
            note(at, "createContainer"),
            { "path": "/bin/sh", "args": ["sh", "-c", mount], "env": path },
        ],
    });
    let printed = bundle.prints();
    let words: Vec<&str> = printed.split_whitespace().collect();
    assert_eq!(words, ["0", &MAPPED.to_string(), "65536", "1"], "{printed}");
    let noted: Vec<String> = noted(&log).into_iter().map(|(word, _)| word).collect();
    assert_eq!(noted, ["createRuntime", "createContainer"]);
    assert_eq!(fs::read_dir(tmp).unwrap().count(), 0, "the host does not see it");
}

#[test]
fn hooks_run_where_the_containers_users_find_no_way_to_its_root() {
    if is_peer() {
        return;
    }
    let mut bundle = Bundle::new(&["hostname"]);
    bundle.map_users();
    let closed = bundle.dir.join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, PermissionsExt::from_mode(0o700)).unwrap();
    let (rootfs, moved) = (bundle.rootfs().to_owned(), closed.join("rootfs"));
    fs::rename(&rootfs, &moved).unwrap();
    bundle.config["root"]["path"] = moved.to_str().unwrap().into();
    let log = bundle.dir.join("log-of-hooks");
    let at = log.to_str().unwrap();
    // It has the rights that the runtime has.
    let looks = format!("ls {} > {at}", moved.display());
    bundle.config["hooks"] = json!({
        "createRuntime": [{ "path": "/bin/sh", "args": ["sh", "-c", looks] }],
        "createContainer": [{ "path": "/bin/true" }],
    });
    let (code, output) = bundle.run();
    fs::rename(&moved, &rootfs).unwrap();
    assert_eq!((code, output.as_str()), (0, "boxed\n"));
    assert!(fs::read_to_string(&log).unwrap().contains("bin"));
}

#[test]
fn a_hook_that_fails_before_the_start_is_named_with_its_words_and_nothing_is_left() {
    for point in ["prestart", "createRuntime", "createContainer"] {
        let mut bundle = Bundle::sh("exit 0");
        let log = bundle.dir.join("log-of-hooks");
        bundle.config["hooks"] = json!({
            point: [failing("no device here")],
            "poststop": [note(log.to_str().unwrap(), "poststop")],
        });
        let (code, words) = bundle.try_create();
        assert_ne!(code, Some(0), "{point}");
        if !is_peer() {
            let kind = if point == "prestart" { "createRuntime" } else { point };
            assert!(words.contains(&format!("{kind} hook /bin/sh: ")), "{point}: {words}");
            assert!(words.contains("exit status 3"), "{point}: {words}");
            assert_eq!(noted(&log).len(), 1, "{point}: those of the end run all the same");
        }
        if !is_peer() && point != "createContainer" {
            assert!(words.contains("no device here"), "{point}: {words}");
        }
        bundle.fails(&["state", &bundle.id]);
    }
}

#[test]
fn a_hook_that_fails_at_the_start_ends_the_container() {
    for point in ["startContainer", "poststart"] {
        // crun goes on after a poststart hook that fails.
        if is_crun() && point == "poststart" {
            continue;
        }
        let mut bundle = Bundle::sh("sleep 1000");
        bundle.config["hooks"] = json!({ point: [failing("not today")] });
        bundle.create();
        let words = bundle.fails(&["start", &bundle.id]);
        if !is_peer() {
            assert!(words.contains(&format!("{point} hook /bin/sh: exit status 3")), "{words}");
        }
        if !is_runc() {
            let state: Value = serde_json::from_str(&bundle.ok(&["state", &bundle.id])).unwrap();
            assert_eq!(state["status"], "stopped", "{point}");
        }
        bundle.ok(&["delete", "--force", &bundle.id]);
    }
}

#[test]
fn a_hook_that_takes_too_long_is_killed_with_what_it_started() {
    let mut bundle = Bundle::sh("exit 0");
    let sleeping =
        json!({ "path": "/bin/sh", "args": ["sh", "-c", "sleep 1000 & wait"], "timeout": 1 });
    bundle.config["hooks"] = json!({ "createRuntime": [sleeping] });
    let (code, words) = bundle.try_create();
    assert_ne!(code, Some(0));
    if !is_peer() {
        assert!(words.contains("not done after 1 s, killed"), "{words}");
    }
    bundle.fails(&["state", &bundle.id]);
}
