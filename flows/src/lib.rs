//! What is decided about a frame: tables, bridging and the pipeline.
//!
//! No I/O and no clock: frames and the time come in, frames in outboxes and counted drops go out. The
//! same code runs under the workers of the daemon, in simulated networks under fake time, and in the
//! fuzzer.
//!
//! * [`Snapshot`]: the configuration, immutable, compiled by the control thread.
//! * [`Fdb`]: the forwarding database of one bridge, shared by all workers, lock-free.
//! * [`session::Sessions`]: connections and their translations, shared by all workers, lock-free.
//! * [`service`]: one address for many backends.
//! * [`rules`]: which rule decides about a packet.
//! * [`Pipeline`]: decides about a burst, by the snapshot and the tables; [`Tracer`]: what it would decide, and why;
//!   [`Follower`]: what it decides about real packets, and why.
//! * [`router`]: gateways, routes, neighbours and the errors that a router owes.
//! * [`vxlan`]: frames into tunnels and out of them.
//! * [`Offer`]: what it decided, for whoever can carry the next frames by it.
//! * [`Outboxes`]: where decided frames wait to be transmitted.
//! * [`Ledger`]: where every frame is accounted for; [`DropReason`]: why one was lost.
#![forbid(unsafe_code)]

pub mod cache;
mod drops;
pub mod fdb;
mod finding;
mod guard;
mod hash;
mod ids;
mod ledger;
mod lines;
pub mod nat;
mod offer;
mod outbox;
mod pipeline;
pub mod router;
pub mod rules;
mod selection;
pub mod service;
pub mod session;
mod snapshot;
mod standing;
mod tables;
mod translation;
mod tuple;
mod turn;
pub mod vxlan;

pub use drops::DropReason;
pub use fdb::Fdb;
pub use finding::{Acquaintance, Fate, Finding, Trace};
pub use guard::Guard;
pub use ids::{BridgeIndex, Generation, Nanos, PortIndex, Seconds, Vid, Zone};
pub use ledger::{Discrepancy, DropSide, Ledger, LostFrame, Offender, PortBooks};
pub use offer::{Offer, Routed};
pub use outbox::Outboxes;
pub use pipeline::{Followed, Follower, Pipeline, Saying, Tracer, Tunnelled, Untunnelled, Visitor};
pub use selection::Selection;
pub use snapshot::{
    BridgeDomain, Horizon, PortConfig, RouterPort, Snapshot, SnapshotError, VlanOf, VlanPolicy,
    VlanSet,
};
pub use tables::{TableSizes, Tables};
pub use translation::{
    Filtering, Home, Inward, Masquerade, Masquerades, Outward, Owners, PrefixRule, Translation,
    Undelivered, Usage,
};
pub use tuple::{Endpoint, Tuple};
