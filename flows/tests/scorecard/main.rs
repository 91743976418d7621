//! What the RFCs require of a NAT, as one black-box suite: packets in on one side, packets out on the
//! other. `docs/NAT-SCORECARD.md` is written from its results, by
//!
//! ```text
//! SCORECARD=write cargo test -p flows --test scorecard the_scorecard
//! ```
//!
//! and a test checks that it says what the suite says, of the pipeline and of a Linux router.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

// What the pipeline's own tests are made of names the crate's items.
use flows::{
    BridgeDomain, BridgeIndex, DropReason, Endpoint, Fdb, Filtering, Generation, Home, Ledger,
    Masquerade, Nanos, Outboxes, Pipeline, PortConfig, PortIndex, PrefixRule, RouterPort, Snapshot,
    TableSizes, Tables, Translation, Usage, Vid, Zone, nat, router, rules, service, session,
};

mod card;
mod linux;
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
mod rfc7857;
mod subject;

use std::process::ExitCode;

fn main() -> ExitCode {
    let tests = [
        rfc4787::tests(),
        rfc5382::tests(),
        rfc5508::tests(),
        rfc6888::tests(),
        rfc7857::tests(),
        card::tests(),
    ];
    netlab::test_main(tests.into_iter().flatten())
}
