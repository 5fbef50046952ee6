//! All containers of a pod once more, as somebody asks for it, or as the rule of one says that has ended
//! (`RestartAllContainers`). Sandbox, addresses and volumes stay.

use std::collections::BTreeMap;

use super::actions::KillReason;
use super::kill::ContainerToKill;
use super::observe::{Observed, Run, RunState};
use super::worker::PodWorker;
use crate::error::Result;
use crate::model::{Container, Pod};
use crate::status::{PodStatus, State, ended, restarting};
use crate::tombstone::Cause;

impl PodWorker {
    /// Ends what runs and forgets what has run: the next look finds a pod that has not begun. Those
    /// that were added to look into it go on.
    pub(super) async fn restart_all(&mut self, seen: &Observed) -> Result<()> {
        let order = *self.restarts.borrow();
        let of_spec = |run: &&Run| self.pod.spec.find(&run.name).is_some();
        let alive = |run: &&Run| matches!(run.state, RunState::Running | RunState::Unknown);
        let targets: Vec<_> = seen.runs.iter().filter(of_spec).filter(alive).collect();
        self.kill_all(&targets, None).await?;
        let (seen, _) = self.look().await?;
        let mut last = BTreeMap::new();
        for run in seen.runs.iter().filter(|run| self.pod.spec.find(&run.name).is_some()) {
            if run.state == RunState::Exited {
                // The newest is the first.
                last.entry(run.name.clone()).or_insert_with(|| ended(run));
            }
            self.remove_to_make_anew(run).await?;
        }
        let mut before = BTreeMap::new();
        // That they have ended is no end of the pod, whatever its policy.
        self.status.send_modify(|status| {
            for found in status.containers.iter_mut().chain(&mut status.init_containers) {
                if found.container_id.take().is_some() {
                    found.restart_count += 1;
                }
                let (reason, message) = (String::new(), String::new());
                found.state = State::Waiting { reason, message };
                if let Some(end) = last.remove(&found.name) {
                    before.insert(found.name.clone(), (found.restart_count, end));
                }
                (found.last, found.ready, found.started) = (None, false, Some(false));
            }
        });
        self.before_restart = before;
        self.failures.clear();
        self.restarts.borrow_and_update();
        self.restarted.send_replace(order);
        Ok(())
    }

    /// The same as a rule says it: one after another, without hooks and grace. The next look tells that
    /// all wait for their restart, as the status has the condition for it.
    pub(super) async fn restart_by_rule(&mut self, seen: &Observed) -> Result<()> {
        for run in reset_order(&self.pod, seen) {
            if run.state != RunState::Exited {
                let target = ContainerToKill {
                    id: &run.id,
                    name: &run.name,
                    message: "killing".to_owned(),
                    reason: KillReason::Other,
                    grace: Some(0),
                };
                self.kill_container(target, None).await?;
            }
            self.remove_to_make_anew(run).await?;
        }
        self.failures.clear();
        Ok(())
    }

    /// Its log stays: it is counted.
    pub(super) async fn remove_to_make_anew(&self, run: &Run) -> Result<()> {
        let removal = self.removal();
        if let Err(e) = removal.leave_tombstone(run, Cause::MadeAnew).await {
            tracing::warn!(pod = %self.pod.meta.name, "tombstone of {}: {e}", run.name);
        }
        removal.remove_container(run).await
    }

    /// Says of runs that a restart has begun how those before them ended. Not before they run: a
    /// container that waits after such an end may be done for good.
    pub(super) fn tell_before_restart(&self, status: &mut PodStatus) {
        for found in status.containers.iter_mut().chain(&mut status.init_containers) {
            let runs = !matches!(found.state, State::Waiting { .. });
            let before = self.before_restart.get(&found.name);
            // One that was started again since has another run before it.
            let before = before.filter(|(count, _)| runs && found.restart_count <= *count);
            if let (None, Some((_, end))) = (&found.last, before) {
                found.last = Some(end.clone());
            }
        }
    }
}

/// All runs of a pod's containers: regular ones, init containers, and last those by whose end all
/// restart, so that whoever is killed on the way finds them again.
fn reset_order<'a>(pod: &Pod, seen: &'a Observed) -> Vec<&'a Run> {
    let of = |list: &[Container]| -> (Vec<&'a Run>, Vec<&'a Run>) {
        let runs = list.iter().flat_map(|c| seen.runs.iter().filter(move |run| run.name == c.name));
        runs.partition(|run| restarting::asks(pod, run))
    };
    let ((sources, targets), (init_sources, init_targets)) =
        (of(&pod.spec.containers), of(&pod.spec.init_containers));
    [targets, init_targets, sources, init_sources].concat()
}
