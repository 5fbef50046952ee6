//! The table of the API's fields, against the API, the reader of manifests and the tests.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../../cri/tests/table/mod.rs"]
mod table;

use rrun_cri_api::v1;
use rrun_pod::admission::{self, Runtime};
use rrun_pod::ids::PodUid;
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

/// Every field of the API. A line may say that a path has the fields of another one.
fn fields() -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    let mut copies = Vec::new();
    for line in lines(FIELDS) {
        match line.split_once(" = ") {
            None => all.push(line.to_owned()),
            Some(copy) => copies.push(copy),
        }
    }
    // In this order: what is copied last has a copy in it.
    for (path, listed) in copies {
        let below = all.iter().filter_map(|field| field.strip_prefix(listed));
        let below: Vec<_> = below.filter(|rest| rest.starts_with('.')).collect();
        let copied: Vec<_> = below.into_iter().map(|rest| format!("{path}{rest}")).collect();
        assert!(!copied.is_empty(), "{path}: nothing is at {listed}");
        all.extend(copied);
    }
    all
}

#[test]
fn every_field_of_the_api_has_one_entry_and_every_entry_has_a_field() {
    let mut table: BTreeMap<&str, Entry> = BTreeMap::new();
    for entry in read_table() {
        assert!(table.insert(entry.path, entry).is_none(), "{} stands twice", entry.path);
    }
    let mut met = BTreeSet::new();
    let fields = fields();
    for field in &fields {
        // An entry may speak of a list or of its items.
        let all = upwards(field).flat_map(|path| [path, path.trim_end_matches("[]")]);
        let mut entries: Vec<&str> = all.filter(|path| table.contains_key(path)).collect();
        entries.dedup();
        // What is the same as elsewhere may have an exception below it.
        let exception = entries.len() > 1;
        if exception && entries[1..].iter().all(|above| table[above].state == "same") {
            met.extend(entries.drain(1..));
        }
        let [entry] = entries[..] else { panic!("{field} has these entries: {entries:?}") };
        let covers =
            matches!(table[entry].state, "refused" | "ignored" | "told" | "silent" | "same");
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
            "works" | "elsewhere" | "checked" => {
                assert!(tests.have(note), "{path}: no test {note}")
            }
            "refused" | "ignored" | "told" | "silent" | "one value" => {
                assert!(!note.is_empty(), "{path}: why?");
            }
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
        ("resizePolicy[]", json!({"resourceName": "cpu", "restartPolicy": "NotRequired"})),
        ("initContainers[]", json!({"name": "b", "image": "i:1"})),
        ("matchExpressions[]", json!({"key": "app", "operator": "Exists"})),
        ("claimRef", json!({"name": "c"})),
        ("spec.local", json!({"path": "/a"})),
        ("volumeClaimTemplates[]", json!({"metadata": {"name": "data"}, "spec": {}})),
    ];
    let found = all.into_iter().find(|(end, _)| path.ends_with(end));
    found.map_or(json!({}), |(_, value)| value)
}

/// The kinds whose pods are read.
const WORKLOADS: &[&str] = &[
    "CronJob",
    "DaemonSet",
    "Deployment",
    "Job",
    "ReplicaSet",
    "ReplicationController",
    "StatefulSet",
];

/// A small document of each kind. The objects are such that the pod has to do with each.
fn documents() -> BTreeMap<&'static str, Value> {
    let object = |version: &str, kind: &str, name: &str, spec: Value| {
        let spec = if spec.is_null() { json!({}) } else { json!({"spec": spec}) };
        let mut all = json!({"apiVersion": version, "kind": kind, "metadata": {"name": name}});
        all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        all
    };
    let container = |name: &str| json!({"name": name, "image": "i:1"});
    let spec = json!({
        "containers": [container("c"), container("d")],
        "volumes": [{"name": "v"}, {"name": "w"}],
        // A stop signal wants it.
        "os": {"name": "linux"},
    });
    let labels = json!({"app": "web"});
    let mut pod = object("v1", "Pod", "web", spec.clone());
    pod["metadata"]["uid"] = json!("u-1");
    pod["metadata"]["labels"] = labels.clone();
    let template = json!({"metadata": {"labels": labels}, "spec": spec});
    let lasting = json!({"selector": {"matchLabels": labels}, "template": template});
    let mut ending = json!({"template": template});
    ending["template"]["spec"]["restartPolicy"] = json!("Never");
    let cron = json!({"schedule": "@hourly", "jobTemplate": {"spec": ending}});
    let storage = json!({"storage": "1Gi"});
    let modes = json!(["ReadWriteOnce"]);
    let volume =
        json!({"capacity": storage, "accessModes": modes, "hostPath": {"path": "/a", "type": ""}});
    let claim = json!({"accessModes": modes, "resources": {"requests": storage}});
    let service = json!({"selector": labels, "ports": [{"port": 80}]});
    let controller = json!({"selector": labels, "template": template});
    let mut all = BTreeMap::from([
        ("Pod", pod),
        ("ConfigMap", object("v1", "ConfigMap", "x", Value::Null)),
        ("Secret", object("v1", "Secret", "x", Value::Null)),
        ("PersistentVolume", object("v1", "PersistentVolume", "pv", volume)),
        ("PersistentVolumeClaim", object("v1", "PersistentVolumeClaim", "c", claim)),
        ("Service", object("v1", "Service", "s", service)),
        ("ServiceAccount", object("v1", "ServiceAccount", "a", Value::Null)),
        ("ReplicationController", object("v1", "ReplicationController", "web", controller)),
        ("Job", object("batch/v1", "Job", "web", ending)),
        ("CronJob", object("batch/v1", "CronJob", "web", cron)),
    ]);
    for kind in ["Deployment", "ReplicaSet", "StatefulSet", "DaemonSet"] {
        all.insert(kind, object("apps/v1", kind, "web", lasting.clone()));
    }
    all
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
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: q}
spec: {capacity: {storage: 1Gi}, accessModes: [ReadWriteOnce], hostPath: {path: /q}}
";

/// Puts `value` at `path` (`Pod.spec.containers[].image`), or only makes what is above it.
fn set(documents: &mut BTreeMap<&'static str, Value>, entry: &Entry, value: Option<Value>) {
    // Of what is told as a whole, the document itself.
    let Some((root, rest)) = entry.path.split_once('.') else { return };
    let mut at = documents.get_mut(root).unwrap();
    let mut path = root.to_owned();
    let (above, last) = rest.rsplit_once('.').map_or((None, rest), |(a, l)| (Some(a), l));
    for part in above.iter().flat_map(|above| above.split('.')) {
        path = format!("{path}.{part}");
        let name = part.trim_end_matches("[]");
        // Only a sidecar has probes and hooks and may restart when it is resized, and only another one
        // has stdinOnce.
        let of_sidecars = ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"];
        if (of_sidecars.contains(&part) || part == "resizePolicy[]")
            && path.contains("initContainers[]")
        {
            at["restartPolicy"] = json!("Always");
        }
        if part == "restartPolicyRules[]" {
            at["restartPolicy"] = json!("Never");
        }
        // A volume is of one kind.
        if part == "local" {
            at["hostPath"] = Value::Null;
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

/// The pods of the document that a path leads into, or those that its objects are for. The notes
/// stand apart.
fn read(documents: &BTreeMap<&str, Value>, path: &str) -> Result<(Vec<Pod>, Vec<String>), String> {
    let (root, is_below) = path.split_once('.').map_or((path, false), |(root, _)| (root, true));
    let is_workload = WORKLOADS.contains(&root);
    let manifest = documents[if is_workload { root } else { "Pod" }].to_string();
    let mut objects = BESIDE.to_owned();
    for (kind, document) in documents {
        let is_noted = *kind == "ServiceAccount" && (root != *kind || is_below);
        if *kind != "Pod" && !WORKLOADS.contains(kind) && !is_noted {
            objects += &format!("\n---\n{document}");
        }
    }
    let manifest = Source { name: "manifest", text: manifest.as_bytes() };
    let objects = Source { name: "objects", text: objects.as_bytes() };
    let mut pods = manifest::pods(&[manifest], &[objects]).map_err(|e| e.to_string())?;
    let mut notes = Vec::new();
    for pod in &mut pods {
        notes.append(&mut pod.notes);
        if is_workload {
            // Derived from the text as a whole.
            pod.meta.uid = PodUid::parse("u-1").unwrap();
        }
    }
    Ok((pods, notes))
}

/// A refusal of one of these pods by a runtime of this name that can do what runtimes can.
fn refusal(runtime: &str, pods: &[Pod]) -> Option<String> {
    let features =
        v1::RuntimeHandlerFeatures { recursive_read_only_mounts: true, user_namespaces: true };
    pods.iter().find_map(|pod| {
        let name = pod.spec.runtime_class.clone().unwrap_or_default();
        let handlers = vec![v1::RuntimeHandler { name, features: Some(features) }];
        let runtime = Runtime { name: runtime.to_owned(), handlers };
        admission::check(pod, &runtime, true, &["*".to_owned()]).err().map(|e| e.to_string())
    })
}

/// What is wrong with an entry, if anything is.
fn fault(entry: &Entry) -> Option<String> {
    let mut plain = documents();
    set(&mut plain, entry, None);
    let plain = read(&plain, if entry.path.contains('.') { entry.path } else { "Pod" });
    let value = match (entry.state, entry.sample) {
        ("one value", "") => json!(["another"]),
        _ => serde_json::from_str(entry.sample).unwrap_or_else(|e| panic!("{}: {e}", entry.path)),
    };
    let mut full = documents();
    set(&mut full, entry, Some(value));
    let full = read(&full, entry.path);
    let mut names = entry.path.rsplit('.').map(|name| name.trim_end_matches("[]"));
    let (name, above) = (names.next().unwrap(), names.next().unwrap_or_default());
    let (pods, notes) = match (entry.state, full) {
        ("refused" | "one value", Err(e)) => return (!e.contains(name)).then_some(e),
        ("checked", Err(_)) => return None,
        ("refused" | "one value" | "checked", Ok(_)) => return Some("it is taken".to_owned()),
        (_, Err(e)) => return Some(e),
        (_, Ok(read)) => read,
    };
    let (differs, new) = match plain {
        Ok((other, before)) => {
            let new = notes.into_iter().filter(|note| !before.contains(note)).collect();
            (other != pods, new)
        }
        Err(_) => (true, Vec::new()),
    };
    let is_told = !new.is_empty();
    let notes = || format!("the notes are {new:?}");
    match entry.state {
        "works" | "elsewhere" if !differs => Some("nothing is different".to_owned()),
        "works" => {
            let nothing = new.iter().find(|note| note.contains("means nothing")).cloned();
            nothing.or(refusal("rrun", &pods))
        }
        "elsewhere" => match refusal("rrun", &pods) {
            Some(why) if why.contains(above) => refusal("other", &pods),
            why => Some(format!("ours says {why:?}")),
        },
        _ if differs => Some("the pods are others".to_owned()),
        "ignored" => (!new.iter().any(|note| note.contains(name))).then(notes),
        "told" => (!is_told).then(notes),
        _ => is_told.then(notes),
    }
}

/// The entry, or what it stands for: all that is at the path that it is the same as, but what has an
/// entry of its own. What is the same there as at a third path is tried there: one function reads all.
fn expanded(entry: Entry, table: &[Entry]) -> Vec<Entry> {
    if entry.state != "same" {
        return vec![entry];
    }
    let is_below = |path: &str, above: &str| {
        path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    let at = |other: &Entry| {
        let rest = &other.path[entry.note.len()..];
        Entry { path: format!("{}{rest}", entry.path).leak(), ..*other }
    };
    let own = |copy: &Entry| {
        let exceptions = table.iter().filter(|own| own.path != entry.path);
        let mut exceptions = exceptions.filter(|own| is_below(own.path, entry.path));
        exceptions.any(|own| is_below(copy.path, own.path))
    };
    let there = table.iter().filter(|other| is_below(other.path, entry.note));
    there.filter(|other| other.state != "same").map(at).filter(|copy| !own(copy)).collect()
}

#[test]
fn what_works_reaches_the_pod_and_what_does_not_is_refused_or_noted_by_name() {
    let table = read_table();
    for kind in WORKLOADS.iter().chain(&["Pod"]) {
        read(&documents(), &format!("{kind}.kind")).unwrap();
    }
    let all: Vec<Entry> = table.iter().flat_map(|entry| expanded(*entry, &table)).collect();
    let fault =
        |entry: &Entry| fault(entry).map(|why| format!("{} {}: {why}", entry.path, entry.state));
    let faults: Vec<String> = all.iter().filter_map(fault).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
