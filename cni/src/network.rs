//! The network of this node, as its callers see it.

use crate::attachment::{Attached, Attachment, Entry, check_id, refuse_bandwidth};
use crate::bridge::Bridge;
use crate::config::{Config, Mode};
use crate::error::{Context, Error, Kind, Result};
use crate::plugin::{self, Runner};
use crate::record::{Record, Via};
use crate::store::Store;
use rrun_sys::step;
use serde_json::json;
use std::sync::Arc;

/// The reason that the kubelet and every runtime use.
const NOT_READY: &str = "NetworkPluginNotReady";

/// Whether pods can be attached, and to what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Whether [`Network::add`] can work now.
    pub ready: bool,
    /// `NetworkPluginNotReady`, or empty.
    pub reason: &'static str,
    /// Why not, for people: the file and what is wrong with it.
    pub message: String,
    /// Why the first configuration cannot be used (`lastCNILoadStatus`); `None` if it can, or if
    /// there is none.
    pub load_error: Option<String>,
    /// The configuration in use, as JSON, for verbose status (`cniconfig`).
    pub config: String,
}

/// The network of this node. Clones share everything.
#[derive(Clone)]
pub struct Network {
    shared: Arc<Shared>,
}

struct Shared {
    config: Config,
    store: Arc<Store>,
    bridge: Bridge,
}

/// What the next ADD goes through.
enum Chosen {
    Bridge,
    Plugins(plugin::Network),
}

impl Network {
    /// Opens the shared records. Makes nothing else: the bridge comes with the first ADD.
    ///
    /// # Errors
    /// `Invalid` settings; a state folder that cannot be written.
    pub fn open(config: Config) -> Result<Network> {
        config.check().context(|| "network")?;
        let store = Arc::new(Store::open(&config.state_dir).context(|| "network")?);
        let bridge = Bridge::new(&config, Arc::clone(&store));
        Ok(Network { shared: Arc::new(Shared { config, store, bridge }) })
    }

    /// Whether pods can be attached now: by the folder's first file, and whether its plugins are
    /// there.
    pub fn status(&self) -> Status {
        match self.shared.choose() {
            Ok(chosen) => Status {
                ready: true,
                reason: "",
                message: String::new(),
                load_error: None,
                config: self.shared.describe(&chosen),
            },
            Err(e) => Status {
                ready: false,
                reason: NOT_READY,
                message: format!("Network plugin returns error: {e}"),
                load_error: (e.kind() != Kind::Unavailable).then(|| e.to_string()),
                config: "{}".into(),
            },
        }
    }

    /// Attaches a namespace. The ledger is written first; after a failure what was done is taken
    /// back, and what could not be stays in the ledger.
    ///
    /// Dropping the future stops waiting; the built-in bridge finishes, a plugin is killed. Either
    /// way the entry stays until [`Network::del`].
    ///
    /// # Errors
    /// `Exists` when the ledger has this id; `Unavailable` without a network or when a plugin wants
    /// to be tried again.
    pub async fn add(&self, a: &Attachment) -> Result<Attached> {
        self.try_add(a).await.context(|| "add")
    }

    async fn try_add(&self, a: &Attachment) -> Result<Attached> {
        a.check()?;
        let via = match self.shared.choose()? {
            Chosen::Bridge => {
                refuse_bandwidth(&a.annotations)?;
                Via::Bridge(self.shared.bridge.names(&a.id))
            }
            Chosen::Plugins(network) => Via::Plugins(network),
        };
        let record = Record::new(a, via);
        let (shared, id) = (Arc::clone(&self.shared), a.id.clone());
        let record = blocking(move || shared.begin(&id, &record).map(|()| record)).await?;
        // From here on there is something to take back, even if nothing was done.
        match self.attach(a, record.via).await {
            Ok(attached) => Ok(attached),
            Err(e) => match self.try_del(&a.id).await {
                Ok(()) => Err(e),
                Err(left) => Err(Error::new(e.kind(), format!("{e} (left in the ledger: {left})"))),
            },
        }
    }

    async fn attach(&self, a: &Attachment, via: Via) -> Result<Attached> {
        let (shared, a) = (Arc::clone(&self.shared), a.clone());
        match via {
            Via::Bridge(names) => {
                blocking(move || shared.end(&a.id, shared.bridge.add(&a, &names)?)).await
            }
            Via::Plugins(network) => {
                let attached = self.shared.runner().add(&network, &a).await?;
                blocking(move || shared.end(&a.id, attached)).await
            }
        }
    }

    /// Detaches by the ledger's record of the ADD, whatever the folder holds by now. Unknown is
    /// done; a namespace that is gone is no error.
    ///
    /// # Errors
    /// A plugin that fails or is not there; the entry stays then.
    pub async fn del(&self, id: &str) -> Result<()> {
        self.try_del(id).await.context(|| "del")
    }

    async fn try_del(&self, id: &str) -> Result<()> {
        check_id(id)?;
        let shared = Arc::clone(&self.shared);
        let id = id.to_owned();
        let plugins = blocking(move || {
            let Some(row) = shared.store.get(&id)? else { return Ok(None) };
            match Record::parse(&row).map(|record| (record.via, record.attachment)) {
                Ok((Via::Plugins(network), attachment)) => {
                    return Ok(Some((network, attachment, row.result)));
                }
                Ok((Via::Bridge(names), _)) => shared.bridge.del(&id, &names)?,
                // Everything of ours is found by the id; what plugins made is theirs to collect.
                Err(e) => {
                    tracing::warn!(id, "network record is lost, detaching by its id: {e}");
                    shared.bridge.del(&id, &shared.bridge.names(&id))?;
                }
            }
            step::only("cni.del.ledger", || shared.store.remove(&id))?;
            Ok(None)
        })
        .await?;
        let Some((network, attachment, result)) = plugins else { return Ok(()) };
        self.shared.runner().del(&network, &attachment, result.as_deref()).await?;
        step::only("cni.del.ledger", || self.shared.store.remove(&attachment.id))
    }

    /// Every ADD whose DEL has not succeeded yet, of every process of this machine. After a crash
    /// or a reboot the caller detaches those it does not know.
    pub fn ledger(&self) -> Result<Vec<Entry>> {
        let rows = self.shared.store.all().context(|| "ledger")?;
        Ok(rows
            .iter()
            .map(|row| match Record::parse(row) {
                Ok(record) => record.entry(row),
                Err(e) => {
                    tracing::warn!(id = row.id, "network record is lost: {e}");
                    let (id, attached) = (row.id.clone(), row.result.is_some());
                    Entry { id, network: String::new(), netns: "".into(), created: 0, attached }
                }
            })
            .collect())
    }

    /// What an ADD that succeeded has got; `None` if there was none.
    pub fn status_of(&self, id: &str) -> Result<Option<Attached>> {
        let status_of = || format!("status of {id}");
        let result = self.shared.store.get(id).context(status_of)?.and_then(|row| row.result);
        let Some(result) = result else { return Ok(None) };
        let ips = plugin::addresses(&result).context(status_of)?;
        Ok(Some(Attached { ips, result }))
    }
}

impl Shared {
    fn runner(&self) -> Runner<'_> {
        let Config { bin_dirs, plugin_timeout, .. } = &self.config;
        Runner { bin_dirs, timeout: *plugin_timeout }
    }

    fn choose(&self) -> Result<Chosen> {
        let first = match self.config.mode {
            Mode::Builtin => None,
            Mode::Auto | Mode::Cni => plugin::first(&self.config.conf_dir)?,
        };
        match (first, self.config.mode) {
            (Some(network), _) => {
                // Told before a pod is begun: a failed ADD would want a DEL from it as well.
                self.runner().check(&network)?;
                Ok(Chosen::Plugins(network))
            }
            (None, Mode::Cni) => Err(Error::new(
                Kind::Unavailable,
                format!("no network config found in {}", self.config.conf_dir.display()),
            )),
            (None, _) => Ok(Chosen::Bridge),
        }
    }

    fn describe(&self, chosen: &Chosen) -> String {
        let config = match chosen {
            Chosen::Bridge => json!({
                "name": self.config.bridge,
                "type": "builtin-bridge",
                "table": self.config.table,
                "subnet": self.config.subnet.map(|subnet| subnet.to_string()),
            }),
            Chosen::Plugins(network) => network.list(),
        };
        config.to_string()
    }

    fn begin(&self, id: &str, record: &Record) -> Result<()> {
        // Plugins keep state on disk that outlives a power cut; the bridge does not.
        let durable = matches!(record.via, Via::Plugins(_));
        let json = record.to_json()?;
        step::only("cni.add.ledger", || self.store.insert(id, &json, durable))
    }

    fn end(&self, id: &str, attached: Attached) -> Result<Attached> {
        step::only("cni.add.result", || self.store.set_result(id, &attached.result))?;
        Ok(attached)
    }
}

/// Runs what waits for the kernel and the disk where it holds up no other task.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(e) if e.is_panic() => std::panic::resume_unwind(e.into_panic()),
        Err(e) => Err(Error::new(Kind::Internal, e)),
    }
}
