//! The `kusabi` command.
fn main() {}
