//! Image configs: from the bytes of one to what a node needs of it.
//!
//! Read by hand out of JSON and not by `oci-spec`'s types: those refuse a whole config for one
//! odd field, while clients that came before us took it, and images that were built for them are
//! still pulled. A field that is null, absent or of another type counts as empty; only what the
//! layers are must be right.

use serde_json::{Map, Value};

use crate::digest::Digest;
use crate::error::{Context, Error, Result};
use crate::json::{self, get};
use crate::platform::Platform;

/// What a container of the image runs, unless its own configuration says otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageConfig {
    /// `Entrypoint`
    pub entrypoint: Vec<String>,
    /// `Cmd`
    pub cmd: Vec<String>,
    /// `Env`, `NAME=value`; what is not so is left out, as every other client does.
    pub env: Vec<String>,
    /// `User`
    pub user: String,
    /// `WorkingDir`
    pub working_dir: String,
    /// `StopSignal`
    pub stop_signal: String,
}

/// What a process has of arguments and variables at the most, whatever its limits are: three quarters
/// of `_STK_LIM`, execve(2), each with the pointer to it.
const MOST_OF_A_PROCESS: usize = 6 << 20;
const POINTER: usize = 8;

impl ImageConfig {
    /// Refuses what no kernel starts.
    ///
    /// # Errors
    /// `Invalid`.
    pub(crate) fn check_size(&self) -> Result<()> {
        let all = self.env.iter().chain(&self.entrypoint).chain(&self.cmd);
        let needed: usize = all.map(|text| text.len() + 1 + POINTER).sum();
        if needed <= MOST_OF_A_PROCESS {
            return Ok(());
        }
        let variables = self.env.len();
        Err(Error::invalid(format_args!(
            "config: its command and its {variables} variables take {needed} bytes, and a process has \
             {MOST_OF_A_PROCESS} for them"
        )))
    }
}

/// A config that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedConfig {
    /// Digests of the uncompressed layers, bottom first.
    pub diff_ids: Vec<Digest>,
    /// For which machine the image is, as far as the config says it.
    pub platform: Platform,
    /// What a container runs.
    pub image: ImageConfig,
}

/// Parses an image config.
///
/// # Errors
/// `Invalid` for what is no JSON object, and for a malformed digest of a layer.
pub fn parse(bytes: &[u8]) -> Result<ParsedConfig> {
    let document = json::parse(bytes).context("config")?;
    let Value::Object(document) = document else {
        return Err(Error::invalid("config: not a JSON object"));
    };
    let none = Map::new();
    let object = |name: &str| get(&document, name).and_then(Value::as_object).unwrap_or(&none);
    let ids = get(object("rootfs"), "diff_ids").map(strings).unwrap_or_default();
    let diff_ids = ids.iter().map(|id| id.parse()).collect::<Result<_>>().context("diff_ids")?;
    let platform = Platform {
        os: text(&document, "os"),
        architecture: text(&document, "architecture"),
        variant: text(&document, "variant"),
    };
    let config = object("config");
    let list = |name: &str| get(config, name).map(strings).unwrap_or_default();
    let mut env = list("Env");
    env.retain(|entry| entry.find('=').is_some_and(|at| at > 0) && !entry.contains('\0'));
    let mut entrypoint = list("Entrypoint");
    // How a Dockerfile takes the one of its base back.
    if entrypoint == [""] {
        entrypoint.clear();
    }
    let image = ImageConfig {
        entrypoint,
        cmd: list("Cmd"),
        env,
        user: text(config, "User"),
        working_dir: text(config, "WorkingDir"),
        stop_signal: text(config, "StopSignal"),
    };
    Ok(ParsedConfig { diff_ids, platform, image })
}

/// A string, or a number as it is written; else empty.
fn text(object: &Map<String, Value>, name: &str) -> String {
    match get(object, name) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => String::new(),
    }
}

/// A list of strings, or one string, which is a list of one.
fn strings(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) => {
            items.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect()
        }
        Value::String(text) => vec![text.clone()],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_of_a_plain_config_is_read() {
        let id = format!("sha256:{}", "ab".repeat(32));
        let text = format!(
            r#"{{"os":"linux","architecture":"arm64","variant":"v8",
            "rootfs":{{"type":"layers","diff_ids":["{id}"]}},
            "config":{{"Entrypoint":["/e"],"Cmd":["c","d"],"Env":["A=1","B=","C=x=y"],"User":"u:g",
            "WorkingDir":"/w","StopSignal":"SIGINT","Volumes":{{"/v":{{}},"/a":{{}}}}}}}}"#
        );
        let got = parse(text.as_bytes()).unwrap();
        assert_eq!(got.diff_ids, [id.parse().unwrap()]);
        assert_eq!(got.platform, Platform::new("linux", "arm64", "v8"));
        let all = |items: &[&str]| items.iter().map(|i| (*i).to_owned()).collect::<Vec<_>>();
        let want = ImageConfig {
            entrypoint: all(&["/e"]),
            cmd: all(&["c", "d"]),
            env: all(&["A=1", "B=", "C=x=y"]),
            user: "u:g".into(),
            working_dir: "/w".into(),
            stop_signal: "SIGINT".into(),
        };
        assert_eq!(got.image, want);
    }

    #[test]
    fn a_million_variables_are_more_than_a_process_has() {
        let with = |n| ImageConfig { env: vec!["a=1".to_owned(); n], ..ImageConfig::default() };
        with(500_000).check_size().unwrap();
        let refused = with(1_000_000).check_size().unwrap_err().to_string();
        let words =
            "config: its command and its 1000000 variables take 12000000 bytes, and a process";
        assert!(refused.starts_with(words), "{refused}");
    }

    #[test]
    fn odd_and_empty_fields_refuse_no_config() {
        let empty = parse(b"{}").unwrap();
        assert_eq!((empty.diff_ids.len(), empty.image), (0, ImageConfig::default()));
        for odd in [
            r#"{"config":null,"rootfs":null,"history":null,"os":null,"architecture":null}"#,
            r#"{"config":[],"rootfs":{"diff_ids":null},"history":"none","created":"","variant":5.5}"#,
            r#"{"config":{"Env":null,"Cmd":null,"Entrypoint":null,"Volumes":null,"User":null}}"#,
            r#"{"config":{"ExposedPorts":["80"],"Labels":["a"],"Volumes":5,"Env":{},"Cmd":{}}}"#,
            r#"{"config":{"ExposedPorts":{"http":null},"Labels":{"a":null,"b":1}},"created":0}"#,
            r#"{"history":[{"created":"never","empty_layer":"yes"}],"author":[]}"#,
            r#"{"config":{"Entrypoint":[""]}}"#,
            r#"{"author":"half of \ud83d","comment":"\udc00\ud83d\u0041"}"#,
        ] {
            let got = parse(odd.as_bytes()).unwrap();
            assert_eq!(got.image, ImageConfig::default(), "{odd}");
        }
        assert_eq!(parse(b"{\"author\":\"Ren\xe9\"}").unwrap().image, ImageConfig::default());
        let odd = r#"{"config":{"Env":["PATH=/bin","DEBUG","","=x",null,1,"A=1"],"User":1000,
            "cmd":"run","Volumes":["/v"]}}"#;
        let got = parse(odd.as_bytes()).unwrap().image;
        assert_eq!(got.env, ["PATH=/bin", "A=1"]);
        assert_eq!((got.user.as_str(), got.cmd), ("1000", vec!["run".to_owned()]));
        for bad in ["", "null", "[]", "5", r#"{"rootfs":{"diff_ids":["nonsense"]}}"#] {
            assert_eq!(parse(bad.as_bytes()).unwrap_err().kind(), crate::Kind::Invalid, "{bad}");
        }
    }
}
