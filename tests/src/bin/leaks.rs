//! `leaks take FILE` writes down what is on the machine; `leaks compare FILE` prints a line for
//! each thing that is there now and was not then, or the reverse, and fails if there is any.

use anyhow::{Context, Result, bail};
use rrun_tests::leaks::{Snapshot, View};
use std::process::ExitCode;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("leaks: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let view = View::machine();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["take", file] => {
            let text = serde_json::to_vec(&Snapshot::take(&view)?)?;
            std::fs::write(file, text).with_context(|| file.to_owned())
        }
        ["compare", file] => {
            let text = std::fs::read(file).with_context(|| file.to_owned())?;
            serde_json::from_slice::<Snapshot>(&text)?.assert_nothing_left(&view)
        }
        _ => bail!("usage: leaks take|compare FILE"),
    }
}
