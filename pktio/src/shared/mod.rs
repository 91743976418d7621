//! An interface that the switch shares with its host: it takes from it only what is the switch's, and all else stays
//! the host's, untouched.
//!
//! * [`Claims`]: what is the switch's, as a set. It says too what the program would decide, for tests and to be read.
//! * `program`: the same decision as instructions, from one source for each place where it is needed: the filter of the
//!   packet socket, which takes what is claimed, and the program at tcx behind it, which drops the same for the host.
//! * [`Sharing`]: the maps that these look into. A claim that is made or given up counts for both at once.
//! * [`SharedPort`]: a port whose neighbours the host's kernel resolves.
//!
//! What is taken of the packets that are addressed to the interface's own MAC address, without a VLAN tag:
//!
//! * TCP, UDP and SCTP to a claimed address and port, and replies to ICMP queries with a claimed identifier;
//! * ICMP errors that quote a packet that came from there;
//! * later fragments of a datagram whose first fragment was taken within the last 30 seconds. Those that come before the
//!   first are the host's, which cannot put them together.
//!
//! A frame that is on its way between the socket's filter and the program while a claim changes may be taken by both or
//! by neither. Links and sockets are descriptors: when the daemon dies, however, the host has its interface back.

mod claims;
mod port;
mod program;
mod sharing;

#[cfg(test)]
mod tests;

pub use claims::{Claims, Fragments};
pub use port::{Questions, SharedPort};
pub use sharing::Sharing;
