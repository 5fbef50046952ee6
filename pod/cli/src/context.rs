//! What every command works with.

use crate::terminal::Told;
use anyhow::{Result, anyhow};
use rrun_cri::config::Config;
use rrun_cri::parts;
use rrun_images::gc::Policy;
use rrun_pod::node::Roots;
use rrun_pod::pull_records::VerificationPolicy;
use rrun_pod::supervise::{Entry, Store};
use std::path::PathBuf;
use std::sync::Arc;

/// Of all of this machine, whatever their `--root` and `--run`: two pods must not have the same ids.
const USERS: &str = "/run/rrun/users";

/// The configuration, the records of pods, and which runtime is asked for.
#[derive(Clone)]
pub struct Context {
    /// The configuration.
    pub config: Arc<Config>,
    /// The records of pods.
    pub store: Store,
    /// `--endpoint`
    pub endpoint: Option<String>,
}

impl Context {
    pub fn new(config: Config, endpoint: Option<String>) -> Context {
        let store = Store::new(config.root.join("rrun"), config.run.join("rrun"));
        Context { config: Arc::new(config), store, endpoint }
    }

    /// All pods, or those at `--endpoint`. What cannot be read is told on standard error.
    pub async fn pods(&self) -> Result<Vec<Entry>> {
        self.pods_again(&mut Told::default()).await
    }

    /// The same for who looks again and again.
    pub async fn pods_again(&self, told: &mut Told) -> Result<Vec<Entry>> {
        let (mut pods, broken) = self.store.all().await?;
        told.tell(broken);
        pods.retain(|pod| self.endpoint.is_none() || pod.definition.endpoint == self.endpoint);
        Ok(pods)
    }

    /// When images are collected, by the configuration.
    pub fn image_gc_policy(&self) -> Result<Policy> {
        parts::image_gc(&self.config).map_err(|error| anyhow!(error))
    }

    /// Which images that are here pods may use without asking their registry, by the configuration.
    pub fn verification_policy(&self) -> Result<VerificationPolicy> {
        let images = &self.config.images;
        let allowed = images.preloaded_images_verification_allowlist.clone();
        VerificationPolicy::new(&images.image_pull_credentials_verification_policy, allowed)
            .map_err(|e| anyhow!("configuration: images.{e}"))
    }

    /// Where it is on record who pulled which image of a runtime: that of this machine, or that at
    /// an endpoint.
    pub fn pulls(&self, endpoint: Option<&str>) -> PathBuf {
        let folder: String = match endpoint {
            None => "local".to_owned(),
            Some(url) => url.replace('%', "%25").replace('/', "%2F"),
        };
        self.config.root.join("pulls").join(folder)
    }

    /// The folders of the node under the pods of a runtime.
    pub fn roots(&self, endpoint: Option<&str>) -> Roots {
        let root = &self.config.root;
        Roots {
            volumes: root.join("volumes"),
            claims: root.join("claims"),
            logs: self.log_root(),
            seccomp: self.config.seccomp.profiles.clone(),
            pulls: self.pulls(endpoint),
            tombstones: self.tombstones(),
            users: PathBuf::from(USERS),
        }
    }

    /// Where tombstones of containers are.
    pub fn tombstones(&self) -> PathBuf {
        self.config.root.join("rrun")
    }

    /// Where the logs of a pod are.
    pub fn logs(&self, pod: &Entry) -> PathBuf {
        let folder = format!("{}_{}_{}", pod.namespace, pod.name, pod.uid);
        self.log_root().join(folder)
    }

    /// Where the logs of all pods are.
    pub fn log_root(&self) -> PathBuf {
        self.config.root.join("logs")
    }
}
