//! A `config.json` as Docker's: credentials, and the names of programs that have others.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rrun_cri_api::v1;
use serde::Serialize;
use serde_json::ser::PrettyFormatter;
use serde_json::{Map, Serializer, Value};

use crate::error::{Context, Error, Kind, Result};
use crate::registry;

/// Longer than any such file, in bytes.
const LARGEST: u64 = 16 << 20;

/// Such a file, with what we do not know of it.
#[derive(Clone, Default, PartialEq)]
pub(super) struct DockerConfig(Map<String, Value>);

impl DockerConfig {
    /// The file, if there is one.
    ///
    /// # Errors
    /// Those of the file system, and `Invalid` for what is no JSON object.
    pub fn read(path: &Path) -> Result<Option<DockerConfig>> {
        let shown = path.display();
        match rrun_sys::in_root::read_regular_of_host(path, LARGEST) {
            Ok(text) => DockerConfig::parse(&text).context(|| shown.to_string()).map(Some),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::io(format!("read {shown}"), &e)),
        }
    }

    fn parse(text: &[u8]) -> Result<DockerConfig> {
        if text.trim_ascii().is_empty() {
            return Ok(DockerConfig::default());
        }
        // What serde says may quote the text.
        let bad = |why| Error::new(Kind::Invalid, why);
        match serde_json::from_slice(text) {
            Ok(Value::Object(map)) => Ok(DockerConfig(map)),
            Ok(_) => Err(bad("not a JSON object".to_owned())),
            Err(e) => Err(bad(format!("not JSON, line {} column {}", e.line(), e.column()))),
        }
    }

    /// What stands in it for `image`, the longest match first. An entry without content says that a
    /// program has it.
    pub fn fitting(&self, image: &str) -> Vec<v1::AuthConfig> {
        let auths = self.0.get("auths").and_then(Value::as_object);
        let entries = auths.map_or_else(Vec::new, registry::entries);
        registry::fitting(entries.into_iter().filter(|(_, auth)| is_filled(auth)).collect(), image)
    }

    /// The name of the program that has the credentials of the registry `host`: its own, or that for
    /// all. An empty name is none.
    ///
    /// # Errors
    /// `Invalid` for what is no name.
    pub fn helper(&self, host: &str) -> Result<Option<&str>> {
        let of_host = self.0.get("credHelpers").and_then(Value::as_object);
        let own = of_host.and_then(|all| all.iter().find(|(key, _)| registry::bare(key) == host));
        let (key, name) = match own {
            Some((key, name)) => (format!("credHelpers: {key}"), name),
            None => match self.0.get("credsStore") {
                Some(name) => ("credsStore".to_owned(), name),
                None => return Ok(None),
            },
        };
        match name.as_str() {
            Some(name) => Ok(Some(name).filter(|name| !name.is_empty())),
            None => Err(Error::new(Kind::Invalid, format!("{key}: want a name"))),
        }
    }

    /// What stands in it under a server.
    pub fn entry(&self, server: &str) -> Option<v1::AuthConfig> {
        let auths = self.0.get("auths").and_then(Value::as_object)?;
        let mut entries = registry::entries(auths).into_iter();
        entries
            .find(|(key, _)| registry::bare(key) == server)
            .map(|(_, auth)| auth)
            .filter(is_filled)
    }

    /// Puts a user and a password under a server, in the place of others; without them an entry that
    /// says that a program has them.
    ///
    /// # Errors
    /// `Invalid` where something else stands in its place.
    pub fn put(&mut self, server: &str, who: Option<(&str, &str)>) -> Result<()> {
        let wrong = |what: &str| Error::new(Kind::Invalid, format!("{what}: want an object"));
        let auths = self.0.entry("auths").or_insert_with(|| Value::Object(Map::new()));
        let auths = auths.as_object_mut().ok_or_else(|| wrong("auths"))?;
        let mut entry = Map::new();
        for key in aliases(auths, server) {
            let old = auths.get(&key).and_then(Value::as_object).cloned();
            entry.extend(old.ok_or_else(|| wrong(&format!("auths: {key}")))?);
        }
        for key in aliases(auths, server) {
            auths.remove(&key);
        }
        for secret in ["auth", "username", "password", "identitytoken", "registrytoken"] {
            entry.remove(secret);
        }
        if let Some((username, password)) = who {
            let auth = STANDARD.encode(format!("{username}:{password}"));
            entry.insert("auth".to_owned(), Value::String(auth));
        }
        auths.insert(registry::server(server).to_owned(), Value::Object(entry));
        Ok(())
    }

    /// Removes what stands under a server: whether there was something.
    pub fn remove(&mut self, server: &str) -> bool {
        let Some(auths) = self.0.get_mut("auths").and_then(Value::as_object_mut) else {
            return false;
        };
        let keys = aliases(auths, server);
        for key in &keys {
            auths.remove(key);
        }
        !keys.is_empty()
    }

    /// Every server that is named in it.
    pub fn servers(&self) -> BTreeSet<String> {
        let maps = ["auths", "credHelpers"].into_iter().filter_map(|key| self.0.get(key));
        maps.filter_map(Value::as_object)
            .flat_map(Map::keys)
            .map(|key| registry::bare(key))
            .collect()
    }

    /// As docker writes it.
    ///
    /// # Errors
    /// `Internal`, which no map of JSON values is known to make.
    pub fn text(&self) -> Result<Vec<u8>> {
        let mut text = Vec::new();
        let mut writer = Serializer::with_formatter(&mut text, PrettyFormatter::with_indent(b"\t"));
        let written = self.0.serialize(&mut writer);
        written.map_err(|e| Error::new(Kind::Internal, format!("encode: {e}")))?;
        text.push(b'\n');
        Ok(text)
    }
}

fn is_filled(auth: &v1::AuthConfig) -> bool {
    *auth != v1::AuthConfig::default()
}

/// The names under which a server may stand.
fn aliases(auths: &Map<String, Value>, server: &str) -> Vec<String> {
    auths.keys().filter(|key| registry::bare(key) == server).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> DockerConfig {
        DockerConfig::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_registrys_own_program_goes_before_the_one_for_all_and_an_empty_name_is_none() {
        let all = config(
            r#"{"credsStore": "all", "credHelpers":
                {"https://index.docker.io/v1/": "hub", "gcr.io": "gcloud", "plain.io": "", "x.io": 5}}"#,
        );
        for (host, want) in
            [("docker.io", Some("hub")), ("gcr.io", Some("gcloud")), ("plain.io", None)]
        {
            assert_eq!(all.helper(host).unwrap(), want, "{host}");
        }
        assert_eq!(all.helper("eu.gcr.io").unwrap(), Some("all"));
        assert_eq!(all.helper("x.io").unwrap_err().to_string(), "credHelpers: x.io: want a name");
        assert_eq!(config("{}").helper("gcr.io").unwrap(), None);
    }

    #[test]
    fn an_entry_without_content_is_no_credential() {
        let text = r#"{"auths": {"r.io": {}, "r.io/a": {"username": "u", "password": "p"}}}"#;
        let users = |image| -> Vec<String> {
            config(text).fitting(image).into_iter().map(|auth| auth.username).collect()
        };
        assert_eq!((users("r.io/a/b"), users("r.io/b")), (vec!["u".to_owned()], vec![]));
    }

    #[test]
    fn a_text_that_is_no_configuration_is_named_by_its_place_and_not_quoted() {
        for (text, want) in [
            ("{\"auths\": s3cret}", "not JSON, line 1 column 11"),
            ("\"s3cret\"", "not a JSON object"),
        ] {
            let error = DockerConfig::parse(text.as_bytes()).err().unwrap().to_string();
            assert_eq!(error, want);
        }
        assert!(DockerConfig::parse(b" \n").unwrap().0.is_empty());
    }
}
