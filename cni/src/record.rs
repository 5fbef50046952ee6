//! What is on record of an attachment: everything that DEL needs, whatever the folder of
//! configurations holds by then.

use crate::attachment::{Attachment, RecordedAttachment};
use crate::bridge;
use crate::error::{Context, Error, Result};
use crate::plugin;
use crate::store::Row;
use serde::{Deserialize, Serialize};
use std::time::{SystemTime, UNIX_EPOCH};

const VERSION: u32 = 1;

/// What was to be attached, when and by what.
#[derive(Debug, Serialize, Deserialize)]
pub struct Record {
    version: u32,
    created: u64,
    pub attachment: Attachment,
    pub provider: Provider,
}

/// Who attaches a pod, and has to detach it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    Bridge(bridge::Names),
    Plugins(plugin::Network),
}

impl Record {
    pub fn new(attachment: &Attachment, provider: Provider) -> Record {
        let created = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Record { version: VERSION, created, attachment: attachment.clone(), provider }
    }

    pub fn to_json(&self) -> Result<String> {
        serde_json::to_string(self).map_err(|e| Error::invalid(e).context("record"))
    }

    /// # Errors
    /// `Invalid` for what is torn, or written by a newer version.
    pub fn parse(row: &Row) -> Result<Record> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let parse = || {
            let Version { version } = serde_json::from_str(&row.record)?;
            match version {
                VERSION => serde_json::from_str(&row.record),
                newer => Err(serde::de::Error::custom(format!("written by version {newer}"))),
            }
        };
        parse().map_err(Error::invalid).context(|| format!("record of {}", row.id))
    }

    pub fn summary(&self, row: &Row) -> RecordedAttachment {
        RecordedAttachment {
            id: row.id.clone(),
            network: match &self.provider {
                Provider::Bridge(names) => names.bridge.clone(),
                Provider::Plugins(network) => network.name.clone(),
            },
            netns: self.attachment.netns.clone(),
            created: self.created,
            attached: row.result.is_some(),
        }
    }
}
