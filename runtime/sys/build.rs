//! Builds the reaper: a program without a library, which Cargo has no way to build beside one that
//! has the standard library (its panic strategy differs). Linked statically, embedded as bytes.

use std::env;
use std::path::PathBuf;
use std::process::{Command, exit};

fn main() {
    println!("cargo::rerun-if-changed=reaper.rs");
    let variable = |name: &str| env::var_os(name).unwrap_or_default();
    let output = PathBuf::from(variable("OUT_DIR")).join("rrun-reaper");
    let mut rustc = Command::new(variable("RUSTC"));
    rustc.args(["--edition", "2024", "--crate-type", "bin", "--crate-name", "rrun_reaper"]);
    rustc.args(["-C", "panic=abort", "-C", "opt-level=s", "-C", "strip=symbols"]);
    rustc.args(["-C", "relocation-model=static", "-C", "target-feature=+crt-static"]);
    if variable("CARGO_CFG_TARGET_ENV") == "musl" {
        // Rust would add the start files that it has for it.
        rustc.args(["-C", "link-self-contained=no"]);
    }
    for argument in ["-nostdlib", "-nostartfiles", "-static", "-Wl,--build-id=none,-n"] {
        rustc.arg("-C").arg(format!("link-arg={argument}"));
    }
    if let Some(linker) = env::var_os("RUSTC_LINKER") {
        let mut argument = std::ffi::OsString::from("linker=");
        argument.push(linker);
        rustc.arg("-C").arg(argument);
    }
    rustc.arg("--target").arg(variable("TARGET"));
    rustc.arg("-o").arg(output).arg("reaper.rs");
    match rustc.status() {
        Ok(status) if status.success() => {}
        other => {
            println!("cargo::error=the reaper does not build: {other:?}");
            exit(1);
        }
    }
}
