//! The tests of all other modules once more, while the kernel carries what it can (`vswitchd --offload ebpf`): all of them, but
//! for what is named here with its reason.

use netlab::{Need, Test, TestResult, test};

use crate::{
    advice, bridging, capture, checks, control, daemon, demo, explain, first_steps, foreign,
    handover, lifecycle, loopback, matrix, names, native, networks, notes, offload, places, readme,
    routing, rules, services, sessions, shapes, stations, uplink, vxlan, workers,
};

/// A module's tests.
type Module = fn() -> Vec<Test>;

/// Modules that are run twice.
pub const AGAIN: [Module; 22] = [
    lifecycle::tests,
    foreign::tests,
    workers::tests,
    matrix::tests,
    bridging::tests,
    stations::tests,
    routing::tests,
    networks::tests,
    names::tests,
    shapes::tests,
    sessions::tests,
    services::tests,
    checks::tests,
    uplink::tests,
    loopback::tests,
    vxlan::tests,
    native::tests,
    rules::tests,
    explain::tests,
    advice::tests,
    capture::tests,
    control::tests,
];

const TAPS: &str =
    "its containers are on TAPs that the switch made, and the kernel carries between veths alone";

/// Modules that are run once, and why.
pub const ONCE: [(Module, &str); 7] = [
    (places::tests, TAPS),
    (notes::tests, TAPS),
    (first_steps::tests, "it asks and is answered, and no frame passes between its ports"),
    (handover::tests, TAPS),
    (offload::tests, "it starts its daemons with the offload already"),
    (
        readme::tests,
        "it types commands, and no frame passes; the names that it takes are the host's, which has each once",
    ),
    (demo::tests, "the demonstration starts its own switch, which is the same both times"),
];

const QUEUES: &str = "it is about a TAP of two queues; a veth has one";
const ADDRESSES: &str =
    "it gives addresses to an interface, which the switch does with its own only";

/// Tests of the other modules that are run once, and why.
const ALONE: [(&str, &str); 9] = [
    (
        "a_change_that_cannot_be_kept_is_not_made",
        "it is about an interface that the switch makes and takes back, and it makes no veth",
    ),
    ("a_container_without_ipv6_says_nothing_by_it_until_it_is_given_an_address", ADDRESSES),
    ("a_container_with_another_address_loses_the_sessions_of_the_old_one", ADDRESSES),
    ("a_port_that_moves_under_traffic_loses_no_byte_of_it", QUEUES),
    ("a_port_with_two_queues_is_served_by_two_workers", QUEUES),
    (
        "frames_cross_to_the_worker_that_owns_the_port",
        "it is about frames that workers carry: those that the kernel carries cross to no worker",
    ),
    (
        "frames_with_half_a_tag_are_counted_and_survived",
        "the kernel drops a frame with half a tag itself before it is out of a veth",
    ),
    (
        "the_mtu_of_a_running_port_changes_in_the_container",
        "it changes the MTU of an interface that the switch made; a veth's far end is left as it is",
    ),
    (
        "why_says_that_an_answer_is_lost_for_want_of_a_gateway",
        "it is about the routes of an interface, which the switch knows of its own only",
    ),
];

pub fn tests() -> Vec<Test> {
    vec![test!(what_is_left_out_under_the_offload_is_a_test)]
}

/// The second run, in which what is left out is listed with its reason.
pub fn again() -> impl Iterator<Item = Test> {
    let again = AGAIN.iter().flat_map(|module| module()).map(|test| {
        let alone = ALONE.iter().find(|(name, _)| *name == test.name());
        match alone {
            Some((_, reason)) => test.left_out(reason),
            None => test,
        }
    });
    let once = ONCE
        .iter()
        .flat_map(|(module, reason)| module().into_iter().map(move |test| test.left_out(reason)));
    again.chain(once).map(|test| test.under("offloaded", daemon::offload).needs(Need::Bpf))
}

fn what_is_left_out_under_the_offload_is_a_test() -> TestResult {
    let tests: Vec<_> = AGAIN.iter().flat_map(|module| module()).collect();
    for (name, _) in ALONE {
        let of_the_name = tests.iter().filter(|test| test.name() == name).count();
        assert_eq!(of_the_name, 1, "tests of the name {name}, which is left out");
    }
    Ok(())
}
