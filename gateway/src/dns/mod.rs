//! Names: a DNS responder for the containers of one network, which forwards what it does not know (RFC 1034, 1035).
//!
//! * [`Directory`]: the names of a network's containers, forward and reverse.
//! * [`Responder`]: what becomes of a message: it is answered, forwarded, or not worth a word.
//! * [`Relay`]: queries on their way to other resolvers, each to be answered in time by one of them.
//! * [`nameservers`]: the resolvers that a `resolv.conf` names.
//!
//! Nothing is cached: what is forwarded is asked anew each time, so that an answer that somebody forges reaches nobody
//! but who asked for it, and names of containers are true at the moment of the answer. Their time to live is short,
//! and that they do not exist is not to be remembered at all (no SOA, RFC 2308 section 5).
//!
//! The wire format is the `domain` crate's.

mod answer;
mod directory;
mod relay;
mod resolv;

#[cfg(test)]
mod tests;

pub use answer::{Forwarding, Query, Responder, Transport, Verdict};
pub use directory::Directory;
pub use relay::{Heard, MAX_OUTSTANDING, MAX_OUTSTANDING_EACH, Relay, Sending, Ticket};
pub use resolv::nameservers;

/// The port of DNS, over UDP and TCP.
pub const PORT: u16 = 53;
