//! One point after the other: the life up to the death, what stood there then, and the retry.

use crate::kubelet::{Life, Shape};
use anyhow::{Context, Result, bail, ensure};
use rrun_tests::harness::{Harness, WORK};
use rrun_tests::leaks::{Kind, Snapshot, View};
use std::fmt;
use std::path::PathBuf;

/// The columns of [`Row`]. What a shim leaves has been taken away by its daemon, as far as the
/// daemon can, before it is counted.
pub const HEAD: &str = "point                                          died    during            \
                        mounts cgroups netns links nft sockets files processes  then";

/// A side of a step, as `RRUN_KILL_AT` names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    /// As in the step log: `program/step`, and `#2` for its second time.
    pub step: String,
    /// `before` or `after`.
    pub side: &'static str,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.step, self.side)
    }
}

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
        write!(f, "{:<46} {:<7} {:<17}", self.point, self.died, self.during)?;
        for (count, width) in self.counts.iter().zip([6, 7, 5, 5, 3, 7, 5, 9]) {
            write!(f, " {count:>width$}")?;
        }
        let then = self.failure.as_deref().unwrap_or("ok");
        write!(f, "  {}", then.lines().next().unwrap_or_default())
    }
}

/// The built-in network's default.
const BRIDGE: &str = "rrun0";

const KINDS: [Kind; 8] = [
    Kind::Mount,
    Kind::Cgroup,
    Kind::Netns,
    Kind::Link,
    Kind::Nft,
    Kind::Socket,
    Kind::File,
    Kind::Process,
];

/// A harness that is used again for each point, and what stands in it between them.
pub struct Walk {
    harness: Harness,
    log: PathBuf,
    view: View,
    clean: Snapshot,
    lives: usize,
}

impl Walk {
    /// A sandbox with a registry and a daemon, in which one life of each shape has been, so that
    /// all that is made once and stays is there.
    pub async fn start() -> Result<Self> {
        let mut harness = Harness::start().await?;
        harness.pull(WORK).await?;
        for (name, shape) in [("warm", Shape::Plain), ("warmer", Shape::Shared)] {
            let mut life = Life::new(&harness, shape, name);
            life.up(&harness.client).await?;
            life.down(&harness.client).await?;
        }
        harness.restart_with(&[]).await?;
        // The daemon's number is another after each restart; a shim that has ended is init's to
        // reap.
        let view = harness.view().allow(" rrund").allow("rrun-shim (zombie)");
        let clean = Snapshot::take(&view)?;
        let log = harness.sandbox().root().join("steps");
        Ok(Walk { harness, log, view, clean, lives: 0 })
    }

    fn life(&mut self, shape: Shape) -> Life {
        self.lives += 1;
        Life::new(&self.harness, shape, &format!("pod{}", self.lives))
    }

    /// The steps of a daemon's start and of a life, each with the program that it happens in.
    pub async fn learn(&mut self, shape: Shape) -> Result<Vec<String>> {
        let log = self.log.display().to_string();
        self.remove_bridge()?;
        self.harness.restart_with(&[("RRUN_STEP_LOG", &log)]).await?;
        let mut life = self.life(shape);
        life.up(&self.harness.client).await?;
        life.down(&self.harness.client).await?;
        let text = std::fs::read_to_string(&self.log)?;
        std::fs::remove_file(&self.log)?;
        let mut steps: Vec<String> = Vec::new();
        for line in text.lines() {
            if !steps.iter().any(|known| known == line) {
                steps.push(line.to_owned());
            }
        }
        Ok(steps)
    }

    /// So that the next pod is the first of the host again.
    fn remove_bridge(&self) -> Result<()> {
        let script = format!("ip link delete {BRIDGE} && nft flush ruleset");
        let status = self.harness.sandbox().command("sh").args(["-c", &script]).status()?;
        ensure!(status.success(), "{script}: {status}");
        Ok(())
    }

    /// A life with a death at `point`, and the retry.
    pub async fn through(&mut self, shape: Shape, point: &Point) -> Result<Row> {
        let kill = point.to_string();
        let log = self.log.display().to_string();
        let mut life = self.life(shape);
        let mut row = Row {
            point: kill.clone(),
            died: "nobody",
            during: "-".to_owned(),
            counts: Vec::new(),
            failure: None,
        };
        if point.step.contains("/cni.bridge.") {
            self.remove_bridge()?;
        }
        let environment = [("RRUN_KILL_AT", kill.as_str()), ("RRUN_STEP_LOG", log.as_str())];
        let mut rises = true;
        match self.harness.restart_with(&environment).await {
            Err(_) => row.during = "start".to_owned(),
            Ok(()) => {
                let client = &self.harness.client;
                let mut outcome = life.up(client).await;
                if outcome.is_ok() {
                    rises = false;
                    outcome = life.down(client).await;
                }
                if let Err(error) = outcome {
                    row.during = error.to_string();
                }
            }
        }
        row.died = self.who_died(point)?;
        let then = Snapshot::take(&self.view)?;
        row.counts = KINDS.map(|kind| then.of(kind).difference(self.clean.of(kind)).count()).into();
        row.failure = self.again(&mut life, rises).await.err().map(|error| format!("{error:#}"));
        if row.died == "nobody" {
            row.failure = Some("nobody has died there".to_owned());
        }
        if row.failure.is_some() {
            self.renew().await?;
        }
        Ok(row)
    }

    /// By the step log, which has a line of whoever dies.
    fn who_died(&mut self, point: &Point) -> Result<&'static str> {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let _ = std::fs::remove_file(&self.log);
        let death = format!("dies at {point}");
        if !text.lines().any(|line| line == death) {
            return Ok("nobody");
        }
        if point.step.starts_with("rrund/") {
            // Its connections close a little before it is gone.
            self.harness.kill();
            return Ok("daemon");
        }
        Ok("shim")
    }

    /// A daemon without the fault: the verbs again, the end, and nothing is left.
    async fn again(&mut self, life: &mut Life, rises: bool) -> Result<()> {
        self.harness.restart_with(&[]).await?;
        let client = &self.harness.client;
        if rises {
            life.up(client).await.context("again")?;
        }
        life.down(client).await.context("end")?;
        self.clean.assert_nothing_left(&self.view)
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
