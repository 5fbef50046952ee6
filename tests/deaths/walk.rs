//! One point after the other: the life up to the death, what stood there then, and the retry.

use crate::census::Census;
use crate::kubelet::{HANDLER, Life, Shape};
use crate::log::{Log, freeze, go_on};
use crate::scene::{self, Scene};
use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use rrun_tests::harness::{Harness, WORK};
use rrun_tests::leaks::{Kind, Snapshot, View};
use rrun_tests::{limit, place};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

/// The columns of [`Row`].
pub const HEAD: &str = "point                                          died    during                      \
                        mounts cgroups links nft files rows processes  then";

/// What happened at one point.
pub struct Row {
    point: String,
    died: &'static str,
    during: String,
    /// What stood there at the death and did not before, by kind.
    counts: Vec<usize>,
    /// Why it did not go on well.
    pub failure: Option<String>,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<46} {:<7} {:<27}", self.point, self.died, self.during)?;
        for (count, width) in self.counts.iter().zip([6, 7, 5, 3, 5, 4, 9]) {
            write!(f, " {count:>width$}")?;
        }
        let then = self.failure.as_deref().unwrap_or("ok");
        write!(f, "  {}", then.lines().next().unwrap_or_default())
    }
}

/// The built-in network's default.
const BRIDGE: &str = "rrun0";

const KINDS: [Kind; 7] =
    [Kind::Mount, Kind::Cgroup, Kind::Link, Kind::Nft, Kind::File, Kind::Row, Kind::Process];

/// A harness that is used again for each point, and what stands in it between them.
pub struct Walk {
    pub harness: Harness,
    log: Arc<Mutex<Log>>,
    log_path: String,
    view: Arc<View>,
    clean: Snapshot,
    lives: usize,
}

impl Walk {
    /// A sandbox with a registry and a daemon, in which one life of each shape has been, so that
    /// all that is made once and stays is there.
    pub async fn start() -> Result<Self> {
        let oci = place::program("rrun-oci")?;
        let table = format!("[runtimes.{HANDLER}]\npath = '{}'\n", oci.display());
        let mut harness = Harness::start_with(&table).await?;
        scene::add_plugin(harness.sandbox())?;
        harness.pull(WORK).await?;
        let lives = [("warm", Shape::Plain), ("warmer", Shape::Shared), ("oci", Shape::Program)];
        for (name, shape) in lives {
            let mut life = Life::new(&harness, shape, name);
            life.up(&harness.client).await?;
            life.down(&harness.client).await?;
        }
        harness.restart_with(&[]).await?;
        // The daemon's number is another after each restart.
        let view = Arc::new(harness.view().allow(" rrund"));
        let clean = Snapshot::take(&view)?;
        let log = Log::make(&harness.sandbox().root().join("steps"))?;
        let log_path = log.path();
        let log = Arc::new(Mutex::new(log));
        Ok(Walk { harness, log, log_path, view, clean, lives: 0 })
    }

    fn life(&mut self, shape: Shape) -> Life {
        self.lives += 1;
        Life::new(&self.harness, shape, &format!("pod{}", self.lives))
    }

    /// The points of a scene, each with the program that it happens in, and what is wrong with the
    /// changes between them.
    pub async fn learn(&mut self, scene: Scene) -> Result<(Vec<String>, Vec<String>)> {
        if matches!(scene, Scene::Life(Shape::Plain | Shape::Shared)) {
            self.remove_bridge()?;
        }
        let mut life = self.life(scene.shape());
        self.log.lock().await.clear();
        let census = Census::begin(&self.log, &self.view);
        let log = self.log_path.clone();
        let environment = [("RRUN_STOP_AT", "*"), ("RRUN_STEP_LOG", &*log)];
        self.set(scene, &mut life, &environment).await.with_context(|| scene.to_string())?;
        census.catch_up(&log).await?;
        census.look(true).await;
        self.harness.restart_with(&environment).await?;
        let mut rises = scene.rises();
        self.play(scene, &mut life, &mut rises).await.with_context(|| scene.to_string())?;
        census.look(false).await;
        // A shim goes on to stop at every point.
        self.again(scene, &mut life, rises).await.with_context(|| scene.to_string())?;
        let (points, breaches) = census.end().await?;
        // What a program makes it makes beside our steps, whichever of them happen meanwhile.
        let is_told = scene.shape() != Shape::Program;
        Ok((points, if is_told { breaches } else { Vec::new() }))
    }

    /// So that the next pod is the first of the host again.
    fn remove_bridge(&self) -> Result<()> {
        let script = format!("ip link delete {BRIDGE} && nft flush ruleset");
        let mut shell = self.harness.sandbox().command("sh");
        let status = rrun_tests::limit::status(shell.args(["-c", &script]))?;
        ensure!(status.success(), "{script}: {status}");
        Ok(())
    }

    /// A scene with a death at `point`, and the retry.
    pub async fn through(&mut self, scene: Scene, point: &str) -> Result<Row> {
        let died = if point.starts_with("rrund/") { "daemon" } else { "shim" };
        let mut row = Row {
            point: point.to_owned(),
            died,
            during: scene.to_string(),
            counts: Vec::new(),
            failure: None,
        };
        if point.contains("/cni.bridge.") {
            self.remove_bridge()?;
        }
        let mut life = self.life(scene.shape());
        self.log.lock().await.clear();
        let death = death(Arc::clone(&self.log), Arc::clone(&self.view), point.to_owned());
        let death = tokio::spawn(death);
        let log = self.log_path.clone();
        let environment = [("RRUN_STOP_AT", point), ("RRUN_STEP_LOG", &*log)];
        // A shim of before has its fault from its own daemon, which must get through.
        let before = if died == "shim" { &environment[..] } else { &[] };
        let set = self.set(scene, &mut life, before).await;
        set.with_context(|| format!("{scene}, {point}"))?;
        let mut rises = scene.rises();
        // That what dies is missed is what this is about.
        if self.harness.restart_with(&environment).await.is_ok()
            && let Err(error) = self.play(scene, &mut life, &mut rises).await
            && !scene.is_start()
        {
            row.during = error.to_string();
        }
        match death_of(death).await? {
            None => row.failure = Some("nobody has died there".to_owned()),
            Some(then) => {
                let news = |kind| then.of(kind).difference(self.clean.of(kind)).count();
                row.counts = KINDS.map(news).into();
            }
        }
        let again = self.again(scene, &mut life, rises).await;
        row.failure = row.failure.or(again.err().map(|error| format!("{error:#}")));
        if row.failure.is_some() {
            self.renew().await?;
        }
        Ok(row)
    }

    /// A daemon without the fault: the verbs again, the end, and nothing is left.
    async fn again(&mut self, scene: Scene, life: &mut Life, rises: bool) -> Result<()> {
        self.harness.restart_with(&[]).await?;
        let client = &self.harness.client;
        if rises {
            life.up(client).await.context("again")?;
        }
        life.down(client).await.context("end")?;
        self.strike(scene)?;
        self.clean.assert_nothing_left(&self.view)
    }

    /// What the walk has left is clean in the eyes of whoever looks through it all, the daemon beside.
    pub fn assert_clean(&self) -> Result<()> {
        let mut fsck = self.harness.sandbox().command(place::program("rrun")?);
        let done = limit::output(fsck.arg("fsck"))?;
        let said =
            [done.stdout, done.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
        ensure!(done.status.success(), "rrun fsck: {}\n{}", done.status, said.concat());
        Ok(())
    }

    /// After a failure: a clean ground for the next point, in which what was left is no news.
    async fn renew(&mut self) -> Result<()> {
        self.harness.restart_with(&[]).await?;
        self.clean = Snapshot::take(&self.view)?;
        if self.clean.of(Kind::Process).len() > 200 {
            bail!("too much is left to go on");
        }
        Ok(())
    }
}

/// Waits for whoever stops at `point`, and kills him when it is seen what is there. All others
/// stand meanwhile: nobody takes away what is counted.
async fn death(log: Arc<Mutex<Log>>, view: Arc<View>, point: String) -> Result<Snapshot> {
    let mut log = log.lock_owned().await;
    let (pid, others) = log.stopped_at(&point).await?;
    freeze(others.iter().copied()).await?;
    let then = Snapshot::take(&view);
    kill(pid, Signal::SIGKILL)?;
    others.into_iter().for_each(go_on);
    then
}

/// A shim may reach its point after the daemon has answered.
async fn death_of(mut task: JoinHandle<Result<Snapshot>>) -> Result<Option<Snapshot>> {
    match tokio::time::timeout(Duration::from_secs(5), &mut task).await {
        Ok(then) => then?.map(Some),
        Err(_) => {
            task.abort();
            Ok(None)
        }
    }
}
