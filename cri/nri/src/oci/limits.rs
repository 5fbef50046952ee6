//! `linux.resources`.

use super::{list, pairs, text};
use crate::api::{
    HugepageLimit, LinuxCpu, LinuxDeviceCgroup, LinuxMemory, LinuxPids, LinuxResources,
    OptionalBool, OptionalInt64, OptionalUInt64,
};
use serde_json::{Map, Value, json};

/// As plugins are told it.
pub fn from_json(all: &Value) -> LinuxResources {
    let signed = |value: &Value| value.as_i64().map(|value| OptionalInt64 { value });
    let unsigned = |value: &Value| value.as_u64().map(|value| OptionalUInt64 { value });
    let flag = |value: &Value| value.as_bool().map(|value| OptionalBool { value });
    let (memory, cpu) = (&all["memory"], &all["cpu"]);
    let page = |page: &Value| HugepageLimit {
        page_size: text(&page["pageSize"]),
        limit: page["limit"].as_u64().unwrap_or_default(),
    };
    let rule = |rule: &Value| LinuxDeviceCgroup {
        allow: rule["allow"].as_bool().unwrap_or_default(),
        r#type: text(&rule["type"]),
        major: signed(&rule["major"]),
        minor: signed(&rule["minor"]),
        access: text(&rule["access"]),
    };
    LinuxResources {
        memory: memory.is_object().then(|| LinuxMemory {
            limit: signed(&memory["limit"]),
            reservation: signed(&memory["reservation"]),
            swap: signed(&memory["swap"]),
            kernel: signed(&memory["kernel"]),
            kernel_tcp: signed(&memory["kernelTCP"]),
            swappiness: unsigned(&memory["swappiness"]),
            disable_oom_killer: flag(&memory["disableOOMKiller"]),
            use_hierarchy: flag(&memory["useHierarchy"]),
        }),
        cpu: cpu.is_object().then(|| LinuxCpu {
            shares: unsigned(&cpu["shares"]),
            quota: signed(&cpu["quota"]),
            period: unsigned(&cpu["period"]),
            realtime_runtime: signed(&cpu["realtimeRuntime"]),
            realtime_period: unsigned(&cpu["realtimePeriod"]),
            cpus: text(&cpu["cpus"]),
            mems: text(&cpu["mems"]),
        }),
        hugepage_limits: list(&all["hugepageLimits"]).map(page).collect(),
        blockio_class: None,
        rdt_class: None,
        unified: pairs(&all["unified"]),
        devices: list(&all["devices"]).map(rule).collect(),
        pids: all["pids"]["limit"].as_i64().map(|limit| LinuxPids { limit }),
    }
}

/// As a configuration has it, without what is not set, and without rules of devices.
///
/// # Errors
/// Names what no configuration has: a class of block I/O or of RDT.
pub fn to_json(limits: &LinuxResources) -> Result<Map<String, Value>, String> {
    let mut all = Map::new();
    for (name, class) in
        [("blockio_class", &limits.blockio_class), ("rdt_class", &limits.rdt_class)]
    {
        if class.as_ref().is_some_and(|class| !class.value.is_empty()) {
            return Err(format!("resources.{name} is not supported"));
        }
    }
    let mut part = |name: &str, values: Vec<(&str, Option<Value>)>| {
        let set = values.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
        let set: Map<String, Value> = set.collect();
        if !set.is_empty() {
            all.insert(name.to_owned(), Value::Object(set));
        }
    };
    let memory = limits.memory.unwrap_or_default();
    let signed = |value: Option<OptionalInt64>| value.map(|set| json!(set.value));
    let unsigned = |value: Option<OptionalUInt64>| value.map(|set| json!(set.value));
    let flag = |value: Option<OptionalBool>| value.map(|set| json!(set.value));
    part(
        "memory",
        vec![
            ("limit", signed(memory.limit)),
            ("reservation", signed(memory.reservation)),
            ("swap", signed(memory.swap)),
            ("kernel", signed(memory.kernel)),
            ("kernelTCP", signed(memory.kernel_tcp)),
            ("swappiness", unsigned(memory.swappiness)),
            ("disableOOMKiller", flag(memory.disable_oom_killer)),
            ("useHierarchy", flag(memory.use_hierarchy)),
        ],
    );
    let none = LinuxCpu::default();
    let cpu = limits.cpu.as_ref().unwrap_or(&none);
    let text = |value: &String| (!value.is_empty()).then(|| json!(value));
    part(
        "cpu",
        vec![
            ("shares", unsigned(cpu.shares)),
            ("quota", signed(cpu.quota)),
            ("period", unsigned(cpu.period)),
            ("realtimeRuntime", signed(cpu.realtime_runtime)),
            ("realtimePeriod", unsigned(cpu.realtime_period)),
            ("cpus", text(&cpu.cpus)),
            ("mems", text(&cpu.mems)),
        ],
    );
    part("pids", vec![("limit", limits.pids.map(|pids| json!(pids.limit)))]);
    let pages = limits.hugepage_limits.iter();
    let pages: Vec<Value> =
        pages.map(|page| json!({"pageSize": page.page_size, "limit": page.limit})).collect();
    if !pages.is_empty() {
        all.insert("hugepageLimits".to_owned(), Value::Array(pages));
    }
    if !limits.unified.is_empty() {
        all.insert("unified".to_owned(), json!(limits.unified));
    }
    Ok(all)
}
