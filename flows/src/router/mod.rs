//! What makes a bridge a router interface: gateways, routes, neighbours and the errors that a router owes.
//!
//! These are parts; the pipeline puts them together, for the first packet of a flow and for all that is
//! not worth a flow:
//!
//! ```text
//!   frame to the gateway's MAC or a group ──► Gateway::attend ──► Reply: out of the port it came in by
//!                                                  │              Refuse, Reset: icmp::make, icmp::reset
//!                                                Pass
//!                                                  ▼
//!   to the gateway's MAC: forward::check ──► Routes::lookup ──► Resolver::resolve ──► send it, or
//!                              │                  │                    │              Hold::hold
//!                           Expired:         no route:            Unreachable:
//!                         TimeExceeded     NetUnreachable       HostUnreachable
//! ```
//!
//! * [`Gateway`]: what the switch is to the stations of a bridge, and answers them. First of all, so that
//!   a packet for the gateway itself may be on its last hop.
//! * [`forward`]: which packets may be forwarded, and what changes in them.
//! * [`Routes`]: by which bridge and to which next hop. One immutable table per bridge.
//! * [`Neighbors`]: the next hop's MAC. One table for the switch, shared by all workers, lock-free.
//!   [`Resolver`], one per worker, asks for what is not in it.
//! * [`Hold`]: packets whose next hop is being asked for. One per worker.
//! * [`icmp`]: errors and resets; [`ErrorLimiter`], one per worker, says how many. [`VisitLimiter`] says how many packets of
//!   a port come to the gateway's services.
//! * [`fragment`]: IPv4 packets that are longer than the next link takes.
//!
//! A worker's turn ends with [`Resolver::due`] if it is not idle, each question sent as
//! [`Gateway::solicit`] makes it, and, while packets wait, [`Hold::release`] and [`Hold::expire`]. What is released
//! starts over in the pipeline: a next hop that failed is answered for there.
//!
//! No clock and no I/O; frames are built in buffers of the caller's pool. The codecs of ARP, Neighbor
//! Discovery and IP headers are smoltcp's.

mod answer;
mod envelope;
pub mod forward;
mod fragment;
pub(crate) mod hash;
mod hold;
pub mod icmp;
mod limit;
mod neighbors;
mod prefix;
mod routes;

pub use answer::{
    AdvertisedPrefix, Advertising, AdvertisingSchedule, Gateway, GatewayAddress, Outcome, Scene,
    Services,
};
pub use fragment::{Unbroken, fragment};
pub use hold::{Held, Hold, HoldLimits};
pub use icmp::{IcmpError, Station};
pub use limit::{ErrorLimiter, ErrorRate, VisitLimiter};
pub use neighbors::{
    Claim, Heard, Lookup, Neighbor, NeighborEntry, NeighborState, NeighborVersion, Neighbors,
    Resolution, Resolver, Solicitation, Timers,
};
pub use prefix::{Prefix, PrefixSet};
pub use routes::{Inside, NextHop, Route, Routes, Target};
