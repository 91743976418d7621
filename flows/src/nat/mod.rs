//! Network address translation.

pub mod fragments;
pub mod icmp_error;
pub mod mapping;
mod nptv6;
mod pool;
pub mod publish;
pub mod rewrite;
#[cfg(all(test, not(loom)))]
mod sample;
mod seeded;

pub use fragments::{Datagram, FragmentLimits, Fragments, Later};
pub use icmp_error::{Embedded, embedded_tuple, translate};
pub use mapping::{Claim, Inbound, Mapping, MappingId, Mappings, Unclaimed};
pub use nptv6::{Nptv6, Nptv6Error};
pub use pool::{Pool, PoolError, Quota};
pub use publish::{Publish, PublishError, Published, PublishedAs};
pub use rewrite::{Rewrite, Unapplied};
