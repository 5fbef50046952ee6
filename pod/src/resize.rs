//! Requests and limits that change while a pod runs: what each container has, what it is to have, and
//! what is to be done about it (`computePodResizeAction` of the kubelet). Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::{Container, Pod};
use crate::quantity::Quantity;
use crate::resources::{self, PodCgroup};
use crate::status::{Amounts, amounts};
use crate::sync::observe::{Observed, Run, RunState};

/// What of a container's resources is changed in place: 0 for what it does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// Thousandths of a core.
    pub cpu_request: i64,
    /// Thousandths of a core; the pod's, where the container has none.
    pub cpu_limit: i64,
    /// Bytes.
    pub memory_request: i64,
    /// Bytes; the pod's, where the container has none.
    pub memory_limit: i64,
}

impl Figures {
    /// What the manifest says.
    pub fn of(pod: &Pod, container: &Container) -> Figures {
        let (own, above) = (&container.resources, &pod.spec.resources.limits);
        let milli = |q: Option<Quantity>| q.map_or(0, Quantity::milli);
        let bytes = |q: Option<Quantity>| q.map_or(0, Quantity::value);
        Figures {
            cpu_request: milli(own.requests.cpu.or(own.limits.cpu).or(above.cpu)),
            cpu_limit: milli(own.limits.cpu.or(above.cpu)),
            memory_request: bytes(own.requests.memory),
            memory_limit: bytes(own.limits.memory.or(above.memory)),
        }
    }
}

/// What the kernel was told last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actuated {
    /// By the container's name.
    pub containers: BTreeMap<String, Figures>,
    /// The pod's own group; none before it was made.
    pub pod: Option<PodCgroup>,
    /// Why the last try to change something failed.
    pub error: Option<String>,
}

impl Actuated {
    /// Of a pod of which nothing was changed yet: what is not on record is as its manifest says.
    pub fn complete(&mut self, pod: &Pod) {
        for (_, container) in pod.spec.all() {
            let figures = || Figures::of(pod, container);
            self.containers.entry(container.name.clone()).or_insert_with(figures);
        }
    }

    /// What a pod's group is to have; where the pod has no limit, it stays as it is.
    pub fn wanted(&self, pod: &Pod, page_sizes: &[String]) -> PodCgroup {
        let mut wanted = resources::pod_cgroup(pod, page_sizes);
        if let Some(now) = &self.pod {
            wanted.quota = wanted.quota.or(now.quota);
            wanted.memory = wanted.memory.or(now.memory);
        }
        wanted
    }

    /// Whether something that runs has not yet what the manifest says (`IsPodResizeInProgress`).
    pub fn is_behind(&self, pod: &Pod, seen: &Observed, page_sizes: &[String]) -> bool {
        let behind = |container: &Container| {
            let runs = seen.latest(&container.name).is_some_and(|r| r.state == RunState::Running);
            runs && self.figures(pod, container) != Figures::of(pod, container)
        };
        pod.spec.all().any(|(_, container)| behind(container))
            || self.is_pod_behind(pod, page_sizes)
    }

    fn is_pod_behind(&self, pod: &Pod, page_sizes: &[String]) -> bool {
        self.pod.as_ref().is_some_and(|now| *now != self.wanted(pod, page_sizes))
    }

    fn figures(&self, pod: &Pod, container: &Container) -> Figures {
        let known = self.containers.get(&container.name).copied();
        known.unwrap_or_else(|| Figures::of(pod, container))
    }
}

/// A container that is to have other figures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// The run.
    pub id: String,
    /// The container.
    pub name: String,
    /// What it has.
    pub now: Figures,
    /// What it is to have.
    pub wanted: Figures,
}

/// What is to be told to whom, what becomes less before what becomes more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resize {
    /// Containers with another request or limit of memory.
    pub memory: Vec<Update>,
    /// Containers with others of CPU.
    pub cpu: Vec<Update>,
    /// Whether the pod's own group is to have others.
    pub pod: bool,
}

impl Resize {
    /// Whether nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.memory.is_empty() && self.cpu.is_empty() && !self.pod
    }

    /// Looks at the pod's own group.
    pub fn look_at_pod(&mut self, pod: &Pod, actuated: &Actuated, page_sizes: &[String]) {
        self.pod = actuated.is_pod_behind(pod, page_sizes);
    }

    /// Looks at a container; false if it is to be started again for it.
    pub fn keeps(&mut self, pod: &Pod, container: &Container, run: &Run, has: &Actuated) -> bool {
        if run.state != RunState::Running {
            return true;
        }
        let (now, wanted) = (has.figures(pod, container), Figures::of(pod, container));
        let memory =
            (now.memory_limit, now.memory_request, wanted.memory_limit, wanted.memory_request);
        let cpu = (now.cpu_limit, now.cpu_request, wanted.cpu_limit, wanted.cpu_request);
        let policy = container.resize_policy;
        let update = || Update { id: run.id.clone(), name: container.name.clone(), now, wanted };
        let differs = |(l, r, to_l, to_r): (i64, i64, i64, i64)| l != to_l || r != to_r;
        if (differs(memory) && policy.memory_restarts) || (differs(cpu) && policy.cpu_restarts) {
            return false;
        }
        let lists = [(memory, &mut self.memory), (cpu, &mut self.cpu)];
        for ((l, r, to_l, to_r), list) in lists {
            match (l.cmp(&to_l)).then(r.cmp(&to_r)) {
                std::cmp::Ordering::Equal => {}
                std::cmp::Ordering::Less => list.push(update()),
                std::cmp::Ordering::Greater => list.insert(0, update()),
            }
        }
        true
    }
}

#[derive(Serialize)]
struct Summary<'a> {
    #[serde(rename = "initContainers", skip_serializing_if = "Vec::is_empty")]
    init_containers: Vec<Part<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    containers: Vec<Part<'a>>,
    generation: i64,
    #[serde(skip_serializing_if = "str::is_empty")]
    error: &'a str,
}

#[derive(Serialize)]
struct Part<'a> {
    name: &'a str,
    resources: Lists,
}

#[derive(Serialize)]
struct Lists {
    #[serde(skip_serializing_if = "Amounts::is_empty")]
    limits: Amounts,
    #[serde(skip_serializing_if = "Amounts::is_empty")]
    requests: Amounts,
}

/// The text of an event: what happened, and the resources of all containers as JSON
/// (`podResizeMessage`).
pub fn message(what: &str, pod: &Pod, error: &str) -> String {
    let summary = Summary {
        init_containers: parts(&pod.spec.init_containers),
        containers: parts(&pod.spec.containers),
        generation: pod.meta.generation,
        error,
    };
    let json = serde_json::to_string(&summary);
    json.map_or_else(|_| what.to_owned(), |json| format!("{what}: {json}"))
}

fn parts(containers: &[Container]) -> Vec<Part<'_>> {
    let part = |c: &Container| Lists {
        limits: amounts(&c.resources.limits),
        requests: amounts(&c.resources.requests),
    };
    containers.iter().map(|c| Part { name: &c.name, resources: part(c) }).collect()
}

#[cfg(test)]
mod tests;
