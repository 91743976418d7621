//! Network address translation.

pub mod mapping;
mod pool;
pub mod rewrite;
#[cfg(all(test, not(loom)))]
mod sample;
mod seeded;

pub use mapping::{Claim, Inbound, MappingId, Mappings, Unclaimed};
pub use pool::{Pool, PoolError, Quota};
pub use rewrite::{Rewrite, Unapplied};
