//! What ends in the middle of a checkpoint: the time, the client, the container, the daemon, criu.

use super::{Criu, program};
use crate::suite::*;
use rrun_cri_api::Cri;
use rrun_cri_api::v1::CheckpointContainerRequest;
use rrun_tests::place;
use std::fs;
use std::path::Path;
use tonic::Code;

/// A criu that is held up until it is let go: before it begins with a dump.
pub(super) struct Gate(tempfile::TempDir);

impl Gate {
    pub(super) fn new() -> Gate {
        let gate = Gate(tempfile::tempdir().unwrap());
        let (folder, real) = (gate.0.path(), place::cache().join("criu/bin/criu"));
        let script = format!(
            "#!/bin/sh\nif [ \"$1\" = swrk ]; then echo $$ >{0}/begun\n\
             while [ ! -e {0}/open ]; do sleep 0.01; done; fi\nexec {1} \"$@\"\n",
            folder.display(),
            real.display()
        );
        program(folder, &script);
        gate
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(super) async fn begun(&self, suite: &Suite) {
        let has_begun = || fs::read(self.path().join("begun")).is_ok_and(|pid| !pid.is_empty());
        suite.until("criu begins", async || has_begun()).await;
    }

    /// The process that has begun last.
    pub(super) fn pid(&self) -> i32 {
        fs::read_to_string(self.path().join("begun")).unwrap().trim().parse().unwrap()
    }

    pub(super) fn open(&self) {
        fs::write(self.path().join("open"), "").unwrap();
    }
}

impl Criu {
    fn begin(&self, id: &str, timeout: i64) -> tokio::task::JoinHandle<Result<(), tonic::Status>> {
        let client = self.suite.harness.client.clone();
        let location = self.location().to_str().unwrap().to_owned();
        let container_id = id.to_owned();
        let request = CheckpointContainerRequest { container_id, location, timeout };
        tokio::spawn(async move { client.checkpoint_container(request).await.map(drop) })
    }
}

#[tokio::test]
async fn one_that_takes_too_long_is_given_up_and_nothing_of_it_stays() {
    let Some(mut criu) = Criu::start().await else { return };
    let gate = Gate::new();
    criu.restart_with(Some(gate.path()), &[]).await;
    let (pod, id) = criu.counting("late").await;
    let late = criu.checkpoint_to(&id, criu.location().to_str().unwrap(), 1).await.unwrap_err();
    assert_eq!(late.code(), Code::DeadlineExceeded, "{late}");
    assert!(late.message().contains("not done after 1s"), "{late}");
    // Until criu has ended nothing is executed; a second checkpoint waits for its turn.
    let barred = criu.suite.exec(&id, &["/bin/true"], 10).await.unwrap_err();
    assert_eq!(barred.code(), Code::FailedPrecondition);
    assert!(barred.message().contains("a checkpoint of the container is being made"), "{barred}");
    let second = criu.begin(&id, 0);
    let gone = criu.begin(&id, 0);
    gone.abort();
    assert!(criu.making(&pod).join(&id).exists() && !second.is_finished());
    criu.assert_archive(false);
    gate.open();
    second.await.unwrap().unwrap();
    criu.assert_archive(true);
    criu.suite.until("all is removed", async || !criu.making(&pod).exists()).await;
    assert_eq!(criu.suite.exec(&id, &["/bin/true"], 10).await.unwrap().exit_code, 0);
    criu.goes_on(&id).await;
    criu.suite.remove(&pod).await;
    criu.assert_nothing_left();
}

#[tokio::test]
async fn a_container_that_is_removed_meanwhile_leaves_nothing_of_its_checkpoint() {
    let Some(mut criu) = Criu::start().await else { return };
    let gate = Gate::new();
    criu.restart_with(Some(gate.path()), &[]).await;
    let (pod, id) = criu.counting("removed").await;
    let making = criu.begin(&id, 0);
    gate.begun(&criu.suite).await;
    criu.suite.remove(&pod).await;
    gate.open();
    let failed = making.await.unwrap().unwrap_err();
    assert!(failed.message().starts_with("checkpoint container main: "), "{failed}");
    criu.assert_archive(false);
    criu.assert_nothing_left();
}

#[tokio::test]
async fn a_daemon_that_dies_between_the_steps_leaves_the_container_running_and_no_file() {
    let Some(mut criu) = Criu::start().await else { return };
    let (pod, id) = criu.counting("dies").await;
    let pid = criu.suite.pid(&id).await;
    for (point, is_there) in [
        ("folder:after", false),
        ("changes:before", false),
        ("changes:after", false),
        ("dump:after", false),
        ("archive:after", false),
        ("publish:before", false),
        ("publish:after", true),
    ] {
        let point = format!("engine.checkpoint-container.{point}");
        criu.restart(&[("RRUN_KILL_AT", &point)]).await;
        criu.checkpoint(&id).await.unwrap_err();
        let deadline = std::time::Instant::now() + PATIENCE;
        while !criu.suite.harness.has_ended().unwrap() {
            assert!(std::time::Instant::now() < deadline, "{point} is not reached");
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        // Without any daemon.
        criu.goes_on(&id).await;
        criu.restart(&[]).await;
        criu.suite.until("all is removed", async || !criu.making(&pod).exists()).await;
        criu.assert_archive(is_there);
        assert_eq!((criu.suite.pid(&id).await, criu.suite.status(&id).await.state), (pid, RUNNING));
        criu.checkpointed(&id).await;
        fs::remove_file(criu.location()).unwrap();
    }
    criu.suite.remove(&pod).await;
    criu.assert_nothing_left();
}

#[tokio::test]
async fn a_daemon_finds_a_criu_at_work_and_waits_for_its_end() {
    let Some(mut criu) = Criu::start().await else { return };
    let gate = Gate::new();
    criu.restart_with(Some(gate.path()), &[]).await;
    let (pod, id) = criu.counting("found").await;
    let making = criu.begin(&id, 0);
    gate.begun(&criu.suite).await;
    criu.restart(&[]).await;
    making.await.unwrap().unwrap_err();
    let barred = criu.suite.exec(&id, &["/bin/true"], 10).await.unwrap_err();
    assert!(barred.message().contains("a checkpoint of the container is being made"), "{barred}");
    let refused = criu.checkpoint(&id).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("another checkpoint of it is being made"), "{refused}");
    gate.open();
    criu.suite.until("all is removed", async || !criu.making(&pod).exists()).await;
    criu.suite
        .until("it can be used", async || criu.suite.exec(&id, &["/bin/true"], 10).await.is_ok())
        .await;
    criu.goes_on(&id).await;
    criu.checkpointed(&id).await;
    criu.suite.remove(&pod).await;
    criu.assert_nothing_left();
}

#[tokio::test]
async fn a_criu_that_is_killed_leaves_the_container_running() {
    let Some(mut criu) = Criu::start().await else { return };
    let gate = Gate::new();
    gate.open();
    // While all stands still.
    let point = "engine.checkpoint-container.changes:before";
    criu.restart_with(Some(gate.path()), &[("RRUN_STOP_AT", point)]).await;
    let (pod, id) = criu.counting("killed").await;
    let daemon = criu.suite.harness.daemon().unwrap().pid();
    let making = criu.begin(&id, 0);
    let stopped = async || {
        let stat = fs::read_to_string(format!("/proc/{daemon}/stat")).unwrap();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
    };
    criu.suite.until("the daemon stops", stopped).await;
    let count = criu.count(&id);
    let pid = gate.pid();
    let kill = |pid: i32, signal| {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).unwrap();
    };
    assert_eq!(criu.count(&id), count, "it does not stand still");
    kill(pid, nix::sys::signal::Signal::SIGKILL);
    kill(daemon as i32, nix::sys::signal::Signal::SIGCONT);
    let failed = making.await.unwrap().unwrap_err();
    assert!(failed.message().contains("criu has ended without an answer"), "{failed}");
    criu.goes_on(&id).await;
    criu.assert_archive(false);
    assert!(!criu.making(&pod).exists());
    criu.restart(&[]).await;
    criu.checkpointed(&id).await;
    criu.suite.remove(&pod).await;
    criu.assert_nothing_left();
}
