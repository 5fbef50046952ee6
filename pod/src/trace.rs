//! How the start of a pod went: the calls that its process waited for, and when what became ready. Pure.

mod page;

use std::fmt::Write as _;

pub use page::page;
use serde_json::{Value, json};

use crate::clock::Timestamp;
use crate::state::{DoneCall, PodState};
use crate::status::State;

/// How wide a waterfall is, in characters.
const WIDTH: u128 = 40;

/// A moment that matters.
struct Moment {
    what: String,
    at: Timestamp,
}

fn moments(state: &PodState) -> Vec<Moment> {
    let status = &state.status;
    let all = status.init_containers.iter().chain(&status.containers);
    let mut found: Vec<Moment> = all
        .filter_map(|container| match &container.state {
            State::Running { started_at } => {
                Some(Moment { what: format!("{} runs", container.name), at: *started_at })
            }
            _ => None,
        })
        .collect();
    let ready = status.conditions.iter().filter(|c| c.status && c.kind == "Ready");
    found.extend(ready.map(|c| Moment { what: "the pod is ready".to_owned(), at: c.since }));
    found.sort_by_key(|moment| moment.at);
    found
}

fn begin(state: &PodState) -> Timestamp {
    let first = state.calls.iter().map(|call| call.since).min();
    first.unwrap_or(state.status.start_time).min(state.status.start_time)
}

/// A line for each call, with a bar from its begin to its end.
pub fn text(name: &str, state: &PodState) -> String {
    let begin = begin(state);
    let moments = moments(state);
    let ends = state.calls.iter().map(|call| call.until).chain(moments.iter().map(|m| m.at));
    let whole = ends.max().unwrap_or(begin).since(begin).as_nanos().max(1);
    let column = |at: Timestamp| (at.since(begin).as_nanos() * WIDTH / whole) as usize;
    let millis = |from: Timestamp, to: Timestamp| to.since(from).as_micros() as f64 / 1_000.0;
    let mut text = format!("pod {name}\n      AT ms     FOR ms\n");
    for DoneCall { call, since, until } in &state.calls {
        let (from, to) = (column(*since), column(*until));
        let bar = format!("{:from$}{}", "", "#".repeat((to - from).max(1)));
        let (at, took) = (millis(begin, *since), millis(*since, *until));
        let _ = writeln!(text, "{at:>11.1}{took:>11.1}  {bar:42}{call}");
    }
    for Moment { what, at } in &moments {
        let mark = format!("{:from$}|", "", from = column(*at));
        let _ = writeln!(text, "{:>11.1}{:11}  {mark:42}{what}", millis(begin, *at), "");
    }
    text
}

/// The same in the Chrome trace event format, which trace viewers take.
pub fn chrome(name: &str, state: &PodState) -> Value {
    let micros = |at: Timestamp| at.nanos() as f64 / 1_000.0;
    // Calls of one container are under each other, and those of the pod above them.
    let thread = |what: &str| {
        let all = state.status.init_containers.iter().chain(&state.status.containers);
        let found = all.into_iter().position(|c| what.split(' ').any(|word| word == c.name));
        found.map_or(0, |i| i + 1)
    };
    let calls = state.calls.iter().map(|call| {
        let took = call.until.since(call.since).as_nanos() as f64 / 1_000.0;
        let (ts, tid) = (micros(call.since), thread(&call.call));
        json!({"name": call.call, "cat": "call", "ph": "X", "ts": ts, "dur": took, "pid": 1, "tid": tid})
    });
    let moments = moments(state).into_iter().map(|moment| {
        let (ts, tid) = (micros(moment.at), thread(&moment.what));
        json!({"name": moment.what, "cat": "moment", "ph": "i", "s": "p", "ts": ts, "pid": 1, "tid": tid})
    });
    let process = json!({"name": "process_name", "ph": "M", "pid": 1, "args": {"name": name}});
    let events: Vec<Value> = std::iter::once(process).chain(calls).chain(moments).collect();
    json!({"traceEvents": events, "displayTimeUnit": "ms"})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pod;

    #[test]
    fn calls_stand_where_they_were_made_and_as_long_as_they_took() {
        let at =
            |millis: i64| Timestamp::from_nanos(1_800_000_000_000_000_000 + millis * 1_000_000);
        let mut state = PodState::new(&pod("  containers: [{name: a, image: i}]\n"), at(0));
        let call = |call: &str, since: i64, until: i64| DoneCall {
            call: call.into(),
            since: at(since),
            until: at(until),
        };
        state.calls = vec![call("RunPodSandbox", 0, 20), call("StartContainer a", 20, 40)];
        let text = text("default/web", &state);
        let lines: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(lines[0], format!("        0.0       20.0  {:42}RunPodSandbox", "#".repeat(20)));
        let bar = format!("{:20}{}", "", "#".repeat(20));
        assert_eq!(lines[1], format!("       20.0       20.0  {bar:42}StartContainer a"));
        let chrome = chrome("default/web", &state);
        let event = &chrome["traceEvents"][2];
        assert_eq!((&event["ph"], &event["dur"]), (&json!("X"), &json!(20_000.0)));
    }
}
