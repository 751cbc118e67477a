//! Automation of this repository: tests, demo, benchmarks, checks.
fn main() {}
