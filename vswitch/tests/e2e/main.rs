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

use netlab::Need;

/// About interfaces that the switch made and knows the addresses of, or about what workers do with frames that the kernel would
/// carry. On veths the kernel refuses frames with half a tag by itself, and those to an interface that is off. And a
/// name of the host's that a test takes is taken once.
const NOT_OFFLOADED: [&str; 15] = [
    "a_change_that_cannot_be_kept_is_not_made",
    "a_container_without_ipv6_says_nothing_by_it_until_it_is_given_an_address",
    "a_container_with_another_address_loses_the_sessions_of_the_old_one",
    "a_containers_interface_that_is_switched_off_and_on_carries_on",
    "a_port_that_moves_under_traffic_loses_no_byte_of_it",
    "a_port_with_two_queues_is_served_by_two_workers",
    "frames_cross_to_the_worker_that_owns_the_port",
    "malformed_frames_are_counted_and_survived",
    "the_host_itself_is_on_a_network",
    "the_mtu_of_a_running_port_changes_in_the_container",
    "what_cannot_be_explained_is_refused_with_advice",
    "why_follows_translations_there_and_back",
    "why_knows_a_container_by_its_own_name",
    "why_names_what_was_really_lost_between_the_two_and_nothing_else",
    "why_says_what_is_missing_until_nothing_is",
];

fn main() -> ExitCode {
    let tests = [
        lifecycle::tests(),
        foreign::tests(),
        places::tests(),
        handover::tests(),
        workers::tests(),
        matrix::tests(),
        bridging::tests(),
        stations::tests(),
        routing::tests(),
        networks::tests(),
        notes::tests(),
        names::tests(),
        first_steps::tests(),
        shapes::tests(),
        offload::tests(),
        sessions::tests(),
        services::tests(),
        checks::tests(),
        uplink::tests(),
        loopback::tests(),
        vxlan::tests(),
        native::tests(),
        rules::tests(),
        explain::tests(),
        advice::tests(),
        capture::tests(),
        control::tests(),
        readme::tests(),
        demo::tests(),
    ];
    let offloaded = [
        lifecycle::tests(),
        foreign::tests(),
        workers::tests(),
        matrix::tests(),
        bridging::tests(),
        stations::tests(),
        routing::tests(),
        networks::tests(),
        names::tests(),
        shapes::tests(),
        sessions::tests(),
        services::tests(),
        rules::tests(),
        explain::tests(),
        capture::tests(),
        control::tests(),
    ];
    let offloaded = offloaded.into_iter().flatten();
    let offloaded = offloaded
        .filter(|test| !NOT_OFFLOADED.contains(&test.name()))
        .map(|test| test.under("offloaded", daemon::offload).needs(Need::Bpf));
    netlab::test_main(tests.into_iter().flatten().chain(offloaded))
}
