//! `[runtimes.NAME]`: other OCI runtimes, by their command lines.

use rrun_engine::handlers::{BUILT_IN, CommandLine, Handlers};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// How long the daemon waits for a shim is a little more than that, in seconds.
const LONGEST: u64 = 55;

/// The tables by their names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Runtimes(BTreeMap<String, Runtime>);

/// `[runtimes.NAME]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Runtime {
    /// The program.
    #[serde(deserialize_with = "super::absolute")]
    pub path: PathBuf,
    /// Options before the verb.
    #[serde(default)]
    pub args: Vec<String>,
    /// How many seconds one call may take.
    #[serde(default = "timeout", deserialize_with = "seconds")]
    pub timeout: u64,
}

impl Runtimes {
    /// For the engine.
    pub fn handlers(&self) -> Handlers {
        let line = |runtime: &Runtime| {
            let Runtime { path, args, timeout } = runtime.clone();
            CommandLine { path, args, timeout }
        };
        self.0.iter().map(|(name, runtime)| (name.clone(), line(runtime))).collect()
    }
}

impl<'de> Deserialize<'de> for Runtimes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let tables = BTreeMap::<String, Runtime>::deserialize(deserializer)?;
        match ["", BUILT_IN].into_iter().find(|name| tables.contains_key(*name)) {
            None => Ok(Runtimes(tables)),
            Some(name) => Err(D::Error::custom(format!("{name:?} is the built-in one"))),
        }
    }
}

fn timeout() -> u64 {
    30
}

fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let seconds = u64::deserialize(deserializer)?;
    match (1..=LONGEST).contains(&seconds) {
        true => Ok(seconds),
        false => Err(D::Error::custom(format!("{seconds} is not from 1 to {LONGEST}"))),
    }
}
