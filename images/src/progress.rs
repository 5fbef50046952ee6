//! What a pull tells while it runs, and what is known of it at each moment.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;

use crate::digest::Digest;
use crate::reference::Reference;

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
    /// The layer waits.
    Waiting {
        /// The layer.
        layer: Digest,
        /// For whom.
        on: Wait,
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
    /// All bytes of the layer have come and are verified; what is left of them is unpacked.
    Fetched {
        /// The layer.
        layer: Digest,
    },
    /// The layer is verified and unpacked.
    Unpacked {
        /// The layer.
        layer: Digest,
    },
    /// All layers are here: they are written to the disk, and the image is recorded.
    Recording,
    /// The image is here.
    Recorded {
        /// Where the time went.
        summary: Summary,
    },
}

/// Whom a layer waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Another pull, which fetches it; or whoever removes it.
    Another,
    /// As many layers as may come from its registry at a time.
    Registry,
}

impl Wait {
    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            Wait::Another => "another pull that has it in work",
            Wait::Registry => "its turn among the layers from its registry",
        }
    }
}

/// Where the time of a pull went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// How many layers the image has.
    pub layers: usize,
    /// How many of them were here before.
    pub present: usize,
    /// Compressed bytes of the others.
    pub bytes: u64,
    /// Until the manifest was here.
    pub resolve: Duration,
    /// From then on, until the last layer had come.
    pub download: Duration,
    /// From then on, until the last layer was unpacked.
    pub unpack: Duration,
    /// From then on, until the image was on the disk and on record.
    pub record: Duration,
}

impl Summary {
    /// All of it.
    pub fn total(&self) -> Duration {
        self.resolve + self.download + self.unpack + self.record
    }

    /// Bytes a second while layers came.
    pub fn rate(&self) -> u64 {
        let seconds = self.download.as_secs_f64().max(0.001);
        (self.bytes as f64 / seconds) as u64
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |time: Duration| format!("{:.2} s", time.as_secs_f64());
        let megabytes = |bytes: u64| format!("{:.1} MB", bytes as f64 / 1e6);
        let plural = if self.layers == 1 { "" } else { "s" };
        write!(f, "{}: {} layer{plural}", seconds(self.total()), self.layers)?;
        if self.present > 0 {
            write!(f, ", {} of them here before", self.present)?;
        }
        write!(f, "; manifest {}", seconds(self.resolve))?;
        if self.present < self.layers {
            let (bytes, rate) = (megabytes(self.bytes), megabytes(self.rate()));
            write!(f, ", {bytes} in {} ({rate}/s)", seconds(self.download))?;
            write!(f, ", unpack {} more", seconds(self.unpack))?;
        }
        write!(f, ", to the disk {}", seconds(self.record))
    }
}

/// A pull, at one moment.
#[derive(Clone, Debug)]
pub struct Pulling {
    /// What is pulled.
    pub reference: Reference,
    /// Its layers, bottom first; none before the manifest is here.
    pub layers: Vec<LayerPull>,
    /// Whether all of them are here and the image is recorded.
    pub is_recording: bool,
    /// Where the time went, at its end.
    pub summary: Option<Summary>,
    times: Times,
}

/// When it came how far.
#[derive(Clone, Copy, Debug)]
struct Times {
    began: Instant,
    resolved: Instant,
    fetched: Instant,
    unpacked: Instant,
}

/// A layer that is pulled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerPull {
    /// Of its blob.
    pub digest: Digest,
    /// Compressed bytes.
    pub size: u64,
    /// How many have come.
    pub bytes: u64,
    /// What is done with it.
    pub phase: LayerPhase,
}

/// What is done with a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerPhase {
    /// Nothing yet: others come first.
    Queued,
    /// It waits.
    Waiting(Wait),
    /// It comes, and is unpacked meanwhile.
    Downloading,
    /// All of it has come, and the rest is unpacked.
    Unpacking,
    /// It was here before.
    Present,
    /// It is here.
    Unpacked,
}

impl LayerPhase {
    /// Whether the layer is here.
    pub fn is_done(self) -> bool {
        matches!(self, LayerPhase::Present | LayerPhase::Unpacked)
    }
}

impl Pulling {
    fn new(reference: Reference) -> Pulling {
        let now = Instant::now();
        let times = Times { began: now, resolved: now, fetched: now, unpacked: now };
        Pulling { reference, layers: Vec::new(), is_recording: false, summary: None, times }
    }

    /// How long it has run.
    pub fn elapsed(&self) -> Duration {
        self.times.began.elapsed()
    }

    fn follow(&mut self, event: &Event) {
        let now = Instant::now();
        match event {
            Event::Resolved { layers, .. } => {
                self.times = Times { resolved: now, fetched: now, unpacked: now, ..self.times };
                let layer = |(digest, size): &(Digest, u64)| LayerPull {
                    digest: digest.clone(),
                    size: *size,
                    bytes: 0,
                    phase: LayerPhase::Queued,
                };
                self.layers = layers.iter().map(layer).collect();
            }
            Event::UpToDate { .. } => {}
            Event::Present { layer } => self.set(layer, |one| one.phase = LayerPhase::Present),
            Event::Waiting { layer, on } => {
                self.set(layer, |one| one.phase = LayerPhase::Waiting(*on));
            }
            Event::Downloaded { layer, bytes } | Event::Resumed { layer, bytes, .. } => {
                self.set(layer, |one| {
                    (one.bytes, one.phase) = (*bytes, LayerPhase::Downloading);
                });
            }
            Event::Fetched { layer } => {
                self.times.fetched = now;
                self.set(layer, |one| (one.bytes, one.phase) = (one.size, LayerPhase::Unpacking));
            }
            Event::Unpacked { layer } => {
                self.times.unpacked = now;
                self.set(layer, |one| one.phase = LayerPhase::Unpacked);
            }
            Event::Recording => self.is_recording = true,
            Event::Recorded { summary } => self.summary = Some(summary.clone()),
        }
    }

    /// An image may have a layer twice.
    fn set(&mut self, layer: &Digest, change: impl Fn(&mut LayerPull)) {
        self.layers.iter_mut().filter(|one| one.digest == *layer).for_each(change);
    }

    fn summary(&self) -> Summary {
        let Times { began, resolved, fetched, unpacked } = self.times;
        // Layers that are tried once more may be unpacked before others have come.
        let unpacked = unpacked.max(fetched);
        let came = |one: &&LayerPull| one.phase == LayerPhase::Unpacked;
        Summary {
            layers: self.layers.len(),
            present: self.layers.iter().filter(|one| one.phase == LayerPhase::Present).count(),
            bytes: self.layers.iter().filter(came).map(|one| one.size).sum(),
            resolve: resolved - began,
            download: fetched - resolved,
            unpack: unpacked - fetched,
            record: unpacked.elapsed(),
        }
    }
}

/// A running pull, to be looked at while it runs and after its end.
#[derive(Clone, Debug)]
pub struct Watched(Arc<Mutex<Pulling>>);

impl Watched {
    pub(crate) fn new(reference: Reference) -> Watched {
        Watched(Arc::new(Mutex::new(Pulling::new(reference))))
    }

    /// How far it is.
    pub fn now(&self) -> Pulling {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether both are the same pull.
    pub fn is(&self, other: &Watched) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// Whom a pull tells of itself; an import tells nobody.
#[derive(Clone, Default)]
pub(crate) struct Reporter {
    sender: Option<Progress>,
    watched: Option<Watched>,
}

impl Reporter {
    pub(crate) fn new(sender: Option<Progress>, watched: Watched) -> Reporter {
        Reporter { sender, watched: Some(watched) }
    }

    pub(crate) fn tell(&self, event: impl FnOnce() -> Event) {
        let Some(Watched(pulling)) = &self.watched else { return };
        let event = event();
        pulling.lock().unwrap_or_else(PoisonError::into_inner).follow(&event);
        if let Some(sender) = &self.sender {
            let _ = sender.send(event);
        }
    }

    /// Tells the end.
    pub(crate) fn recorded(&self) {
        let Some(watched) = &self.watched else { return };
        let summary = watched.now().summary();
        self.tell(|| Event::Recorded { summary });
    }
}
