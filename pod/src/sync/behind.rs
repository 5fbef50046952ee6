//! The pods behind Services: their addresses, as other processes put them on record.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::model::Pod;
use crate::node::Node;

/// How often addresses that are waited for are looked at.
const SOON: Duration = Duration::from_millis(100);

/// How often those that may have changed are.
const PERIOD: Duration = Duration::from_secs(5);

/// How long a pod is waited for that nobody has begun to run: whoever runs the whole manifest has by
/// then.
const BEGUN: Duration = Duration::from_secs(2);

/// How long the address is waited for of a pod that is being made.
const MADE: Duration = Duration::from_secs(10);

/// The addresses behind a pod's Services.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Behind {
    /// By `namespace/name`; those of pods that have none are left out.
    pub addresses: BTreeMap<String, Vec<String>>,
    /// Whether containers wait for no more of them.
    pub settled: bool,
}

/// Looks for the addresses behind the Services of a pod until `stopping`.
pub(crate) async fn watch(
    pod: Arc<Pod>,
    node: Arc<dyn Node>,
    mut stopping: watch::Receiver<bool>,
    told: watch::Sender<Behind>,
) {
    let others = others(&pod);
    let start = Instant::now();
    loop {
        let fresh = look(&others, &*node, start).await;
        let settled = fresh.settled || told.borrow().settled;
        told.send_if_modified(|behind| {
            let fresh = Behind { settled, ..fresh };
            let changed = *behind != fresh;
            *behind = fresh;
            changed
        });
        if others.is_empty() {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(if settled { PERIOD } else { SOON }) => {}
            _ = stopping.wait_for(|stopping| *stopping) => return,
        }
    }
}

/// Namespaces and names of the pods behind its Services, without the pod itself.
fn others(pod: &Pod) -> BTreeSet<(String, String)> {
    let mut others = BTreeSet::new();
    for service in pod.objects.services.iter() {
        let all = service.pods.iter().filter(|selected| !service.is(selected, &pod.meta));
        others.extend(all.map(|selected| (service.namespace.clone(), selected.name.clone())));
    }
    others
}

async fn look(others: &BTreeSet<(String, String)>, node: &dyn Node, start: Instant) -> Behind {
    let mut behind = Behind { settled: true, ..Behind::default() };
    for (namespace, name) in others {
        let patience = match node.addresses_of(namespace, name).await {
            Ok(Some(addresses)) if !addresses.is_empty() => {
                behind.addresses.insert(format!("{namespace}/{name}"), addresses);
                continue;
            }
            Ok(Some(_)) => MADE,
            Ok(None) => BEGUN,
            Err(e) => {
                tracing::warn!("{e}");
                continue;
            }
        };
        behind.settled &= start.elapsed() >= patience;
    }
    behind
}
