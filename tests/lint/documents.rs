//! Paths of the repository that documents name.

use crate::Breach;
use rrun_tests::place::workspace;
use std::fs;
use std::path::Path;

/// Read by those who change the code: what they name must be there.
const DOCUMENTS: [&str; 2] = ["ARCHITECTURE.md", "CONTRIBUTING.md"];

/// Every path that a document names and nobody finds. `files` are all sources of the tree.
pub fn check(files: &[&str]) -> Vec<Breach> {
    let of = |name| missing(name, &fs::read_to_string(workspace().join(name)).unwrap(), files);
    DOCUMENTS.into_iter().flat_map(of).collect()
}

/// The same of one text.
pub fn missing(document: &str, text: &str, files: &[&str]) -> Vec<Breach> {
    let is_there = |path: &str| match path.contains('/') {
        true => workspace().join(path).exists(),
        // The text says in which folder.
        false => files.iter().any(|file| Path::new(file).ends_with(path)),
    };
    let mut found = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let quoted = line.split('`').skip(1).step_by(2);
        for path in quoted.filter(|word| is_path(word) && !is_there(path_of(word))) {
            let text = format!("{document}:{number}: there is no {path}");
            found.push(Breach { rule: "document-path", place: format!("{document} {path}"), text });
        }
    }
    found
}

fn path_of(word: &str) -> &str {
    word.trim_end_matches('/')
}

/// Of the repository: a source's name, or something in a folder that stands at the top. What a
/// build or a test makes has a dot in front.
fn is_path(word: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
    let top = word.split('/').next().unwrap_or_default();
    let is_inside = word.contains('/') && !top.is_empty() && workspace().join(top).is_dir();
    word.chars().all(is_plain)
        && !word.split('/').any(|part| part.starts_with('.'))
        && (word.ends_with(".rs") || is_inside)
}
