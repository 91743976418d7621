//! Simulated networks: switches made of the real pipeline, links that lose, delay, reorder and duplicate
//! by a seed, and smoltcp hosts that do real TCP. Time is simulated; the same seed gives the same run.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod host;
mod link;
mod network;
mod router;

use flows::PortIndex;
use network::{Network, Quality};

const KILOBYTES: usize = 200;

/// Moves data between two hosts on the outer switches of a chain, and checks every ledger.
fn transfer_over(switches: usize, quality: Quality, seed: u64) -> Network {
    let mut network = Network::chain(switches, quality, seed);
    let (client, server) = (network.add_host(0), network.add_host(switches - 1));
    network.transfer(client, server, KILOBYTES * 1024);
    network.check_ledgers();
    network
}

#[test]
fn tcp_gets_through_a_perfect_network() {
    transfer_over(1, Quality::PERFECT, 1);
}

#[test]
fn tcp_gets_through_several_switches_in_a_row() {
    transfer_over(4, Quality::PERFECT, 2);
}

#[test]
fn tcp_survives_loss_delay_reordering_and_duplication() {
    for seed in 0..10 {
        transfer_over(2, Quality::BAD, seed);
    }
}

#[test]
fn routed_and_masqueraded_tcp_survives_loss_delay_reordering_and_duplication() {
    for (is_masqueraded, quality, seed) in [false, true].into_iter().flat_map(|hides| {
        let bad = (0..5).map(move |seed| (hides, Quality::BAD, seed));
        std::iter::once((hides, Quality::PERFECT, 0)).chain(bad)
    }) {
        let mut network = Network::routed(is_masqueraded, quality, seed);
        let (client, server) = (network.add_host(0), network.add_host(1));
        network.transfer(client, server, KILOBYTES * 1024);
        let seen = if is_masqueraded { host::address(1, 254) } else { host::address(0, 1) };
        assert_eq!(network.peer(server), Some(seen));
        network.check_ledgers();
    }
}

#[test]
fn hosts_inside_share_an_address_outside_and_are_told_apart() {
    let mut network = Network::routed(true, Quality::BAD, 6);
    // The clients use the same port.
    let (clients, servers) =
        ([0; 3].map(|at| network.add_host(at)), [1; 3].map(|at| network.add_host(at)));
    for (client, server) in clients.into_iter().zip(servers) {
        network.begin(client, server, KILOBYTES * 1024);
    }
    for (client, server) in clients.into_iter().zip(servers) {
        network.finish(client, server);
    }
    network.check_ledgers();
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let trace = |seed| transfer_over(2, Quality::BAD, seed).trace();
    assert_eq!(trace(7), trace(7));
    assert_ne!(trace(7), trace(8));
}

#[test]
fn a_third_host_does_not_see_what_others_say_once_they_are_known() {
    let mut network = Network::chain(1, Quality::PERFECT, 3);
    let (client, server, third) = (network.add_host(0), network.add_host(0), network.add_host(0));
    network.transfer(client, server, KILOBYTES * 1024);
    // Address resolution floods a few frames; the transfer has hundreds.
    assert!(network.delivered(third) <= 4, "{}", network.delivered(third));
    network.check_ledgers();
}

#[test]
fn a_transfer_survives_the_move_of_a_station() {
    let mut network = Network::chain(2, Quality::PERFECT, 4);
    let (client, server) = (network.add_host(0), network.add_host(1));
    network.begin(client, server, KILOBYTES * 1024);
    network.run_for_millis(20);
    // The server's container moves to the other switch, and says so by its next frame.
    network.move_host(server, 0);
    network.finish(client, server);
    network.check_ledgers();
}

#[test]
fn garbage_on_the_wire_disturbs_nobody() {
    let mut network = Network::chain(2, Quality::PERFECT, 5);
    let (client, server) = (network.add_host(0), network.add_host(1));
    network.begin(client, server, KILOBYTES * 1024);
    for length in 0..100 {
        network.inject(0, PortIndex(0), vec![0xff; length]);
        network.inject(1, PortIndex(0), vec![0x01; length]);
        network.run_for_millis(1);
    }
    network.finish(client, server);
    network.check_ledgers();
}
