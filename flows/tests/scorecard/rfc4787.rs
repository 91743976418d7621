//! RFC 4787: unicast UDP.

use super::packets::{Packet, icmp_error};
use super::requirement::{
    A, B, E, Finding, P, expect, external, hold, requirements, seconds, udp, unchanged,
};
use super::subject::{Nat, Setup};

requirements! {
    /// Mapping is endpoint-independent.
    "RFC 4787 REQ-1" rfc4787_req_01_mapping_is_endpoint_independent = |nat| {
        // With one of the destinations another station has taken the port.
        external(nat, &udp(B, P))?;
        let first = external(nat, &udp(A, "198.51.100.8:53"))?;
        let others = [external(nat, &udp(A, "198.51.100.7:54"))?, external(nat, &udp(A, P))?];
        hold(others.iter().all(|other| *other == first), "the external endpoint depends on the destination")
    };
    /// All of a station is behind one external address ("paired" pooling).
    "RFC 4787 REQ-2" rfc4787_req_02_pooling_is_paired = |nat| {
        nat.set_up(Setup::Pool)?;
        for host in ["10.0.0.2", "10.0.0.3"] {
            let of = |nat: &mut dyn Nat, port| external(nat, &udp(&format!("{host}:{port}"), P));
            let (first, _) = of(nat, 5000)?;
            for port in 5001..5040 {
                hold(of(nat, port)?.0 == first, "a station has two external addresses")?;
            }
        }
        Ok(())
    };
    /// No two endpoints share an external one ("port overloading").
    "RFC 4787 REQ-3" rfc4787_req_03_ports_are_not_overloaded = |nat| {
        let (first, second) = (external(nat, &udp(A, P))?, external(nat, &udp(B, "198.51.100.8:53"))?);
        hold(first != second, "two stations have the same external endpoint")
    };
    /// A well-known port is mapped to one below 1024, any other to one above.
    "RFC 4787 REQ-3a" rfc4787_req_03a_ports_keep_their_class = |nat| {
        nat.set_up(Setup::AllPorts)?;
        for (port, is_known) in [(123, true), (5000, false)] {
            for host in ["10.0.0.2", "10.0.0.3"] {
                let (_, external) = external(nat, &udp(&format!("{host}:{port}"), P))?;
                hold((external < 1024) == is_known, "a port is of another class than its external one")?;
            }
        }
        Ok(())
    };
    /// Port parity is preserved.
    "RFC 4787 REQ-4" rfc4787_req_04_ports_keep_their_parity = |nat| ports_keep_their_parity(nat);
    /// A mapping lives for two minutes without packets at least.
    "RFC 4787 REQ-5" rfc4787_req_05_a_mapping_lives_for_two_minutes = |nat| {
        external(nat, &udp(A, P))?;
        nat.wait(seconds(120));
        expect(&nat.send(&udp(P, E)), &[&format!("in: udp {P} > {A}")])
    };
    /// By default it lives for five minutes at least (recommended).
    "RFC 4787 REQ-5c" rfc4787_req_05c_a_mapping_lives_for_five_minutes = |nat| {
        external(nat, &udp(A, P))?;
        nat.wait(seconds(299));
        expect(&nat.send(&udp(P, E)), &[&format!("in: udp {P} > {A}")])
    };
    /// How long may be configured.
    "RFC 4787 REQ-5b" rfc4787_req_05b_how_long_a_mapping_lives_can_be_chosen = |nat| {
        nat.set_up(Setup::Patient)?;
        external(nat, &udp(A, P))?;
        nat.wait(seconds(590));
        expect(&nat.send(&udp(P, E)), &[&format!("in: udp {P} > {A}")])
    };
    /// Packets from inside keep a mapping alive.
    "RFC 4787 REQ-6" rfc4787_req_06_outbound_packets_refresh_a_mapping = |nat| {
        // Shorter than the shortest timer, and together longer than the longest.
        for _ in 0..16 {
            external(nat, &udp(A, P))?;
            nat.wait(seconds(25));
        }
        expect(&nat.send(&udp(P, E)), &[&format!("in: udp {P} > {A}")])
    };
    /// Filtering can be endpoint-independent; the other choice, by address and port, is stricter than the
    /// address-dependent one that is recommended.
    "RFC 4787 REQ-8" rfc4787_req_08_filtering_can_be_chosen = |nat| {
        let (stranger, strangers) = ("198.51.100.8:99", udp("198.51.100.8:99", E));
        external(nat, &udp(A, P))?;
        expect(&nat.send(&strangers), &[])?;
        nat.set_up(Setup::Transparent)?;
        external(nat, &udp(A, P))?;
        expect(&nat.send(&strangers), &[&format!("in: udp {stranger} > {A}")])
    };
    /// Stations inside reach each other by their external endpoints, and are seen by these.
    "RFC 4787 REQ-9, REQ-9a" rfc4787_req_09_hairpinning = |nat| hairpin(nat);
    /// Nothing meddles with what is in the packets: there is no application-level gateway, or none by default.
    "RFC 4787 REQ-10" rfc4787_req_10_payloads_are_not_touched = |nat| {
        // Of protocols with addresses in them, for which there are gateways: DNS, TFTP, NetBIOS, SNMP, SIP.
        for port in [53, 69, 137, 161, 5060] {
            let server = format!("198.51.100.7:{port}");
            unchanged(nat, &udp(&format!("10.0.0.2:{port}"), &server))?;
            unchanged(nat, &udp(A, &server))?;
            unchanged(nat, &udp(&server, E))?;
        }
        Ok(())
    };
    /// What a NAT does does not change while it runs, whoever has taken which port.
    "RFC 4787 REQ-11" rfc4787_req_11_behaviour_is_deterministic = |nat| {
        // With a conflict of ports, which is where others change what they do.
        let taken = external(nat, &udp(B, P))?;
        let other = external(nat, &udp(A, "198.51.100.8:1"))?;
        hold(taken != other, "two stations have the same external endpoint")?;
        hold(external(nat, &udp(A, P))? == other, "mapping depends on the destination")?;
        let own = format!("{}:{}", other.0, other.1);
        expect(&nat.send(&udp("198.51.100.9:1", &own)), &[])?;
        expect(&nat.send(&udp(P, &own)), &[&format!("in: udp {P} > {A}")])
    };
    /// ICMP errors do not end a mapping, and pass, whoever sends them.
    "RFC 4787 REQ-12, REQ-12a, REQ-12b" rfc4787_req_12_icmp_does_not_end_a_mapping = |nat| {
        external(nat, &udp(A, P))?;
        for (kind, code) in [(3, 1), (3, 3), (11, 0)] {
            let error = icmp_error((kind, code, 0), ("198.51.100.99", "203.0.113.1"), &udp(E, P), 28);
            let passed = format!("in: icmp {kind}/{code} 198.51.100.99 > 10.0.0.2 (udp {A} > {P})");
            expect(&nat.send(&error), &[&passed])?;
        }
        expect(&nat.send(&udp(P, E)), &[&format!("in: udp {P} > {A}")])
    };
    /// A packet that is too long and may not be fragmented is answered with "fragmentation needed".
    "RFC 4787 REQ-13" rfc4787_req_13_too_long_packets_are_answered = |nat| {
        nat.set_up(Setup::SmallMtu)?;
        let told = format!("in: icmp 3/4 10.0.0.1 > 10.0.0.2 (udp {A} > {P})");
        expect(&nat.send(&udp(A, P).of_length(1400)), &[&told])
    };
    /// One that may be fragmented is, in order.
    "RFC 4787 REQ-13a" rfc4787_req_13a_too_long_packets_are_fragmented = |nat| {
        nat.set_up(Setup::SmallMtu)?;
        let packet = Packet { may_fragment: true, ..udp(A, P).of_length(1400) };
        let (first, second) = (
            format!("out: first part of udp {E} > {P}"),
            "out: part@1280 203.0.113.1 > 198.51.100.7",
        );
        expect(&nat.send(&packet), &[&first, second])
    };
    /// Fragments are translated in order and out of order.
    "RFC 4787 REQ-14" rfc4787_req_14_fragments_in_any_order = |nat| {
        let part = |at| format!("out: part@{at} 203.0.113.1 > 198.51.100.7");
        let first = format!("out: first part of udp {E} > {P}");
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [2, 1, 0]] {
            nat.set_up(Setup::Plain)?;
            let packet = Packet { may_fragment: true, ..udp(A, P).of_length(2500) };
            let mut seen = nat.send_fragments(&packet, 1000, &order);
            seen.sort();
            expect(&seen, &[&first, &part(1000), &part(2000)])?;
        }
        Ok(())
    };
    /// A flood of fragments that nothing can be made of does not keep other packets from passing, be they whole or
    /// in fragments in order.
    "RFC 4787 REQ-14a" rfc4787_req_14a_a_flood_of_fragments_stops_nobody = |nat| {
        let whole = external(nat, &udp(A, P))?;
        for id in 0..6000 {
            let lone = Packet { id, ..udp("198.51.100.66:1", E).of_length(2000) };
            nat.send_fragments(&lone, 1000, &[1]);
        }
        hold(external(nat, &udp(A, P))? == whole, "the mapping is another")?;
        let packet = Packet { may_fragment: true, ..udp(A, P).of_length(1500) };
        let seen = nat.send_fragments(&packet, 1000, &[0, 1]);
        let (first, second) = (
            format!("out: first part of udp {E} > {P}"),
            "out: part@1000 203.0.113.1 > 198.51.100.7",
        );
        expect(&seen, &[&first, second])
    };
}

/// Ports that cannot be kept become ones of the same parity.
pub fn ports_keep_their_parity(nat: &mut dyn Nat) -> Finding {
    for port in 5000..5040 {
        for host in ["10.0.0.2", "10.0.0.3"] {
            let (_, external) = external(nat, &udp(&format!("{host}:{port}"), P))?;
            hold(external % 2 == port % 2, "a port has another parity than its external one")?;
        }
    }
    Ok(())
}

/// A reaches B by B's external endpoint, and is seen by its own.
fn hairpin(nat: &mut dyn Nat) -> Finding {
    external(nat, &udp(A, P))?;
    let (ip, port) = external(nat, &udp(B, P))?;
    expect(&nat.send(&udp(A, &format!("{ip}:{port}"))), &[&format!("in: udp {E} > {B}")])?;
    expect(&nat.send(&udp(B, E)), &[&format!("in: udp {ip}:{port} > {A}")])
}
