//! Network address translation.

pub mod rewrite;
#[cfg(all(test, not(loom)))]
mod sample;

pub use rewrite::{Rewrite, Unapplied};
