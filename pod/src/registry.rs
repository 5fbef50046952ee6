//! Image names and the credentials of `imagePullSecrets`.

use base64::Engine as _;
use rrun_cri_api::v1;
use serde_json::Value;

use crate::model::{Pod, Secret};

/// `name` with `:latest` if it has neither tag nor digest; `None` if it cannot be a name.
pub fn with_default_tag(name: &str) -> Option<String> {
    let last = name.rsplit('/').next()?;
    let bad = name.is_empty()
        || name.ends_with(['/', ':', '@'])
        || name.starts_with(['/', ':', '@'])
        || name.contains("//")
        || name
            .split('@')
            .next()?
            .rsplit('/')
            .next()?
            .split(':')
            .next()?
            .chars()
            .any(char::is_uppercase);
    if bad {
        return None;
    }
    let complete = name.contains('@') || last.contains(':');
    Some(if complete { name.to_owned() } else { format!("{name}:latest") })
}

/// What a registry is shown.
#[derive(Clone, Debug)]
pub struct Credential {
    /// It.
    pub auth: v1::AuthConfig,
    /// The pod's Secret that it is of, by its name; else it is the node's, for all pods.
    pub secret: Option<String>,
}

/// Every credential that fits `image`: those of the pod's secrets, then those of the node's own
/// `config.json`; of each the longest match first.
pub fn credentials(pod: &Pod, node: Option<&[u8]>, image: &str) -> Vec<Credential> {
    let mut own = Vec::new();
    for name in &pod.spec.image_pull_secrets {
        let found = pod.objects.secrets.get(name).map_or_else(Vec::new, entries);
        let of_secret =
            |(server, auth)| (server, Credential { auth, secret: Some(name.to_owned()) });
        own.extend(found.into_iter().map(of_secret));
    }
    let nodes = node.map_or_else(Vec::new, |text| of_node(text, image));
    let of_node = nodes.into_iter().map(|auth| Credential { auth, secret: None });
    fitting(own, image).into_iter().chain(of_node).collect()
}

/// Every credential of the node's own `config.json` that fits `image`, the longest match first.
pub fn of_node(text: &[u8], image: &str) -> Vec<v1::AuthConfig> {
    fitting(config(text, true), image)
}

fn fitting<T>(entries: Vec<(String, T)>, image: &str) -> Vec<T> {
    let place = repository(image);
    let fits = |(server, auth): (String, T)| {
        let bare = bare_server(&server);
        matches(&bare, &place).then(|| ((bare.len(), !bare.contains('*')), auth))
    };
    let mut found: Vec<_> = entries.into_iter().filter_map(fits).collect();
    found.sort_by_key(|(rank, _)| std::cmp::Reverse(*rank));
    found.into_iter().map(|(_, auth)| auth).collect()
}

/// `registry/repository` of an image, with Docker's default registry spelled out.
pub fn repository(image: &str) -> String {
    let name = image.split('@').next().unwrap_or(image);
    let first = name.split('/').next().unwrap_or("");
    let has_registry = name.contains('/') && (first.contains(['.', ':']) || first == "localhost");
    let full = match (has_registry, name.contains('/')) {
        (true, _) => name.to_owned(),
        (false, true) => format!("docker.io/{name}"),
        (false, false) => format!("docker.io/library/{name}"),
    };
    without_tag(&full).to_owned()
}

/// An image's name as it is written, without tag and digest.
pub fn without_tag(image: &str) -> &str {
    let name = image.split('@').next().unwrap_or(image);
    let slash = name.rfind('/').unwrap_or(0);
    name[slash..].find(':').map_or(name, |colon| &name[..slash + colon])
}

/// `https://index.docker.io/v1/` → `docker.io`; the rest without scheme and API version.
fn bare_server(server: &str) -> String {
    let bare = server.trim_start_matches("https://").trim_start_matches("http://");
    let bare = bare.trim_end_matches('/').trim_end_matches("/v1").trim_end_matches("/v2");
    match bare {
        "index.docker.io" | "registry-1.docker.io" => "docker.io".to_owned(),
        other => other.to_owned(),
    }
}

/// Host for host (`*` stands for one label), then the path as a prefix of whole parts.
fn matches(server: &str, place: &str) -> bool {
    let (host, path) = server.split_once('/').unwrap_or((server, ""));
    let (image_host, image_path) = place.split_once('/').unwrap_or((place, ""));
    let labels = |h: &str| h.split('.').map(str::to_owned).collect::<Vec<_>>();
    let (want, have) = (labels(host), labels(image_host));
    let same = want.len() == have.len() && want.iter().zip(&have).all(|(w, h)| w == "*" || w == h);
    let rest = image_path.strip_prefix(path);
    same && rest.is_some_and(|r| path.is_empty() || r.is_empty() || r.starts_with('/'))
}

fn entries(secret: &Secret) -> Vec<(String, v1::AuthConfig)> {
    let (text, nested) = match secret.kind.as_str() {
        "kubernetes.io/dockerconfigjson" => (secret.data.get(".dockerconfigjson"), true),
        "kubernetes.io/dockercfg" => (secret.data.get(".dockercfg"), false),
        _ => (None, false),
    };
    text.map_or_else(Vec::new, |text| config(text, nested))
}

/// The entries of a `config.json` (`nested`: below `auths`) or an older `.dockercfg`.
fn config(text: &[u8], nested: bool) -> Vec<(String, v1::AuthConfig)> {
    let parsed = serde_json::from_slice::<Value>(text).unwrap_or_default();
    let map = if nested { parsed.get("auths").cloned().unwrap_or_default() } else { parsed };
    let Value::Object(map) = map else { return Vec::new() };
    map.into_iter().filter_map(|(server, entry)| Some((server, auth(&entry)?))).collect()
}

fn auth(entry: &Value) -> Option<v1::AuthConfig> {
    let field = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or("").to_owned();
    let mut auth = v1::AuthConfig {
        username: field("username"),
        password: field("password"),
        identity_token: field("identitytoken"),
        registry_token: field("registrytoken"),
        ..Default::default()
    };
    let encoded = field("auth");
    if auth.username.is_empty() && !encoded.is_empty() {
        let decoded = base64::engine::general_purpose::STANDARD.decode(encoded.trim()).ok()?;
        let text = String::from_utf8(decoded).ok()?;
        let (user, password) = text.split_once(':')?;
        (auth.username, auth.password) = (user.to_owned(), password.to_owned());
    }
    Some(auth)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pod;

    #[test]
    fn names_without_a_tag_get_latest_and_broken_ones_are_refused() {
        for (name, want) in [
            ("busybox", Some("busybox:latest")),
            ("r:5000/a/b", Some("r:5000/a/b:latest")),
            ("r:5000/a:1", Some("r:5000/a:1")),
            ("a@sha256:00", Some("a@sha256:00")),
            ("", None),
            ("a:", None),
            ("a//b", None),
            ("r/UP", None),
        ] {
            assert_eq!(with_default_tag(name).as_deref(), want, "{name}");
        }
    }

    #[test]
    fn the_longest_match_is_tried_first() {
        let mut pod = pod("  imagePullSecrets: [{name: s}]
  containers: [{name: a, image: i}]
");
        let config = br#"{"auths": {
            "r.io": {"username": "host", "password": "1"},
            "https://r.io/team": {"auth": "dGVhbTpwOndvcmQ="},
            "r.io/tea": {"username": "no", "password": "1"},
            "*.io": {"username": "star", "password": "1"},
            "https://index.docker.io/v1/": {"username": "hub", "password": "1"}
        }}"#;
        let data = [(".dockerconfigjson".to_owned(), config.to_vec())].into();
        let kind = "kubernetes.io/dockerconfigjson".to_owned();
        pod.objects.secrets.insert("s".into(), Secret { kind, data });
        let users = |image: &str| -> Vec<String> {
            credentials(&pod, None, image).into_iter().map(|c| c.auth.username).collect()
        };
        assert_eq!(users("r.io/team/app:1"), ["team", "host", "star"]);
        assert_eq!(credentials(&pod, None, "r.io/team/app:1")[0].auth.password, "p:word");
        assert_eq!(users("r.io/other"), ["host", "star"]);
        assert_eq!(users("busybox"), ["hub", "star"]);
        assert_eq!(users("sub.r.io/x"), Vec::<String>::new());
        let node = br#"{"auths": {"r.io/team/app": {"username": "node", "password": "1"}}}"#;
        let both = credentials(&pod, Some(node), "r.io/team/app:1");
        let both: Vec<(&str, Option<&str>)> =
            both.iter().map(|c| (c.auth.username.as_str(), c.secret.as_deref())).collect();
        let s = Some("s");
        assert_eq!(both, [("team", s), ("host", s), ("star", s), ("node", None)]);
    }
}
