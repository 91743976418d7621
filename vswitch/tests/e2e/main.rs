//! End-to-end tests: the real daemon, driven by its control socket, with real containers and kernel
//! traffic. All of it happens in a private network that ends with the test program. Every test that
//! moves traffic ends by checking that the drop ledger reconciles.

mod advice;
mod bridging;
mod capture;
mod checks;
mod control;
mod daemon;
mod demo;
mod explain;
mod first_steps;
mod foreign;
mod handover;
mod lifecycle;
mod loopback;
mod matrix;
mod names;
mod native;
mod networks;
mod notes;
mod offload;
mod offloaded;
mod places;
mod readme;
mod routing;
mod rules;
mod services;
mod sessions;
mod shapes;
mod stations;
mod uplink;
mod vxlan;
mod workers;

use std::process::ExitCode;

use netlab::Test;

fn main() -> ExitCode {
    netlab::test_main(tests().chain(offloaded::again()).chain(offloaded::tests()))
}

/// Every test of what the switch does.
fn tests() -> impl Iterator<Item = Test> {
    let both = offloaded::AGAIN.iter();
    both.chain(offloaded::ONCE.iter().map(|(module, _)| module)).flat_map(|module| module())
}
