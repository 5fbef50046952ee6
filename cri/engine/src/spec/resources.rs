//! Limits, as an OCI configuration has them.

use crate::model::{HugepageLimit, Resources};
use serde_json::{Map, Value, json};

/// `linux.resources` without its device rules.
pub(crate) fn resources(limits: &Resources) -> Map<String, Value> {
    keep_from_swapping(asked(limits))
}

/// A limit of memory alone would let a container swap as much again.
pub(crate) fn keep_from_swapping(mut all: Map<String, Value>) -> Map<String, Value> {
    let swap_is_told = all.get("unified").is_some_and(|files| !files["memory.swap.max"].is_null());
    if let Some(Value::Object(memory)) = all.get_mut("memory").filter(|_| !swap_is_told)
        && !memory.contains_key("swap")
        && let Some(limit) = memory.get("limit").filter(|limit| limit.as_i64() > Some(0)).cloned()
    {
        memory.insert("swap".to_owned(), limit);
    }
    all
}

/// The same as it is asked for.
pub(crate) fn asked(limits: &Resources) -> Map<String, Value> {
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
    number(&mut memory, "swap", limits.memory_swap_limit);
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

/// Limits of an OCI configuration, as far as a client can ask for them.
pub(crate) fn limits_of(all: &Value) -> Resources {
    let (cpu, memory) = (&all["cpu"], &all["memory"]);
    let number = |value: &Value| value.as_i64().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let pages = all["hugepageLimits"].as_array().into_iter().flatten();
    let unified = all["unified"].as_object().into_iter().flatten();
    Resources {
        cpu_period: number(&cpu["period"]),
        cpu_quota: number(&cpu["quota"]),
        cpu_shares: number(&cpu["shares"]),
        memory_limit: number(&memory["limit"]),
        memory_swap_limit: number(&memory["swap"]),
        oom_score_adj: 0,
        cpuset_cpus: text(&cpu["cpus"]),
        cpuset_mems: text(&cpu["mems"]),
        hugepages: pages
            .map(|page| HugepageLimit {
                page_size: text(&page["pageSize"]),
                limit: page["limit"].as_u64().unwrap_or_default(),
            })
            .collect(),
        unified: unified.map(|(key, value)| (key.clone(), text(value))).collect(),
    }
}
