//! `cluster`: a control plane, a kubelet and rrund as a cluster of one node, then two kubelets and
//! two daemons as one of two nodes; `cluster one` and `cluster two` are one of both. The last line
//! counts what held.

use anyhow::{Context, Result};
use rrun_cri_api::Client;
use rrun_tests::cluster::{ALONE, BOTH, ControlPlane, KINDS, NODE, Node, Nodes, PODS};
use rrun_tests::harness::{BUSYBOX, Harness, WORK};
use rrun_tests::kubelet::Kubelet;
use rrun_tests::leaks::Snapshot;
use rrun_tests::tally::Tally;
use std::fs;
use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    let mut tally = Tally::default();
    let wanted = std::env::args().nth(1);
    let is_wanted = |suite: &str| wanted.as_deref().is_none_or(|wanted| wanted == suite);
    if is_wanted("one")
        && let Err(error) = run(&mut tally).await
    {
        tally.count("the suite runs to its end", Err(error));
    }
    if is_wanted("two")
        && let Err(error) = run_two(&mut tally).await
    {
        tally.count("the suite of two nodes runs to its end", Err(error));
    }
    tally.tell()
}

async fn run(tally: &mut Tally) -> Result<()> {
    let mut harness = Harness::start().await?;
    harness.pull(WORK).await?;
    harness.pull(BUSYBOX).await?;
    harness.warm().await?;
    let view = harness.kubelet_view();
    let before = Snapshot::take(&view)?;
    let shared = harness.sandbox().root().join("shared");
    fs::create_dir(&shared)?;
    let plane = ControlPlane::start(harness.sandbox(), ALONE)?;
    let kubelet = Some(Kubelet::join(harness.sandbox(), NODE, &plane.kubeconfig(NODE))?);
    let mut node = Node { plane, kubelet, shared, cgroup: harness.sandbox().cgroup_parent() };
    let result = claims(tally, &mut harness, &mut node).await;
    if tally.failed() > 0 || result.is_err() {
        println!("{}", node.plane.log_ends());
        println!("{}", node.kubelet.as_ref().map(Kubelet::log_end).unwrap_or_default());
        println!("{}", harness.daemon().map(|daemon| daemon.log()).unwrap_or_default());
    }
    drop(node);
    harness.remove_kubelet_groups()?;
    result?;
    tally.count("nothing is left", before.assert_nothing_left(&view));
    Ok(())
}

async fn run_two(tally: &mut Tally) -> Result<()> {
    let before = tally.failed();
    let mut nodes = Nodes::start().await?;
    for (claim, held) in &BOTH {
        tally.count(claim, held(&nodes));
    }
    let held = nodes.restart().await;
    tally.count("pods of both nodes go on under another daemon of one", held);
    let held = nodes.lose().await;
    tally.count("a node that is lost and comes back has nothing of what was made elsewhere", held);
    if tally.failed() > before {
        println!("{}", nodes.log_ends());
    }
    tally.count("nothing is left over CRI on either node", nodes.end().await);
    Ok(())
}

async fn claims(tally: &mut Tally, harness: &mut Harness, node: &mut Node) -> Result<()> {
    node.apply_all()?;
    for (claim, held) in PODS.iter().chain(&KINDS) {
        tally.count(claim, held(node));
    }
    let running = node.running()?;
    node.kubelet = None;
    node.kubelet = Some(Kubelet::join(harness.sandbox(), NODE, &node.plane.kubeconfig(NODE))?);
    harness.restart()?;
    let endpoint = harness.daemon().context("no daemon")?.endpoint();
    harness.client = Client::connect(&endpoint).await?;
    let held = node.goes_on(&running);
    tally.count("pods go on under another kubelet and another daemon", held);
    tally.count("a drained node has only what belongs to it, and gets the rest back", node.drain());
    node.delete_all()?;
    tally.count("nothing is left over CRI", harness.emptied().await);
    Ok(())
}
