//! Rules of the source: who may depend on whom, how long a file and a function may be, where
//! `unsafe` may stand, what makes the files of records, that no files use each other in a circle, and
//! that documents name paths that there are. Reads `cargo metadata`, the sources and documents; needs neither root nor network.
#![allow(clippy::unwrap_used)]

mod circles;
mod documents;
mod edges;
mod exceptions;
mod limits;
mod samples;
mod sources;
mod steps;
mod writers;

use exceptions::Exceptions;

/// One breach: what the exceptions file may name, and what a person reads.
#[derive(Debug)]
struct Breach {
    rule: &'static str,
    place: String,
    text: String,
}

/// Fails with every breach that no exception covers.
fn report(rules: &[&str], breaches: Vec<Breach>) {
    let mut exceptions = Exceptions::read();
    let mut lines: Vec<_> = breaches
        .into_iter()
        .filter(|breach| !exceptions.cover(breach))
        .map(|breach| breach.text)
        .collect();
    lines.extend(exceptions.unused(rules));
    assert!(lines.is_empty(), "\n{}\n", lines.join("\n"));
}

#[test]
fn dependencies_point_down_only() {
    report(&["edge"], edges::check());
}

#[test]
fn files_and_functions_keep_the_limits() {
    let breaches = sources::all().iter().flat_map(limits::check).collect();
    report(&["file-lines", "function-lines", "parameters", "indent"], breaches);
}

#[test]
fn unsafe_stands_in_one_crate_only() {
    let mut breaches: Vec<_> = sources::all().iter().flat_map(limits::check_unsafe).collect();
    breaches.extend(edges::check_fence());
    report(&["unsafe"], breaches);
}

#[test]
fn records_are_made_by_what_follows_no_link_and_waits_at_no_fifo() {
    report(&["write"], sources::all().iter().flat_map(writers::check).collect());
}

#[test]
fn paths_in_documents_are_those_of_the_tree() {
    let sources = sources::all();
    let files: Vec<&str> = sources.iter().map(|source| source.path.as_str()).collect();
    report(&["document-path"], documents::check(&files));
}

#[test]
fn no_files_use_each_other_in_a_circle() {
    report(&["circle"], circles::check(&sources::all()));
}
