//! When the runtime's lists of a pod are looked at.
//!
//! A runtime that streams its events tells of what happens, so that its lists are only there for events
//! that were lost. One whose stream has ended, or that has none, is asked each second, as the kubelet
//! asks it.

use std::time::Duration;

use rrun_cri_api::Cri;
use tokio::sync::watch;

use super::observe::{self, Fingerprint};
use crate::hints::Hint;
use crate::model::Meta;

/// How often the lists are looked at when nothing is told: the kubelet's `genericPLEGRelistPeriod`.
pub(super) const RELIST: Duration = Duration::from_secs(1);
/// How often they are when events are streamed: how long one that was lost may be missed.
const RARE: Duration = Duration::from_secs(30);

/// Until the runtime has something else of a pod than `known`.
pub(super) async fn changed(
    cri: &dyn Cri,
    meta: &Meta,
    known: &Fingerprint,
    mut hints: watch::Receiver<Hint>,
) {
    // What happened while the worker was at work was perhaps told before anybody listened here, and
    // what is told now may be on the lists a moment later: lists are rare when one has found nothing.
    let mut period = RELIST;
    let mut is_open = true;
    hints.mark_unchanged();
    loop {
        let told = tokio::select! {
            () = tokio::time::sleep(period) => false,
            told = hints.changed(), if is_open => {
                is_open = told.is_ok();
                true
            }
        };
        period = RELIST;
        match observe::fingerprint(cri, meta).await {
            Ok(fresh) if fresh == *known => {
                if !told && is_open && hints.borrow().streamed {
                    period = RARE;
                }
            }
            Ok(_) => return,
            Err(e) => tracing::debug!(pod = %meta.name, "relist: {e}"),
        }
    }
}
