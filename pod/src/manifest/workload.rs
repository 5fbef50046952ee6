//! The pods of a Deployment, StatefulSet, Job and their like: those that its controller would make.
//!
//! One pod has the name of what it is of; several, and those of a StatefulSet, have their number behind
//! it. What a controller does later (to make another pod for one that is gone) is done for Jobs alone
//! ([`crate::job`]); what only that would need is noted of the others.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::fault::Fault;
use super::fields::{Fields, Item, Read};
use super::labels::{self, Selector};
use super::pod::{self, Draft};
use super::values::{CLUSTER_META, expect};
use super::{claims, meta};
use crate::ids::PodUid;
use crate::model::{
    Claim, EnvSource, EnvVar, Job, Meta, PodSpec, RestartPolicy, Volume, VolumeSource,
};

/// More pods of one manifest are taken for a mistake in its number of replicas.
const MOST: u32 = 1_000;

/// A pod template.
struct Template {
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    spec: PodSpec,
}

/// The name and namespace of what the pods are of, and the text that their uids are derived from.
struct Workload<'a> {
    name: String,
    namespace: String,
    text: &'a [u8],
}

impl Workload<'_> {
    fn pod(&self, number: Option<u32>, template: &Template) -> Draft {
        let name = number.map_or_else(|| self.name.clone(), |n| format!("{}-{n}", self.name));
        let meta = Meta {
            uid: PodUid::derive(&self.namespace, &name, self.text),
            name,
            namespace: self.namespace.clone(),
            labels: template.labels.clone(),
            annotations: template.annotations.clone(),
            generation: 0,
        };
        Draft { meta, spec: template.spec.clone(), claims: BTreeMap::new(), job: None }
    }

    /// `count` pods, with their numbers if they are several.
    fn pods(&self, count: u32, template: &Template) -> Vec<(u32, Draft)> {
        let number = |i| (count > 1).then_some(i);
        (0..count).map(|i| (i, self.pod(number(i), template))).collect()
    }
}

/// The pods of a workload, and the path in its document where their spec stands.
pub fn workload(item: &Item<'_>, text: &[u8]) -> Read<(Vec<Draft>, &'static str)> {
    item.object(|f| {
        let kind = f.need("kind", Item::text)?;
        let version = match kind.as_str() {
            "ReplicationController" => "v1",
            "CronJob" | "Job" => "batch/v1",
            _ => "apps/v1",
        };
        f.need("apiVersion", |i| expect(i, version))?;
        f.skip(&["status"]);
        let (name, namespace) = f.need("metadata", meta::key_of_workload)?;
        let namespace = namespace.unwrap_or_else(|| "default".to_owned());
        let workload = Workload { name, namespace, text };
        let mut path = "spec.template.spec";
        let pods = f.need("spec", |i| match kind.as_str() {
            "StatefulSet" => i.object(|f| stateful_set(f, &workload)),
            "DaemonSet" => i.object(|f| daemon_set(f, &workload)),
            "Job" => i.object(|f| job(f, &workload)),
            "CronJob" => {
                path = "spec.jobTemplate.spec.template.spec";
                i.object(|f| cron_job(f, &workload))
            }
            _ => i.object(|f| replicas(f, &workload, &kind)),
        })?;
        if pods.is_empty() {
            f.note(&format!("{kind} {}: it has no pods", workload.name));
        }
        Ok((pods, path))
    })
}

/// Deployment, ReplicaSet and ReplicationController.
fn replicas(f: &mut Fields<'_>, workload: &Workload<'_>, kind: &str) -> Read<Vec<Draft>> {
    f.skip(&["minReadySeconds"]);
    if kind == "Deployment" {
        f.skip(&["progressDeadlineSeconds", "revisionHistoryLimit", "strategy"]);
        if f.flag("paused")? {
            f.note(&format!("Deployment {}: paused: it is run all the same", workload.name));
        }
    }
    let template = lasting(f, kind == "ReplicationController")?;
    Ok(workload.pods(count(f, "replicas")?, &template).into_iter().map(|(_, pod)| pod).collect())
}

fn daemon_set(f: &mut Fields<'_>, workload: &Workload<'_>) -> Read<Vec<Draft>> {
    f.skip(&["minReadySeconds", "revisionHistoryLimit", "updateStrategy"]);
    let template = lasting(f, false)?;
    Ok(vec![workload.pod(None, &template)])
}

fn stateful_set(f: &mut Fields<'_>, workload: &Workload<'_>) -> Read<Vec<Draft>> {
    f.skip(&["minReadySeconds", "revisionHistoryLimit", "updateStrategy"]);
    f.skip(&["persistentVolumeClaimRetentionPolicy"]);
    let template = lasting(f, false)?;
    let replicas = count(f, "replicas")?;
    let service = f.word("serviceName", Item::text)?;
    let start = f.opt("ordinals", |i| i.object(|f| f.or("start", Item::count, 0)))?;
    let policies = [("OrderedReady", true), ("Parallel", false)];
    let ordered = f.word_or("podManagementPolicy", |i| i.one_of(&policies), true)?;
    if ordered && replicas > 1 {
        f.note(&format!("StatefulSet {}: its pods do not wait for each other", workload.name));
    }
    let claims = f.list("volumeClaimTemplates", claim_template)?;
    let numbers = (0..replicas).map(|i| i.saturating_add(start.unwrap_or(0)));
    let pods = numbers.map(|number| {
        let mut draft = workload.pod(Some(number), &template);
        let name = draft.meta.name.clone();
        let labels = &mut draft.meta.labels;
        labels.insert("statefulset.kubernetes.io/pod-name".to_owned(), name.clone());
        labels.insert("apps.kubernetes.io/pod-index".to_owned(), number.to_string());
        draft.spec.hostname = Some(name.clone());
        draft.spec.subdomain.clone_from(&service);
        for claim in &claims {
            let of_pod = format!("{claim}-{name}");
            // A template wins over a volume of its name.
            draft.spec.volumes.retain(|volume| volume.name != *claim);
            let source = VolumeSource::Claim { claim: of_pod.clone(), read_only: false };
            draft.spec.volumes.push(Volume { name: claim.clone(), source });
            draft.claims.insert(of_pod, Claim::default());
        }
        draft
    });
    Ok(pods.collect())
}

fn cron_job(f: &mut Fields<'_>, workload: &Workload<'_>) -> Read<Vec<Draft>> {
    f.need("schedule", Item::text)?;
    f.skip(&["concurrencyPolicy", "failedJobsHistoryLimit", "startingDeadlineSeconds"]);
    f.skip(&["successfulJobsHistoryLimit", "timeZone"]);
    f.note(&format!("CronJob {}: it is run once, now", workload.name));
    if f.flag("suspend")? {
        f.note(&format!("CronJob {}: suspend: it is run all the same", workload.name));
    }
    f.need("jobTemplate", |i| {
        i.object(|f| {
            f.skip(&["metadata"]);
            f.need("spec", |i| i.object(|f| job(f, workload)))
        })
    })
}

fn job(f: &mut Fields<'_>, workload: &Workload<'_>) -> Read<Vec<Draft>> {
    f.skip(&["manualSelector", "managedBy", "podReplacementPolicy", "selector"]);
    let mut template = f.need("template", template)?;
    if template.spec.restart_policy == RestartPolicy::Always {
        let at = format!("{}.template.spec.restartPolicy", f.here().path);
        let why = "Required value: valid values: \"OnFailure\", \"Never\"";
        return Err(Fault::at(f.here().line(), &at, why));
    }
    if f.flag("suspend")? {
        f.note(&format!("Job {}: suspend: it is run all the same", workload.name));
    }
    for name in ["backoffLimitPerIndex", "maxFailedIndexes", "podFailurePolicy", "successPolicy"] {
        if f.get(name).is_some() {
            let text = "every failure counts, and every completion is needed";
            f.note(&format!("Job {}: {name} is not heeded: {text}", workload.name));
        }
    }
    let completions = f.opt("completions", Item::count)?;
    let job = Arc::new(Job {
        name: workload.name.clone(),
        namespace: workload.namespace.clone(),
        completions,
        parallelism: f.opt("parallelism", Item::count)?.unwrap_or(1),
        backoff_limit: f.opt("backoffLimit", Item::count)?.unwrap_or(6),
        active_deadline: f.opt("activeDeadlineSeconds", Item::positive)?,
        ttl_after_finished: f.opt("ttlSecondsAfterFinished", Item::count)?,
    });
    if job.parallelism == 0 {
        return Err(f.here().fault("parallelism 0: none of its pods would ever run"));
    }
    let modes = [("NonIndexed", false), ("Indexed", true)];
    let indexed = f.word_or("completionMode", |i| i.one_of(&modes), false)?;
    if indexed && completions.is_none() {
        let at = format!("{}.completions", f.here().path);
        let why = "Required value: when completion mode is Indexed";
        return Err(Fault::at(f.here().line(), &at, why));
    }
    let pods = bounded(f, completions.unwrap_or(job.parallelism))?;
    let own = template.spec.active_deadline;
    template.spec.active_deadline = job.active_deadline.into_iter().chain(own).min();
    for name in ["batch.kubernetes.io/job-name", "job-name"] {
        template.labels.insert(name.to_owned(), workload.name.clone());
    }
    let mut made = workload.pods(pods, &template);
    if indexed {
        made.iter_mut().for_each(|(index, draft)| give_index(draft, *index, workload));
    }
    let of_job = |(_, draft)| Draft { job: Some(job.clone()), ..draft };
    Ok(made.into_iter().map(of_job).collect())
}

/// What a pod of an indexed job is told of its number.
fn give_index(draft: &mut Draft, index: u32, workload: &Workload<'_>) {
    let key = "batch.kubernetes.io/job-completion-index";
    draft.meta.annotations.insert(key.to_owned(), index.to_string());
    draft.meta.labels.insert(key.to_owned(), index.to_string());
    draft.spec.hostname.get_or_insert_with(|| format!("{}-{index}", workload.name));
    let spec = &mut draft.spec;
    for container in spec.init_containers.iter_mut().chain(&mut spec.containers) {
        let name = "JOB_COMPLETION_INDEX";
        if container.env.iter().all(|var| var.name != name) {
            let source = EnvSource::Value(index.to_string());
            container.env.push(EnvVar { name: name.to_owned(), source });
        }
    }
}

fn count(f: &mut Fields<'_>, name: &str) -> Read<u32> {
    let count = f.or(name, Item::count, 1)?;
    bounded(f, count)
}

fn bounded(f: &Fields<'_>, count: u32) -> Read<u32> {
    if count > MOST {
        return Err(f.here().fault(format!("more than {MOST} pods")));
    }
    Ok(count)
}

/// The template of pods that are never to end, which the selector selects.
fn lasting(f: &mut Fields<'_>, plain: bool) -> Read<Template> {
    let template = f.need("template", template)?;
    let selector = if plain {
        f.opt("selector", labels::plain_selector)?.unwrap_or_default()
    } else {
        f.need("selector", labels::selector)?
    };
    selects(f, &selector, &template)?;
    let policy = match template.spec.restart_policy {
        RestartPolicy::Always => return Ok(template),
        RestartPolicy::OnFailure => "OnFailure",
        RestartPolicy::Never => "Never",
    };
    let at = format!("{}.template.spec.restartPolicy", f.here().path);
    let why = format!("Unsupported value: {policy:?}: supported values: \"Always\"");
    Err(Fault::at(f.here().line(), &at, why))
}

fn selects(f: &Fields<'_>, selector: &Selector, template: &Template) -> Read<()> {
    if selector.matches(&template.labels) {
        return Ok(());
    }
    let at = format!("{}.template.metadata.labels", f.here().path);
    let why = "`selector` does not match template `labels`";
    Err(Fault::at(f.here().line(), &at, why))
}

fn template(item: &Item<'_>) -> Read<Template> {
    item.object(|f| {
        let metadata = f.opt("metadata", |i| {
            i.object(|f| {
                // The pods have their own.
                f.skip(CLUSTER_META);
                f.skip(&["generateName", "generation", "name", "namespace", "uid"]);
                Ok((pod::labels(f)?, pod::annotations(f)?))
            })
        })?;
        let (labels, annotations) = metadata.unwrap_or_default();
        Ok(Template { labels, annotations, spec: f.need("spec", pod::spec)? })
    })
}

/// The name of a claim template. What its claims become is a folder each, of any size.
fn claim_template(item: &Item<'_>) -> Read<String> {
    item.object(|f| {
        f.skip(&["apiVersion", "kind", "status"]);
        let (name, _) = f.need("metadata", meta::key_of_workload)?;
        f.need("spec", claims::wanted)?;
        Ok(name)
    })
}
