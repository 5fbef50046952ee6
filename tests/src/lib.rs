//! Harness and suites against the real kernel.
