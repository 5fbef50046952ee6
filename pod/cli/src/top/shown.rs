//! Figures as they are shown.

use super::sample::{Use, time_used};
use crate::args::TopField;
use rrun_cri_api::v1;
use rrun_pod::probe::{ProbeKind, Verdict};
use serde_json::{Value, json};

/// A line for each container.
pub fn of_containers(mut uses: Vec<Use>, by: Option<TopField>) -> Vec<[String; 5]> {
    if let Some(field) = by {
        uses.sort_by_key(|one| std::cmp::Reverse(amount(field, one.cpu, one.memory)));
    }
    let head = ["NAMESPACE", "POD", "NAME", "CPU(cores)", "MEMORY(bytes)"].map(String::from);
    let row = |one: Use| [one.namespace, one.pod, one.container, cores(one.cpu), mib(one.memory)];
    std::iter::once(head).chain(uses.into_iter().map(row)).collect()
}

/// A line for each pod.
pub fn of_pods(uses: &[Use], by: Option<TopField>) -> Vec<[String; 4]> {
    let mut sums: Vec<(&str, &str, Option<u64>, u64)> = Vec::new();
    for Use { namespace, pod, cpu, memory, .. } in uses {
        let (namespace, pod) = (namespace.as_str(), pod.as_str());
        match sums.iter_mut().find(|sum| (sum.0, sum.1) == (namespace, pod)) {
            Some(sum) => {
                sum.2 = sum.2.map_or(*cpu, |all| Some(all + cpu.unwrap_or(0)));
                sum.3 += memory;
            }
            None => sums.push((namespace, pod, *cpu, *memory)),
        }
    }
    if let Some(field) = by {
        sums.sort_by_key(|sum| std::cmp::Reverse(amount(field, sum.2, sum.3)));
    }
    let head = ["NAMESPACE", "NAME", "CPU(cores)", "MEMORY(bytes)"].map(String::from);
    let row = |(namespace, pod, cpu, memory): (&str, &str, Option<u64>, u64)| {
        [namespace.to_owned(), pod.to_owned(), cores(cpu), mib(memory)]
    };
    std::iter::once(head).chain(sums.into_iter().map(row)).collect()
}

fn amount(field: TopField, cpu: Option<u64>, memory: u64) -> u64 {
    match field {
        TopField::Cpu => cpu.unwrap_or(0),
        TopField::Memory => memory,
    }
}

/// Thousandths of a core, as kubectl prints them.
fn cores(billionths: Option<u64>) -> String {
    billionths.map_or_else(|| "-".to_owned(), |used| format!("{}m", used.div_ceil(1_000_000)))
}

fn mib(bytes: u64) -> String {
    format!("{}Mi", bytes >> 20)
}

/// A line for each container, with all that is known of it.
pub fn wide(mut uses: Vec<Use>, by: Option<TopField>) -> Vec<[String; 11]> {
    if let Some(field) = by {
        uses.sort_by_key(|one| std::cmp::Reverse(amount(field, one.cpu, one.memory)));
    }
    let head = [
        "NAMESPACE",
        "POD",
        "NAME",
        "CPU(cores)",
        "MEMORY(bytes)",
        "PSI-CPU",
        "PSI-MEMORY",
        "PSI-IO",
        "LAYER",
        "RESTARTS",
        "PROBES",
    ];
    std::iter::once(head.map(String::from)).chain(uses.into_iter().map(wide_row)).collect()
}

fn wide_row(one: Use) -> [String; 11] {
    let Pressure { cpu, memory, io } = Pressure::of(&one.stats);
    let part = |psi: Option<f64>| psi.map_or_else(|| "-".to_owned(), |psi| format!("{psi:.1}%"));
    let probes: Vec<String> = one.probes.iter().map(probe).collect();
    [
        one.namespace,
        one.pod,
        one.container,
        cores(one.cpu),
        mib(one.memory),
        part(cpu),
        part(memory),
        part(io),
        layer(&one.stats).map_or_else(|| "-".to_owned(), mib),
        one.restarts.to_string(),
        if probes.is_empty() { "-".to_owned() } else { probes.join(" ") },
    ]
}

fn probe((kind, verdict): &(ProbeKind, Verdict)) -> String {
    let kind = match kind {
        ProbeKind::Startup => "startup",
        ProbeKind::Liveness => "live",
        ProbeKind::Readiness => "ready",
    };
    let verdict = match verdict {
        Verdict::Success => '+',
        Verdict::Failure => '-',
        Verdict::Unknown => '?',
    };
    format!("{kind}{verdict}")
}

/// Of the last 10 seconds, percentages of the time in which a task waited.
struct Pressure {
    cpu: Option<f64>,
    memory: Option<f64>,
    io: Option<f64>,
}

impl Pressure {
    fn of(stats: &v1::ContainerStats) -> Pressure {
        let some = |psi: Option<&v1::PsiStats>| Some(psi?.some.as_ref()?.avg10);
        Pressure {
            cpu: some(stats.cpu.as_ref().and_then(|cpu| cpu.psi.as_ref())),
            memory: some(stats.memory.as_ref().and_then(|memory| memory.psi.as_ref())),
            io: some(stats.io.as_ref().and_then(|io| io.psi.as_ref())),
        }
    }
}

fn layer(stats: &v1::ContainerStats) -> Option<u64> {
    Some(stats.writable_layer.as_ref()?.used_bytes.as_ref()?.value)
}

/// Figures that are not known are null.
pub fn as_json(one: &Use) -> Value {
    let number = |value: &Option<v1::UInt64Value>| value.as_ref().map(|value| value.value);
    let memory = one.stats.memory.unwrap_or_default();
    let Pressure { cpu, memory: memory_pressure, io } = Pressure::of(&one.stats);
    let probes: serde_json::Map<String, Value> = one
        .probes
        .iter()
        .map(|(kind, verdict)| (kind.as_str().to_lowercase(), json!(format!("{verdict:?}"))))
        .collect();
    json!({
        "namespace": one.namespace,
        "pod": one.pod,
        "container": one.container,
        "cpuNanoCores": one.cpu,
        "cpuNanoSeconds": time_used(&one.stats).map(|(_, used)| used),
        "memoryWorkingSetBytes": one.memory,
        "memoryUsageBytes": number(&memory.usage_bytes),
        "memoryRssBytes": number(&memory.rss_bytes),
        "writableLayerBytes": layer(&one.stats),
        "pressureSomeAvg10": {"cpu": cpu, "memory": memory_pressure, "io": io},
        "restartCount": one.restarts,
        "probes": probes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(pod: &str, container: &str, cpu: Option<u64>, memory: u64) -> Use {
        let (namespace, pod) = ("default".to_owned(), pod.to_owned());
        Use { namespace, pod, container: container.to_owned(), cpu, memory, ..Use::default() }
    }

    #[test]
    fn what_is_not_known_of_a_container_is_a_dash_and_its_probes_are_told_by_kind() {
        let mut one = used("web", "a", None, 1 << 20);
        one.probes = vec![
            (ProbeKind::Startup, Verdict::Success),
            (ProbeKind::Readiness, Verdict::Failure),
            (ProbeKind::Liveness, Verdict::Unknown),
        ];
        let row = wide(vec![one], None).swap_remove(1);
        assert_eq!(row[3..].join(" "), "- 1Mi - - - - 0 startup+ ready- live?");
    }

    #[test]
    fn a_pods_line_is_the_sum_of_its_containers_and_what_uses_most_is_first() {
        let uses = [
            used("web", "a", Some(1_000_001), 1 << 20),
            used("web", "b", None, 2 << 20),
            used("db", "a", Some(9_000_000), 1 << 20),
        ];
        let rows =
            |by| of_pods(&uses, by)[1..].iter().map(|row| row[1..].join(" ")).collect::<Vec<_>>();
        assert_eq!(rows(None), ["web 2m 3Mi", "db 9m 1Mi"]);
        assert_eq!(rows(Some(TopField::Cpu)), ["db 9m 1Mi", "web 2m 3Mi"]);
        assert_eq!(rows(Some(TopField::Memory)), ["web 2m 3Mi", "db 9m 1Mi"]);
        let row = of_containers(uses.into(), Some(TopField::Cpu)).swap_remove(3).join(" ");
        assert_eq!(row, "default web b - 2Mi");
    }
}
