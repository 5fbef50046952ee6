//! What a person would note of a pod, row by row, as time goes.

use serde_json::Value;
use std::collections::BTreeMap;

/// The rows of each pod, in order of time.
#[derive(Default)]
pub struct History(BTreeMap<String, Vec<String>>);

impl History {
    /// Notes what is new.
    pub fn note(&mut self, pods: &[(String, Value)]) {
        for (name, pod) in pods {
            let rows = self.0.entry(name.clone()).or_default();
            let row = row(pod);
            if rows.last() != Some(&row) {
                rows.push(row);
            }
        }
    }

    /// Whether these rows came in this order, whatever came between them. A `*` stands for any
    /// number: a look each 100 ms does not see each restart of a container that ends at once.
    pub fn tells(&self, pod: &str, expected: &[&str]) -> bool {
        let mut rows = self.of(pod).iter();
        expected.iter().all(|want| rows.any(|row| is_like(row, want)))
    }

    /// The rows of one pod.
    pub fn of(&self, pod: &str) -> &[String] {
        self.0.get(pod).map_or(&[], Vec::as_slice)
    }
}

fn is_like(row: &str, want: &str) -> bool {
    let Some((head, tail)) = want.split_once('*') else { return row == want };
    let number = row.strip_prefix(head).and_then(|rest| rest.strip_suffix(tail));
    number.is_some_and(|number| number.parse::<u32>().is_ok())
}

/// `<phase> ready | <container> running|waiting <reason>|<reason> <code> r<restarts> [last …] | …`,
/// with the first condition that does not hold, and its reason, in the place of `ready`.
pub fn row(pod: &Value) -> String {
    let status = &pod["status"];
    let mut row = text(&status["phase"]);
    if !status["reason"].is_null() {
        row.push_str(&format!(" {}", text(&status["reason"])));
    }
    row.push_str(&conditions(status));
    for (specs, statuses) in
        [("initContainers", "initContainerStatuses"), ("containers", "containerStatuses")]
    {
        for spec in pod["spec"][specs].as_array().into_iter().flatten() {
            let all = status[statuses].as_array();
            let found = all.into_iter().flatten().find(|status| status["name"] == spec["name"]);
            row.push_str(&format!(" | {}", text(&spec["name"])));
            if let Some(container) = found {
                let restarts = &container["restartCount"];
                row.push_str(&format!(" {} r{restarts}", state(&container["state"])));
                if container["lastState"].as_object().is_some_and(|last| !last.is_empty()) {
                    let last = state(&container["lastState"]);
                    row.push_str(&format!(" last {last}"));
                }
            }
        }
    }
    row
}

fn conditions(status: &Value) -> String {
    for kind in ["PodScheduled", "Initialized", "ContainersReady", "Ready"] {
        let all = status["conditions"].as_array();
        match all.into_iter().flatten().find(|condition| condition["type"] == kind) {
            None => return format!(", no {kind}"),
            Some(condition) if condition["status"] == "True" => {}
            Some(condition) => return format!(", not {kind}: {}", text(&condition["reason"])),
        }
    }
    " ready".to_owned()
}

fn state(state: &Value) -> String {
    if let Some(waiting) = state.get("waiting") {
        return format!("waiting {}", text(&waiting["reason"]));
    }
    if let Some(terminated) = state.get("terminated") {
        return format!("{} {}", text(&terminated["reason"]), terminated["exitCode"]);
    }
    if state.get("running").is_some() { "running".to_owned() } else { "unknown".to_owned() }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or("?").to_owned()
}
