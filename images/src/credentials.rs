//! What a registry is told about who asks.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use futures::future::BoxFuture;

use crate::error::{Error, Result};
use crate::reference::Reference;

/// The fields of CRI's `AuthConfig`; empty means absent. They are shown only to a host that
/// asks by a challenge, and if [`Credentials::server_address`] is set, to that host alone.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Credentials {
    /// User name, with `password`.
    pub username: String,
    /// Password or access token of `username`.
    pub password: String,
    /// Base64 of `username:password`, used if `username` is empty.
    pub auth: String,
    /// The one server these are for, with or without scheme and path.
    pub server_address: String,
    /// A refresh token for the token server.
    pub identity_token: String,
    /// A bearer token for the registry itself.
    pub registry_token: String,
    /// The file they are from, for messages; empty: whoever asks for the pull gave them. The CRI's
    /// `AuthConfig` does not say of which Secret it is.
    pub source: String,
}

/// What is known for a registry: each set is shown in turn, and nothing where there is `None`.
pub type Known =
    Arc<dyn Fn(Reference) -> BoxFuture<'static, Vec<Option<Credentials>>> + Send + Sync>;

/// How one set of credentials is used.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Secret {
    Basic { username: String, password: String },
    Identity(String),
    Bearer(String),
}

impl Credentials {
    /// The secret to use; `None` if all fields are empty. Fails on a broken `auth`, in the order
    /// of preference that containerd has.
    pub(crate) fn secret(&self) -> Result<Option<Secret>> {
        if !self.username.is_empty() {
            let (username, password) = (self.username.clone(), self.password.clone());
            return Ok(Some(Secret::Basic { username, password }));
        }
        if !self.identity_token.is_empty() {
            return Ok(Some(Secret::Identity(self.identity_token.clone())));
        }
        if !self.auth.is_empty() {
            return decode(&self.auth).map(Some);
        }
        if !self.registry_token.is_empty() {
            return Ok(Some(Secret::Bearer(self.registry_token.clone())));
        }
        Ok(None)
    }

    /// How errors name them, without what is secret of them.
    pub(crate) fn words(&self) -> String {
        let source = match self.source.as_str() {
            "" => "given for the pull".to_owned(),
            file => format!("of {file}"),
        };
        let what = match self.secret() {
            Ok(Some(Secret::Basic { username, .. })) => format!("user {username:?}"),
            Ok(Some(Secret::Identity(_))) => "an identity token".to_owned(),
            Ok(Some(Secret::Bearer(_))) => "a registry token".to_owned(),
            Ok(None) => "all of them empty".to_owned(),
            Err(_) => "unreadable".to_owned(),
        };
        format!("credentials {source}, {what}")
    }

    /// Whether they may be shown to `host` (`name[:port]`).
    pub(crate) fn are_for(&self, host: &str) -> bool {
        self.server_address.is_empty() || self.name(host)
    }

    /// Whether they are for `host` and no other.
    pub(crate) fn name(&self, host: &str) -> bool {
        let address = self.server_address.as_str();
        if address.is_empty() {
            return false;
        }
        let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
        let server = rest.split('/').next().unwrap_or_default();
        hub(server).eq_ignore_ascii_case(hub(host))
    }
}

/// Docker Hub's names are one host.
fn hub(host: &str) -> &str {
    match host {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        other => other,
    }
}

fn decode(auth: &str) -> Result<Secret> {
    // The text itself must not reach a message.
    let bad = || Error::invalid("credentials: `auth` is not base64 of `user:password`");
    let bytes = STANDARD
        .decode(auth.trim())
        .or_else(|_| STANDARD_NO_PAD.decode(auth.trim()))
        .map_err(|_| bad())?;
    let text = String::from_utf8(bytes).map_err(|_| bad())?;
    let (username, password) = text.split_once(':').ok_or_else(bad)?;
    let password = password.trim_matches('\0').to_owned();
    Ok(Secret::Basic { username: username.to_owned(), password })
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials {{ for: {:?}, .. }}", self.server_address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auth_is_base64_of_user_and_password_and_is_never_printed() {
        let basic =
            |auth: &str| Credentials { auth: auth.to_owned(), ..Credentials::default() }.secret();
        let want = Secret::Basic { username: "u".into(), password: "p:q".into() };
        assert!(basic("dTpwOnE=").unwrap() == Some(want));
        for bad in ["dTpwO*", "dXA="] {
            let error = basic(bad).err().unwrap().to_string();
            assert!(!error.contains(bad), "{error}");
        }
    }

    #[test]
    fn a_registry_token_is_shown_to_the_registry_if_there_is_nothing_else() {
        let token = Credentials { registry_token: "t".into(), ..Credentials::default() };
        assert!(token.secret().unwrap() == Some(Secret::Bearer("t".into())));
        let both = Credentials { identity_token: "i".into(), ..token };
        assert!(both.secret().unwrap() == Some(Secret::Identity("i".into())));
    }

    #[test]
    fn credentials_with_an_address_are_for_that_server_alone() {
        let at = |address: &str, host: &str| {
            let server_address = address.to_owned();
            Credentials { server_address, ..Credentials::default() }.are_for(host)
        };
        assert!(at("", "anything:5000"));
        assert!(at("https://gcr.io/v2/", "gcr.io"));
        assert!(at("gcr.io", "gcr.io"));
        assert!(at("https://index.docker.io/v1/", "registry-1.docker.io"));
        assert!(!at("gcr.io", "gcr.io:5000"));
        assert!(!at("https://gcr.io.evil.com", "gcr.io"));
    }
}
