//! What the RFCs require of a NAT, as one black-box suite: packets in on one side, packets out on the
//! other. `docs/NAT-SCORECARD.md` is written from its results, by
//!
//! ```text
//! SCORECARD=write cargo test -p flows --test scorecard the_scorecard
//! ```
//!
//! and a test checks that it says what the suite says.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

// What the pipeline's own tests are made of names the crate's items.
use flows::{
    BridgeDomain, BridgeIndex, DropReason, Endpoint, Fdb, Filtering, Generation, Ledger,
    Masquerade, Nanos, Outboxes, Pipeline, PortConfig, PortIndex, RouterPort, Snapshot, TableSizes,
    Tables, Translation, Vid, Zone, nat, router, rules,
};

mod card;
#[allow(dead_code, reason = "shared with the pipeline's own tests")]
#[path = "../../src/pipeline/tests/network.rs"]
mod network;
mod ours;
#[allow(dead_code, reason = "shared with the pipeline's own tests")]
#[path = "../../src/pipeline/tests/packets.rs"]
mod packets;
mod requirement;
mod rfc4787;
mod rfc5382;
mod rfc5508;
mod rfc6888;
mod subject;
