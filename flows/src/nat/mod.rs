//! Network address translation: which endpoint becomes which, and how that is written into a packet.
//!
//! Everything here takes and gives [`Tuple`](crate::Tuple), [`Endpoint`](crate::Endpoint) and
//! [`Zone`](crate::Zone), and knows nothing of sessions. The slow path asks, once per flow, and writes what it
//! learned into the session (both tuples, and the mapping to release when it ends); every packet
//! costs a [`Rewrite`].
//!
//! * [`Published`]: static mappings, by which the outside reaches containers (DNAT).
//! * [`Mappings`] and [`Pool`]: dynamic mappings, by which containers reach the outside (masquerade).
//! * [`Rewrite`]: from one tuple to another, in place, with every checksum.
//! * [`icmp_error`]: errors, which belong to the session of the packet that they quote.
//! * [`Fragments`]: later fragments, which have no ports.
//! * [`Identifications`]: what tells datagrams of several stations behind one address apart.
//! * [`Nptv6`]: prefix translation without state.
//!
//! # A packet's way
//! ```text
//!   later fragment?  ── Fragments::later ──► the tuple of the first one, or held, or dropped
//!   ICMP error?      ── embedded_tuple ────► the session of the quoted packet's reverse ── translate
//!   otherwise        ── Tuple::of ─────────► session found: its Rewrite
//!                                            none: 1. Published::lookup, or Mappings::join      (DNAT)
//!                                                  2. rules, route
//!                                                  3. Published::external_of, or Mappings::claim (SNAT)
//!                                                  4. the session, with both tuples and the mapping
//!   first fragment?  ── Fragments::first ──► those that waited for it
//! ```
//! A packet whose first step and third step both apply is a hairpin: it is translated at both ends, and seen
//! by its receiver as coming from the external endpoint of its sender (RFC 4787 REQ-9a).
//!
//! # Requirements, and where they are met
//! | RFC | requirement | where |
//! | --- | --- | --- |
//! | 4787 REQ-1, 5382 REQ-1 | endpoint-independent mapping | [`mapping`] |
//! | 4787 REQ-2 | paired pooling | [`Pool`] |
//! | 4787 REQ-3, 5382 REQ-7 | no overloading; class kept (3a) | [`mapping`], [`Pool`] |
//! | 4787 REQ-4 | parity | [`Pool`] |
//! | 4787 REQ-8, 5382 REQ-3 | filtering: address-dependent by the session, endpoint-independent by [`Mappings::join`] | the slow path |
//! | 4787 REQ-9, 5382 REQ-8 | hairpin, from the external endpoint | [`Published::external_of`], [`Mappings::claim`] |
//! | 4787 REQ-14 | fragments in any order, bounded | [`Fragments`] |
//! | 5508 REQ-1 | queries are mapped by identifier | [`mapping`] |
//! | 5508 REQ-3 to 7, 4787 REQ-12, 5382 REQ-9, 10 | errors inside out, sessions untouched | [`icmp_error`] |
//! | 5508 REQ-8, 6888 REQ-11 | exhaustion is an error, nobody is evicted | [`Unclaimed`] |
//! | 6888 REQ-4, 5 | quotas of ports and sessions | [`Quota`] |
//! | 6888 REQ-8 | 120 s before a port is another's | [`mapping`] |
//! | 6888 REQ-15 | ports that cannot be foreseen | [`Pool`] |
//! | 7857 section 10, 6864 | identifications are the translator's | [`Identifications`] |
//! | 6296 | prefix translation | [`Nptv6`] |
//!
//! The tests are named after these. Timeouts (4787 REQ-5, 5382 REQ-5, 5508 REQ-2) and TCP states are the
//! sessions' part.

pub mod fragments;
pub mod icmp_error;
pub mod identification;
pub mod mapping;
mod nptv6;
mod pool;
mod publish;
mod rewrite;
#[cfg(test)]
mod sample;
mod seeded;

pub use fragments::{Datagram, FragmentLimits, Fragments};
pub use icmp_error::{Embedded, embedded_tuple, translate};
pub use identification::Identifications;
pub use mapping::{Claim, Inbound, Mapping, MappingId, Mappings, Unclaimed};
pub use nptv6::{Nptv6, Nptv6Error};
pub use pool::{MAX_ADDRESSES, Pool, PoolError, Quota};
pub use publish::{Publish, PublishError, Published, PublishedAs};
pub use rewrite::{Rewrite, Unapplied, renumber};
