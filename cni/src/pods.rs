//! The blocking half of the network: the records of pods, and the built-in bridge.

use crate::attachment::{Attached, Attachment, RecordedAttachment};
use crate::bridge::{Bridge, Rates};
use crate::config::Config;
use crate::error::{Context, Error, Kind, Result};
use crate::plugin;
use crate::record::{Provider, Record};
use crate::selection::Selected;
use crate::store::Store;
use rrun_sys::step;
use std::sync::Arc;

/// What waits for the database and the kernel. [`crate::Network`] calls it on threads that may
/// block, and nobody else does.
pub struct Pods {
    store: Arc<Store>,
    bridge: Bridge,
}

/// A network of plugins that has to be asked for its DEL.
pub struct ByPlugins {
    pub network: plugin::Network,
    pub attachment: Attachment,
    /// What ADD answered, if it did.
    pub result: Option<String>,
}

impl Pods {
    pub fn open(config: &Config) -> Result<Pods> {
        let store = Arc::new(Store::open(&config.state_dir)?);
        let bridge = Bridge::new(config, Arc::clone(&store));
        Ok(Pods { store, bridge })
    }

    /// Records what is about to be attached, and by what.
    pub fn begin(&self, a: &Attachment, selected: Selected) -> Result<Provider> {
        let provider = match selected {
            Selected::Bridge(passed_over) => {
                Rates::of(a)?;
                if let Some(why) = passed_over {
                    tracing::warn!(id = a.id, "{why}");
                }
                Provider::Bridge(self.bridge.names(&a.id))
            }
            Selected::Plugins(network) => Provider::Plugins(network),
        };
        // Plugins keep state on disk that outlives a power cut; the bridge does not.
        let durable = matches!(provider, Provider::Plugins(_));
        let record = Record::new(a, provider);
        let json = record.to_json()?;
        step::run("cni.add.record", || self.store.insert(&a.id, &json, durable))?;
        Ok(record.provider)
    }

    /// Attaches a pod to the built-in bridge.
    pub fn attach(&self, a: &Attachment, names: &crate::bridge::Names) -> Result<Attached> {
        self.end(&a.id, self.bridge.add(a, names)?)
    }

    /// Records what came of it.
    pub fn end(&self, id: &str, attached: Attached) -> Result<Attached> {
        step::run("cni.add.result", || self.store.set_result(id, &attached.result))?;
        Ok(attached)
    }

    /// Detaches a pod from the built-in bridge and forgets it; what plugins attached is theirs to
    /// detach.
    pub fn detach(&self, id: &str) -> Result<Option<ByPlugins>> {
        let Some(row) = self.store.get(id)? else { return Ok(None) };
        match Record::parse(&row).map(|record| (record.provider, record.attachment)) {
            Ok((Provider::Plugins(network), attachment)) => {
                return Ok(Some(ByPlugins { network, attachment, result: row.result }));
            }
            Ok((Provider::Bridge(names), _)) => self.bridge.del(id, &names)?,
            // Everything of ours is found by the id; what plugins made is theirs to collect.
            Err(e) => {
                tracing::warn!(id, "network record is lost, detaching by its id: {e}");
                self.bridge.del(id, &self.bridge.names(id))?;
            }
        }
        self.forget(id)?;
        Ok(None)
    }

    /// Gives back what the built-in bridge has for `id`, of which there is no record.
    ///
    /// # Errors
    /// `Exists` if there is one by now.
    pub fn give_back(&self, id: &str) -> Result<()> {
        match self.store.get(id)? {
            Some(_) => Err(Error::new(Kind::Exists, format!("{id} is attached by now"))),
            None => self.bridge.del(id, &self.bridge.names(id)),
        }
    }

    /// Ends a record.
    pub fn forget(&self, id: &str) -> Result<()> {
        step::run("cni.del.record", || self.store.remove(id))
    }

    /// Every record.
    pub fn attachments(&self) -> Result<Vec<RecordedAttachment>> {
        let rows = self.store.all().context(|| "list attachments")?;
        Ok(rows
            .iter()
            .map(|row| match Record::parse(row) {
                Ok(record) => record.summary(row),
                Err(e) => {
                    tracing::warn!(id = row.id, "network record is lost: {e}");
                    let (id, attached) = (row.id.clone(), row.result.is_some());
                    RecordedAttachment {
                        id,
                        network: String::new(),
                        netns: "".into(),
                        created: 0,
                        attached,
                    }
                }
            })
            .collect())
    }
}
