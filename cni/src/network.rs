//! The network of this node, as its callers see it: asynchronous, and whatever waits for a disk, the
//! database or the kernel goes through [`Blocking`].

use crate::attachment::{Attached, Attachment, RecordedAttachment, check_id};
use crate::config::Config;
use crate::error::{Context, Error, Kind, Result};
use crate::plugin::Runner;
use crate::pods::{ByPlugins, Pods};
use crate::record::Provider;
use crate::selection::{Folders, Selected};
use crate::template::Filled;
use rrun_blocking::{Blocking, Patience};
use serde_json::json;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// The reason that the kubelet and every runtime use.
const NOT_READY: &str = "NetworkPluginNotReady";

/// How many calls may wait for the database or the kernel: each blocks a thread.
const AT_ONCE: usize = 16;

/// How long the disk of the records may take when a pod is detached.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whether pods can be attached, and to what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Whether [`Network::add`] can work now.
    pub ready: bool,
    /// `NetworkPluginNotReady`, or empty.
    pub reason: &'static str,
    /// For people. Not ready: the file and what is wrong with it. Ready: what is not as it should
    /// be all the same, as a configuration that was passed over; mostly empty.
    pub message: String,
    /// The network in use, as JSON, for verbose status (`cniconfig`).
    pub config: String,
}

/// The network of this node. Clones share everything.
#[derive(Clone)]
pub struct Network {
    config: Arc<Config>,
    /// Apart from `pods`: a database that stalls does not hold up a status.
    folders: Blocking<Folders>,
    pods: Blocking<Pods>,
    plugins: Arc<Runner>,
    patience: Patience,
}

impl Network {
    /// Opens the shared records. Makes nothing else: the bridge comes with the first ADD.
    ///
    /// # Errors
    /// `Invalid` settings; a state folder that cannot be written; records that are damaged while
    /// another process has them open.
    pub async fn open(config: Config) -> Result<Network> {
        config.check().context(|| "network")?;
        let config = Arc::new(config);
        let opened = Blocking::new(Arc::clone(&config), 1).call(|config| Pods::open(config)).await;
        let plugins = Runner::new(config.settings.clone(), config.plugin_timeout, AT_ONCE);
        Ok(Network {
            plugins: Arc::new(plugins),
            patience: Patience::new(PATIENCE),
            folders: Blocking::new(Folders::new(&config), AT_ONCE),
            pods: Blocking::new(opened.context(|| "network")?, AT_ONCE),
            config,
        })
    }

    /// Whether pods can be attached now: by the folder's first file, and whether its plugins are
    /// there.
    pub async fn status(&self) -> Status {
        match self.folders.call(Folders::select).await {
            Ok(selected) => Status {
                ready: true,
                reason: "",
                config: self.describe(&selected),
                message: match selected {
                    Selected::Plugins(_) => String::new(),
                    Selected::Bridge(passed_over) => {
                        let lost = self.folders.call(Folders::lost).await;
                        passed_over.into_iter().chain(lost).collect::<Vec<_>>().join("; ")
                    }
                },
            },
            Err(e) => Status {
                ready: false,
                reason: NOT_READY,
                message: format!("Network plugin returns error: {e}"),
                config: "{}".into(),
            },
        }
    }

    /// Fills the configured template of a network configuration with the addresses of the node's
    /// pods, bases with their prefix bits, as the kubelet tells them. The next ADD goes by it.
    ///
    /// # Errors
    /// `Invalid` for a template that is broken, by its name.
    pub async fn fill_template(&self, cidrs: Vec<(IpAddr, u8)>) -> Result<Filled> {
        self.folders.call(move |folders| folders.fill(&cidrs)).await.context(|| "network template")
    }

    /// Attaches a namespace. Its record is written first; after a failure what was done is taken
    /// back, and the record of what could not be stays.
    ///
    /// Dropping the future stops waiting; the built-in bridge finishes, a plugin is killed. Either
    /// way the record stays until [`Network::del`].
    ///
    /// # Errors
    /// `Exists` when this id is on record; `Unavailable` without a network or when a plugin wants
    /// to be tried again.
    pub async fn add(&self, a: &Attachment) -> Result<Attached> {
        self.try_add(a).await.context(|| "add")
    }

    async fn try_add(&self, a: &Attachment) -> Result<Attached> {
        a.check()?;
        let selected = self.folders.call(Folders::select).await?;
        let attachment = a.clone();
        let provider = self.pods.call(move |pods| pods.begin(&attachment, selected)).await?;
        // From here on there is something to take back, even if nothing was done.
        match self.attach(a, provider).await {
            Ok(attached) => Ok(attached),
            Err(e) => match self.try_del(&a.id).await {
                Ok(()) => Err(e),
                Err(left) => Err(Error::new(e.kind(), format!("{e} (its record stays: {left})"))),
            },
        }
    }

    async fn attach(&self, a: &Attachment, provider: Provider) -> Result<Attached> {
        match provider {
            Provider::Bridge(names) => {
                let a = a.clone();
                self.pods.call(move |pods| pods.attach(&a, &names)).await
            }
            Provider::Plugins(network) => {
                let attached = self.plugins.add(&network, a).await?;
                let id = a.id.clone();
                self.pods.call(move |pods| pods.end(&id, attached)).await
            }
        }
    }

    /// Detaches by the record of the ADD, whatever the folder holds by now. Unknown is
    /// done; a namespace that is gone is no error.
    ///
    /// # Errors
    /// A plugin that fails or is not there; the record stays then. `Timeout` when the disk of the
    /// records hangs, at once behind another one that waits for it: what has begun is done later.
    pub async fn del(&self, id: &str) -> Result<()> {
        self.try_del(id).await.context(|| "del")
    }

    async fn try_del(&self, id: &str) -> Result<()> {
        check_id(id)?;
        let own = id.to_owned();
        let by_plugins = self.in_time(move |pods| pods.detach(&own)).await?;
        let Some(ByPlugins { network, attachment, result }) = by_plugins else { return Ok(()) };
        self.plugins.del(&network, &attachment, result.as_deref()).await?;
        let own = id.to_owned();
        self.in_time(move |pods| pods.forget(&own)).await
    }

    /// Gives back what the built-in bridge has for `id`, of which there is no record.
    pub(crate) async fn give_back(&self, id: &str) -> Result<()> {
        let own = id.to_owned();
        self.pods.call(move |pods| pods.give_back(&own)).await.context(|| "give back")
    }

    /// Waits for the database, but not for one that hangs: who stops a pod has nothing from it.
    async fn in_time<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Pods) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let patience = self.patience.clone();
        let done = self.pods.call(move |pods| {
            let done = work(pods);
            patience.came_back();
            done
        });
        self.patience.wait(done).await.unwrap_or_else(|| {
            let limit = self.patience.limit();
            let why = format!("the disk of the network's records has not answered in {limit:?}");
            Err(Error::new(Kind::Timeout, why))
        })
    }

    /// Every ADD whose DEL has not succeeded yet, of every process of this machine. After a crash
    /// or a reboot the caller detaches those it does not know.
    ///
    /// # Errors
    /// Of the database.
    pub async fn attachments(&self) -> Result<Vec<RecordedAttachment>> {
        self.pods.call(Pods::attachments).await
    }

    fn describe(&self, selected: &Selected) -> String {
        let config = match selected {
            Selected::Bridge(_) => json!({
                "name": self.config.bridge,
                "type": "builtin-bridge",
                "table": self.config.table,
                "subnet": self.config.subnet.map(|subnet| subnet.to_string()),
                "subnet6": self.config.subnet6.map(|subnet| subnet.to_string()),
            }),
            Selected::Plugins(network) => network.list(),
        };
        config.to_string()
    }
}
