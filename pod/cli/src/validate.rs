//! `rrun validate`: what a manifest says, and nothing is made.

use crate::args::Output;
use crate::many;
use crate::table;
use anyhow::Result;
use rrun_pod::model::Pod;
use rrun_pod::supervise::Definition;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Prints the pods of a manifest, or what is wrong with it.
pub fn validate(manifest: &Path, objects: &[PathBuf], output: Option<Output>) -> Result<ExitCode> {
    let read = Definition::read(manifest, objects, None).and_then(|definition| definition.pods());
    match output {
        Some(Output::Json) => {
            let code = if read.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(2) };
            table::write(&crate::json::pretty(&as_json(&read))?)?;
            Ok(code)
        }
        None => {
            let pods = read?;
            many::print_notes(&pods);
            table::print(&rows(&pods))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn as_json(read: &rrun_pod::error::Result<Vec<Pod>>) -> Value {
    match read {
        Ok(pods) => {
            let pod = |pod: &Pod| {
                json!({
                    "namespace": pod.meta.namespace,
                    "name": pod.meta.name,
                    "uid": pod.meta.uid.as_str(),
                    "images": images(pod),
                    "notes": pod.notes,
                })
            };
            json!({"valid": true, "pods": pods.iter().map(pod).collect::<Vec<_>>()})
        }
        Err(e) => json!({"valid": false, "error": e.to_string()}),
    }
}

fn rows(pods: &[Pod]) -> Vec<[String; 4]> {
    let head = ["NAMESPACE", "NAME", "CONTAINERS", "IMAGES"].map(String::from);
    let row = |pod: &Pod| {
        let count = pod.spec.all().count().to_string();
        [pod.meta.namespace.clone(), pod.meta.name.clone(), count, images(pod).join(",")]
    };
    std::iter::once(head).chain(pods.iter().map(row)).collect()
}

/// Each once, in the order of the containers.
fn images(pod: &Pod) -> Vec<&str> {
    let mut images = Vec::new();
    for (_, container) in pod.spec.all() {
        if !images.contains(&container.image.as_str()) {
            images.push(container.image.as_str());
        }
    }
    images
}
