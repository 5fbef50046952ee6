//! The names of steps, which `RRUN_KILL_AT` is checked against.

use crate::sources::{self, Source};
use rrun_tests::place::workspace;
use std::collections::BTreeSet;
use std::fs;
use syn::visit::{self, Visit};

/// Steps begin with the name of one of these crates or programs.
const CRATES: [&str; 7] = ["cni", "engine", "images", "oci", "rrund", "runtime", "shim"];

/// What has the name of a step for a span alone.
const SPANS: [&str; 2] = ["engine.port-forward.netns", "images.pull.layer"];

/// Every text in a source that looks like the name of a step: `crate.verb.what`.
#[derive(Default)]
struct Names(BTreeSet<String>);

impl Visit<'_> for Names {
    fn visit_lit_str(&mut self, literal: &syn::LitStr) {
        let text = literal.value();
        let parts: Vec<_> = text.split('.').collect();
        let is_word = |part: &&str| {
            let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            !part.is_empty() && part.chars().all(letter)
        };
        let held = !SPANS.contains(&text.as_str());
        if held && parts.len() == 3 && CRATES.contains(&parts[0]) && parts.iter().all(is_word) {
            self.0.insert(text);
        }
        visit::visit_lit_str(self, literal);
    }
}

fn names(sources: &[Source]) -> BTreeSet<String> {
    let mut names = Names::default();
    for source in sources.iter().filter(|source| !source.test) {
        let held = !source.path.starts_with("tests/") && source.path != "runtime/sys/src/step.rs";
        if held {
            names.visit_file(&source.file);
        }
    }
    names.0
}

#[test]
fn every_step_is_in_the_list_that_points_are_checked_against() {
    let list = workspace().join("runtime/sys/src/step/names.txt");
    let list = fs::read_to_string(list).unwrap();
    // Those of plugins have the plugin's name at their end.
    let listed = list.lines().filter(|line| !line.ends_with(".plugin.*"));
    let listed: BTreeSet<_> = listed.map(str::to_owned).collect();
    assert_eq!(names(&sources::all()), listed);
}
