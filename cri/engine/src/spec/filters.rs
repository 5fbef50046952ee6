//! Compiled seccomp filters, kept: compiling takes longer than anything else of a plan.

use super::profile::Seccomp;
use crate::error::{Context, Error, Result};
use oci_spec::runtime::LinuxSeccomp;
use rrun_runtime::plan;
use rrun_runtime::seccomp;
use serde_json::Value;
use std::collections::HashMap;
use std::hash::Hash;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// So many filters of a kind are kept at most: sets of capabilities are the choice of clients.
const MOST: usize = 64;

/// A profile and what it compiles to.
#[derive(Clone, Debug)]
pub(super) struct Filter {
    pub(super) compiled: plan::Seccomp,
    pub(super) profile: Arc<Value>,
}

/// By the whole of what they are made from: a filter that only has the same hash confines another
/// container. Locked for single look-ups only.
#[derive(Default)]
pub(super) struct Filters(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    /// By the capabilities in the bounding set.
    defaults: HashMap<u64, Filter>,
    /// By the text of a profile, as a file has it and as we write it.
    texts: HashMap<Vec<u8>, Filter>,
}

impl Filters {
    /// The filter of a profile with the `text` of a file; `held` are the capabilities in the
    /// bounding set, by which the default one differs.
    pub(super) fn of(&self, seccomp: &Seccomp, text: &[u8], held: u64) -> Result<Option<Filter>> {
        match seccomp {
            Seccomp::None => Ok(None),
            Seccomp::RuntimeDefault => self.runtime_default(held).map(Some),
            Seccomp::File(path) => self.of_node(path, text).map(Some),
        }
    }

    fn runtime_default(&self, held: u64) -> Result<Filter> {
        if let Some(filter) = self.kept().defaults.get(&held) {
            return Ok(filter.clone());
        }
        let profile = serde_json::to_value(seccomp::runtime_default(held));
        let profile = profile.map_err(|error| Error::invalid(error.to_string()));
        let filter = profile.and_then(|profile| compile(&profile));
        let filter = filter.context(|| "seccomp profile")?;
        keep(&mut self.kept().defaults, held, &filter);
        Ok(filter)
    }

    fn of_node(&self, path: &Path, text: &[u8]) -> Result<Filter> {
        if let Some(filter) = self.kept().texts.get(text) {
            return Ok(filter.clone());
        }
        let profile = serde_json::from_slice(text);
        let profile = profile.map_err(|error| Error::invalid(error.to_string()));
        let filter = profile.and_then(|profile: Value| compile(&profile));
        let filter = filter.context(|| path.display().to_string()).context(|| "seccomp profile")?;
        keep(&mut self.kept().texts, text.to_owned(), &filter);
        Ok(filter)
    }

    /// The filter of a profile that is at hand.
    pub(super) fn compile(&self, profile: &Value) -> Result<Filter> {
        if let Some(filter) = self.kept().of(profile) {
            return Ok(filter.clone());
        }
        let filter = compile(profile)?;
        keep(&mut self.kept().texts, profile.to_string().into_bytes(), &filter);
        Ok(filter)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn of(&self, profile: &Value) -> Option<&Filter> {
        let mut all = self.defaults.values().chain(self.texts.values());
        all.find(|filter| *filter.profile == *profile)
    }
}

fn compile(profile: &Value) -> Result<Filter> {
    let parsed: LinuxSeccomp = serde::Deserialize::deserialize(profile)
        .map_err(|error| Error::invalid(error.to_string()))?;
    let compiled = seccomp::compile(&parsed, seccomp::Arch::NATIVE)?;
    for warning in seccomp::warnings(&parsed, seccomp::Arch::NATIVE) {
        tracing::warn!("seccomp profile: {warning}");
    }
    Ok(Filter { compiled, profile: Arc::new(profile.clone()) })
}

fn keep<K: Eq + Hash>(kept: &mut HashMap<K, Filter>, key: K, filter: &Filter) {
    if kept.len() >= MOST {
        kept.clear();
    }
    kept.insert(key, filter.clone());
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOW: &str = r#"{"defaultAction": "SCMP_ACT_ALLOW"}"#;

    fn of(filters: &Filters, text: &[u8], held: u64) -> Result<Filter> {
        let seccomp = match text {
            [] => Seccomp::RuntimeDefault,
            _ => Seccomp::File("/p.json".into()),
        };
        filters.of(&seccomp, text, held).map(Option::unwrap)
    }

    #[test]
    fn a_file_is_never_taken_for_a_set_of_capabilities_with_the_same_bytes() {
        let filters = Filters::default();
        let text = *br#"{"a":12}"#;
        of(&filters, &[], u64::from_ne_bytes(text)).unwrap();
        let error = of(&filters, &text, 0).unwrap_err().to_string();
        assert!(error.starts_with("seccomp profile: /p.json: missing field"), "{error}");
    }

    #[test]
    fn each_profile_has_its_own_filter_and_no_more_are_kept_than_there_is_room_for() {
        let filters = Filters::default();
        let first = of(&filters, ALLOW.as_bytes(), 0).unwrap();
        let again = of(&filters, ALLOW.as_bytes(), 0).unwrap();
        assert!(Arc::ptr_eq(&first.profile, &again.profile));
        for held in 0..MOST as u64 + 8 {
            let text = format!("{}{}", ALLOW, " ".repeat(held as usize));
            of(&filters, text.as_bytes(), 0).unwrap();
            of(&filters, &[], held).unwrap();
        }
        let kept = filters.kept();
        assert!(kept.defaults.len() <= MOST && kept.texts.len() <= MOST);
    }
}
