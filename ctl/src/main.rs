//! `narrowsctl`: parse, ask, print.
fn main() {}
