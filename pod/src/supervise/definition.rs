//! What was asked to be run: a manifest and its objects, as they were given.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::error::{Context, Error, Kind, Result};
use crate::ids::PodUid;
use crate::manifest::{self, Source};
use crate::model::Pod;

/// A manifest with its ConfigMaps and Secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    manifest: Document,
    objects: Vec<Document>,
    /// Which runtime has the pod: the endpoint of a CRI server, or none for the one in the
    /// process that runs the pod.
    pub endpoint: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Document {
    name: String,
    text: Text,
}

/// The bytes of a file; nearly always they are UTF-8, and then whoever looks can read them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Text {
    Utf8(String),
    Base64(String),
}

impl Document {
    fn read(path: &Path) -> Result<Document> {
        let stdin = path == Path::new("-");
        let name = if stdin { "stdin".to_owned() } else { path.display().to_string() };
        let bytes = if stdin {
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut std::io::stdin(), &mut bytes).map(|_| bytes)
        } else {
            fs::read(path)
        };
        let bytes = bytes.context(|| format!("read {name}"))?;
        let text = match String::from_utf8(bytes) {
            Ok(text) => Text::Utf8(text),
            Err(e) => Text::Base64(STANDARD.encode(e.as_bytes())),
        };
        Ok(Document { name, text })
    }

    fn bytes(&self) -> Result<Vec<u8>> {
        match &self.text {
            Text::Utf8(text) => Ok(text.clone().into_bytes()),
            Text::Base64(text) => STANDARD
                .decode(text)
                .map_err(|e| Error::new(Kind::Internal, format!("{}: {e}", self.name))),
        }
    }
}

impl Definition {
    /// Reads the files; `-` is standard input.
    ///
    /// # Errors
    /// Those of the file system, with the file's name.
    pub fn read(
        manifest: &Path,
        objects: &[PathBuf],
        endpoint: Option<String>,
    ) -> Result<Definition> {
        let objects = objects.iter().map(|path| Document::read(path)).collect::<Result<_>>()?;
        Ok(Definition { manifest: Document::read(manifest)?, objects, endpoint })
    }

    /// What it says.
    ///
    /// # Errors
    /// `Invalid` with file, line and path of what is wrong.
    pub fn pod(&self) -> Result<Pod> {
        let objects: Vec<_> = self
            .objects
            .iter()
            .map(|document| Ok((document.name.as_str(), document.bytes()?)))
            .collect::<Result<_>>()?;
        let objects: Vec<_> = objects.iter().map(|(name, text)| Source { name, text }).collect();
        let text = self.manifest.bytes()?;
        manifest::pod(Source { name: &self.manifest.name, text: &text }, &objects)
    }

    /// What it says of a pod that has its uid already.
    ///
    /// # Errors
    /// As [`Definition::pod`].
    pub fn pod_with(&self, uid: &PodUid) -> Result<Pod> {
        let mut pod = self.pod()?;
        pod.meta.uid = uid.clone();
        Ok(pod)
    }

    /// Whether both are of the same manifest for the same runtime: the objects beside it may have
    /// changed, and the file may have another name.
    pub fn is_same_pod(&self, other: &Definition) -> bool {
        self.manifest.text == other.manifest.text && self.endpoint == other.endpoint
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_is_read_back_from_its_record_byte_for_byte() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pod.yaml");
        let text = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n  \
            containers: [{name: a, image: i}]\n";
        let wide: Vec<u8> = [0xff, 0xfe]
            .into_iter()
            .chain(text.encode_utf16().flat_map(u16::to_le_bytes))
            .collect();
        for bytes in [text.as_bytes(), &wide] {
            fs::write(&path, bytes).unwrap();
            let definition = Definition::read(&path, &[], None).unwrap();
            let json = serde_json::to_string(&definition).unwrap();
            let back: Definition = serde_json::from_str(&json).unwrap();
            assert!(back == definition && back.is_same_pod(&definition));
            assert_eq!(back.manifest.bytes().unwrap(), bytes);
        }
    }

    #[test]
    fn the_uid_of_the_record_counts_whatever_the_text_says() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pod.yaml");
        let text = "apiVersion: v1\nkind: Pod\nmetadata: {name: web, uid: u-1}\nspec:\n  \
            containers: [{name: a, image: i}]\n";
        fs::write(&path, text).unwrap();
        let definition = Definition::read(&path, &[], None).unwrap();
        let kept = PodUid::parse("u-2").unwrap();
        assert_eq!(definition.pod().unwrap().meta.uid.as_str(), "u-1");
        assert_eq!(definition.pod_with(&kept).unwrap().meta.uid, kept);
    }
}
