//! Manifests, indexes and configs: pure functions from bytes to what a pull needs.
//!
//! OCI and Docker schema 2 have the same shape, so both are read into one type of our own: only
//! the fields that matter, tolerant of the rest, strict about digests and sizes.

use serde::Deserialize;

use crate::digest::Digest;
use crate::error::{Context, Error, Result};
use crate::platform::{Node, Platform};

/// What a registry is asked to answer a manifest request with.
pub(crate) const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
     application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.docker.distribution.manifest.v2+json, */*;q=0.1";

/// A manifest, index or config beyond this is refused; registries themselves stop at 4 MiB.
pub(crate) const LARGEST: u64 = 8 << 20;

/// overlayfs takes 500 lower directories.
const MOST_LAYERS: usize = 500;

/// A pointer to content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Its media type; may be empty.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// For which machine it is, if it says so.
    pub platform: Option<Platform>,
    /// `org.opencontainers.image.ref.name` or containerd's full name, in an OCI layout's index.
    pub name: Option<String>,
}

/// A parsed document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Document {
    /// An index or manifest list.
    Index(Vec<Descriptor>),
    /// A manifest of one image.
    Manifest {
        /// The image's config.
        config: Descriptor,
        /// Its layers, bottom first.
        layers: Vec<Descriptor>,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDocument {
    schema_version: Option<u64>,
    #[serde(default)]
    media_type: String,
    manifests: Option<Vec<RawDescriptor>>,
    config: Option<RawDescriptor>,
    layers: Option<Vec<RawDescriptor>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDescriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    size: u64,
    platform: Option<Platform>,
    annotations: Option<std::collections::BTreeMap<String, String>>,
}

/// Parses a manifest or index. Which of both it is, its content says: registries and proxies get
/// the media type wrong, and a document that claims to be both is an attack (CVE-2021-41190).
pub fn parse(bytes: &[u8]) -> Result<Document> {
    let raw: RawDocument = serde_json::from_slice(bytes).map_err(Error::invalid)?;
    if raw.schema_version == Some(1) {
        return Err(Error::invalid("Docker schema 1 is not supported; push the image again"));
    }
    if raw.schema_version != Some(2) {
        return Err(Error::invalid("schemaVersion is not 2"));
    }
    let says = |what: &str| raw.media_type.contains(what);
    match (raw.manifests, raw.config, raw.layers) {
        (Some(manifests), None, None) if !says("manifest.v") => {
            let manifests = manifests.into_iter().map(descriptor).collect::<Result<_>>()?;
            Ok(Document::Index(manifests))
        }
        (None, Some(config), layers) if !says("index") && !says("manifest.list") => {
            let layers = layers.unwrap_or_default();
            let layers: Vec<_> = layers.into_iter().map(descriptor).collect::<Result<_>>()?;
            if layers.len() > MOST_LAYERS {
                let why = format!("{} layers; overlayfs takes {MOST_LAYERS}", layers.len());
                return Err(Error::invalid(why));
            }
            Ok(Document::Manifest { config: descriptor(config)?, layers })
        }
        _ => Err(Error::invalid("neither a manifest (config, layers) nor an index (manifests)")),
    }
}

fn descriptor(raw: RawDescriptor) -> Result<Descriptor> {
    const NAMES: [&str; 2] = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];
    let name =
        raw.annotations.as_ref().and_then(|a| NAMES.iter().find_map(|key| a.get(*key).cloned()));
    Ok(Descriptor {
        media_type: raw.media_type,
        digest: raw.digest.parse()?,
        size: raw.size,
        platform: raw.platform,
        name,
    })
}

/// The entry of an index that this node runs best.
pub(crate) fn choose<'a>(index: &'a [Descriptor], node: &Node) -> Result<&'a Descriptor> {
    let fits = |d: &&Descriptor| {
        d.platform.as_ref().is_none_or(|p| node.rank(p).is_some()) && !is_foreign(d)
    };
    let rank = |d: &&Descriptor| d.platform.as_ref().and_then(|p| node.rank(p)).unwrap_or(0);
    // max_by_key keeps the last of equals; the first one is what every other client takes.
    index.iter().rev().filter(fits).max_by_key(rank).ok_or_else(|| {
        let offered: Vec<String> =
            index.iter().filter_map(|d| d.platform.as_ref().map(Platform::to_string)).collect();
        Error::not_found(format_args!("no image for {node}; there is {}", offered.join(", ")))
    })
}

/// Attestations and other artifacts ride along in an index.
fn is_foreign(d: &Descriptor) -> bool {
    !(d.media_type.is_empty()
        || d.media_type.contains("manifest")
        || d.media_type.contains("index"))
}

/// What the store keeps of a config beside its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFacts {
    /// Digests of the uncompressed layers, bottom first.
    pub diff_ids: Vec<Digest>,
    /// For which machine the image is.
    pub platform: Platform,
}

/// Parses an image config.
pub fn parse_config(bytes: &[u8]) -> Result<ConfigFacts> {
    #[derive(Deserialize)]
    struct Raw {
        #[serde(flatten)]
        platform: Platform,
        rootfs: RootFs,
    }
    #[derive(Deserialize)]
    struct RootFs {
        #[serde(default)]
        diff_ids: Option<Vec<String>>,
    }
    let raw: Raw = serde_json::from_slice(bytes).map_err(Error::invalid).context("config")?;
    let ids = raw.rootfs.diff_ids.unwrap_or_default();
    let diff_ids = ids.iter().map(|id| id.parse()).collect::<Result<_>>().context("diff_ids")?;
    Ok(ConfigFacts { diff_ids, platform: raw.platform })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(n: u8) -> String {
        format!("sha256:{}", format!("{n:02x}").repeat(32))
    }

    #[test]
    fn what_a_document_is_its_content_says_and_both_at_once_is_refused() {
        let d = format!(r#"{{"digest":"{}","size":1}}"#, digest(1));
        let index = format!(r#"{{"schemaVersion":2,"manifests":[{d}]}}"#);
        let manifest = format!(r#"{{"schemaVersion":2,"config":{d},"layers":[{d},{d}]}}"#);
        assert!(matches!(parse(index.as_bytes()), Ok(Document::Index(m)) if m.len() == 1));
        assert!(matches!(parse(manifest.as_bytes()),
            Ok(Document::Manifest { layers, .. }) if layers.len() == 2));
        for bad in [
            format!(r#"{{"schemaVersion":2,"config":{d},"layers":[],"manifests":[{d}]}}"#),
            format!(r#"{{"schemaVersion":1,"config":{d}}}"#),
            format!(
                r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","config":{d}}}"#
            ),
            r#"{"schemaVersion":2,"config":{"digest":"x","size":1}}"#.to_owned(),
            r#"{"schemaVersion":2,"config":{"digest":"x","size":-1}}"#.to_owned(),
            r#"{"schemaVersion":2}"#.to_owned(),
            "[]".to_owned(),
            "".to_owned(),
        ] {
            assert_eq!(parse(bad.as_bytes()).unwrap_err().kind(), crate::Kind::Invalid, "{bad}");
        }
    }

    #[test]
    fn the_first_entry_that_runs_here_is_chosen_and_attestations_never() {
        let entry = |n: u8, os: &str, arch: &str| Descriptor {
            media_type: String::new(),
            digest: digest(n).parse().unwrap(),
            size: 1,
            platform: Some(Platform::new(os, arch, "")),
            name: None,
        };
        let node = Node::new("amd64", 3);
        let index = [
            entry(1, "unknown", "unknown"),
            entry(2, "linux", "arm64"),
            entry(3, "linux", "amd64"),
            entry(4, "linux", "amd64"),
        ];
        assert_eq!(choose(&index, &node).unwrap().digest, index[2].digest);
        let error = choose(&index[..2], &node).unwrap_err();
        assert_eq!(error.kind(), crate::Kind::NotFound);
        assert!(error.to_string().contains("linux/arm64"), "{error}");
    }
}
