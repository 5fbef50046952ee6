//! Archives of `docker save` before Docker 25, which many other tools write as well: the images
//! stand in `manifest.json`, with the paths of their configs and layers. Pure.

use serde_json::Value;

use crate::digest::ImageId;
use crate::error::{Error, Result};
use crate::json::{self, get};
use crate::manifest::Descriptor;

/// An image of an archive.
#[derive(Clone, Debug)]
pub(crate) struct Saved {
    pub id: ImageId,
    pub config: Vec<u8>,
    /// Bottom first. Each has its diff ID for a digest: no other is known of a layer here.
    pub layers: Vec<Descriptor>,
    /// What it is to be called.
    pub tags: Vec<String>,
}

/// An entry of `manifest.json`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Path of its config.
    pub config: String,
    /// Paths of its layers, bottom first.
    pub layers: Vec<String>,
    /// What it is to be called.
    pub tags: Vec<String>,
}

/// Parses `manifest.json`.
pub(crate) fn parse(bytes: &[u8]) -> Result<Vec<Entry>> {
    let bad = || Error::invalid("manifest.json is no list of images with config and layers");
    let document = json::parse(bytes)?;
    let entry = |entry: &Value| {
        let entry = entry.as_object()?;
        let list = |name: &str| -> Option<Vec<String>> {
            match get(entry, name) {
                None | Some(Value::Null) => Some(Vec::new()),
                Some(Value::Array(all)) => {
                    all.iter().map(|item| item.as_str().map(str::to_owned)).collect()
                }
                Some(_) => None,
            }
        };
        let config = get(entry, "Config")?.as_str()?.to_owned();
        Some(Entry { config, layers: list("Layers")?, tags: list("RepoTags")? })
    };
    let entries = document.as_array().ok_or_else(bad)?.iter().map(entry).collect::<Option<_>>();
    entries.ok_or_else(bad)
}

/// The path that `target` means for a link at `path`, and what it may mean besides: some writers
/// make links as if they stood at the top.
pub(crate) fn leads_to(path: &str, target: &str) -> [String; 2] {
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    [clean(&format!("{folder}/{target}")), clean(target)]
}

/// A path of the archive without `.`, `..` and slashes that mean nothing.
pub(crate) fn clean(path: &str) -> String {
    let mut names: Vec<&str> = Vec::new();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." => drop(names.pop()),
            name => names.push(name),
        }
    }
    names.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_read_with_what_its_writers_leave_out() {
        let text = br#"[{"Config":"c.json","RepoTags":["a:1"],"Layers":["x/layer.tar"]},
            {"config":"d.json","RepoTags":null,"Layers":null,"Parent":"y"}]"#;
        let all = parse(text).unwrap();
        assert_eq!((all[0].layers[0].as_str(), all[0].tags[0].as_str()), ("x/layer.tar", "a:1"));
        assert_eq!((all[1].config.as_str(), all[1].layers.len()), ("d.json", 0));
        for bad in ["{}", "[1]", "[{}]", r#"[{"Config":"c","Layers":[5]}]"#, "", "null"] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_link_leads_from_its_folder_or_from_the_top_and_never_out() {
        assert_eq!(leads_to("a/layer.tar", "../b/layer.tar")[0], "b/layer.tar");
        assert_eq!(leads_to("a/layer.tar", ".b.tar"), ["a/.b.tar", ".b.tar"]);
        assert_eq!(leads_to("layer.tar", "../../../etc/passwd")[0], "etc/passwd");
    }
}
