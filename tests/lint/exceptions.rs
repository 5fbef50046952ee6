//! `tests/lint-exceptions.toml`.

use crate::Breach;
use rrun_tests::place::workspace;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exceptions {
    #[serde(default)]
    exception: Vec<Exception>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Exception {
    rule: String,
    place: String,
    reason: String,
    #[serde(skip)]
    used: bool,
}

impl Exceptions {
    pub fn read() -> Self {
        let path = workspace().join("tests/lint-exceptions.toml");
        let found: Self = toml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        for exception in &found.exception {
            assert!(!exception.reason.trim().is_empty(), "{}: no reason", exception.place);
        }
        found
    }

    /// Whether an exception names this breach.
    pub fn cover(&mut self, breach: &Breach) -> bool {
        let covers = |e: &&mut Exception| e.rule == breach.rule && e.place == breach.place;
        let found = self.exception.iter_mut().find(covers);
        found.map(|exception| exception.used = true).is_some()
    }

    /// A line for each exception to these rules that covered nothing.
    pub fn unused(&self, rules: &[&str]) -> Vec<String> {
        let asked = |e: &&Exception| !e.used && rules.contains(&e.rule.as_str());
        let line =
            |e: &Exception| format!("{}: the exception to {} is not needed", e.place, e.rule);
        self.exception.iter().filter(asked).map(line).collect()
    }
}
