//! Plugins of the Node Resource Interface: the engine's view of them, and theirs of it.

mod convert;

use crate::config::Nri as Settings;
use async_trait::async_trait;
use rrun_engine::ports::{ContainerInfo, Moment, PodInfo, Wishes};
use rrun_engine::{Engine, Error, Kind, Noted, Owner, Result};
use rrun_nri::api::{Container, ContainerEviction, ContainerUpdate, PodSandbox};
use rrun_nri::{Config, Plugins};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Plugins, as the engine tells them.
pub struct Nri(Arc<Plugins>);

impl Nri {
    /// None yet.
    pub fn new(settings: &Settings) -> Nri {
        let config = Config {
            socket: (!settings.disable_connections).then(|| settings.socket_path.clone()),
            plugins: settings.plugin_path.clone(),
            plugin_configs: settings.plugin_config_path.clone(),
            registration_timeout: Duration::from_secs(settings.plugin_registration_timeout),
            request_timeout: Duration::from_secs(settings.plugin_request_timeout),
            runtime_name: "rrun".to_owned(),
            runtime_version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        Nri(Plugins::new(config, settings.required_plugins.clone()))
    }

    /// Starts those that are installed, and listens for others.
    ///
    /// # Errors
    /// When it cannot be listened.
    pub async fn start(&self, engine: Engine, owner: Owner) -> io::Result<()> {
        self.0.start(Arc::new(Pods { engine, owner })).await
    }

    /// Ends their connections.
    pub fn stop(&self) {
        self.0.stop();
    }
}

#[async_trait]
impl rrun_engine::ports::Plugins for Nri {
    fn hear(&self, moment: &Moment) -> bool {
        self.0.hear(convert::event(moment))
    }

    async fn tell(
        &self,
        moment: Moment,
        pod: PodInfo,
        container: Option<ContainerInfo>,
    ) -> Result<Wishes> {
        let spec = container.as_ref().map(|container| container.spec.clone());
        let notice = convert::notice(moment, &pod, container.as_ref());
        let answer = self.0.tell(notice).await.map_err(refused)?;
        convert::wishes(answer, spec).map_err(Error::invalid)
    }
}

/// What a plugin says no to is its policy, as far as the client can tell.
fn refused(error: rrun_nri::Error) -> Error {
    match error.kind() {
        rrun_nri::Kind::Refused | rrun_nri::Kind::Closed => {
            Error::new(Kind::FailedPrecondition, error.to_string())
        }
        rrun_nri::Kind::Invalid => Error::invalid(error.to_string()),
    }
}

/// The pods of one owner, as plugins see them.
struct Pods {
    engine: Engine,
    owner: Owner,
}

#[async_trait]
impl rrun_nri::Runtime for Pods {
    fn mark(&self) -> Box<dyn rrun_nri::Known> {
        Box::new(Known(self.engine.noted(&self.owner)))
    }

    async fn change(
        &self,
        updates: Vec<ContainerUpdate>,
        evictions: Vec<ContainerEviction>,
    ) -> Vec<ContainerUpdate> {
        let (mut wished, mut failed) = (Vec::new(), Vec::new());
        for update in &updates {
            match convert::update(update) {
                Ok(update) => wished.push(update),
                Err(error) => {
                    tracing::warn!(container = update.container_id, error, "a plugin's update");
                    failed.push(update.container_id.clone());
                }
            }
        }
        let evictions = evictions.into_iter().map(|one| (one.container_id, one.reason)).collect();
        let not_done = self.engine.grant(&self.owner, wished, evictions).await;
        failed.extend(not_done.into_iter().map(|update| update.container));
        updates.into_iter().filter(|update| failed.contains(&update.container_id)).collect()
    }
}

struct Known(Noted);

#[async_trait]
impl rrun_nri::Known for Known {
    async fn describe(self: Box<Self>) -> (Vec<PodSandbox>, Vec<Container>) {
        let (mut pods, mut containers) = (Vec::new(), Vec::new());
        for (pod, all) in self.0.describe().await {
            containers.extend(all.iter().map(|one| convert::container(&pod.id, one)));
            pods.push(convert::pod(&pod));
        }
        (pods, containers)
    }
}
