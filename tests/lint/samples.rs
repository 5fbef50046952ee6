//! The lint is tested on small sources that break one rule each.

use crate::limits::{check, check_unsafe};
use crate::sources::Source;

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
}

#[test]
fn the_lines_of_a_test_module_do_not_count() {
    let tests = format!("#[cfg(test)]\nmod tests {{\nfn f() {{\n{}}}\n}}\n", lines(600));
    assert!(breaches("cni/src/x.rs", &tests).is_empty());
    assert!(breaches("cni/tests/x.rs", &"//\n".repeat(600)).is_empty());
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
