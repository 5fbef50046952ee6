//! What the tests of a table of an API's fields share: rows of tab-separated columns, of which the
//! first is a path and the note may name a test.

use std::path::{Path, PathBuf};

/// The rows.
pub fn lines(text: &'static str) -> impl Iterator<Item = &'static str> {
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// The path itself and what is above it.
#[allow(dead_code, reason = "not every table asks for it")]
pub fn upwards(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |path| path.rsplit_once('.').map(|(above, _)| above))
}

/// Whether a text has a word, and not only as part of another one.
#[allow(dead_code, reason = "not every table asks for it")]
pub fn has_word(text: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| {
        !text[..at].ends_with(is_part) && !text[at + word.len()..].starts_with(is_part)
    })
}

/// Every Rust source below some folders.
pub struct Sources(String);

impl Sources {
    pub fn read(folders: impl IntoIterator<Item = PathBuf>) -> Sources {
        let mut all = String::new();
        folders.into_iter().for_each(|folder| add(&folder, &mut all));
        Sources(all)
    }

    /// What stands between the name of a function and the line that closes it.
    #[allow(dead_code, reason = "not every table asks for it")]
    pub fn body(&self, test: &str) -> Option<&str> {
        let begin = self.0.find(&format!("fn {test}("))?;
        let line = self.0[..begin].rfind('\n').map_or(0, |at| at + 1);
        let indent: String = self.0[line..].chars().take_while(|c| *c == ' ').collect();
        let rest = &self.0[begin..];
        let end = rest.find(&format!("\n{indent}}}\n")).unwrap_or(rest.len());
        Some(&rest[..end])
    }

    /// Whether a test, or another function, has this name.
    #[allow(dead_code, reason = "not every table asks for it")]
    pub fn have(&self, test: &str) -> bool {
        self.0.contains(&format!("fn {test}("))
    }
}

fn add(folder: &Path, all: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            add(&path, all);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            all.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
}
