//! RFC 6888: NATs for many stations ("carrier grade"), as far as it asks more than the others.

use std::collections::BTreeSet;

use super::requirement::{A, B, E, Finding, P, expect, external, hold, requirements, seconds, udp};
use super::subject::{Nat, Setup};

requirements! {
    /// The external addresses need not follow each other.
    "RFC 6888 REQ-3" rfc6888_req_03_a_pool_may_have_gaps = |nat| {
        nat.set_up(Setup::GappedPool)?;
        let addresses = ["203.0.113.100", "203.0.113.102", "203.0.113.104"];
        for (host, port) in [("10.0.0.2", 5000), ("10.0.0.2", 5001), ("10.0.0.3", 5000)] {
            let inside = format!("{host}:{port}");
            let (ip, external) = external(nat, &udp(&inside, P))?;
            hold(addresses.contains(&&ip[..]), &format!("{ip} is not in the pool"))?;
            let answer = udp(P, &format!("{ip}:{external}"));
            expect(&nat.send(&answer), &[&format!("in: udp {P} > {inside}")])?;
        }
        Ok(())
    };
    /// A station has no more external ports than its quota.
    "RFC 6888 REQ-4, REQ-4a" rfc6888_req_04_ports_are_limited_for_each_station = |nat| {
        nat.set_up(Setup::Quota)?;
        external(nat, &from(5000))?;
        external(nat, &from(5001))?;
        expect(&nat.send(&from(5002)), &[&refused("10.0.0.2:5002")])?;
        external(nat, &udp(B, P)).map(drop)
    };
    /// A station has no more sessions than its quota.
    "RFC 6888 REQ-5, REQ-5a" rfc6888_req_05_sessions_are_limited_for_each_station = |nat| {
        nat.set_up(Setup::Quota)?;
        for host in 1..=3 {
            external(nat, &udp(A, &format!("198.51.100.{host}:53")))?;
        }
        expect(&nat.send(&udp(A, P)), &[&refused(A)])?;
        external(nat, &udp(B, P)).map(drop)
    };
    /// How fast a station begins sessions, and so takes mappings and memory, can be limited.
    "RFC 6888 REQ-4c, REQ-5b" rfc6888_req_04c_stations_begin_sessions_no_faster_than_they_may = |nat| {
        nat.set_up(Setup::SlowBeginning)?;
        let begun = (5000..5040).filter(|port| !nat.send(&from(*port)).is_empty()).count();
        hold((1..=20).contains(&begun), &format!("of 40 sessions {begun} began at once"))?;
        external(nat, &udp(B, P)).map(drop)
    };
    /// To some destinations nothing is translated, where the administrator says so.
    "RFC 6888 REQ-6" rfc6888_req_06_destinations_can_be_left_untranslated = |nat| {
        nat.set_up(Setup::Except)?;
        let known = "198.51.100.130:53";
        for _ in 0..2 {
            expect(&nat.send(&udp(A, known)), &[&format!("out: udp {A} > {known}")])?;
            expect(&nat.send(&udp(known, A)), &[&format!("in: udp {known} > {A}")])?;
        }
        expect(&nat.send(&udp(A, P)), &[&format!("out: udp {E} > {P}")])
    };
    /// Filtering is endpoint-independent, where the administrator says so.
    "RFC 6888 REQ-7" rfc6888_req_07_filtering_can_be_endpoint_independent = |nat| {
        nat.set_up(Setup::Transparent)?;
        let (ip, port) = external(nat, &udp(A, P))?;
        let stranger = udp("198.51.100.8:99", &format!("{ip}:{port}"));
        expect(&nat.send(&stranger), &[&format!("in: udp 198.51.100.8:99 > {A}")])
    };
    /// An external port is not used for another station until 120 seconds after its end.
    "RFC 6888 REQ-8" rfc6888_req_08_ports_rest_before_they_are_used_again = |nat| {
        nat.set_up(Setup::OnePort)?;
        let first = external(nat, &udp(A, P))?;
        nat.wait(seconds(310));
        expect(&nat.send(&udp(B, P)), &[&format!("in: icmp 3/13 10.0.0.1 > 10.0.0.3 (udp {B} > {P})")])?;
        nat.wait(seconds(120));
        hold(external(nat, &udp(B, P))? == first, "the port is not used again")
    };
    /// What no mapping can be made for is dropped.
    "RFC 6888 REQ-11a" rfc6888_req_11a_what_cannot_be_mapped_is_dropped = |nat| {
        nat.set_up(Setup::OnePort)?;
        external(nat, &udp(A, P))?;
        let seen = nat.send(&udp(B, P));
        hold(!seen.iter().any(|line| line.starts_with("out")), &format!("{seen:?}"))
    };
    /// When everything is in use, nothing that exists makes room.
    "RFC 6888 REQ-11d" rfc6888_req_11d_exhaustion_ends_nothing = |nat| {
        nat.set_up(Setup::OnePort)?;
        let first = external(nat, &udp(A, P))?;
        nat.send(&udp(B, P));
        expect(&nat.send(&udp(P, "203.0.113.1:5000")), &[&format!("in: udp {P} > {A}")])?;
        hold(external(nat, &udp(A, P))? == first, "the mapping is another")
    };
    /// Every port is used before somebody is refused one, whatever parity it has.
    "RFC 6888 REQ-13" rfc6888_req_13_all_ports_are_used = |nat| {
        nat.set_up(Setup::TenPorts)?;
        let mut ports = BTreeSet::new();
        for port in (7000..7020).step_by(2) {
            ports.insert(external(nat, &from(port))?.1);
        }
        hold(ports == (5000..=5009).collect(), &format!("some are left: {ports:?}"))
    };
    /// Which port is chosen cannot be guessed from the one before.
    "RFC 6888 REQ-15" rfc6888_req_15_ports_are_hard_to_guess = |nat| ports_are_hard_to_guess(nat);
}

/// Ports that cannot be kept do not become neighbours of each other.
pub fn ports_are_hard_to_guess(nat: &mut dyn Nat) -> Finding {
    let mut ports = Vec::new();
    for port in 5000..5020 {
        external(nat, &from(port))?;
        ports.push(external(nat, &udp(&format!("10.0.0.3:{port}"), P))?.1);
    }
    let near = ports.windows(2).filter(|pair| pair[0].abs_diff(pair[1]) <= 16).count();
    hold(near <= 2, &format!("ports follow each other: {ports:?}"))
}

fn from(port: u16) -> super::packets::Packet {
    udp(&format!("10.0.0.2:{port}"), P)
}

fn refused(source: &str) -> String {
    format!("in: icmp 3/13 10.0.0.1 > 10.0.0.2 (udp {source} > {P})")
}
