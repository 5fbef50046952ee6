//! Small pods and a node that never was, for the tests of this crate.

use crate::manifest::{self, Source};
use crate::model::Pod;
use crate::node::{CgroupMode, NodeFacts};
use crate::sync::observe::{Run, RunResources, RunState};

/// A pod named `web` with `spec` (two spaces of indent) as its spec.
pub fn pod(spec: &str) -> Pod {
    labelled_pod("{}", spec)
}

/// The same with labels; `spec` may have further documents behind it.
pub fn labelled_pod(labels: &str, spec: &str) -> Pod {
    let text = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: web, uid: u-1, labels: {labels}}}\nspec:\n{spec}"
    );
    match manifest::pods(&[Source { name: "test.yaml", text: text.as_bytes() }], &[]) {
        Ok(mut pods) => pods.swap_remove(0),
        Err(e) => panic!("{e}"),
    }
}

/// 4 cores, 8 GiB.
pub fn facts() -> NodeFacts {
    NodeFacts {
        name: "node".into(),
        addresses: vec!["192.0.2.1".into()],
        cpu_milli: 4_000,
        memory_bytes: 8 << 30,
        storage_bytes: 100 << 30,
        hugepage_sizes: Vec::new(),
        masked_paths: Vec::new(),
        cgroup: CgroupMode::V2,
        apparmor: false,
        seccomp_root: "/seccomp".into(),
    }
}

/// A run of a container, which has ended well at the beginning of time.
pub fn run(name: &str) -> Run {
    Run {
        id: format!("{name}-0"),
        name: name.into(),
        sandbox: "s".into(),
        state: RunState::Exited,
        created_at: Default::default(),
        started_at: Default::default(),
        finished_at: Default::default(),
        exit_code: 0,
        reason: String::new(),
        message: String::new(),
        image: "x:1".into(),
        image_ref: String::new(),
        hash: String::new(),
        restart_count: 0,
        log_path: Default::default(),
        message_file: None,
        message_from_log: false,
        resources: RunResources::default(),
        user: None,
        image_mounts: Default::default(),
    }
}
