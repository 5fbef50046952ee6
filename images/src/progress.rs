//! What a pull tells while it runs.

use tokio::sync::mpsc::UnboundedSender;

use crate::digest::Digest;

/// Where the events of a pull go. A receiver that went away is no error.
pub type Progress = UnboundedSender<Event>;

/// One thing that happened in a pull.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The manifest is here: the layers to come, bottom first, with their compressed sizes.
    Resolved {
        /// Digest of the manifest or index that the reference named.
        digest: Digest,
        /// Digest and compressed size in bytes of each layer.
        layers: Vec<(Digest, u64)>,
    },
    /// All is here already: the registry still has this under the reference.
    UpToDate {
        /// Digest of the manifest or index that the reference names.
        digest: Digest,
    },
    /// The layer was here already.
    Present {
        /// The layer.
        layer: Digest,
    },
    /// So many compressed bytes of the layer have come, at most one event a MiB.
    Downloaded {
        /// The layer.
        layer: Digest,
        /// Bytes so far.
        bytes: u64,
    },
    /// The connection broke and is tried again from here.
    Resumed {
        /// The layer.
        layer: Digest,
        /// Bytes so far.
        bytes: u64,
        /// Why it broke.
        reason: String,
    },
    /// The layer is verified and unpacked.
    Unpacked {
        /// The layer.
        layer: Digest,
    },
}

/// A sender, or none.
#[derive(Clone, Default)]
pub(crate) struct Reporter(pub(crate) Option<Progress>);

impl Reporter {
    pub(crate) fn tell(&self, event: impl FnOnce() -> Event) {
        if let Some(sender) = &self.0 {
            let _ = sender.send(event());
        }
    }
}
