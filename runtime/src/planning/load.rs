//! Reading a configuration.

use super::invalid;
use crate::Result;
use oci_spec::runtime::{Process, Spec};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A configuration, and what was left out of it.
#[derive(Clone, Debug)]
pub struct Loaded<T> {
    /// The configuration.
    pub value: T,
    /// What to warn about, in words.
    pub warnings: Vec<String>,
}

/// Reads a `config.json`. Capabilities whose names nobody knows are left out with a warning, as
/// runtime-spec wants it.
///
/// # Errors
/// `Invalid`, with line and column.
pub fn load(json: &[u8]) -> Result<Loaded<Spec>> {
    read(json, |value| value.get_mut("process"))
}

/// Reads a `process.json`, as [`load`].
///
/// # Errors
/// As [`load`].
pub fn load_process(json: &[u8]) -> Result<Loaded<Process>> {
    read(json, |value| Some(value))
}

fn read<T: DeserializeOwned>(
    json: &[u8],
    process: impl FnOnce(&mut Value) -> Option<&mut Value>,
) -> Result<Loaded<T>> {
    let first = match serde_json::from_slice(json) {
        Ok(value) => return Ok(Loaded { value, warnings: Vec::new() }),
        Err(error) => invalid(error.to_string()),
    };
    // Only a strange name makes the second, slower reading worth it.
    let Ok(mut value) = serde_json::from_slice::<Value>(json) else { return Err(first) };
    let mut warnings = Vec::new();
    if let Some(sets) = process(&mut value).and_then(|process| process.get_mut("capabilities")) {
        drop_unknown(sets, &mut warnings);
    }
    if warnings.is_empty() {
        return Err(first);
    }
    let value = serde_json::from_value(value).map_err(|error| invalid(error.to_string()))?;
    Ok(Loaded { value, warnings })
}

fn drop_unknown(sets: &mut Value, warnings: &mut Vec<String>) {
    for (set, list) in sets.as_object_mut().into_iter().flatten() {
        let Some(list) = list.as_array_mut() else { continue };
        list.retain(|name| {
            let known = serde_json::from_value::<oci_spec::runtime::Capability>(name.clone());
            if known.is_err() && name.is_string() {
                warnings.push(format!("process.capabilities.{set}: {name} is not known"));
            }
            known.is_ok() || !name.is_string()
        });
    }
}
