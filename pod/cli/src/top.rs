//! `rrun top`: what the containers of pods use now.

use crate::args::{self, Output, TopField};
use crate::context::Context;
use crate::runtime::reach;
use crate::{table, terminal};
use anyhow::{Context as _, Result, bail};
use rrun_cri_api::{Cri, v1};
use rrun_pod::supervise::Entry;
use rrun_pod::supervise::reach::Reached;
use rrun_pod::translate::labels;
use serde_json::{Value, json};
use std::process::ExitCode;
use std::time::Duration;

/// Over how long CPU is measured.
const WINDOW: Duration = Duration::from_secs(1);

/// How long a runtime is waited for: it may be in a process that hangs.
const ANSWER: Duration = Duration::from_secs(5);

/// What a container uses.
struct Use {
    namespace: String,
    pod: String,
    container: String,
    /// Billionths of a core; none of one that was not there for the whole time.
    cpu: Option<u64>,
    /// Bytes: the working set, as the kubelet has it.
    memory: u64,
    stats: v1::ContainerStats,
}

/// Prints what pods use.
pub async fn top(context: &Context, args: &args::Top) -> Result<ExitCode> {
    let pods = pods(context, args).await?;
    let mut code = ExitCode::SUCCESS;
    let mut reached = Vec::new();
    for pod in pods {
        match within(ANSWER, look(context, &pod)).await {
            Ok(found) => reached.push((pod, found)),
            Err(error) => code = not_told(&pod, &error),
        }
    }
    tokio::time::sleep(WINDOW).await;
    let mut uses = Vec::new();
    for (pod, (of, before)) in reached {
        match within(ANSWER, stats(&*of.cri, pod.uid.as_str())).await {
            Ok(after) => uses.extend(after.into_iter().filter_map(|one| used(&pod, &before, one))),
            Err(error) => code = not_told(&pod, &error),
        }
    }
    match args.output {
        Some(Output::Json) => {
            let items: Vec<Value> = uses.iter().map(as_json).collect();
            table::write(&format!("{:#}\n", json!({ "containers": items })))?;
        }
        None if args.containers => table::print(&of_containers(uses, args.sort_by))?,
        None => table::print(&of_pods(&uses, args.sort_by))?,
    }
    Ok(code)
}

/// Those that are asked for and have not ended.
async fn pods(context: &Context, args: &args::Top) -> Result<Vec<Entry>> {
    if args.pods.is_empty() {
        let mut all = context.pods().await?;
        let is_in =
            |pod: &Entry| args.namespace.as_ref().is_none_or(|place| *place == pod.namespace);
        all.retain(|pod| is_in(pod) && !pod.phase().is_terminal());
        return Ok(all);
    }
    let mut found = Vec::new();
    for name in &args.pods {
        let pod = context.store.find(name).await?;
        if pod.phase().is_terminal() {
            bail!("pod {}: it has ended", pod.full_name());
        }
        found.push(pod);
    }
    Ok(found)
}

fn not_told(pod: &Entry, error: &anyhow::Error) -> ExitCode {
    terminal::tell(format_args!("pod {}: {error:#}", pod.full_name()));
    ExitCode::from(2)
}

async fn within<T>(limit: Duration, call: impl Future<Output = Result<T>>) -> Result<T> {
    let done = tokio::time::timeout(limit, call).await;
    done.with_context(|| format!("its runtime does not answer in {limit:?}"))?
}

async fn look(context: &Context, pod: &Entry) -> Result<(Reached, Vec<v1::ContainerStats>)> {
    let of = reach(context, pod).await?;
    let stats = stats(&*of.cri, pod.uid.as_str()).await?;
    Ok((of, stats))
}

async fn stats(cri: &dyn Cri, uid: &str) -> Result<Vec<v1::ContainerStats>> {
    let label_selector = [(labels::POD_UID.to_owned(), uid.to_owned())].into();
    let filter = v1::ContainerStatsFilter { label_selector, ..Default::default() };
    let request = v1::ListContainerStatsRequest { filter: Some(filter) };
    Ok(cri.list_container_stats(request).await?.stats)
}

/// What a container of the pod has used since `before`; none of one that does not run.
fn used(pod: &Entry, before: &[v1::ContainerStats], stats: v1::ContainerStats) -> Option<Use> {
    let attributes = stats.attributes.as_ref()?;
    let container = attributes.labels.get(labels::CONTAINER_NAME)?.clone();
    let memory = stats.memory.as_ref()?.working_set_bytes.as_ref()?.value;
    let id = |one: &v1::ContainerStats| one.attributes.as_ref().map(|of| of.id.clone());
    let former = before.iter().find(|one| id(one).as_ref() == Some(&attributes.id));
    let cpu = former.and_then(|former| rate(time_used(former)?, time_used(&stats)?));
    let (namespace, pod) = (pod.namespace.clone(), pod.name.clone());
    Some(Use { namespace, pod, container, cpu, memory, stats })
}

/// When it was measured and how much of the processors was used by then, in nanoseconds.
fn time_used(stats: &v1::ContainerStats) -> Option<(i64, u64)> {
    let cpu = stats.cpu.as_ref()?;
    Some((cpu.timestamp, cpu.usage_core_nano_seconds.as_ref()?.value))
}

/// Billionths of a core between two measurements.
fn rate((from, used): (i64, u64), (to, by_then): (i64, u64)) -> Option<u64> {
    let time = u128::try_from(to.checked_sub(from)?).ok().filter(|time| *time > 0)?;
    let used = u128::from(by_then.checked_sub(used)?);
    u64::try_from(used * 1_000_000_000 / time).ok()
}

fn of_containers(mut uses: Vec<Use>, by: Option<TopField>) -> Vec<[String; 5]> {
    if let Some(field) = by {
        uses.sort_by_key(|one| std::cmp::Reverse(amount(field, one.cpu, one.memory)));
    }
    let head = ["NAMESPACE", "POD", "NAME", "CPU(cores)", "MEMORY(bytes)"].map(String::from);
    let row = |one: Use| [one.namespace, one.pod, one.container, cores(one.cpu), mib(one.memory)];
    std::iter::once(head).chain(uses.into_iter().map(row)).collect()
}

fn of_pods(uses: &[Use], by: Option<TopField>) -> Vec<[String; 4]> {
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

/// Figures that are not known are null.
fn as_json(one: &Use) -> Value {
    let number = |value: &Option<v1::UInt64Value>| value.as_ref().map(|value| value.value);
    let memory = one.stats.memory.unwrap_or_default();
    let layer = one.stats.writable_layer.clone().unwrap_or_default();
    json!({
        "namespace": one.namespace,
        "pod": one.pod,
        "container": one.container,
        "cpuNanoCores": one.cpu,
        "cpuNanoSeconds": time_used(&one.stats).map(|(_, used)| used),
        "memoryWorkingSetBytes": one.memory,
        "memoryUsageBytes": number(&memory.usage_bytes),
        "memoryRssBytes": number(&memory.rss_bytes),
        "writableLayerBytes": number(&layer.used_bytes),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(pod: &str, container: &str, cpu: Option<u64>, memory: u64) -> Use {
        let stats = v1::ContainerStats::default();
        let (namespace, pod) = ("default".to_owned(), pod.to_owned());
        Use { namespace, pod, container: container.to_owned(), cpu, memory, stats }
    }

    #[test]
    fn a_rate_is_of_the_time_between_and_none_where_the_clock_or_the_counter_went_back() {
        assert_eq!(rate((0, 0), (2_000_000_000, 1_000_000_000)), Some(500_000_000));
        for (from, to) in [((5, 0), (5, 1)), ((9, 0), (5, 1)), ((0, 9), (5, 1))] {
            assert_eq!(rate(from, to), None, "{from:?} {to:?}");
        }
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
