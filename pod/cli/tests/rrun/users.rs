//! Pods with a user namespace of their own.

use crate::machine::{Machine, TALK, await_that};
use std::fs;
use std::os::unix::fs::MetadataExt;

/// So many ids has each of them.
const IDS: u32 = 65_536;

const OBJECTS: &str = "---
apiVersion: v1
kind: ConfigMap
metadata: {name: m}
data: {k: from a map}
---
apiVersion: v1
kind: Secret
metadata: {name: s}
stringData: {k: from a secret}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: kept}
spec: {}
";

/// A pod of talkers that wait, with a volume of each kind.
fn pod(name: &str, host: &str) -> String {
    let mounts: String = ["disk", "memory", "map", "secret", "both", "claim", "host", "image"]
        .map(|volume| format!("{{name: {volume}, mountPath: /{volume}}}, "))
        .concat();
    format!(
        "apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  hostUsers: false
  terminationGracePeriodSeconds: 1
  securityContext: {{fsGroup: 1234}}
  containers:
  - name: main
    image: {TALK}
    imagePullPolicy: Never
    args: [ask, x]
    securityContext: {{procMount: Unmasked}}
    volumeMounts: [{mounts}{{name: disk, mountPath: /part, subPath: part}}]
  volumes:
  - {{name: disk}}
  - {{name: memory, emptyDir: {{medium: Memory}}}}
  - {{name: map, configMap: {{name: m}}}}
  - {{name: secret, secret: {{secretName: s}}}}
  - {{name: both, projected: {{sources: [{{configMap: {{name: m}}}}]}}}}
  - {{name: claim, persistentVolumeClaim: {{claimName: kept}}}}
  - {{name: host, hostPath: {{path: {host}, type: DirectoryOrCreate}}}}
  - {{name: image, image: {{reference: \"{TALK}\", pullPolicy: Never}}}}
{OBJECTS}"
    )
}

/// What the program that talks says in a pod.
fn talk(machine: &Machine, pod: &str, args: &[&str]) -> String {
    let words: Vec<&str> =
        ["exec", pod, "--", "/bin/talk"].into_iter().chain(args.to_vec()).collect();
    machine.ok(&words).trim().to_owned()
}

/// Who root in a pod is on the node.
fn root_of(machine: &Machine, pod: &str) -> u32 {
    let maps = ["uid_map", "gid_map"].map(|name| {
        let map = talk(machine, pod, &["show", &format!("/proc/self/{name}")]);
        map.split_whitespace().map(|id| id.parse().unwrap()).collect::<Vec<u32>>()
    });
    assert_eq!(maps[0], maps[1]);
    assert_eq!([maps[0][0], maps[0][2], maps[0].len() as u32], [0, IDS, 3]);
    maps[0][1]
}

/// The processes of a user of the node, as far as they are in pods of this machine.
fn processes_of(machine: &Machine, user: u32) -> Vec<String> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let parent = machine.sandbox.cgroup_parent();
    let is_of_user = |process: &fs::DirEntry| {
        let groups = fs::read_to_string(process.path().join("cgroup")).unwrap_or_default();
        process.metadata().is_ok_and(|p| p.uid() == user) && groups.contains(&*parent)
    };
    processes
        .filter(is_of_user)
        .filter_map(|process| process.file_name().into_string().ok())
        .collect()
}

#[test]
fn a_pod_has_users_of_its_own_and_volumes_with_the_ids_that_it_sees() {
    let machine = Machine::new();
    let host = machine.sandbox.root().join("host");
    let run = machine.run("mine", &pod("mine", host.to_str().unwrap()));
    run.expect("pod mine: Running");
    let first = root_of(&machine, "mine");
    assert!(first >= IDS && first.is_multiple_of(IDS), "{first}");
    for (path, owner) in [
        ("/disk", "0 1234"),
        ("/part", "0 1234"),
        ("/memory", "0 1234"),
        ("/map/k", "0 1234"),
        ("/secret/k", "0 1234"),
        ("/both/k", "0 1234"),
        ("/claim", "0 1234"),
        ("/host", "0 0"),
        ("/image/bin/talk", "0 0"),
        ("/etc/hosts", "0 0"),
        ("/dev/termination-log", "0 0"),
    ] {
        assert_eq!(talk(&machine, "mine", &["owner", path]), owner, "{path}");
    }
    assert_eq!(talk(&machine, "mine", &["show", "/map/k"]), "from a map");
    assert_eq!(talk(&machine, "mine", &["show", "/secret/k"]), "from a secret");
    for folder in ["disk", "part", "memory", "claim", "host"] {
        talk(&machine, "mine", &["write", &format!("/{folder}/f"), "x"]);
    }
    let claim = machine.sandbox.state().join("claims/default_kept/f");
    for file in [host.join("f"), claim] {
        assert_eq!(fs::metadata(&file).unwrap().uid(), 0, "{}", file.display());
    }
    // Nothing of it is the node's root, and nobody else is as it is.
    assert!(!processes_of(&machine, first).is_empty());
    let other = machine.run("other", &pod("other", host.to_str().unwrap()));
    other.expect("pod other: Running");
    let second = root_of(&machine, "other");
    assert!(first.abs_diff(second) >= IDS, "{first} {second}");
    for run in [run, other] {
        run.signal("INT");
        run.end();
    }
    machine.sandbox.root().join("host").exists().then(|| fs::remove_dir_all(&host).unwrap());
}

#[test]
fn the_range_of_a_pod_outlives_the_process_that_runs_it() {
    let machine = Machine::new();
    let host = machine.sandbox.root().join("host");
    let manifest = pod("mine", host.to_str().unwrap());
    let run = machine.run("mine", &manifest);
    run.expect("pod mine: Running");
    let first = root_of(&machine, "mine");
    run.signal("KILL");
    run.end();
    // It is in the way of whoever takes the first that is free.
    let other = machine.run("other", &pod("other", host.to_str().unwrap()));
    other.expect("pod other: Running");
    assert_ne!(root_of(&machine, "other"), first);
    let again = machine.run("mine", &manifest);
    again.expect("pod mine: Running");
    for process in processes_of(&machine, first) {
        let killed = std::process::Command::new("kill").args(["-s", "KILL", &process]).status();
        assert!(killed.unwrap().success());
    }
    await_that("its container is made again", || {
        machine.ps("mine").is_some_and(|row| row[4].starts_with('1') && row[3] == "Running")
    });
    assert_eq!(root_of(&machine, "mine"), first);
    for run in [again, other] {
        run.signal("INT");
        run.end();
    }
}

#[test]
fn what_a_pod_with_users_of_its_own_may_not_have_is_refused_by_name() {
    let machine = Machine::new();
    let plain = pod("mine", "/none");
    for (from, to, why) in [
        (
            "  hostUsers: false\n",
            "  hostUsers: false\n  hostIPC: true\n",
            "spec.hostIPC: Forbidden: when `hostUsers` is false",
        ),
        (
            "  hostUsers: false\n",
            "  hostUsers: true\n",
            "procMount: Invalid value: \"Unmasked\": `hostUsers` must be false to use `Unmasked`",
        ),
    ] {
        let path = machine.write("bad", &plain.replace(from, to));
        let said = machine.refused(&["validate", &path]);
        assert!(said.contains(why), "{said}");
    }
    let explained = machine.ok(&["explain", &machine.write("good", &plain)]);
    assert!(explained.contains("user namespace: the pod's, of 65536 ids"), "{explained}");
    machine.assert_nothing_left();
}
