//! Two histories of the same pod, one beside the other.

use super::history::History;
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::Path;

/// The longest value that is printed whole.
const LONGEST: usize = 400;

/// A field of a pod's status that is not the same on both sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Whose.
    pub pod: String,
    /// The path of the field, or `refused`, or `states`.
    pub field: String,
    /// In which of the pod's states, from 1.
    state: usize,
    kubelet: Option<String>,
    rrun: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |value: &Option<String>| match value {
            None => "nothing".to_owned(),
            Some(text) if text.len() <= LONGEST => format!("{text:?}"),
            Some(text) => {
                let start: String = text.chars().take(LONGEST / 4).collect();
                format!("{start:?}… ({} bytes)", text.len())
            }
        };
        let (kubelet, rrun) = (shown(&self.kubelet), shown(&self.rrun));
        let Self { pod, state, field, .. } = self;
        write!(f, "{pod}, state {state}: {field}: kubelet {kubelet}, rrun {rrun}")
    }
}

impl Difference {
    /// One side does not come to all states that are wanted of the pod.
    pub fn of_states(pod: &str) -> Self {
        let (pod, field) = (pod.to_owned(), "states".to_owned());
        Self { pod, field, state: 1, kubelet: None, rrun: None }
    }
}

/// What differs of one pod, in those states that both have come to.
pub fn differences(pod: &str, kubelet: &History, rrun: &History) -> Vec<Difference> {
    let difference = |state, field: &str, kubelet: Option<&str>, rrun: Option<&str>| Difference {
        pod: pod.to_owned(),
        field: field.to_owned(),
        state,
        kubelet: kubelet.map(str::to_owned),
        rrun: rrun.map(str::to_owned),
    };
    if kubelet.refused() != rrun.refused() {
        return vec![difference(1, "refused", kubelet.refused(), rrun.refused())];
    }
    let mut found = Vec::new();
    for (n, (ours, theirs)) in kubelet.states().iter().zip(rrun.states()).enumerate() {
        let fields: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
        for field in fields.into_iter().filter(|field| ours.get(*field) != theirs.get(*field)) {
            let [ours, theirs] = [ours, theirs].map(|side| side.get(field).map(String::as_str));
            found.push(difference(n + 1, field, ours, theirs));
        }
    }
    found
}

/// The differences that are known, each with a reason: `<pod>; <field>; <reason>`, a line each.
/// A `*` in pod or field stands for any text.
pub struct Known(Vec<[String; 3]>);

impl Known {
    /// Reads the list.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let split = |line: &str| {
            let parts: Vec<String> = line.splitn(3, ';').map(|p| p.trim().to_owned()).collect();
            let parts = <[String; 3]>::try_from(parts).ok();
            let parts = parts.filter(|parts| parts.iter().all(|part| !part.is_empty()));
            parts.with_context(|| format!("{line:?} is not <pod>; <field>; <reason>"))
        };
        Ok(Self(lines.map(split).collect::<Result<_>>()?))
    }

    /// This list and another one.
    pub fn and(&self, other: &Self) -> Self {
        Self([&self.0[..], &other.0].concat())
    }

    /// Whether a difference is on the list.
    pub fn has(&self, difference: &Difference) -> bool {
        self.0.iter().any(|known| covers(known, difference))
    }

    /// What is on the list and is so no more.
    pub fn stale(&self, found: &[Difference]) -> Vec<String> {
        let gone = |known: &&[String; 3]| !found.iter().any(|found| covers(known, found));
        self.0.iter().filter(gone).map(|[pod, field, _]| format!("{pod}; {field}")).collect()
    }
}

fn covers([pod, field, _]: &[String; 3], difference: &Difference) -> bool {
    is_like(pod, &difference.pod) && is_like(field, &difference.field)
}

fn is_like(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, tail)) => text.strip_prefix(head).is_some_and(|rest| {
            let mut ends = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
            ends.any(|at| is_like(tail, &rest[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_difference_needs_a_reason_and_must_be_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("known");
        for line in ["web; phase", "web; phase; ", "phase"] {
            fs::write(&path, line).unwrap();
            assert!(Known::read(&path).is_err(), "{line}");
        }
        fs::write(&path, "# words\n\n*; conditions.*.reason; so it is\nweb; phase; no more\n")
            .unwrap();
        let known = Known::read(&path).unwrap();
        let [pod, field] = ["web", "conditions.Ready.reason"].map(str::to_owned);
        let difference = Difference { pod, field, state: 1, kubelet: Some("x".into()), rrun: None };
        assert!(known.has(&difference));
        assert_eq!(known.stale(std::slice::from_ref(&difference)), ["web; phase"]);
        assert!(!known.has(&Difference { field: "conditions.Ready".into(), ..difference }));
    }

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, text, like) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("*", "", true),
            ("a.*.c", "a.b.b.c", true),
            ("a.*.c", "a.c", false),
            ("*a*", "bab", true),
            ("a*b*c", "a.b.c.d", false),
        ] {
            assert_eq!(is_like(pattern, text), like, "{pattern} {text}");
        }
    }
}
