//! The runtime that has a pod, and the pod engine over it.

use crate::collector::Collector;
use crate::context::Context;
use crate::pod_cgroups;
use crate::terminal;
use anyhow::{Result, anyhow};
use async_trait::async_trait;
use rrun_cri::config::{Config, Streaming};
use rrun_cri::current::Current;
use rrun_cri::parts;
use rrun_cri::service::Service;
use rrun_cri_api::{Client, Cri, server, v1};
use rrun_engine::{Owner, Takeover};
use rrun_images::Store;
use rrun_images::gc::Policy;
use rrun_pod::clock::Clock;
use rrun_pod::error::Kind;
use rrun_pod::gc::policy::GcPolicy;
use rrun_pod::node::LinuxNode;
use rrun_pod::supervise::container_gc::{self, ContainerGc};
use rrun_pod::supervise::image_gc::ImageGc;
use rrun_pod::supervise::reach::{Reach, Reached};
use rrun_pod::supervise::rotate::Limits;
use rrun_pod::supervise::{Entry, LockedPod, Supervision, control};
use rrun_pod::{PodEngine, PodHandle};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::service::Routes;

/// How long a CRI server of others may take to tell its version: it may have been stopped.
const ANSWER: Duration = Duration::from_secs(30);

/// The owner of pods that `rrun` made.
const OWNER: &str = "rrun";

/// A runtime and the pod engine over it.
pub struct Runtime {
    /// The runtime.
    pub cri: Arc<dyn Cri>,
    /// The pod engine.
    pub pods: PodEngine,
    /// The node under the pods.
    node: Arc<LinuxNode>,
    /// The runtime as a server, if it is in this process.
    routes: Option<Routes>,
    /// Its images, likewise.
    images: Option<Store>,
}

impl Runtime {
    /// Opens the runtime of a pod that the caller has locked.
    pub async fn open(context: &Context, pod: &Entry) -> Result<Runtime> {
        let endpoint = pod.definition.endpoint.as_deref();
        Runtime::with(context, endpoint, pod_of(pod.uid.as_str())).await
    }

    /// Opens the runtime of this machine, with no pod in it.
    pub async fn without_pods(context: &Context) -> Result<Runtime> {
        Runtime::with(context, None, pod_of("")).await
    }

    /// Opens the runtime of this machine with these pods, each of which the caller has locked.
    pub async fn with_pods(context: &Context, uids: BTreeSet<String>) -> Result<Runtime> {
        Runtime::with(context, None, Takeover::Pods(owner(), uids)).await
    }

    async fn with(
        context: &Context,
        endpoint: Option<&str>,
        takeover: Takeover,
    ) -> Result<Runtime> {
        let (cri, routes, images): (Arc<dyn Cri>, _, _) = match endpoint {
            Some(endpoint) => (connect(endpoint).await?, None, None),
            None => {
                let (service, images) = in_process(context, takeover).await?;
                let routes = server::Service::new(service.clone()).routes();
                (service, Some(routes), Some(images))
            }
        };
        let roots = context.roots(endpoint);
        let cgroups = pod_cgroups::of_runtime(context, &*cri).await?;
        let node = Arc::new(LinuxNode::new(roots, cgroups, Arc::new(context.store.clone()))?);
        let pods = PodEngine::new(cri.clone(), node.clone(), Clock::system()).await?;
        let pods = pods.with_verification(context.verification_policy()?);
        Ok(Runtime { cri, pods, node, routes, images })
    }

    /// With these unsafe sysctls allowed, and so many dead containers kept.
    pub fn allowing(self, sysctls: Vec<String>, gc: GcPolicy) -> Runtime {
        Runtime { pods: self.pods.with_unsafe_sysctls(sysctls).with_gc(gc), ..self }
    }

    /// Runs a pod from where it was left, and listens for others.
    pub async fn attend(&self, context: &Context, pod: &LockedPod) -> Result<Attended> {
        let listen = control::listen(&context.store, pod, self.routes.clone());
        let (sockets, requests) = listen.await?;
        let definition = pod.entry.pod()?;
        let handle = match &pod.entry.state {
            Some(state) => self.pods.resume(definition, state.clone()),
            None => self.pods.run(definition),
        };
        Ok(Attended { handle: Arc::new(handle), sockets, requests })
    }

    /// What the supervision of a pod leans on.
    pub fn supervision(&self, logs: &Path, limits: Limits) -> Supervision {
        let (cri, logs) = (self.cri.clone(), logs.to_owned());
        let clock = Clock::system();
        Supervision { cri, logs, limits, clock, image_gc: None, container_gc: None }
    }

    /// The images, where they are in this process.
    pub fn images(&self) -> Option<Store> {
        self.images.clone()
    }

    /// Who collects the images of this machine. Those of a CRI server of others are not ours.
    pub fn image_gc(&self, context: &Context, policy: Policy) -> Option<ImageGc> {
        let images = self.images.clone().filter(|_| !policy.is_off())?;
        let (collector, node) = (Arc::new(Collector { images, policy }), self.node.clone());
        Some(ImageGc { collector, node, clock: Clock::system(), store: context.store.clone() })
    }

    /// Who collects the dead containers of all pods of `rrun`.
    pub fn container_gc(&self, context: &Context, policy: GcPolicy) -> ContainerGc {
        let reach = Arc::new(AnyPod(context.clone()));
        let (node, clock) = (self.node.clone(), Clock::system());
        let period = container_gc::PERIOD;
        ContainerGc { reach, node, clock, policy, period, store: context.store.clone() }
    }

    /// Removes all that is left of an ended pod.
    pub async fn forget(&self, pod: LockedPod) -> rrun_pod::error::Result<()> {
        use rrun_pod::error::Context as _;
        let full = pod.entry.full_name();
        self.pods.remove(&pod.entry.pod()?).await.context(|| format!("remove pod {full}"))?;
        pod.discard().await
    }
}

/// A pod that runs and can be reached.
pub struct Attended {
    /// The pod.
    pub handle: Arc<PodHandle>,
    /// Dropped when nobody is to be answered any more.
    pub sockets: control::Sockets,
    /// What others ask for.
    pub requests: mpsc::Receiver<control::Asked>,
}

/// The way to the runtimes of all pods.
struct AnyPod(Context);

#[async_trait]
impl Reach for AnyPod {
    async fn reach(&self, pod: &Entry) -> rrun_pod::error::Result<Reached> {
        reach(&self.0, pod).await.map_err(|e| {
            let causes: Vec<String> = e.chain().map(rrun_error::reason).collect();
            rrun_pod::error::Error::new(Kind::Unavailable, causes.join(": "))
        })
    }
}

/// Does `work` through what [`reach`] answers, and gives it up when the `rrun` that runs the pod says
/// nothing any more.
pub async fn alongside<T>(
    context: &Context,
    pod: &Entry,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    if pod.definition.endpoint.is_some() {
        return work.await;
    }
    control::alongside(&context.store, &pod.uid, work, |words| terminal::tell(words)).await?
}

/// The runtime that has a pod: through the process that runs it, else in this one.
pub async fn reach(context: &Context, pod: &Entry) -> Result<Reached> {
    if let Some(endpoint) = &pod.definition.endpoint {
        return Ok(Reached { cri: connect(endpoint).await?, locked: None });
    }
    let locked = context.store.lock_existing(pod).await?;
    let cri: Arc<dyn Cri> = if locked.is_some() {
        in_process(context, pod_of(pod.uid.as_str())).await?.0
    } else {
        let socket = context.store.socket(&pod.uid, "cri");
        Arc::new(Client::connect(&format!("unix://{}", socket.display())).await?)
    };
    Ok(Reached { cri, locked })
}

/// A CRI server of others. One that answers nothing at first is given up.
pub async fn connect(endpoint: &str) -> Result<Arc<Client>> {
    let answer = async {
        let client = Client::connect(endpoint).await;
        let client = client.map_err(|status| anyhow!("{}", status.message()))?;
        let request = v1::VersionRequest { version: "v1".to_owned() };
        let version = client.version(request).await;
        version.map_err(|status| anyhow!("{endpoint}: {}", status.message()))?;
        Ok(Arc::new(client))
    };
    let silent = |_| anyhow!("{endpoint}: it has not told its version in {ANSWER:?}");
    timeout(ANSWER, answer).await.map_err(silent)?
}

fn owner() -> Owner {
    Owner::Engine(OWNER.to_owned())
}

fn pod_of(uid: &str) -> Takeover {
    Takeover::Pod(owner(), uid.to_owned())
}

/// The container engine with pods taken over.
async fn in_process(context: &Context, takeover: Takeover) -> Result<(Arc<Service>, Store)> {
    let config = &context.config;
    let owner = owner();
    // Of the daemon alone: each process serves its own streams, and is their only client.
    let streaming = Streaming::default();
    let current = Current::new(Config { streaming, ..config.as_ref().clone() });
    let parts = parts::open(&current, takeover).await.map_err(|error| anyhow!(error))?;
    let images = parts.images.clone();
    let service = Service::start(parts, owner, &current).await;
    let service = service.map_err(|error| anyhow!(error))?;
    Ok((Arc::new(service), images))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_cri_server_that_accepts_and_says_nothing_is_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("cri.sock");
        let _listener = tokio::net::UnixListener::bind(&socket).unwrap();
        let endpoint = format!("unix://{}", socket.display());
        let error = connect(&endpoint).await.err().unwrap().to_string();
        assert_eq!(error, format!("{endpoint}: it has not told its version in 30s"));
    }
}
