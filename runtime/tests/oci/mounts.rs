//! Mounts that come to a container while it runs, and go.

use crate::bundle::Bundle;
use crate::{is_peer, is_runc};
use serde_json::{Value, json};

/// A container that runs, and the verb with a list of mounts; true where it succeeded.
struct Running(Bundle);

impl Running {
    fn new() -> Running {
        let bundle = Bundle::new(&["sleep", "1000"]);
        bundle.start();
        Running(bundle)
    }

    fn file(&self, list: &Value) -> String {
        let file = self.0.dir.join("mounts.json");
        std::fs::write(&file, list.to_string()).unwrap();
        file.to_str().unwrap().to_owned()
    }

    fn change(&self, what: &str, list: &Value) {
        self.0.ok(&["mounts", what, &self.0.id, &self.file(list)]);
    }

    fn refused(&self, what: &str, list: &Value) -> String {
        self.0.fails(&["mounts", what, &self.0.id, &self.file(list)])
    }

    fn sh(&self, script: &str) -> String {
        self.0.ok(&["exec", &self.0.id, "sh", "-c", script])
    }

    /// How many mounts it has.
    fn count(&self) -> String {
        self.sh("wc -l < /proc/1/mountinfo")
    }
}

#[test]
fn a_bind_and_a_tmpfs_come_and_go_with_their_options() {
    if is_runc() {
        return println!("skipped: runc has no such verb");
    }
    let running = Running::new();
    let source = running.0.dir.join("source");
    std::fs::create_dir(&source).unwrap();
    std::fs::write(source.join("file"), "of the host\n").unwrap();
    let list = json!([
        { "destination": "/new/bound", "type": "bind", "source": source,
          "options": ["bind", "ro"] },
        { "destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["size=1m"] }
    ]);
    let before = running.count();
    running.change("add", &list);
    assert_eq!(running.sh("cat /new/bound/file"), "of the host\n");
    assert_eq!(running.sh("touch /new/bound/x 2>/dev/null || echo no"), "no\n");
    // crun mounts it without its size.
    let size = if is_peer() { "" } else { "size=1024k" };
    assert!(running.sh("grep '/tmp ' /proc/mounts").contains(size));
    running.change("remove", &list);
    assert_eq!(running.count(), before);
    assert!(!running.refused("remove", &list).is_empty(), "nothing is mounted there");
    running.change("add", &json!([]));
}

#[test]
fn what_is_mounted_later_stays_inside_and_is_of_its_own_namespaces() {
    if is_peer() {
        return;
    }
    let running = Running::new();
    running.sh("ln -s /../../../.. /up; mkdir -p /a");
    running.change(
        "add",
        &json!([
            { "destination": "/up/b", "type": "tmpfs", "source": "tmpfs" },
            { "destination": "/tmp/sys", "type": "sysfs", "source": "sysfs" }
        ]),
    );
    assert!(running.0.rootfs().join("b").is_dir(), "the link leads to the container's root");
    assert_eq!(running.sh("ls /tmp/sys/class/net"), running.sh("ls /sys/class/net"));
    for (entry, why) in [
        (json!({ "destination": "/", "type": "tmpfs" }), "over the root"),
        (json!({ "destination": "/up", "type": "tmpfs", "source": "x" }), "it is the root"),
        (json!({ "destination": "/proc/sys", "type": "tmpfs", "source": "x" }), "inside /proc"),
        (json!({ "destination": "/x", "type": "bind", "source": "/no/such" }), "ENOENT"),
        // It would be one of the host's processes.
        (json!({ "destination": "/tmp", "type": "proc", "source": "x" }), "a new proc"),
        (json!({ "destination": "/x" }), "neither a type nor a bind"),
    ] {
        let words = running.refused("add", &json!([entry]));
        assert!(words.contains(why), "{why}: {words}");
    }
    assert!(running.refused("add", &json!({ "mounts": [] })).contains("expected a sequence"));
    assert!(running.0.fails(&["mounts", "add", "nobody", "/x"]).contains("does not exist"));
}
