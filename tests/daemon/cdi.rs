//! Devices by the Container Device Interface, from the node's own folders.

use crate::suite::*;
use rrun_cri_api::v1::*;
use rrun_tests::harness::BUSYBOX;
use serde_json::{Value, json};
use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};
use tonic::Status;

/// A suite with its folders of specs.
struct Node {
    suite: Suite,
    config: PodSandboxConfig,
    pod: String,
    refusals: AtomicU32,
}

impl Node {
    async fn start(name: &str) -> Node {
        let suite = Suite::start().await;
        let config = suite.harness.pod(name);
        let pod = suite.run_pod(&config).await;
        Node { suite, config, pod, refusals: AtomicU32::new(0) }
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.suite.harness.sandbox().inside(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    async fn create(
        &self,
        name: &str,
        devices: &[&str],
        annotation: &str,
    ) -> Result<String, Status> {
        let mut container = self.suite.harness.container(name, BUSYBOX, &["sleep", "1000"]);
        let named = |name: &&str| CdiDevice { name: (*name).to_owned() };
        container.cdi_devices = devices.iter().map(named).collect();
        if !annotation.is_empty() {
            container.annotations.insert("cdi.k8s.io/test".to_owned(), annotation.to_owned());
        }
        let id = self.suite.create(&self.pod, container, &self.config).await?;
        self.suite.start_container(&id).await?;
        Ok(id)
    }

    async fn end(self) {
        self.suite.remove(&self.pod).await;
        // What a test has written there is no pod's.
        for folder in ["/etc/cdi", "/run/cdi"] {
            let _ = fs::remove_dir_all(self.suite.harness.sandbox().inside(folder));
        }
        self.suite.assert_nothing_left();
    }

    /// Each time of another container: one that was made and could not be started is still there.
    async fn refusal(&self, device: &str) -> String {
        let name = format!("refused-{}", self.refusals.fetch_add(1, Ordering::Relaxed));
        self.create(&name, &[device], "").await.unwrap_err().message().to_owned()
    }

    async fn says(&self, id: &str, script: &str) -> String {
        let done = self.suite.exec(id, &["sh", "-c", script], 30).await.unwrap();
        String::from_utf8(done.stdout).unwrap() + &String::from_utf8(done.stderr).unwrap()
    }
}

#[tokio::test]
async fn a_cdi_device_comes_with_its_node_variable_and_mount_and_a_restart_keeps_them() {
    let mut node = Node::start("cdi").await;
    let shared = node.suite.harness.sandbox().root().join("driver");
    fs::create_dir(&shared).unwrap();
    fs::write(shared.join("library"), "a driver's").unwrap();
    let spec = format!(
        r#"{{"cdiVersion": "1.0.0", "kind": "vendor.com/class",
        "containerEdits": {{"env": ["VENDOR=yes"]}},
        "devices": [{{"name": "0", "containerEdits": {{
            "env": ["DEVICE=zero"], "additionalGids": [4242],
            "deviceNodes": [{{"path": "/dev/vendor0", "type": "c", "major": 1, "minor": 3,
                "permissions": "rw", "fileMode": 438}}],
            "mounts": [{{"hostPath": "{}", "containerPath": "/opt/driver",
                "options": ["ro", "nosuid", "nodev", "bind"]}}]
        }}}}]}}"#,
        shared.display()
    );
    node.write("/etc/cdi/vendor.json", &spec);
    let id = node.create("main", &["vendor.com/class=0"], "").await.unwrap();
    let script = "echo $VENDOR $DEVICE; cat /opt/driver/library; echo; id -G; ls -l /dev/vendor0; \
                  echo gone > /dev/vendor0 && cat /dev/vendor0; touch /opt/driver/x";
    let said = node.says(&id, script).await;
    assert!(said.starts_with("yes zero\na driver's\n"), "{said}");
    assert!(said.contains("4242") && said.contains("1,   3"), "{said}");
    assert!(said.contains("crw-rw-rw-") && said.contains("Read-only file system"), "{said}");
    assert!(!said.contains("Operation not permitted"), "{said}");
    node.suite.restart().await;
    assert!(node.says(&id, script).await.starts_with("yes zero\na driver's\n"));
    let plain = node.create("plain", &[], "").await.unwrap();
    let said = node.says(&plain, "echo .$VENDOR.; ls /dev/vendor0").await;
    assert!(said.starts_with("..\n") && said.contains("No such file"), "{said}");
    node.end().await;
}

#[tokio::test]
async fn a_cdi_file_that_is_added_is_heard_and_an_unknown_device_and_a_broken_file_are_named() {
    let node = Node::start("cdi-added").await;
    let refusal = node.refusal("vendor.com/class=1").await;
    assert!(refusal.contains("CDI device vendor.com/class=1: no spec has it"), "{refusal}");
    let spec = |says: &str| {
        format!(
            "cdiVersion: 0.5.0\nkind: vendor.com/class\ndevices:\n- name: \"1\"\n  containerEdits:\n    \
             env: [SAYS={says}]\n"
        )
    };
    node.write("/etc/cdi/vendor.yaml", &spec("etc"));
    let id = node.create("first", &["vendor.com/class=1"], "").await.unwrap();
    assert_eq!(node.says(&id, "echo $SAYS").await, "etc\n");
    // The folder of this boot goes before, and an annotation asks likewise.
    node.write("/run/cdi/vendor.yaml", &spec("run"));
    let id = node.create("second", &[], "vendor.com/class=1").await.unwrap();
    assert_eq!(node.says(&id, "echo $SAYS").await, "run\n");

    node.write("/run/cdi/vendor.yaml", "cdiVersion: 0.5.0\nkind: vendor.com/class\ndevices: 7\n");
    let id = node.create("third", &["vendor.com/class=1"], "").await.unwrap();
    assert_eq!(node.says(&id, "echo $SAYS").await, "etc\n", "the broken one is passed over");
    let log = node.suite.daemon_log();
    assert!(log.contains("CDI spec /var/run/cdi/vendor.yaml: devices: "), "{log}");
    let refusal = node.refusal("vendor.com/class=2").await;
    assert!(refusal.contains("CDI spec /var/run/cdi/vendor.yaml: devices: "), "{refusal}");
    assert!(refusal.contains("line 3"), "{refusal}");
    let rdt = r#"{"cdiVersion": "1.0.0", "kind": "other.com/class", "devices": [{"name": "a",
        "containerEdits": {"intelRdt": {"closID": "a"}}}]}"#;
    node.write("/etc/cdi/other.json", rdt);
    let refusal = node.refusal("other.com/class=a").await;
    assert!(refusal.contains("other.com/class=a (/etc/cdi/other.json)"), "{refusal}");
    assert!(refusal.contains("containerEdits.intelRdt: not supported"), "{refusal}");
    let refusal = node.refusal("not a device").await;
    assert!(refusal.contains("CDI_devices: \"not a device\" is no device"), "{refusal}");
    node.end().await;
}

fn device(kind: &str, hooks: &[Value]) -> String {
    let edits = json!({ "hooks": hooks });
    let device = json!({ "name": "one", "containerEdits": edits });
    json!({ "cdiVersion": "1.0.0", "kind": kind, "devices": [device] }).to_string()
}

fn hook(name: &str, script: &str) -> Value {
    json!({
        "hookName": name, "path": "/bin/sh", "args": ["sh", "-c", script],
        "env": ["WHO=me", "PATH=/usr/bin:/bin"],
    })
}

#[tokio::test]
async fn hooks_of_a_cdi_device_run_each_at_its_time_with_the_state_on_their_input() {
    let mut node = Node::start("cdi-hooks").await;
    let log = node.suite.harness.sandbox().root().join("hooks.log");
    let names = ["createRuntime", "createContainer", "poststart", "poststop"];
    let mut hooks: Vec<_> = names
        .iter()
        .map(|name| hook(name, &format!("(echo {name} $WHO; cat; echo) >> {}", log.display())))
        .collect();
    hooks.push(hook("startContainer", "cat > /tmp/state; id -u > /tmp/who"));
    node.write("/etc/cdi/hooks.json", &device("vendor.com/hooks", &hooks));
    let id = node.create("main", &["vendor.com/hooks=one"], "").await.unwrap();
    let states = || {
        let said = fs::read_to_string(&log).unwrap();
        let lines: Vec<_> = said.lines().map(str::to_owned).collect();
        let of = |pair: &[String]| (pair[0].clone(), serde_json::from_str(&pair[1]).unwrap());
        lines.chunks(2).map(of).collect::<Vec<(String, Value)>>()
    };
    let seen = states();
    let order: Vec<_> = seen.iter().map(|(who, state)| (&**who, &state["status"])).collect();
    let (creating, running) = (json!("creating"), json!("running"));
    let expected = [
        ("createRuntime me", &creating),
        ("createContainer me", &creating),
        ("poststart me", &running),
    ];
    assert_eq!(order, expected);
    assert!(seen.iter().all(|(_, state)| state["id"] == id.as_str()), "{seen:?}");
    assert!(seen.iter().all(|(_, state)| state["pid"].as_i64().unwrap() > 1), "{seen:?}");
    let inside = node.says(&id, "cat /tmp/state; cat /tmp/who").await;
    let (state, user) = inside.rsplit_once('}').unwrap();
    assert!(state.contains(r#""status":"created","pid":"#) && user == "0\n", "{inside}");
    // A later daemon runs those of the removal.
    node.suite.restart().await;
    node.suite.remove(&node.pod).await;
    let (who, state) = states().pop().unwrap();
    assert_eq!(
        (&*who, &state["status"], &state["pid"]),
        ("poststop me", &json!("stopped"), &json!(0))
    );
    node.end().await;
}

#[tokio::test]
async fn a_hook_finds_the_root_in_its_bundle_and_one_that_fails_or_hangs_is_told_and_leaves_nothing()
 {
    let node = Node::start("cdi-hooks-fail").await;
    let ends = node.suite.harness.sandbox().root().join("ends.log");
    let end = hook("poststop", &format!("cat > /dev/null; echo end >> {}", ends.display()));
    let spec = |hook: Value| {
        node.write("/etc/cdi/hooks.json", &device("vendor.com/hooks", &[hook, end.clone()]));
    };
    // What a hook mounts there is the container's.
    let script = r#"
        bundle=$(sed 's/.*"bundle":"\([^"]*\).*/\1/'); root=$bundle/rootfs
        grep -q '"path":"rootfs"' $bundle/config.json && test -c $root/dev/null &&
        mount -t tmpfs from-hook $root/tmp && touch $root/tmp/file"#;
    spec(hook("createContainer", script));
    let id = node.create("root", &["vendor.com/hooks=one"], "").await.unwrap();
    assert_eq!(node.says(&id, "ls /tmp; grep -c from-hook /proc/mounts").await, "file\n1\n");
    let (fails, hangs) = ("cat > /dev/null; echo no such card >&2; exit 3", "sleep 1000");
    for name in ["createRuntime", "createContainer", "startContainer", "poststart"] {
        for (script, words) in
            [(fails, "exit status 3: no such card"), (hangs, "not done after 1 s, killed")]
        {
            let mut hook = hook(name, script);
            hook["timeout"] = json!(1);
            spec(hook);
            let refusal = node.refusal("vendor.com/hooks=one").await;
            assert!(refusal.contains(&format!("{name} hook /bin/sh: {words}")), "{refusal}");
            let of_create = name.starts_with("create");
            let told = fs::read_to_string(&ends).unwrap_or_default();
            assert_eq!(told, if of_create { "end\n" } else { "" }, "{name}");
            let _ = fs::remove_file(&ends);
        }
    }
    node.end().await;
}
