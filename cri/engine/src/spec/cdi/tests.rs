//! Files of devices, and what becomes of a configuration.

use super::*;
use crate::error::Kind;
use crate::host_paths::HostPaths;
use serde_json::{Value, json};
use std::fs;

/// Two folders, of which the second goes before the first.
struct Folders(tempfile::TempDir);

impl Folders {
    fn new() -> Folders {
        let folders = Folders(tempfile::tempdir().unwrap());
        folders.dirs().iter().for_each(|dir| fs::create_dir(dir).unwrap());
        folders
    }

    fn dirs(&self) -> [PathBuf; 2] {
        ["etc", "run"].map(|name| self.0.path().join(name))
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    /// What the files say of these devices.
    async fn look_up(&self, devices: &[&str]) -> Result<Devices> {
        let devices = devices.iter().map(|device| (*device).to_owned()).collect();
        let config = ContainerConfig { cdi_devices: devices, ..Default::default() };
        let dirs = self.dirs();
        let look = move |look: &Look| super::look_up(look, &config, &dirs);
        HostPaths::default().look(&"0".repeat(64).parse().unwrap(), look).await
    }

    async fn error(&self, device: &str) -> String {
        self.look_up(&[device]).await.unwrap_err().to_string()
    }

    /// A configuration of a user with these devices.
    async fn applied(&self, devices: &[&str], uid: u32) -> Value {
        let mut spec = json!({
            "process": {"env": ["A=1", "B=2"], "user": {"uid": uid, "gid": uid, "additionalGids": [5]}},
            "mounts": [{"destination": "/proc"}, {"destination": "/opt/x"}],
            "linux": {"resources": {"devices": [{"allow": false, "access": "rwm"}]}},
        });
        apply(&mut spec, &self.look_up(devices).await.unwrap());
        spec
    }
}

fn json_of(kind: &str, device: &str, edits: &str) -> String {
    format!(
        r#"{{"cdiVersion": "1.1.0", "kind": "{kind}", "devices": [
            {{"name": "{device}", "containerEdits": {edits}}}]}}"#
    )
}

/// `env` of a device that says where it is from.
fn from(place: &str) -> String {
    format!(r#"{{"env": ["FROM={place}"]}}"#)
}

#[tokio::test]
async fn a_device_comes_with_its_edits_after_those_of_its_file_which_come_once() {
    let folders = Folders::new();
    let yaml = "cdiVersion: 0.6.0\nkind: vendor.com/class\ncontainerEdits:\n  env: [B=3, ALL=yes]\n\
        annotations: {a: b}\ndevices:\n- name: \"0\"\n  annotations: {c: d}\n  containerEdits:\n    \
        env: [ALL=zero]\n    additionalGids: [5, 44]\n    deviceNodes:\n    - path: /dev/cdi0\n      \
        type: c\n      major: 1\n      minor: 3\n      fileMode: 0640\n      permissions: rw\n      \
        uid: 7\n    mounts:\n    - {hostPath: /, containerPath: /opt, options: [ro, bind]}\n\
        - name: one\n  containerEdits:\n    env: [ONE=1]\n";
    folders.write("etc/vendor.yaml", yaml);
    let spec = folders.applied(&["vendor.com/class=0", "vendor.com/class=one"], 1000).await;
    assert_eq!(spec["process"]["env"], json!(["A=1", "B=3", "ALL=zero", "ONE=1"]));
    assert_eq!(spec["process"]["user"]["additionalGids"], json!([5, 44]));
    let node = json!({
        "path": "/dev/cdi0", "type": "c", "major": 1, "minor": 3, "fileMode": 0o640, "uid": 7,
        "gid": 1000,
    });
    assert_eq!(spec["linux"]["devices"], json!([node]));
    let rule = json!({"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rw"});
    assert_eq!(spec["linux"]["resources"]["devices"][1], rule);
    // Before what it would cover.
    let places: Vec<_> =
        spec["mounts"].as_array().unwrap().iter().map(|m| &m["destination"]).collect();
    assert_eq!(places, ["/proc", "/opt", "/opt/x"]);
    assert_eq!(spec["mounts"][1]["type"], "bind");
}

#[tokio::test]
async fn what_a_node_does_not_say_is_the_hosts_and_its_owner_the_processs_user() {
    let folders = Folders::new();
    let edits = r#"{"deviceNodes": [{"path": "/dev/nothing", "hostPath": "/dev/null"}]}"#;
    folders.write("etc/a.json", &json_of("a/b", "c", edits));
    let node = async |uid| folders.applied(&["a/b=c"], uid).await["linux"]["devices"][0].clone();
    let expected = |owner| {
        json!({
            "path": "/dev/nothing", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666,
            "uid": owner, "gid": owner,
        })
    };
    assert_eq!(node(0).await, expected(0));
    assert_eq!(node(1000).await, expected(1000));
    for (says, expected) in [
        (r#"{"path": "/dev/null", "type": "b"}"#, "deviceNodes[0]: /dev/null is of type c, not b"),
        (r#"{"path": "/dev/missing-device"}"#, "deviceNodes[0]: stat /dev/missing-device: ENOENT"),
        (r#"{"path": "/etc"}"#, "deviceNodes[0]: /etc: not a device"),
    ] {
        let path = folders
            .write("etc/a.json", &json_of("a/b", "c", &format!(r#"{{"deviceNodes": [{says}]}}"#)));
        let error = folders.error("a/b=c").await;
        assert!(error.contains(&format!("CDI device a/b=c ({path})")), "{error}");
        assert!(error.contains(expected), "{error}");
    }
}

#[tokio::test]
async fn a_later_folder_goes_before_and_two_of_one_folder_are_refused_with_both_files() {
    let folders = Folders::new();
    let env = async || folders.applied(&["a/b=c"], 0).await["process"]["env"][2].clone();
    folders.write("etc/a.json", &json_of("a/b", "c", &from("etc")));
    assert_eq!(env().await, "FROM=etc");
    // It is found without anything being told.
    let first = folders.write("run/a.json", &json_of("a/b", "c", &from("run")));
    assert_eq!(env().await, "FROM=run");
    let second = folders.write("run/b.json", &json_of("a/b", "c", &from("other")));
    let error = folders.error("a/b=c").await;
    assert_eq!(error, format!("CDI device a/b=c: both {first} and {second} have it"));
    // Not by its ending, nor below.
    fs::rename(&second, format!("{second}.old")).unwrap();
    assert_eq!(env().await, "FROM=run");
}

#[tokio::test]
async fn an_unknown_device_is_named_and_so_are_the_files_that_cannot_be_read() {
    let folders = Folders::new();
    let error = folders.look_up(&["a/b=c"]).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string().as_str()),
        (Kind::NotFound, "CDI device a/b=c: no spec has it")
    );
    folders.write("etc/a.json", &json_of("a/b", "other", "{}"));
    assert!(folders.error("a/b=c").await.contains("no spec has it"));
    let broken = folders.write("etc/broken.json", "{\n\"kind\": 7}");
    let error = folders.error("a/b=c").await;
    assert!(error.contains("a/b=c: no spec that can be read has it"), "{error}");
    assert!(
        error.contains(&format!("CDI spec {broken}: kind: invalid type: integer `7`")),
        "{error}"
    );
    assert!(error.contains("line 2"), "{error}");
    folders.look_up(&["a/b=other"]).await.expect("the broken file is another one");
}

#[tokio::test]
async fn what_is_wrong_in_a_file_is_told_with_its_line_or_key() {
    let folders = Folders::new();
    let yaml = |edits: &str| {
        format!(
            "cdiVersion: 1.1.0\nkind: a/b\ndevices:\n- name: c\n  containerEdits:\n    {edits}\n"
        )
    };
    for (name, text, expected) in [
        (
            "a.json",
            json_of("a/b", "c", r#"{"evn": []}"#),
            "devices[0].containerEdits.evn: unknown field `evn`",
        ),
        ("a.json", json_of("a/b", "c", "{"), "line 2"),
        ("a.json", json_of("a", "c", "{}"), "kind: \"a\" is not vendor.com/class"),
        ("a.json", json_of("a/b", "-", "{}"), "devices[0].name: \"-\" is no name"),
        (
            "a.json",
            json_of("a/b", "c", r#"{"env": ["A"]}"#),
            "devices[0].containerEdits: env[0]: \"A\"",
        ),
        (
            "a.json",
            json_of("a/b", "c", "{}").replace("1.1.0", "2.0.0"),
            "cdiVersion: \"2.0.0\": known are 0.1.0 to 1.1.0",
        ),
        ("a.yaml", yaml("deviceNodes: [{path: x}]"), "deviceNodes[0].path: \"x\""),
        (
            "a.yaml",
            yaml("deviceNodes: [{path: /x, major: y}]"),
            "devices[0].containerEdits.deviceNodes[0].major",
        ),
        ("a.yaml", yaml("deviceNodes: [{path: /x, major: y}]"), "line 6"),
        ("a.yaml", yaml("mounts: [{hostPath: /}]"), "missing field `containerPath`"),
        ("a.yaml", yaml("env: {"), "line "),
    ] {
        let path = folders.write(&format!("etc/{name}"), &text);
        let error = folders.error("a/b=c").await;
        assert!(error.contains(&path) && error.contains(expected), "{error}\n{text}");
        assert!(!error.contains('\n'), "{error}");
        fs::remove_file(path).unwrap();
    }
}

#[tokio::test]
async fn what_is_not_done_is_refused_with_device_file_and_key() {
    let folders = Folders::new();
    for (key, value) in [
        ("netDevices", r#"[{"hostInterfaceName": "a", "name": "b"}]"#),
        ("intelRdt", r#"{"closID": "a"}"#),
    ] {
        let edits = format!(r#"{{"{key}": {value}}}"#);
        let path = folders.write("etc/a.json", &json_of("a/b", "c", &edits));
        let error = folders.look_up(&["a/b=c"]).await.unwrap_err();
        let expected = format!(
            "CDI device a/b=c ({path}): containerEdits.{key}: not supported by this release"
        );
        assert_eq!((error.kind(), error.to_string()), (Kind::Invalid, expected));
    }
    let missing = r#"{"mounts": [{"hostPath": "/missing", "containerPath": "/x"}]}"#;
    folders.write("etc/a.json", &json_of("a/b", "c", missing));
    let error = folders.error("a/b=c").await;
    assert!(error.contains("mounts[0]: hostPath: stat /missing: ENOENT"), "{error}");
}

#[tokio::test]
async fn hooks_come_after_those_that_are_there_each_at_its_time() {
    let folders = Folders::new();
    let edits = r#"{"hooks": [
        {"hookName": "createContainer", "path": "/bin/a", "args": ["a", "b"], "env": ["A=1"], "timeout": 5},
        {"hookName": "createContainer", "path": "/bin/b", "timeout": 0},
        {"hookName": "poststop", "path": "/bin/c"}]}"#;
    folders.write("etc/a.json", &json_of("a/b", "c", edits));
    let spec = folders.applied(&["a/b=c"], 0).await;
    let first = json!({"path": "/bin/a", "args": ["a", "b"], "env": ["A=1"], "timeout": 5});
    let create = json!([first, {"path": "/bin/b"}]);
    let expected = json!({"createContainer": create, "poststop": [{"path": "/bin/c"}]});
    assert_eq!(spec["hooks"], expected);
    for (hook, expected) in [
        (r#"{"hookName": "later", "path": "/x"}"#, "hooks[0].hookName: \"later\""),
        (r#"{"hookName": "prestart", "path": "x"}"#, "hooks[0].path: \"x\""),
        (r#"{"hookName": "prestart", "path": "/x", "env": ["A"]}"#, "hooks[0].env: \"A\""),
        (r#"{"hookName": "prestart", "path": "/x", "arg": []}"#, "unknown field `arg`"),
    ] {
        folders.write("etc/a.json", &json_of("a/b", "c", &format!(r#"{{"hooks": [{hook}]}}"#)));
        let error = folders.error("a/b=c").await;
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn devices_are_asked_for_by_field_and_annotation_and_each_is_one() {
    let annotations = [("cdi.k8s.io/x", "a/b=1,a/b=2"), ("cdi.k8s.io/y", "a/b=3"), ("other", "-")];
    let config = ContainerConfig {
        cdi_devices: vec!["a/b=2".into(), "a/b=0".into()],
        annotations: annotations.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        ..Default::default()
    };
    let names: Vec<_> = asked(&config).unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(names, ["a/b=2", "a/b=0", "a/b=1", "a/b=3"]);
}
