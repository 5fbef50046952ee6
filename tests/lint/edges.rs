//! Which crate of the tree may use which, as in ARCHITECTURE's picture.

use crate::Breach;
use rrun_tests::place::workspace;
use serde_json::Value;
use std::process::Command;

const ALLOWED: [(&str, &[&str]); 16] = [
    ("rrun-blocking", &[]),
    ("rrun-database", &["rrun-error", "rrun-sys"]),
    ("rrun-error", &[]),
    ("rrun-sys", &[]),
    ("rrun-runtime", &["rrun-error", "rrun-sys"]),
    ("rrun-shim-protocol", &["rrun-error", "rrun-runtime", "rrun-sys"]),
    ("rrun-shim", &["rrun-error", "rrun-runtime", "rrun-shim-protocol", "rrun-sys"]),
    ("rrun-images", &["rrun-blocking", "rrun-database", "rrun-error", "rrun-sys"]),
    ("rrun-cni", &["rrun-blocking", "rrun-database", "rrun-error", "rrun-sys"]),
    (
        "rrun-engine",
        &[
            "rrun-blocking",
            "rrun-cni",
            "rrun-error",
            "rrun-images",
            "rrun-runtime",
            "rrun-shim-protocol",
            "rrun-sys",
        ],
    ),
    ("rrun-cri-api", &["rrun-error"]),
    ("rrun-nri", &["rrun-blocking", "rrun-error"]),
    (
        "rrun-cri",
        &[
            "rrun-blocking",
            "rrun-cni",
            "rrun-cri-api",
            "rrun-engine",
            "rrun-error",
            "rrun-images",
            "rrun-nri",
            "rrun-sys",
        ],
    ),
    ("rrun-pod", &["rrun-blocking", "rrun-cri-api", "rrun-error", "rrun-sys"]),
    (
        "rrun-cli",
        &[
            "rrun-cri",
            "rrun-cri-api",
            "rrun-engine",
            "rrun-error",
            "rrun-images",
            "rrun-pod",
            "rrun-sys",
        ],
    ),
    (
        "rrun-tests",
        &[
            "rrun-cni",
            "rrun-cri",
            "rrun-cri-api",
            "rrun-engine",
            "rrun-images",
            "rrun-nri",
            "rrun-pod",
            "rrun-runtime",
            "rrun-shim-protocol",
            "rrun-sys",
        ],
    ),
];

/// The one crate that may hold `unsafe`.
pub const FENCED: &str = "rrun-sys";

pub fn check() -> Vec<Breach> {
    packages().iter().flat_map(outward).collect()
}

/// Every edge of one package that the picture does not have. Its tests may also use the harness.
fn outward(package: &Value) -> Vec<Breach> {
    let name = package["name"].as_str().unwrap();
    let Some((_, allowed)) = ALLOWED.iter().find(|(known, _)| *known == name) else {
        return vec![breach(name, "", "is not in the lint's list of crates")];
    };
    let mut found = Vec::new();
    for dependency in package["dependencies"].as_array().unwrap() {
        let to = dependency["name"].as_str().unwrap();
        let test_only = dependency["kind"] == "dev";
        let inner = ALLOWED.iter().any(|(known, _)| *known == to);
        if inner && !allowed.contains(&to) && !(test_only && (to == "rrun-tests" || to == name)) {
            found.push(breach(name, to, "is not allowed"));
        }
    }
    found
}

fn breach(from: &str, to: &str, what: &str) -> Breach {
    let place = if to.is_empty() { from.to_owned() } else { format!("{from} -> {to}") };
    Breach { rule: "edge", text: format!("{place}: {what}"), place }
}

/// All crates but one take the workspace's lints, and these forbid `unsafe`.
pub fn check_fence() -> Vec<Breach> {
    let mut found = Vec::new();
    let mut expect = |holds: bool, place: String, what: &str| {
        if !holds {
            found.push(Breach { rule: "unsafe", text: format!("{place}: {what}"), place });
        }
    };
    let root = manifest(&workspace().join("Cargo.toml").display().to_string());
    let forbids = root["workspace"]["lints"]["rust"]["unsafe_code"].as_str() == Some("forbid");
    expect(forbids, "Cargo.toml".into(), "workspace.lints.rust.unsafe_code is not \"forbid\"");
    for package in packages() {
        let path = package["manifest_path"].as_str().unwrap();
        let crate_manifest = manifest(path);
        let lints = crate_manifest.get("lints");
        let inherits = lints.and_then(|lints| lints.get("workspace"));
        let inherits = inherits.and_then(toml::Value::as_bool) == Some(true);
        let fenced = package["name"] == FENCED;
        expect(inherits || fenced, path.to_owned(), "does not take the workspace's lints");
    }
    found
}

fn manifest(path: &str) -> toml::Value {
    toml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn packages() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version=1", "--offline"])
        .current_dir(workspace())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

#[test]
fn an_upward_edge_is_named() {
    let package = serde_json::json!({
        "name": "rrun-images",
        "dependencies": [
            { "name": "rrun-sys", "kind": null },
            { "name": "serde", "kind": null },
            { "name": "rrun-tests", "kind": "dev" },
            { "name": "rrun-engine", "kind": "build" },
        ],
    });
    let found = outward(&package);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].text.starts_with("rrun-images -> rrun-engine"), "{found:?}");
}
