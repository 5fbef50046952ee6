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

/// A manifest with its objects, or one pod of a manifest that has several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    manifests: Vec<Document>,
    objects: Vec<Document>,
    /// `namespace/name` of the pod that is meant; none where there is only one.
    pod: Option<String>,
    /// Of a Job's pod, how many have failed in its place before.
    #[serde(default)]
    tries: u32,
    /// The file of the folder of manifests that it is of, if it is of one: its pod is there as long as
    /// that.
    #[serde(default)]
    pub file: Option<PathBuf>,
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
    /// Reads the files; `-` is standard input, and of a folder its `.yaml`, `.yml` and `.json` files are
    /// read, by name.
    ///
    /// # Errors
    /// Those of the file system, with the file's name; `Invalid` for a URL and a folder without such
    /// files.
    pub fn read(
        manifest: &Path,
        objects: &[PathBuf],
        endpoint: Option<String>,
    ) -> Result<Definition> {
        let read = |path: &PathBuf| Document::read(path);
        let manifests = files(manifest)?.iter().map(read).collect::<Result<_>>()?;
        let objects = objects.iter().map(read).collect::<Result<_>>()?;
        Ok(Definition { manifests, objects, pod: None, tries: 0, file: None, endpoint })
    }

    /// What it says of its one pod, or of the one that is meant.
    ///
    /// # Errors
    /// `Invalid` with file, line and path of what is wrong, and when there are several.
    pub fn pod(&self) -> Result<Pod> {
        let mut pods = self.pods()?;
        if let Some(name) = &self.pod {
            pods.retain(|pod| full_name(pod) == *name);
        }
        match (pods.pop(), pods.is_empty()) {
            (Some(pod), true) if self.tries > 0 => Ok(pod.again(self.tries)),
            (Some(pod), true) => Ok(pod),
            (Some(_), false) => Err(Error::new(Kind::Invalid, "more than one Pod in it")),
            (None, _) => {
                let name = self.pod.as_deref().unwrap_or_default();
                Err(Error::new(Kind::NotFound, format!("no Pod {name} in it")))
            }
        }
    }

    /// All that it says.
    ///
    /// # Errors
    /// `Invalid` with file, line and path of what is wrong.
    pub fn pods(&self) -> Result<Vec<Pod>> {
        let bytes = |documents: &[Document]| documents.iter().map(Document::bytes).collect();
        let (manifests, objects): (Result<Vec<_>>, Result<Vec<_>>) =
            (bytes(&self.manifests), bytes(&self.objects));
        let (manifests, objects) = (manifests?, objects?);
        manifest::pods(&sources(&self.manifests, &manifests), &sources(&self.objects, &objects))
    }

    /// The spec of its pod as the manifest has it; none where that cannot be read any more.
    pub fn spec(&self) -> Option<serde_json::Value> {
        let bytes: Result<Vec<_>> = self.manifests.iter().map(Document::bytes).collect();
        manifest::spec(&sources(&self.manifests, &bytes.ok()?), self.pod.as_deref())
    }

    /// The bytes of its first document: all of them, where it was read from standard input.
    ///
    /// # Errors
    /// `Internal` when the record is broken.
    pub fn text(&self) -> Result<Vec<u8>> {
        self.manifests.first().map_or_else(|| Ok(Vec::new()), Document::bytes)
    }

    /// The same of one pod among several: `namespace/name`.
    #[must_use]
    pub fn of(mut self, pod: &str) -> Definition {
        self.pod = Some(pod.to_owned());
        self
    }

    /// The same of another pod in the place of those of a Job that have failed, if they are any.
    #[must_use]
    pub fn again(mut self, tries: u32) -> Definition {
        self.tries = tries;
        self
    }

    /// The same of a file in the folder of manifests.
    #[must_use]
    pub fn kept_by(mut self, file: &Path) -> Definition {
        self.file = Some(file.to_owned());
        self
    }

    /// Whether its pod was made in the place of one of a Job that had failed.
    pub fn is_another_try(&self) -> bool {
        self.tries > 0
    }

    /// Whether this is of a pod of that manifest, whichever.
    pub fn is_of(&self, manifest: &Definition) -> bool {
        self.texts() == manifest.texts()
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
        let is_same_pod = self.pod == other.pod && self.tries == other.tries;
        self.is_of(other) && is_same_pod && self.endpoint == other.endpoint
    }

    fn texts(&self) -> Vec<&Text> {
        self.manifests.iter().map(|document| &document.text).collect()
    }
}

fn full_name(pod: &Pod) -> String {
    format!("{}/{}", pod.meta.namespace, pod.meta.name)
}

fn sources<'a>(documents: &'a [Document], bytes: &'a [Vec<u8>]) -> Vec<Source<'a>> {
    let source =
        |(document, text): (&'a Document, &'a Vec<u8>)| Source { name: &document.name, text };
    documents.iter().zip(bytes).map(source).collect()
}

/// The file, or the files of a folder.
fn files(path: &Path) -> Result<Vec<PathBuf>> {
    let shown = path.display();
    let text = path.to_string_lossy();
    if text.starts_with("http://") || text.starts_with("https://") {
        let why = format!("{text}: manifests are not fetched: curl -L {text} | rrun run -");
        return Err(Error::new(Kind::Invalid, why));
    }
    if path == Path::new("-") || !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = fs::read_dir(path).context(|| format!("read {shown}"))?;
    let is_manifest = |path: &PathBuf| {
        let known =
            path.extension().is_some_and(|end| end == "yaml" || end == "yml" || end == "json");
        known && path.is_file()
    };
    let mut files: Vec<PathBuf> =
        entries.flatten().map(|entry| entry.path()).filter(is_manifest).collect();
    files.sort();
    if files.is_empty() {
        let why = format!("{shown}: no file of this folder ends in .yaml, .yml or .json");
        return Err(Error::new(Kind::Invalid, why));
    }
    Ok(files)
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
            assert_eq!(back.manifests[0].bytes().unwrap(), bytes);
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

    #[test]
    fn a_folder_is_read_by_name_and_one_of_its_pods_can_be_meant() {
        let dir = tempfile::tempdir().unwrap();
        let pod = |name: &str| {
            format!(
                "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  \
                 containers: [{{name: a, image: i}}]\n"
            )
        };
        let empty = Definition::read(dir.path(), &[], None).unwrap_err();
        assert!(empty.to_string().ends_with("ends in .yaml, .yml or .json"), "{empty}");
        for (file, text) in [
            ("b.yml", pod("two")),
            ("a.yaml", pod("one")),
            ("c.json", "{}".into()),
            ("no.txt", "x".into()),
        ] {
            fs::write(dir.path().join(file), text).unwrap();
        }
        let broken = Definition::read(dir.path(), &[], None).unwrap().pods().unwrap_err();
        assert!(broken.to_string().contains("c.json:1: "), "{broken}");
        fs::remove_file(dir.path().join("c.json")).unwrap();
        let all = Definition::read(dir.path(), &[], None).unwrap();
        let names: Vec<String> = all.pods().unwrap().iter().map(full_name).collect();
        assert_eq!(names, ["default/one", "default/two"]);
        assert_eq!(all.pod().unwrap_err().to_string(), "more than one Pod in it");
        let (one, two) = (all.clone().of("default/one"), all.clone().of("default/two"));
        assert_eq!(two.pod().unwrap().meta.name, "two");
        assert!(one.is_same_pod(&one) && !one.is_same_pod(&two));
        let again = one.clone().again(2);
        assert_eq!(again.pod().unwrap().meta.name, "one-retry2");
        assert!(again.is_of(&one) && !again.is_same_pod(&one));
        assert_eq!(all.of("x/y").pod().unwrap_err().to_string(), "no Pod x/y in it");
    }

    #[test]
    fn a_url_is_refused_with_the_words_that_fetch_it() {
        let refused = Definition::read(Path::new("https://a.test/x.yaml"), &[], None).unwrap_err();
        let want = "https://a.test/x.yaml: manifests are not fetched: curl -L https://a.test/x.yaml \
            | rrun run -";
        assert_eq!(refused.to_string(), want);
    }
}
