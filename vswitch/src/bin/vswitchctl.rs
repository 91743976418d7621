//! vswitchctl.
fn main() {}
