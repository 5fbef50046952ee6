//! Where an image comes from, and how its documents lead to its config and layers.

use futures::future::{BoxFuture, FutureExt};
use tokio::sync::mpsc;

use crate::config;
use crate::digest::{Digest, ImageId};
use crate::error::{Context, Error, Kind, Result};
use crate::layer::Feed;
use crate::layout::Layout;
use crate::manifest::{self, Descriptor, Document};
use crate::partial::Partial;
use crate::platform::HostPlatform;
use crate::progress::Reporter;
use crate::registry::{BlobStream, Registry};
use crate::store::MOST_LAYERS;
use crate::store::records::NameKind;

/// Indexes in indexes, of which one level is in use.
const DEEPEST: usize = 3;

/// An image about to be recorded: everything but its layers is here.
pub(crate) struct Parts {
    pub id: ImageId,
    pub config: Vec<u8>,
    /// Bottom first.
    pub layers: Vec<Layer>,
    pub names: Vec<(String, NameKind)>,
    /// What led to its config, the first one first, and its manifest last.
    pub documents: Vec<Vec<u8>>,
}

/// A layer of an image.
#[derive(Clone)]
pub(crate) struct Layer {
    pub diff_id: Digest,
    pub blob: Descriptor,
}

/// Where blobs come from.
pub(crate) enum Source {
    Registry(Registry),
    Layout(Layout),
}

impl Source {
    /// How many hosts may be asked for a layer.
    pub(crate) fn trusted(&self) -> usize {
        match self {
            Source::Registry(registry) => registry.trusted(),
            Source::Layout(_) => 1,
        }
    }

    /// From the top-level document to the parts of the image for this node.
    pub(crate) async fn parts(&self, top: Vec<u8>) -> Result<Parts> {
        self.parts_of(top, false).await
    }

    /// The same below an entry that may have decided for this node already.
    pub(crate) async fn parts_of(&self, top: Vec<u8>, is_decided: bool) -> Result<Parts> {
        self.parts_below(top, is_decided, DEEPEST).await
    }

    /// An index entry that names its machine decides; one that does not leaves it to the config.
    fn parts_below(
        &self,
        bytes: Vec<u8>,
        is_decided: bool,
        levels: usize,
    ) -> BoxFuture<'_, Result<Parts>> {
        let search = async move {
            let entries = match manifest::parse(&bytes).context("manifest")? {
                Document::Manifest { config, layers } => {
                    let mut parts = self.manifest_parts(config, layers, is_decided).await?;
                    parts.documents.push(bytes);
                    return Ok(parts);
                }
                Document::Index(entries) => entries,
            };
            if levels == 0 {
                return Err(Error::invalid("an index in an index in an index"));
            }
            let mut foreign = None;
            for entry in manifest::choose(&entries, &HostPlatform::here())? {
                let is_decided = is_decided || entry.platform.is_some();
                let below = self.manifest(entry).await?;
                match self.parts_below(below, is_decided, levels - 1).await {
                    Err(e) if e.kind() == Kind::NotFound && !is_decided => foreign = Some(e),
                    Err(e) => return Err(e),
                    Ok(mut parts) => {
                        parts.documents.insert(0, bytes);
                        return Ok(parts);
                    }
                }
            }
            Err(foreign.unwrap_or_else(|| Error::not_found("the index is empty")))
        };
        search.boxed()
    }

    async fn manifest_parts(
        &self,
        descriptor: Descriptor,
        layers: Vec<Descriptor>,
        is_decided: bool,
    ) -> Result<Parts> {
        let bytes = match self {
            Source::Registry(r) => r.small_blob(&descriptor.digest, descriptor.size).await,
            Source::Layout(l) => l.read(&descriptor.digest, Some(descriptor.size)),
        };
        let bytes = bytes.context("config")?;
        // Signatures have the config of an image, and JSON for layers.
        if let Some(odd) = layers.iter().find(|l| l.media_type.ends_with("+json")) {
            let why = format!("it is no image: it has a layer of type {}", odd.media_type);
            return Err(Error::not_found(why));
        }
        let is_artifact = descriptor.is_artifact();
        let what = descriptor.media_type;
        let layer_count = layers.len();
        match self.parts_of_config(ImageId::new(descriptor.digest), bytes, layers, is_decided) {
            Err(_) if is_artifact => {
                let why = format!("it is no image: its config is {what}, of {layer_count} files");
                Err(Error::not_found(why))
            }
            done => done,
        }
    }

    /// The image of a config and its layers, bottom first.
    pub(crate) fn parts_of_config(
        &self,
        id: ImageId,
        config: Vec<u8>,
        layers: Vec<Descriptor>,
        is_decided: bool,
    ) -> Result<Parts> {
        let facts = config::parse(&config)?;
        let node = HostPlatform::here();
        if !is_decided && !node.runs(&facts.platform) {
            let why = format!("the image is for {}, this node is {node}", facts.platform);
            return Err(Error::not_found(why));
        }
        if facts.diff_ids.len() != layers.len() {
            let (ids, blobs) = (facts.diff_ids.len(), layers.len());
            let why = format!("the config has {ids} layers, the manifest {blobs}");
            return Err(Error::invalid(why));
        }
        check_layers(layers.len())?;
        facts.image.check_size()?;
        if let Some(odd) = layers.iter().find(|l| l.media_type.ends_with("+encrypted")) {
            let why = format!("layer {} is encrypted, which is not supported", odd.digest);
            return Err(Error::invalid(why));
        }
        let layers = facts
            .diff_ids
            .into_iter()
            .zip(layers)
            .map(|(diff_id, blob)| Layer { diff_id, blob })
            .collect();
        Ok(Parts { id, config, layers, names: Vec::new(), documents: Vec::new() })
    }

    /// The document that a descriptor leads to.
    pub(crate) async fn manifest(&self, d: &Descriptor) -> Result<Vec<u8>> {
        match self {
            Source::Registry(registry) => registry.manifest(&d.digest, Some(d.size)).await,
            Source::Layout(layout) => layout.read(&d.digest, Some(d.size)).context("manifest"),
        }
    }
}

/// Whether an image can have so many layers.
pub(crate) fn check_layers(count: usize) -> Result<()> {
    match count > MOST_LAYERS {
        true => Err(Error::invalid(format_args!("{count} layers; overlayfs takes {MOST_LAYERS}"))),
        false => Ok(()),
    }
}

/// Sends the blob's bytes to the unpacker, first what is kept of it. If that one gives up, its own
/// error tells why, and what is left of the blob is returned.
pub(crate) async fn feed_layer<'a>(
    source: &'a Source,
    blob: &Descriptor,
    reporter: &Reporter,
    feed: mpsc::Sender<Feed>,
    partial: &mut Partial,
) -> Result<Option<BlobStream<'a>>> {
    match source {
        Source::Registry(registry) => {
            let mut stream =
                BlobStream::new(registry, blob.digest.clone(), blob.size, reporter.clone());
            while let Some(piece) = partial.next().await? {
                stream.resume(&piece);
                if feed.send(Feed::Piece(piece)).await.is_err() {
                    return Ok(Some(stream));
                }
            }
            while let Some(piece) = stream.next().await? {
                partial.add(&piece).await;
                if feed.send(Feed::Piece(piece)).await.is_err() {
                    return Ok(Some(stream));
                }
            }
        }
        Source::Layout(layout) => {
            let mut stream = layout.stream(&blob.digest, blob.size)?;
            while let Some(piece) = stream.next().await? {
                if feed.send(Feed::Piece(piece)).await.is_err() {
                    return Ok(None);
                }
            }
        }
    }
    let _ = feed.send(Feed::End).await;
    Ok(None)
}
