//! The states that a pod comes to, one after the other, as whoever runs it tells them.
//!
//! Each pod comes to a few states and stays in each of them: until a file is there that it waits
//! for (`pods.rs`), or for good. The file is written when nothing has changed for [`SETTLED`]. So
//! what is kept of a state does not depend on how fast anything was, and what passes between two
//! states, which one may see and miss, is not kept. A state that passes by itself lasts for tens of
//! seconds, however slow the machine is: a back-off of 40 s, a deadline of a minute.

use super::pod::Pod;
use super::pods;
use anyhow::Result;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a pod stays in a state before it is taken for one that lasts.
const SETTLED: Duration = Duration::from_secs(2);
/// How long all pods stay in their last states before those are taken for the last ones.
const AT_REST: Duration = Duration::from_secs(5);
/// How often it is looked.
const POLL: Duration = Duration::from_millis(200);
/// How long all pods may take.
const PATIENCE: Duration = Duration::from_secs(240);

/// Every leaf of a `.status`, by its path: `conditions.Ready.status`.
pub type Fields = BTreeMap<String, String>;

/// What is told of a pod.
pub enum Told {
    /// As the API has it: `metadata`, `spec` and `status`.
    Pod(Value),
    /// It is not run, and why.
    Refused(String),
}

/// What was seen of one pod.
pub struct History {
    rows: Vec<String>,
    states: Vec<Fields>,
    refused: Option<String>,
    now: Fields,
    since: Instant,
    start: Option<Value>,
}

impl History {
    fn new() -> Self {
        Self {
            rows: Vec::new(),
            states: Vec::new(),
            refused: None,
            now: Fields::new(),
            since: Instant::now(),
            start: None,
        }
    }

    /// All rows that were seen.
    pub fn rows(&self) -> &[String] {
        &self.rows
    }

    /// The whole status in each of the states that the pod is to come to, as far as it has.
    pub fn states(&self) -> &[Fields] {
        &self.states
    }

    /// Why it is not run, if it is not.
    pub fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }

    /// Whether it has come to all of its states.
    pub fn is_complete(&self, pod: &Pod) -> bool {
        self.states.len() == pod.rows.len()
    }

    fn is_at_rest(&self, pod: &Pod) -> bool {
        self.refused.is_some() || self.is_complete(pod) && self.since.elapsed() > AT_REST
    }

    /// Notes what is told; the number of a state that the pod has just come to, from 1.
    fn note(&mut self, pod: &Pod, told: Told) -> Option<usize> {
        let value = match told {
            Told::Refused(why) => {
                self.refused = Some(why);
                return None;
            }
            Told::Pod(value) => value,
        };
        let mut fields = fields(&value);
        let start = &value["status"]["startTime"];
        if !start.is_null() && self.start.get_or_insert_with(|| start.clone()) != start {
            fields.insert("startTime".to_owned(), "another than at first".to_owned());
        }
        if fields != self.now {
            self.since = Instant::now();
            self.now.clone_from(&fields);
        }
        let row = row(&value);
        let known = self.states.len();
        if pod.rows.get(known).is_some_and(|next| *next == row) && self.since.elapsed() > SETTLED {
            self.states.push(fields);
        } else if known == pod.rows.len() && pod.rows.last().is_some_and(|last| *last == row) {
            // The end of a pod has an end of its own, which the row does not show.
            self.states[known - 1] = fields;
        }
        if self.rows.last() != Some(&row) {
            self.rows.push(row);
        }
        (self.states.len() > known).then_some(self.states.len())
    }
}

/// Follows all pods until each is in its last state and nothing changes any more. `told` tells of
/// all pods by name, and `seen` is the folder where they are told which state of theirs was seen.
pub async fn follow(
    mut told: impl AsyncFnMut() -> Result<Vec<(String, Told)>>,
    seen: &Path,
) -> Result<BTreeMap<String, History>> {
    let all: BTreeMap<&str, Pod> = pods::all().map(|pod| (pod.name, pod)).collect();
    let mut found: BTreeMap<String, History> =
        all.keys().map(|name| ((*name).to_owned(), History::new())).collect();
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        for (name, told) in told().await? {
            let (Some(pod), Some(history)) = (all.get(name.as_str()), found.get_mut(&name)) else {
                continue;
            };
            if let Some(state) = history.note(pod, told) {
                fs::write(seen.join(&name).join(state.to_string()), "seen\n")?;
            }
        }
        if all.iter().all(|(name, pod)| found[*name].is_at_rest(pod)) {
            break;
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(found)
}

/// The status without what is another each time: ids, addresses and times.
fn fields(pod: &Value) -> Fields {
    let status = &pod["status"];
    let mut words = vec![("-127.0.0.1".to_owned(), "")];
    for (value, instead) in [(&pod["metadata"]["uid"], "<uid>"), (&status["podIP"], "<address>")] {
        words.extend(value.as_str().map(|text| (text.to_owned(), instead)));
    }
    let mut found = Fields::new();
    flatten("", status, &mut |path, value| {
        let leaf = path.rsplit('.').next().unwrap_or_default();
        let mut text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        if leaf.ends_with("Time") || ["startedAt", "finishedAt"].contains(&leaf) {
            text = "<time>".to_owned();
        } else if leaf == "containerID" {
            text = format!("{}://<id>", text.split("://").next().unwrap_or_default());
        } else {
            for (word, instead) in &words {
                text = text.replace(word, instead);
            }
        }
        found.insert(path.to_owned(), text);
    });
    found
}

/// Calls `leaf` with the path of each value that is no list, no object and not null. What is in a
/// list is called by its name or type.
fn flatten(path: &str, value: &Value, leaf: &mut impl FnMut(&str, &Value)) {
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match value {
        Value::Null => {}
        Value::Object(all) => {
            for (key, value) in all {
                flatten(&below(key), value, leaf);
            }
        }
        Value::Array(all) => {
            for (n, value) in all.iter().enumerate() {
                let name = ["name", "type", "mountPath"].iter().find_map(|key| value[key].as_str());
                flatten(&below(&name.map_or_else(|| n.to_string(), str::to_owned)), value, leaf);
            }
        }
        _ => leaf(path, value),
    }
}

/// `<phase> ready | <container> running|waiting <reason>|<reason> <code> r<restarts> [last …] | …`,
/// with the first condition that does not hold, and its reason, in the place of `ready`.
fn row(pod: &Value) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_status_becomes_its_leaves_without_what_is_another_each_time() {
        let pod = json!({
            "metadata": {"uid": "a-b-c"},
            "status": {
                "podIP": "10.0.0.7", "startTime": "2026-01-01T00:00:00Z", "lastState": {},
                "conditions": [{"type": "Ready", "status": "True", "lastProbeTime": null}],
                "containerStatuses": [{
                    "name": "main", "containerID": "rrun://123", "restartCount": 2,
                    "state": {"waiting": {"message": "of pod=web-127.0.0.1_default(a-b-c) at 10.0.0.7"}},
                }],
            },
        });
        let found: Vec<String> =
            fields(&pod).iter().map(|(path, value)| format!("{path} = {value}")).collect();
        assert_eq!(
            found,
            [
                "conditions.Ready.status = True",
                "conditions.Ready.type = Ready",
                "containerStatuses.main.containerID = rrun://<id>",
                "containerStatuses.main.name = main",
                "containerStatuses.main.restartCount = 2",
                "containerStatuses.main.state.waiting.message = of pod=web_default(<uid>) at <address>",
                "podIP = <address>",
                "startTime = <time>",
            ]
        );
    }
}
