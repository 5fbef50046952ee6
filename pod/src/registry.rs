//! Image names and the credentials of `imagePullSecrets`.

use base64::Engine as _;
use rrun_cri_api::v1;
use serde_json::{Map, Value};

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

/// Every credential of the pod's secrets that fits `image`, with the name of its secret; the longest
/// match first.
pub fn of_secrets(pod: &Pod, image: &str) -> Vec<(String, v1::AuthConfig)> {
    let mut own = Vec::new();
    for name in &pod.spec.image_pull_secrets {
        let found = pod.objects.secrets.get(name).map_or_else(Vec::new, of_secret);
        own.extend(found.into_iter().map(|(server, auth)| (server, (name.to_owned(), auth))));
    }
    fitting(own, image)
}

/// What stands under servers that fit `image`, the longest match first.
pub(crate) fn fitting<T>(entries: Vec<(String, T)>, image: &str) -> Vec<T> {
    let place = repository(image);
    let fits = |(server, auth): (String, T)| {
        let bare = bare(&server);
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
pub(crate) fn bare(server: &str) -> String {
    let bare = server.trim_start_matches("https://").trim_start_matches("http://");
    let bare = bare.trim_end_matches('/').trim_end_matches("/v1").trim_end_matches("/v2");
    match bare {
        "index.docker.io" | "registry-1.docker.io" => "docker.io".to_owned(),
        other => other.to_owned(),
    }
}

/// The registry of an image.
pub(crate) fn host(image: &str) -> String {
    let place = repository(image);
    bare(place.split_once('/').map_or(place.as_str(), |(host, _)| host))
}

/// How Docker calls a registry where credentials are kept.
pub(crate) fn server(host: &str) -> &str {
    if host == "docker.io" { "https://index.docker.io/v1/" } else { host }
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

fn of_secret(secret: &Secret) -> Vec<(String, v1::AuthConfig)> {
    let (text, nested) = match secret.kind.as_str() {
        "kubernetes.io/dockerconfigjson" => (secret.data.get(".dockerconfigjson"), true),
        "kubernetes.io/dockercfg" => (secret.data.get(".dockercfg"), false),
        _ => (None, false),
    };
    let parsed = text.and_then(|text| serde_json::from_slice::<Value>(text).ok());
    let parsed = parsed.unwrap_or_default();
    // The older kind has at the top what the newer one has below `auths`.
    let map = if nested { parsed.get("auths") } else { Some(&parsed) };
    map.and_then(Value::as_object).map_or_else(Vec::new, entries)
}

/// Credentials by their servers; what cannot be read is left out.
pub(crate) fn entries(map: &Map<String, Value>) -> Vec<(String, v1::AuthConfig)> {
    map.iter().filter_map(|(server, entry)| Some((server.clone(), auth(entry)?))).collect()
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
    // Beside one, `auth` has a name that means nothing, and no password: docker does not read it.
    if !auth.identity_token.is_empty() {
        (auth.username, auth.password) = (String::new(), String::new());
        return Some(auth);
    }
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
    fn the_default_registry_is_called_by_its_old_address_where_credentials_are_kept() {
        for (image, want) in [
            ("busybox", "https://index.docker.io/v1/"),
            ("index.docker.io/a/b:1", "https://index.docker.io/v1/"),
            ("localhost/a", "localhost"),
            ("r.io:5000/a/b@sha256:00", "r.io:5000"),
        ] {
            assert_eq!(server(&host(image)), want, "{image}");
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
        pod.objects.secrets.insert("s".into(), Secret { kind, data, immutable: false });
        let users = |image: &str| -> Vec<String> {
            of_secrets(&pod, image).into_iter().map(|(_, auth)| auth.username).collect()
        };
        assert_eq!(users("r.io/team/app:1"), ["team", "host", "star"]);
        let (secret, auth) = &of_secrets(&pod, "r.io/team/app:1")[0];
        assert_eq!((secret.as_str(), auth.password.as_str()), ("s", "p:word"));
        assert_eq!(users("r.io/other"), ["host", "star"]);
        assert_eq!(users("busybox"), ["hub", "star"]);
        assert_eq!(users("sub.r.io/x"), Vec::<String>::new());
    }

    #[test]
    fn beside_an_identity_token_name_and_password_mean_nothing() {
        let text =
            r#"{"r.io": {"auth": "MDAwMDo=", "identitytoken": "t"}, "s.io": {"auth": "dTpw"}}"#;
        let Value::Object(map) = serde_json::from_str(text).unwrap() else { panic!("{text}") };
        let found = entries(&map);
        let shown = |at: usize| {
            let auth: &v1::AuthConfig = &found[at].1;
            (auth.username.as_str(), auth.password.as_str(), auth.identity_token.as_str())
        };
        assert_eq!((shown(0), shown(1)), (("", "", "t"), ("u", "p", "")));
    }
}
