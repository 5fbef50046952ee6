//! Which image was pulled with whose credentials, so that a pod without them cannot use what
//! another one pulled (`pkg/kubelet/images/pullmanager`).
//!
//! The kubelet knows a Secret by its uid, so that one whose password has changed stays the same.
//! Here a Secret is a file that anybody may call anything: only the credential itself counts.

use std::collections::{BTreeMap, BTreeSet};

use rrun_cri_api::v1;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::clock::Timestamp;
use crate::error::{Error, Kind, Result};
use crate::registry;

/// Which images that are here a pod may use without asking their registry
/// (`imagePullCredentialsVerificationPolicy`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum VerificationPolicy {
    /// All.
    NeverVerify,
    /// Those that were not pulled for a pod.
    #[default]
    NeverVerifyPreloadedImages,
    /// Those of these repositories; one that ends in `/*` stands for all that begin so.
    NeverVerifyAllowlistedImages(Vec<String>),
    /// None.
    AlwaysVerify,
}

impl VerificationPolicy {
    /// By the kubelet's name.
    ///
    /// # Errors
    /// `Invalid`: an unknown name; a list for another policy than the one that takes it; an entry
    /// with a tag, a digest or a `*` that does not end it.
    pub fn new(name: &str, allowed: Vec<String>) -> Result<Self> {
        const KEY: &str = "image_pull_credentials_verification_policy";
        let invalid = |text: String| Err(Error::new(Kind::Invalid, text));
        let policy = match name {
            "NeverVerify" => VerificationPolicy::NeverVerify,
            "NeverVerifyPreloadedImages" => VerificationPolicy::NeverVerifyPreloadedImages,
            "AlwaysVerify" => VerificationPolicy::AlwaysVerify,
            "NeverVerifyAllowlistedImages" => {
                let bad = |entry: &&String| {
                    let plain = entry.strip_suffix("/*").unwrap_or(entry);
                    plain.is_empty()
                        || plain.contains(['*', ' '])
                        || registry::without_tag(plain) != plain
                };
                if let Some(entry) = allowed.iter().find(bad) {
                    return invalid(format!(
                        "preloaded_images_verification_allowlist: {entry:?}: want a repository, \
                         without tag or digest, or the beginning of several and /*"
                    ));
                }
                return Ok(VerificationPolicy::NeverVerifyAllowlistedImages(allowed));
            }
            _ => return invalid(format!("{KEY}: {name:?} is no policy of the kubelet's")),
        };
        if !allowed.is_empty() {
            return invalid(format!(
                "preloaded_images_verification_allowlist: it is for {KEY} = \
                 \"NeverVerifyAllowlistedImages\""
            ));
        }
        Ok(policy)
    }

    /// Whether a pod must show that it may use `image`, which is here.
    fn verifies(&self, image: &str, pulled_for_a_pod: bool) -> bool {
        match self {
            VerificationPolicy::NeverVerify => false,
            VerificationPolicy::NeverVerifyPreloadedImages => pulled_for_a_pod,
            VerificationPolicy::AlwaysVerify => true,
            VerificationPolicy::NeverVerifyAllowlistedImages(list) => {
                let name = registry::without_tag(image);
                let allows = |entry: &String| match entry.strip_suffix('*') {
                    Some(beginning) => name.starts_with(beginning),
                    None => name == entry,
                };
                !list.iter().any(allows)
            }
        }
    }
}

/// Who may use an image of one repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Access {
    /// Every pod: it was pulled with nobody's credentials, or with the node's.
    Everyone,
    /// Pods with one of these credentials, by their hash.
    Credentials(BTreeSet<String>),
}

/// What is on record of an image that was pulled for a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullRecord {
    /// The image's id.
    pub id: String,
    /// By the repository that it was pulled from.
    pub access: BTreeMap<String, Access>,
    /// When this last changed.
    pub updated: Timestamp,
}

impl PullRecord {
    /// Adds a pull of `image`.
    pub fn add(&mut self, image: &str, pulled: PulledImage) {
        (self.id, self.updated) = (pulled.id, pulled.at);
        let repository = registry::repository(image);
        match (self.access.get_mut(&repository), pulled.access) {
            (Some(Access::Everyone), _) => {}
            (Some(Access::Credentials(known)), Access::Credentials(new)) => known.extend(new),
            (_, access) => drop(self.access.insert(repository, access)),
        }
    }
}

/// What came of a pull.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PulledImage {
    /// The image's id.
    pub id: String,
    /// Who may use it.
    pub access: Access,
    /// When.
    pub at: Timestamp,
}

/// What the records say of an image that is here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PullState {
    /// The record of its pulls.
    pub record: Option<PullRecord>,
    /// A pull of this name is under way, or was when its process died.
    pub pulling: bool,
}

/// Whether an image that is here has to be pulled all the same, by a pod whose credentials for it
/// have these hashes.
pub fn must_pull(
    policy: &VerificationPolicy,
    image: &str,
    pulled: &PullState,
    credentials: &[String],
) -> bool {
    if !policy.verifies(image, pulled.record.is_some() || pulled.pulling) {
        return false;
    }
    let access = pulled.record.as_ref().and_then(|r| r.access.get(&registry::repository(image)));
    match access {
        Some(Access::Everyone) => false,
        Some(Access::Credentials(known)) => !credentials.iter().any(|hash| known.contains(hash)),
        None => true,
    }
}

/// The hash by which a credential is known.
pub fn credential_hash(auth: &v1::AuthConfig) -> String {
    let mut hash = Sha256::new();
    let fields = [
        &auth.username,
        &auth.password,
        &auth.auth,
        &auth.server_address,
        &auth.identity_token,
        &auth.registry_token,
    ];
    for field in fields {
        hash.update((field.len() as u64).to_le_bytes());
        hash.update(field);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pulled(access: &[(&str, Access)]) -> PullState {
        let access = access.iter().map(|(name, a)| ((*name).to_owned(), a.clone())).collect();
        let record = PullRecord { id: "id".into(), access, updated: Timestamp::default() };
        PullState { record: Some(record), pulling: false }
    }

    fn hashes(all: &[&str]) -> Access {
        Access::Credentials(all.iter().map(|hash| (*hash).to_owned()).collect())
    }

    #[test]
    fn each_policy_says_which_images_are_used_as_they_are() {
        let none = PullState::default();
        let cut_off = PullState { record: None, pulling: true };
        let secret = pulled(&[("r.io/p", hashes(&["h"]))]);
        let public = pulled(&[("r.io/p", Access::Everyone)]);
        let elsewhere = pulled(&[("r.io/q", Access::Everyone)]);
        let (never, preloaded) =
            (VerificationPolicy::NeverVerify, VerificationPolicy::NeverVerifyPreloadedImages);
        let always = VerificationPolicy::AlwaysVerify;
        let list =
            |entry: &str| VerificationPolicy::NeverVerifyAllowlistedImages(vec![entry.to_owned()]);
        for (policy, found, mine, want) in [
            (&never, &secret, "x", false),
            (&preloaded, &none, "x", false),
            (&preloaded, &cut_off, "h", true),
            (&preloaded, &secret, "h", false),
            (&preloaded, &secret, "x", true),
            (&preloaded, &public, "x", false),
            (&preloaded, &elsewhere, "x", true),
            (&always, &none, "x", true),
            (&always, &secret, "h", false),
            (&list("r.io/p"), &secret, "x", false),
            (&list("r.io/*"), &secret, "x", false),
            (&list("r.io/q"), &none, "x", true),
        ] {
            let mine = [mine.to_owned()];
            assert_eq!(must_pull(policy, "r.io/p:1", found, &mine), want, "{policy:?} {found:?}");
        }
    }

    #[test]
    fn a_policy_that_makes_no_sense_is_refused_by_its_key() {
        let new = |name: &str, list: &[&str]| {
            VerificationPolicy::new(name, list.iter().map(|s| (*s).to_owned()).collect())
        };
        assert_eq!(new("NeverVerifyPreloadedImages", &[]), Ok(VerificationPolicy::default()));
        let listed = "NeverVerifyAllowlistedImages";
        assert!(new(listed, &["r.io/a", "r.io/b/*", "r.io:5000/c"]).is_ok());
        for (name, list, key) in [
            ("never", &[][..], "image_pull_credentials_verification_policy"),
            ("AlwaysVerify", &["r.io/a"], "preloaded_images_verification_allowlist"),
            (listed, &["r.io/a:1"], "preloaded_images_verification_allowlist"),
            (listed, &["r.io/a@sha256:00"], "preloaded_images_verification_allowlist"),
            (listed, &["r.*/a"], "preloaded_images_verification_allowlist"),
            (listed, &["/*"], "preloaded_images_verification_allowlist"),
        ] {
            let error = new(name, list).unwrap_err().to_string();
            assert!(error.starts_with(key), "{name} {list:?}: {error}");
        }
    }

    #[test]
    fn credentials_are_told_apart_by_every_part_of_them() {
        let auth = |username: &str, password: &str| v1::AuthConfig {
            username: username.into(),
            password: password.into(),
            ..Default::default()
        };
        assert_eq!(credential_hash(&auth("ab", "c")), credential_hash(&auth("ab", "c")));
        assert_ne!(credential_hash(&auth("ab", "c")), credential_hash(&auth("a", "bc")));
    }
}
