//! What every command works with.

use anyhow::Result;
use rrun_cri::config::Config;
use rrun_pod::supervise::{Entry, Store};
use std::path::PathBuf;
use std::sync::Arc;

/// The configuration, the records of pods, and which runtime is asked for.
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
    pub fn pods(&self) -> Result<Vec<Entry>> {
        let (mut pods, broken) = self.store.all()?;
        for error in broken {
            eprintln!("rrun: {error}");
        }
        pods.retain(|pod| self.endpoint.is_none() || pod.definition.endpoint == self.endpoint);
        Ok(pods)
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
