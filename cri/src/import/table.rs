//! The table of all keys, which is the one that people read.

/// It has a row for each key, or for several.
const PAGE: &str = include_str!("../../../docs/moving-in.md");

/// Whose configuration it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    Containerd,
    Crio,
}

/// The CRI plugins of containerd, whose keys stand in the table without their names.
const CRI: [&str; 3] =
    ["io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime", "io.containerd.grpc.v1.cri"];

/// Its other plugins that have a counterpart here, and what they are called in the table.
const OTHERS: [(&str, &str); 4] = [
    ("io.containerd.nri.v1.nri", "nri"),
    ("io.containerd.image-verifier.v1.bindir", "image-verifier"),
    ("io.containerd.server.v1.metrics", "metrics"),
    ("io.containerd.tracing.processor.v1.otlp", "otlp"),
];

/// Before keys of containerd itself, which could else be mistaken for a plugin's.
const ELSEWHERE: &str = "containerd itself";

/// Whether a key of the table's form is of something else than the CRI.
pub(super) fn is_elsewhere(key: &[String]) -> bool {
    key.first().is_some_and(|first| first == ELSEWHERE || first == "plugins")
}

impl Of {
    pub(super) fn name(self) -> &'static str {
        match self {
            Of::Containerd => "containerd",
            Of::Crio => "CRI-O",
        }
    }

    /// A key as the table has it.
    pub(super) fn key(self, path: &[String]) -> Vec<String> {
        let words: Vec<&str> = path.iter().map(String::as_str).collect();
        let key = match (self, &words[..]) {
            (Of::Crio, ["crio", rest @ ..]) => rest.to_vec(),
            (Of::Containerd, ["plugins", plugin, rest @ ..]) => {
                let name = OTHERS.iter().find(|(known, _)| known == plugin);
                match name {
                    _ if CRI.contains(plugin) => rest.to_vec(),
                    Some((_, name)) => [&[*name], rest].concat(),
                    None => words,
                }
            }
            (Of::Containerd, ["metrics", ..]) => words,
            (Of::Containerd, _) => [&[ELSEWHERE], &words[..]].concat(),
            (Of::Crio, _) => words,
        };
        key.into_iter().map(str::to_owned).collect()
    }
}

/// A row: keys, ours, and why.
pub(super) struct Row {
    pub(super) of: Of,
    keys: Vec<String>,
    #[cfg(test)]
    pub(super) ours: String,
    pub(super) why: String,
}

impl Row {
    /// Whether it is about this key: `*` stands for one part, at the end for any.
    pub(super) fn is_of(&self, key: &[String]) -> bool {
        self.keys.iter().any(|pattern| matches(pattern, key))
    }
}

fn matches(pattern: &str, key: &[String]) -> bool {
    let parts: Vec<&str> = pattern.split('.').collect();
    let fits = |(part, word): (&&str, &String)| *part == "*" || part == word;
    let is_long_enough = match parts.last() {
        Some(&"*") => key.len() >= parts.len(),
        _ => key.len() == parts.len(),
    };
    is_long_enough && parts.iter().zip(key).all(fits)
}

pub(super) fn rows() -> Vec<Row> {
    PAGE.lines().filter_map(row).collect()
}

fn row(line: &str) -> Option<Row> {
    let columns: Vec<&str> = line.strip_prefix('|')?.split('|').map(str::trim).collect();
    let [of, keys, ours, why, _] = columns[..] else { return None };
    let of = [Of::Containerd, Of::Crio].into_iter().find(|known| known.name() == of)?;
    #[cfg(not(test))]
    let _ = ours;
    let keys = keys.split(", ").map(|key| key.trim_matches('`').to_owned()).collect();
    Some(Row {
        of,
        keys,
        #[cfg(test)]
        ours: ours.to_owned(),
        why: why.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::value;
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_key_that_is_carried_over_has_a_row_that_names_ours() {
        for (of, key, ours) in value::known() {
            let path: Vec<String> = key.split('.').map(str::to_owned).collect();
            let rows = rows();
            let row = rows.iter().find(|row| row.of == of && row.is_of(&path));
            let row = row.unwrap_or_else(|| panic!("no row for {key}"));
            assert!(
                row.ours.contains(ours) || row.ours.starts_with("the same below"),
                "{key}: {ours} is not in {:?}",
                row.ours
            );
        }
    }

    #[test]
    fn every_row_that_names_none_of_ours_says_why_and_no_key_has_two() {
        let mut seen = BTreeSet::new();
        for row in rows() {
            assert!(!row.ours.is_empty() || !row.why.is_empty(), "{:?}", row.keys);
            for key in row.keys {
                assert!(seen.insert((row.of.name(), key.clone())), "{key} has two rows");
            }
        }
        assert!(seen.len() > 200, "{} keys", seen.len());
    }
}
