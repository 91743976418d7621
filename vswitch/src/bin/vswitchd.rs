//! vswitchd.
fn main() {}
