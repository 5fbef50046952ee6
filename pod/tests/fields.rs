//! The table of the API's fields, against the API, the reader of manifests and the tests.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../../cri/tests/table/mod.rs"]
mod table;

use rrun_pod::manifest::{self, Source};
use rrun_pod::model::Pod;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use table::{Sources, lines, upwards};

const TABLE: &str = include_str!("../fields.tsv");
const FIELDS: &str = include_str!("api-fields/fields.txt");

/// One line of the table.
#[derive(Clone, Copy, Debug)]
struct Entry {
    path: &'static str,
    state: &'static str,
    note: &'static str,
    sample: &'static str,
    beside: &'static str,
}

fn read_table() -> Vec<Entry> {
    let entry = |line: &'static str| {
        let mut columns = line.split('\t');
        let mut next = || columns.next().unwrap_or("");
        Entry { path: next(), state: next(), note: next(), sample: next(), beside: next() }
    };
    lines(TABLE).map(entry).collect()
}

#[test]
fn every_field_of_the_api_has_one_entry_and_every_entry_has_a_field() {
    let mut table: BTreeMap<&str, Entry> = BTreeMap::new();
    for entry in read_table() {
        assert!(table.insert(entry.path, entry).is_none(), "{} stands twice", entry.path);
    }
    let mut met = BTreeSet::new();
    for field in lines(FIELDS) {
        // An entry may speak of a list or of its items.
        let all = upwards(field).flat_map(|path| [path, path.trim_end_matches("[]")]);
        let entries: BTreeSet<&str> = all.filter(|path| table.contains_key(path)).collect();
        let entries: Vec<&str> = entries.into_iter().collect();
        let [entry] = entries[..] else { panic!("{field} has these entries: {entries:?}") };
        let covers = matches!(table[entry].state, "refused" | "ignored" | "same");
        assert!(entry == field || covers, "{field} is not covered by {entry}");
        met.insert(entry);
    }
    let lost: Vec<_> = table.keys().filter(|path| !met.contains(*path)).collect();
    assert!(lost.is_empty(), "no field is at {lost:?}");
}

#[test]
fn every_entry_says_why_or_which_test_holds_it() {
    let tests = Sources::read([PathBuf::from(env!("CARGO_MANIFEST_DIR"))]);
    for Entry { path, state, note, .. } in read_table() {
        match state {
            "works" if note.is_empty() => {}
            "works" => assert!(tests.have(note), "{path}: no test {note}"),
            "refused" | "ignored" | "one value" => assert!(!note.is_empty(), "{path}: why?"),
            "same" => {
                assert!(read_table().iter().any(|e| e.path.starts_with(note)), "{path}: {note}")
            }
            _ => panic!("{path}: no state is called {state:?}"),
        }
    }
}

/// What must stand in an object for its other fields to make sense, by the end of its path.
fn needed(path: &str) -> Value {
    let all = [
        ("downwardAPI.items[]", json!({"path": "p"})),
        ("items[]", json!({"key": "k", "path": "p"})),
        ("volumes[].hostPath", json!({"path": "/a"})),
        ("volumes[].secret", json!({"secretName": "s"})),
        ("volumes[].configMap", json!({"name": "m"})),
        ("sources[].secret", json!({"name": "s"})),
        ("sources[].configMap", json!({"name": "m"})),
        ("volumes[].image", json!({"reference": "i:1"})),
        ("persistentVolumeClaim", json!({"claimName": "x"})),
        ("resourceFieldRef", json!({"resource": "limits.cpu", "containerName": "c"})),
        ("fieldRef", json!({"fieldPath": "metadata.name"})),
        ("ports[]", json!({"containerPort": 80})),
        ("env[]", json!({"name": "E"})),
        ("configMapKeyRef", json!({"name": "m", "key": "k"})),
        ("secretKeyRef", json!({"name": "s", "key": "k"})),
        ("fileKeyRef", json!({"volumeName": "v", "path": "a", "key": "K"})),
        ("configMapRef", json!({"name": "m"})),
        ("secretRef", json!({"name": "s"})),
        ("volumeMounts[]", json!({"name": "v", "mountPath": "/v"})),
        ("httpGet", json!({"port": 80})),
        ("httpHeaders[]", json!({"name": "X"})),
        ("tcpSocket", json!({"port": 80})),
        ("grpc", json!({"port": 80})),
        ("sleep", json!({"seconds": 1})),
        ("seccompProfile", json!({"type": "RuntimeDefault"})),
        ("appArmorProfile", json!({"type": "RuntimeDefault"})),
        ("sysctls[]", json!({"name": "kernel.shm_rmid_forced"})),
        ("hostAliases[]", json!({"ip": "10.0.0.1"})),
        ("options[]", json!({"name": "n"})),
        ("readinessGates[]", json!({"conditionType": "a/b"})),
        (
            "restartPolicyRules[]",
            json!({"action": "Restart", "exitCodes": {"operator": "In", "values": [3]}}),
        ),
        ("initContainers[]", json!({"name": "b", "image": "i:1"})),
    ];
    let found = all.into_iter().find(|(end, _)| path.ends_with(end));
    found.map_or(json!({}), |(_, value)| value)
}

/// A small pod and the objects that it may refer to.
fn documents() -> BTreeMap<&'static str, Value> {
    let object = |kind: &str, name: &str| json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}});
    let container = |name: &str| json!({"name": name, "image": "i:1"});
    let mut pod = object("Pod", "web");
    pod["metadata"]["uid"] = json!("u-1");
    pod["spec"] = json!({
        "containers": [container("c"), container("d")],
        "volumes": [{"name": "v"}, {"name": "w"}],
        // A stop signal wants it.
        "os": {"name": "linux"},
    });
    let (config_map, secret) = (object("ConfigMap", "x"), object("Secret", "x"));
    BTreeMap::from([("Pod", pod), ("ConfigMap", config_map), ("Secret", secret)])
}

const BESIDE: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: m}
data: {k: v, l: v}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: m2}
data: {k: v}
---
apiVersion: v1
kind: Secret
metadata: {name: s}
stringData: {k: v, l: v}
---
apiVersion: v1
kind: Secret
metadata: {name: s2}
stringData: {k: v}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: x}
spec: {}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: other}
spec: {}
";

/// Puts `value` at `path` (`Pod.spec.containers[].image`), or only makes what is above it.
fn set(documents: &mut BTreeMap<&'static str, Value>, entry: &Entry, value: Option<Value>) {
    let (root, rest) = entry.path.split_once('.').unwrap();
    let mut at = documents.get_mut(root).unwrap();
    let mut path = root.to_owned();
    let (above, last) = rest.rsplit_once('.').map_or((None, rest), |(a, l)| (Some(a), l));
    for part in above.iter().flat_map(|above| above.split('.')) {
        path = format!("{path}.{part}");
        let name = part.trim_end_matches("[]");
        // Only a sidecar has probes and hooks, and only another one has stdinOnce.
        if matches!(part, "lifecycle" | "livenessProbe" | "readinessProbe" | "startupProbe")
            && path.contains("initContainers[]")
        {
            at["restartPolicy"] = json!("Always");
        }
        if part == "restartPolicyRules[]" {
            at["restartPolicy"] = json!("Never");
        }
        at = &mut at[name];
        if at.is_null() {
            *at = if name == part { needed(&path) } else { json!([needed(&path)]) };
        }
        if name != part {
            at = &mut at[0];
        }
    }
    if !entry.beside.is_empty() {
        let beside: Value = serde_json::from_str(entry.beside).unwrap();
        at.as_object_mut().unwrap().extend(beside.as_object().unwrap().clone());
    }
    let Some(value) = value else { return };
    match last.strip_suffix("[]") {
        None => at[last] = value,
        Some(name) => at[name] = json!([value]),
    }
}

/// The notes stand apart.
fn read(documents: &BTreeMap<&'static str, Value>) -> Result<(Pod, Vec<String>), String> {
    let text = documents["Pod"].to_string();
    let others = format!("{BESIDE}\n---\n{}\n---\n{}", documents["ConfigMap"], documents["Secret"]);
    let pod = Source { name: "pod", text: text.as_bytes() };
    let objects = [Source { name: "objects", text: others.as_bytes() }];
    let read = manifest::pod(pod, &objects).map_err(|e| e.to_string());
    read.map(|mut pod| {
        let notes = std::mem::take(&mut pod.notes);
        (pod, notes)
    })
}

/// What is wrong with an entry, if anything is.
fn fault(entry: &Entry) -> Option<String> {
    let mut plain = documents();
    set(&mut plain, entry, None);
    let plain = read(&plain);
    let value = match entry.state {
        "one value" => json!(["another"]),
        _ => serde_json::from_str(entry.sample).unwrap_or_else(|e| panic!("{}: {e}", entry.path)),
    };
    let mut full = documents();
    set(&mut full, entry, Some(value));
    let full = read(&full);
    let name = entry.path.rsplit('.').next().unwrap().trim_end_matches("[]");
    match (entry.state, full) {
        ("works", Err(e)) => Some(e),
        ("works", Ok((pod, notes))) => match plain {
            Ok((other, _)) if other == pod => Some("nothing is different".to_owned()),
            Ok((_, before)) => notes
                .into_iter()
                .find(|note| note.contains("means nothing") && !before.contains(note)),
            Err(_) => None,
        },
        ("ignored", Ok((pod, notes))) => {
            let (other, before) = plain.unwrap();
            let new: Vec<_> = notes.iter().filter(|note| !before.contains(note)).collect();
            let named = new.iter().any(|note| note.contains(name));
            (other != pod || !named).then(|| format!("the notes are {new:?}"))
        }
        ("refused" | "one value", Err(e)) => (!e.contains(name)).then_some(e),
        (_, Err(e)) => Some(e),
        (_, Ok(_)) => Some("it is taken".to_owned()),
    }
}

#[test]
fn what_works_reaches_the_pod_and_what_does_not_is_refused_or_noted_by_name() {
    let table = read_table();
    read(&documents()).unwrap();
    let (copies, entries): (Vec<_>, Vec<_>) = table.into_iter().partition(|e| e.state == "same");
    let mut paths: Vec<Entry> = entries.clone();
    for Entry { path, note, .. } in copies {
        let below = entries.iter().filter(|entry| entry.path.starts_with(note));
        paths.extend(below.map(|entry| {
            let path: &'static str = format!("{path}{}", &entry.path[note.len()..]).leak();
            Entry { path, ..*entry }
        }));
    }
    let faults: Vec<String> = paths
        .iter()
        .filter_map(|entry| {
            fault(entry).map(|why| format!("{} {}: {why}", entry.path, entry.state))
        })
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
