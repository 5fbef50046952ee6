//! Lints.
fn main() {}
