//! A userspace packet switch for containers: the daemon, its control tool, and the glue between the crates.
