//! The claims of a suite that is a program: each is told as it is known, and the last line counts.

use anyhow::Result;
use std::process::ExitCode;

/// How many claims held.
#[derive(Default)]
pub struct Tally {
    passed: usize,
    failed: usize,
}

impl Tally {
    /// Tells whether a claim held, and why not.
    pub fn count(&mut self, claim: &str, held: Result<()>) {
        match held {
            Ok(()) => {
                self.passed += 1;
                println!("ok {claim}");
            }
            Err(error) => {
                self.failed += 1;
                println!("FAILED {claim}: {error:#}");
            }
        }
    }

    /// How many did not hold so far.
    pub fn failed(&self) -> usize {
        self.failed
    }

    /// Tells the counts, as `tests/run` reads them.
    pub fn tell(&self) -> ExitCode {
        println!("{} passed, {} failed", self.passed, self.failed);
        if self.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
