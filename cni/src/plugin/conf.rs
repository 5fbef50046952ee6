//! Network configurations: `.conflist`, and `.conf` or `.json` with one plugin.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// Versions of the specification whose configurations are taken, oldest first. Their results have
/// one shape.
const VERSIONS: [&str; 5] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/// A plugin's own part of a configuration.
pub type Plugin = Map<String, Value>;

/// A network: plugins that run one after the other. Stands in the record as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    pub name: String,
    pub version: String,
    pub plugins: Vec<Plugin>,
}

/// How a file says what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `.conflist`
    List,
    /// `.conf`, `.json`
    Plugin,
}

impl Network {
    /// Whether plugins are given `prevResult` on DEL: from 0.4.0 on.
    pub fn del_has_result(&self) -> bool {
        !self.version.starts_with("0.3.")
    }

    /// The configuration as a list, for people.
    pub fn list(&self) -> Value {
        json!({ "cniVersion": self.version, "name": self.name, "plugins": self.plugins })
    }
}

/// A parsed file, and whether plugins of the network's own folder are to be added to it.
pub struct Parsed {
    pub network: Network,
    pub load_folder: bool,
}

/// Parses a configuration.
///
/// # Errors
/// `Invalid`, with line and column, or the member that is wrong.
pub fn parse(bytes: &[u8], form: Form) -> Result<Parsed> {
    let mut object: Plugin = serde_json::from_slice(bytes).map_err(Error::invalid)?;
    let name = string(&object, "name")?;
    if !name.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
        || !name.starts_with(|c: char| c.is_ascii_alphanumeric())
    {
        return Err(Error::invalid(format!("name: {name:?} is not a network's name")));
    }
    let version = version(&object)?;
    let (plugins, load_folder) = match form {
        Form::Plugin if object.contains_key("plugins") => {
            return Err(Error::invalid("plugins: a list must be in a .conflist file"));
        }
        Form::Plugin => (vec![object], false),
        Form::List => {
            let load_folder = match object.get("loadOnlyInlinedPlugins") {
                None => true,
                Some(Value::Bool(only)) => !only,
                Some(_) => return Err(Error::invalid("loadOnlyInlinedPlugins: not a boolean")),
            };
            let plugins = object.remove("plugins").unwrap_or(json!([]));
            let plugins = serde_json::from_value::<Vec<Plugin>>(plugins)
                .map_err(|e| Error::invalid(format!("plugins: {e}")))?;
            (plugins, load_folder)
        }
    };
    for (at, plugin) in plugins.iter().enumerate() {
        check_plugin(plugin).map_err(|e| e.context(format!("plugins[{at}]")))?;
    }
    Ok(Parsed { network: Network { name, version, plugins }, load_folder })
}

/// Parses a plugin's object that stands in a file of its own.
pub fn parse_plugin(bytes: &[u8]) -> Result<Plugin> {
    let plugin: Plugin = serde_json::from_slice(bytes).map_err(Error::invalid)?;
    check_plugin(&plugin)?;
    Ok(plugin)
}

fn check_plugin(plugin: &Plugin) -> Result<()> {
    let kind = string(plugin, "type")?;
    // It is the name of a file in one of the plugins' folders, never a path.
    if kind.is_empty() || kind.contains(['/', '\0']) || kind.starts_with('.') {
        return Err(Error::invalid(format!("type: {kind:?} is not a plugin's name")));
    }
    match plugin.get("capabilities") {
        None | Some(Value::Object(_)) => Ok(()),
        Some(_) => Err(Error::invalid("capabilities: not an object")),
    }
}

/// The version to speak: `cniVersion`, or the newest of `cniVersions` (1.1.0) that is known.
fn version(object: &Plugin) -> Result<String> {
    let all = match object.get("cniVersions") {
        None => vec![string(object, "cniVersion")?],
        Some(list) => {
            let list: Vec<String> = serde_json::from_value(list.clone())
                .map_err(|e| Error::invalid(format!("cniVersions: {e}")))?;
            list.into_iter().chain(string(object, "cniVersion").ok()).collect()
        }
    };
    let best = VERSIONS.iter().rev().find(|known| all.iter().any(|version| version == *known));
    best.map(|version| (*version).to_owned()).ok_or_else(|| {
        let newest = VERSIONS[VERSIONS.len() - 1];
        Error::invalid(format!("cniVersion: {all:?}: {} to {newest} are supported", VERSIONS[0]))
    })
}

fn string(object: &Plugin, member: &str) -> Result<String> {
    match object.get(member) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(_) => Err(Error::invalid(format!("{member}: not a string"))),
        None => Err(Error::invalid(format!("{member}: missing"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_and_a_single_plugin_become_the_same_network() {
        let list = br#"{"cniVersion":"1.0.0","name":"n","plugins":[{"type":"bridge"}]}"#;
        let list = parse(list, Form::List).unwrap();
        assert!(list.load_folder);
        assert_eq!(list.network.plugins[0]["type"], "bridge");
        let one = br#"{"cniVersion":"0.3.1","name":"n","type":"bridge"}"#;
        let one = parse(one, Form::Plugin).unwrap().network;
        assert_eq!((one.version.as_str(), one.plugins.len()), ("0.3.1", 1));
        assert!(!one.del_has_result());
    }

    #[test]
    fn the_newest_common_version_is_spoken() {
        let text = br#"{"cniVersions":["0.4.0","1.1.0","9.0.0"],"name":"n","plugins":[]}"#;
        assert_eq!(parse(text, Form::List).unwrap().network.version, "1.1.0");
    }

    #[test]
    fn a_refusal_says_where() {
        for (text, form, expected) in [
            ("{\n\"name\": x}", Form::List, "expected value at line 2 column 9"),
            (r#"{"cniVersion":"1.0.0"}"#, Form::List, "name: missing"),
            (r#"{"cniVersion":"1.0.0","name":"../x"}"#, Form::List, r#"name: "../x" is not"#),
            (r#"{"cniVersion":"0.2.0","name":"n"}"#, Form::List, r#"cniVersion: ["0.2.0"]: 0.3.0"#),
            (
                r#"{"cniVersion":"1.0.0","name":"n","plugins":[{"type":"a"},{"type":"../b"}]}"#,
                Form::List,
                r#"plugins[1]: type: "../b""#,
            ),
            (
                r#"{"cniVersion":"1.0.0","name":"n","plugins":[]}"#,
                Form::Plugin,
                "plugins: a list must be in a .conflist file",
            ),
        ] {
            let refused = parse(text.as_bytes(), form).err().unwrap().to_string();
            assert!(refused.starts_with(expected), "{refused}");
        }
    }
}
