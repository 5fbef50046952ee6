//! Everything that works on one pod, in this process.

use anyhow::{Result, anyhow};
use rrun_cri::config::Config;
use rrun_cri::rooms;
use rrun_cri::service::Service;
use rrun_engine::{Claim, Owner};
use rrun_pod::PodEngine;
use rrun_pod::clock::Clock;
use rrun_pod::node::{LinuxNode, Roots};
use std::sync::Arc;

/// The owner of pods that `rrun` made.
const OWNER: &str = "rrun";

/// The container engine with one pod claimed, and the pod engine over it.
pub struct Node {
    /// The container engine as a CRI server.
    pub cri: Arc<Service>,
    /// The pod engine.
    pub pods: PodEngine,
}

/// Opens the engines for the pod with this uid, whose shelf the caller holds.
pub async fn open(config: &Arc<Config>, uid: &str) -> Result<Node> {
    let owner = Owner::Engine(OWNER.to_owned());
    let claim = Claim::Pod(owner.clone(), uid.to_owned());
    let rooms = rooms::open(config, claim).await.map_err(|error| anyhow!(error))?;
    let service = Service::start(rooms, owner, Arc::clone(config)).await;
    let service =
        service.map_err(|error| anyhow!("streaming on {}: {error}", config.streaming.address))?;
    let cri = Arc::new(service);
    let roots = Roots {
        volumes: config.root.join("volumes"),
        logs: config.root.join("logs"),
        cgroup: config.cgroup.parent.clone(),
        seccomp: config.seccomp.profiles.clone(),
    };
    let node = Arc::new(LinuxNode::new(roots)?);
    let pods = PodEngine::new(cri.clone(), node, Clock::system()).await?;
    Ok(Node { cri, pods })
}
