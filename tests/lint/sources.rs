//! The Rust files of the tree, parsed.

use rrun_tests::place::workspace;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

pub struct Source {
    /// From the root of the workspace.
    pub path: String,
    pub lines: usize,
    /// Of tests only the length of a file is limited: files below a crate's `tests/`, and
    /// modules under `#[cfg(test)]`.
    pub test: bool,
    /// In the crate that may hold `unsafe`.
    pub fenced: bool,
    pub file: syn::File,
}

impl Source {
    pub fn parse(path: &str, text: &str) -> Self {
        let file = syn::parse_file(text).unwrap_or_else(|error| panic!("{path}: {error}"));
        Self {
            path: path.to_owned(),
            lines: text.lines().count(),
            test: is_test(path),
            fenced: path.starts_with("runtime/sys/"),
            file,
        }
    }
}

/// The harness and this lint keep the limits too, the suites beside them do not.
fn is_test(path: &str) -> bool {
    let held = path.starts_with("tests/src/") || path.starts_with("tests/lint/");
    let parts = || path.split('/');
    !held && parts().any(|part| matches!(part, "tests" | "benches" | "fuzz" | "tests.rs"))
}

pub fn all() -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders = vec![workspace().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().flatten() {
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            if path.is_dir() && !name.starts_with('.') && name != "target" {
                folders.push(path);
            } else if name.ends_with(".rs") {
                let short = path.strip_prefix(workspace()).unwrap().display().to_string();
                found.push(Source::parse(&short, &fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    let tests: BTreeSet<PathBuf> = found.iter().flat_map(test_modules).collect();
    for source in &mut found {
        let path = Path::new(&source.path);
        source.test |= path.ancestors().any(|part| tests.contains(&part.with_extension("")));
    }
    found
}

/// Paths without extension of the modules that a file declares as `#[cfg(test)] mod x;`.
fn test_modules(source: &Source) -> Vec<PathBuf> {
    let path = Path::new(&source.path);
    let folder = match path.file_name().and_then(|name| name.to_str()) {
        Some("mod.rs" | "lib.rs" | "main.rs") => path.parent().unwrap().to_owned(),
        _ => path.with_extension(""),
    };
    let modules = source.file.items.iter().filter_map(|item| match item {
        syn::Item::Mod(module) if module.content.is_none() && cfg_test(&module.attrs) => {
            Some(folder.join(module.ident.to_string()))
        }
        _ => None,
    });
    modules.collect()
}

/// Whether `#[cfg(test)]` or `#[test]` is among the attributes.
pub fn cfg_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let word = |tokens: &syn::MetaList| tokens.tokens.to_string() == "test";
        let path = attribute.path();
        path.is_ident("test")
            || path.is_ident("cfg") && attribute.meta.require_list().is_ok_and(word)
    })
}
