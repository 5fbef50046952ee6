//! Manifests and indexes: pure functions from bytes to what a pull needs.
//!
//! OCI and Docker schema 2 have the same shape, so both are read into one type of our own: only
//! the fields that matter, tolerant of the rest, strict about digests and sizes. The types of
//! `oci-spec` and `oci-client` refuse a document for a null annotation or an unknown platform.

use serde_json::Value;

use crate::digest::Digest;
use crate::error::{Context, Error, Result};
use crate::json::{self, get, whole};
use crate::platform::{HostPlatform, Platform};

/// What a registry is asked to answer a manifest request with.
pub(crate) const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
     application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.docker.distribution.manifest.v2+json, */*;q=0.1";

/// A manifest, index or config beyond this is refused; registries themselves stop at 4 MiB.
pub(crate) const LARGEST: u64 = 8 << 20;

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
    /// It describes another entry of its index.
    pub is_attestation: bool,
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

/// Parses a manifest or index. Which of both it is, its content says: registries and proxies get
/// the media type wrong, and a document that claims to be both is an attack (CVE-2021-41190).
pub fn parse(bytes: &[u8]) -> Result<Document> {
    let neither = || Error::invalid("neither a manifest (config, layers) nor an index (manifests)");
    let Value::Object(document) = json::parse(bytes)? else { return Err(neither()) };
    let field = |name: &str| get(&document, name).filter(|value| !value.is_null());
    match field("schemaVersion").map(whole) {
        None | Some(Some(2)) => {}
        Some(Some(1)) => {
            return Err(Error::invalid("Docker schema 1 is not supported; push the image again"));
        }
        Some(_) => return Err(Error::invalid("schemaVersion is not 2")),
    }
    let media_type = field("mediaType").and_then(Value::as_str).unwrap_or_default();
    let media_type = media_type.to_ascii_lowercase();
    let says = |what: &str| media_type.contains(what);
    match (field("manifests"), field("config"), field("layers")) {
        (Some(Value::Array(manifests)), None, None) if !says("manifest.v") => {
            Ok(Document::Index(entries(manifests)?))
        }
        (None, Some(config), layers @ (None | Some(Value::Array(_))))
            if !says("index") && !says("manifest.list") =>
        {
            let layers = layers.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            let layers: Vec<_> = layers.iter().map(descriptor).collect::<Result<_>>()?;
            Ok(Document::Manifest { config: descriptor(config)?, layers })
        }
        _ => Err(neither()),
    }
}

/// What a document's media type is: as it says, or the OCI type of what it is.
///
/// # Errors
/// As [`parse`].
pub(crate) fn media_type(bytes: &[u8]) -> Result<String> {
    let document = json::parse(bytes)?;
    let said = document.as_object().and_then(|fields| get(fields, "mediaType"));
    if let Some(said) = said.and_then(Value::as_str).filter(|said| !said.is_empty()) {
        return Ok(said.to_owned());
    }
    let kind = match parse(bytes)? {
        Document::Index(_) => "index",
        Document::Manifest { .. } => "manifest",
    };
    Ok(format!("application/vnd.oci.image.{kind}.v1+json"))
}

/// What annotations a manifest has. Those that are no text are left out, as are empty ones.
pub(crate) fn annotations(bytes: &[u8]) -> Option<Value> {
    let document = json::parse(bytes).ok()?;
    let mut annotations = get(document.as_object()?, "annotations")?.as_object()?.clone();
    annotations.retain(|_, value| value.is_string());
    (!annotations.is_empty()).then(|| annotations.into())
}

/// The entries of an index that can be read: one for another machine, with an algorithm of its
/// own for example, is not in the way of the others.
fn entries(all: &[Value]) -> Result<Vec<Descriptor>> {
    let mut good = Vec::new();
    let mut fault = None;
    for entry in all {
        match descriptor(entry) {
            Ok(entry) => good.push(entry),
            Err(e) => fault = Some(e),
        }
    }
    match fault {
        Some(e) if good.is_empty() => Err(e),
        _ => Ok(good),
    }
}

/// Optional fields are null, absent, or of whatever type their writer made of them.
fn descriptor(value: &Value) -> Result<Descriptor> {
    const NAMES: [&str; 2] = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];
    let bad = |what: &str| Error::invalid(format_args!("a descriptor without {what}"));
    let descriptor = value.as_object().ok_or_else(|| bad("fields"))?;
    let field = |name: &str| get(descriptor, name);
    let inner = |name: &str, key: &str| {
        let text = get(field(name)?.as_object()?, key).and_then(Value::as_str);
        text.map(str::to_owned)
    };
    let annotation = |key: &str| inner("annotations", key);
    let word = |key: &str| inner("platform", key).unwrap_or_default();
    let platform =
        Platform { os: word("os"), architecture: word("architecture"), variant: word("variant") };
    let digest = field("digest").and_then(Value::as_str).ok_or_else(|| bad("digest"))?;
    let media_type = field("mediaType").and_then(Value::as_str).unwrap_or_default();
    Ok(Descriptor {
        is_attestation: annotation("vnd.docker.reference.type").is_some(),
        media_type: media_type.to_ascii_lowercase(),
        digest: digest.parse().context("digest")?,
        size: field("size").and_then(whole).ok_or_else(|| bad("size"))?,
        // Half a platform decides nothing.
        platform: Some(platform).filter(|p| !p.os.is_empty() && !p.architecture.is_empty()),
        name: NAMES.iter().find_map(|key| annotation(key)),
    })
}

impl Descriptor {
    /// One of which nothing else is known.
    pub(crate) fn of(digest: Digest) -> Descriptor {
        let (media_type, size, platform, name) = (String::new(), 0, None, None);
        Descriptor { media_type, digest, size, platform, name, is_attestation: false }
    }

    /// What an answer says of the document that it has, or would have.
    pub(crate) fn with(self, media_type: String, size: u64) -> Descriptor {
        Descriptor { media_type, size, ..self }
    }

    /// Whether more than its digest is known.
    pub(crate) fn is_whole(&self) -> bool {
        !self.media_type.is_empty() && self.size > 0
    }

    /// Whether the config that this leads to is one of something else than an image, by its type.
    pub(crate) fn is_artifact(&self) -> bool {
        const IMAGE: [&str; 4] =
            ["image.config", "container.image", "octet-stream", "application/json"];
        !self.media_type.is_empty() && !IMAGE.iter().any(|kind| self.media_type.contains(kind))
    }

    /// Whether its content may stand elsewhere than in the registry.
    pub(crate) fn is_foreign(&self) -> bool {
        self.media_type.contains("foreign") || self.media_type.contains("nondistributable")
    }

    /// Whether this entry of an index may be an image for `node`: it says so, or says nothing.
    pub(crate) fn may_run_on(&self, node: &HostPlatform) -> bool {
        let is_document = self.media_type.is_empty()
            || self.media_type.contains("manifest")
            || self.media_type.contains("index");
        // Attestations and other artifacts ride along in an index.
        is_document
            && !self.is_attestation
            && self.platform.as_ref().is_none_or(|p| node.rank(p).is_some())
    }
}

/// The entries of an index that may run on this node, the best first: the highest variant, and of
/// equals the first one, which every other client takes. Those that do not say for which machine
/// they are come last; their configs tell.
pub(crate) fn choose<'a>(
    index: &'a [Descriptor],
    node: &HostPlatform,
) -> Result<Vec<&'a Descriptor>> {
    let rank = |d: &&Descriptor| d.platform.as_ref().and_then(|p| node.rank(p)).unwrap_or(0);
    let mut fitting: Vec<&Descriptor> = index.iter().filter(|d| d.may_run_on(node)).collect();
    fitting.sort_by_key(|d| std::cmp::Reverse(rank(d)));
    if fitting.is_empty() {
        let offered: Vec<String> =
            index.iter().filter_map(|d| d.platform.as_ref().map(Platform::to_string)).collect();
        let why = format!("no image for {node}; there is {}", offered.join(", "));
        return Err(Error::not_found(why));
    }
    Ok(fitting)
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
            is_attestation: false,
        };
        let node = HostPlatform::new("amd64", 3);
        let index = [
            entry(1, "unknown", "unknown"),
            entry(2, "linux", "arm64"),
            entry(3, "linux", "amd64"),
            entry(4, "linux", "amd64"),
        ];
        assert_eq!(choose(&index, &node).unwrap()[0].digest, index[2].digest);
        let error = choose(&index[..2], &node).unwrap_err();
        assert_eq!(error.kind(), crate::Kind::NotFound);
        assert!(error.to_string().contains("linux/arm64"), "{error}");
    }
    #[test]
    fn null_and_odd_fields_refuse_no_document_and_a_broken_entry_no_index() {
        let d = |more: &str| format!(r#"{{"digest":"{}","size":1{more}}}"#, digest(1));
        let odd =
            d(r#","mediaType":null,"annotations":null,"urls":null,"data":null,"platform":null"#);
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":null,"config":{odd},"layers":[{odd}],"annotations":null,
            "subject":null}}"#
        );
        assert!(matches!(parse(manifest.as_bytes()), Ok(Document::Manifest { .. })));
        let noted = d(r#","annotations":{"a":null,"b":1}"#);
        let manifest = format!(r#"{{"schemaVersion":2,"config":{noted},"layers":null}}"#);
        assert!(matches!(parse(manifest.as_bytes()), Ok(Document::Manifest { .. })));
        let here = d(
            r#","platform":{"os":"Linux","architecture":"x86_64","variant":null,"os.features":null}"#,
        );
        let index = format!(
            r#"{{"schemaVersion":2,"subject":null,"manifests":[{{"digest":"sha384:00","size":1}},null,
            {}, {}, {}, {here}]}}"#,
            d(r#","platform":{"os":"unknown","architecture":"unknown"}"#),
            d(r#","annotations":{"vnd.docker.reference.type":"attestation-manifest"}"#),
            d(r#","mediaType":"application/vnd.example.sbom+json""#),
        );
        let Ok(Document::Index(entries)) = parse(index.as_bytes()) else { panic!("no index") };
        let node = HostPlatform::new("amd64", 3);
        let fitting = choose(&entries, &node).unwrap();
        assert_eq!(fitting.len(), 1);
        assert_eq!(fitting[0].platform.as_ref().unwrap().os, "Linux");
        let broken = r#"{"schemaVersion":2,"manifests":[{"digest":"sha384:00","size":1}]}"#;
        assert!(parse(broken.as_bytes()).is_err());
    }

    #[test]
    fn fields_in_another_case_whole_floats_and_broken_text_are_read_as_others_read_them() {
        let d = format!(r#"{{"Digest":"{}","SIZE":1.0,"mediaType":"X/Y"}}"#, digest(1));
        let text = format!(r#"{{"SchemaVersion":2.0,"Config":{d},"LAYERS":[{d}],"mediaType":"#);
        let media_type = br#""APPLICATION/VND.OCI.IMAGE.MANIFEST.V1+JSON; charset=utf-8","#;
        let rest = b"\"annotations\":{\"a\":\"Ren\xe9 \\ud83d\"},\"mediaType\":\"twice\"}";
        let document = [text.as_bytes(), media_type, rest].concat();
        let Ok(Document::Manifest { config, .. }) = parse(&document) else { panic!("refused") };
        assert_eq!((config.size, config.media_type.as_str()), (1, "x/y"));
    }

    #[test]
    fn entries_without_a_platform_are_asked_after_those_that_have_one() {
        let d = |n: u8, more: &str| format!(r#"{{"digest":"{}","size":1{more}}}"#, digest(n));
        let here = r#","platform":{"os":"linux","architecture":"amd64"}"#;
        let index = format!(
            r#"{{"schemaVersion":2,"manifests":[{},{},{}]}}"#,
            d(1, ""),
            d(2, r#","platform":{"os":"linux","architecture":""}"#),
            d(3, here)
        );
        let Ok(Document::Index(entries)) = parse(index.as_bytes()) else { panic!("no index") };
        let order: Vec<_> = choose(&entries, &HostPlatform::new("amd64", 1))
            .unwrap()
            .iter()
            .map(|d| &d.digest)
            .collect();
        assert_eq!(order, [&entries[2].digest, &entries[0].digest, &entries[1].digest]);
    }
}
