//! Limits, as an OCI configuration has them.

use crate::model::Resources;
use serde_json::{Map, Value, json};

/// `linux.resources` without its device rules.
pub(crate) fn resources(limits: &Resources) -> Map<String, Value> {
    let mut all = Map::new();
    let mut cpu = Map::new();
    let mut memory = Map::new();
    let number = |part: &mut Map<String, Value>, name: &str, value: i64| {
        if value != 0 {
            part.insert(name.to_owned(), json!(value));
        }
    };
    number(&mut cpu, "shares", limits.cpu_shares);
    number(&mut cpu, "quota", limits.cpu_quota);
    number(&mut cpu, "period", limits.cpu_period);
    for (name, value) in [("cpus", &limits.cpuset_cpus), ("mems", &limits.cpuset_mems)] {
        if !value.is_empty() {
            cpu.insert(name.to_owned(), json!(value));
        }
    }
    number(&mut memory, "limit", limits.memory_limit);
    // A limit of memory alone would let a container swap as much again.
    let swap = match limits.memory_swap_limit {
        0 if limits.memory_limit > 0 && !limits.unified.contains_key("memory.swap.max") => {
            limits.memory_limit
        }
        other => other,
    };
    number(&mut memory, "swap", swap);
    for (name, part) in [("cpu", cpu), ("memory", memory)] {
        if !part.is_empty() {
            all.insert(name.to_owned(), Value::Object(part));
        }
    }
    // The kubelet sends every size, also those that it limits to nothing.
    let pages = limits.hugepages.iter();
    let pages: Vec<Value> =
        pages.map(|page| json!({ "pageSize": page.page_size, "limit": page.limit })).collect();
    if !pages.is_empty() {
        all.insert("hugepageLimits".to_owned(), Value::Array(pages));
    }
    if !limits.unified.is_empty() {
        all.insert("unified".to_owned(), json!(limits.unified));
    }
    all
}
