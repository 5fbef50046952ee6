//! The lint is tested on small sources that break one rule each.

use crate::circles;
use crate::documents;
use crate::limits::{check, check_unsafe};
use crate::sources::Source;
use crate::writers;

/// `rule line` of each breach.
fn breaches(path: &str, text: &str) -> Vec<String> {
    let source = Source::parse(path, text);
    let found = check(&source).into_iter().chain(check_unsafe(&source));
    found.map(|b| format!("{} {}", b.rule, b.text)).collect()
}

fn lines(count: usize) -> String {
    "    let _ = 1;\n".repeat(count)
}

#[test]
fn a_file_of_501_lines_is_one_line_too_long() {
    let text = "//\n".repeat(501);
    assert_eq!(
        breaches("cni/src/x.rs", &text),
        ["file-lines cni/src/x.rs:1: 501 lines, limit 500"]
    );
    assert!(breaches("cni/src/x.rs", &"//\n".repeat(500)).is_empty());
    assert_eq!(breaches("cni/tests/x.rs", &text).len(), 1);
}

#[test]
fn the_lines_of_a_test_module_do_not_count() {
    let tests = format!("#[cfg(test)]\nmod tests {{\nfn f() {{\n{}}}\n}}\n", lines(600));
    assert!(breaches("cni/src/x.rs", &tests).is_empty());
}

#[test]
fn a_function_of_81_lines_is_named_with_its_line() {
    let text = format!("\nfn long() {{\n{}}}\n", lines(79));
    assert_eq!(
        breaches("cni/src/x.rs", &text),
        ["function-lines cni/src/x.rs:2: long: 81 lines, limit 80"]
    );
    assert!(breaches("cni/src/x.rs", &format!("fn short() {{\n{}}}", lines(78))).is_empty());
}

#[test]
fn a_sixth_parameter_is_one_too_many_and_self_is_none() {
    let text = "impl X { fn f(&self, a: u8, b: u8, c: u8, d: u8, e: u8) {} }
                fn g(a: u8, b: u8, c: u8, d: u8, e: u8, f: u8) {}";
    assert_eq!(
        breaches("cni/src/x.rs", text),
        ["parameters cni/src/x.rs:2: g: 6 parameters, limit 5"]
    );
}

#[test]
fn a_sixth_level_is_too_deep_and_else_if_is_no_level() {
    let deep = "fn f() { loop { loop { match 1 { _ => { loop { g() } } } } } }";
    assert_eq!(
        breaches("cni/src/x.rs", deep),
        ["indent cni/src/x.rs:1: f: 6 levels of blocks, limit 5"]
    );
    let flat = "fn f() { if a {} else if b {} else if c {} else if d {} else if e {} else {} }";
    assert!(breaches("cni/src/x.rs", flat).is_empty());
}

#[test]
fn unsafe_is_found_in_blocks_functions_impls_and_macros() {
    for text in [
        "fn f() { unsafe { g() } }",
        "unsafe fn f() {}",
        "unsafe impl Send for X {}",
        "fn f() { m!(unsafe { g() }); }",
        "unsafe extern \"C\" { fn g(); }",
    ] {
        assert_eq!(breaches("cni/src/x.rs", text).len(), 1, "{text}");
        assert!(breaches("runtime/sys/src/x.rs", text).is_empty(), "{text}");
    }
}

#[test]
fn a_file_is_made_by_what_takes_regular_ones_alone() {
    let found = |text: &str| -> Vec<String> {
        let source = Source::parse("cni/src/x.rs", text);
        writers::check(&source).into_iter().map(|breach| breach.place).collect()
    };
    for call in ["std::fs::write(p, b)", "File::create(p)", "o.append(true).create(true).open(p)"] {
        assert_eq!(found(&format!("fn f() {{ {call} }}")), ["cni/src/x.rs:f"], "{call}");
    }
    for call in ["record::create(p, 0o600)", "File::create_new(p)", "DirBuilder::new().create(p)"] {
        assert!(found(&format!("fn f() {{ {call} }}")).is_empty(), "{call}");
    }
    assert!(found("#[cfg(test)] mod tests { fn f() { std::fs::write(p, b) } }").is_empty());
}

/// The places of all circles of a crate with these files.
fn circles_of(files: &[(&str, &str)]) -> Vec<String> {
    let sources: Vec<_> = files.iter().map(|(path, text)| Source::parse(path, text)).collect();
    circles::check(&sources).into_iter().map(|breach| breach.place).collect()
}

#[test]
fn files_that_use_each_other_are_a_circle_by_use_and_by_path() {
    let a = "use crate::b::B; pub struct A;";
    let found = circles_of(&[
        ("x/src/lib.rs", "mod a; mod b;"),
        ("x/src/a.rs", a),
        ("x/src/b.rs", "pub struct B; fn f() { crate::a::A; }"),
    ]);
    assert_eq!(found, ["x/src/a.rs x/src/b.rs"]);
    let found = circles_of(&[
        ("x/src/lib.rs", "mod a; mod b;"),
        ("x/src/a.rs", a),
        ("x/src/b.rs", "pub struct B; #[cfg(test)] mod tests { use crate::a::A; }"),
    ]);
    assert!(found.is_empty());
}

#[test]
fn a_name_that_is_passed_on_belongs_to_the_file_that_defines_it() {
    let files = |c: &'static str| {
        [
            ("x/src/lib.rs", "mod a; mod m;"),
            ("x/src/a.rs", "use crate::m; fn f() { m::C; } pub struct A;"),
            ("x/src/m/mod.rs", "mod b; mod c; pub use c::C;"),
            ("x/src/m/b.rs", "use crate::a::A;"),
            ("x/src/m/c.rs", c),
        ]
    };
    assert!(circles_of(&files("pub struct C;")).is_empty());
    assert_eq!(
        circles_of(&files("pub struct C; use super::super::a::A;")),
        ["x/src/a.rs x/src/m/c.rs"]
    );
}

#[test]
fn a_path_that_a_document_names_and_is_not_there_is_found_with_its_line() {
    let text = "`cri/engine`, `sources.rs`, `tests/.cache`, `trash/`, `/proc/self/exe`, `cni add x/y`\n\
                `cri/no-such/folder` and `no_such.rs` and `gone/src/lib.rs`";
    let found = documents::missing("A.md", text, &["tests/lint/sources.rs", "cri/src/lib.rs"]);
    let texts: Vec<_> = found.iter().map(|breach| breach.text.as_str()).collect();
    let missing = ["cri/no-such/folder", "no_such.rs", "gone/src/lib.rs"];
    assert_eq!(texts, missing.map(|path| format!("A.md:2: there is no {path}")));
}
