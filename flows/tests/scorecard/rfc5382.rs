//! RFC 5382: TCP.

use super::packets::icmp_error;
use super::requirement::{
    A, B, E, P, connect, expect, external, hold, requirements, seconds, tcp, unchanged,
};
use super::subject::Setup;

requirements! {
    /// Mapping is endpoint-independent.
    "RFC 5382 REQ-1" rfc5382_req_01_mapping_is_endpoint_independent = |nat| {
        // With one of the destinations another station has taken the port.
        external(nat, &tcp("S", B, P, (1, 0)))?;
        let first = external(nat, &tcp("S", A, "198.51.100.8:80", (1, 0)))?;
        let other = external(nat, &tcp("S", A, P, (1, 0)))?;
        hold(other == first, "the external endpoint depends on the destination")
    };
    /// Every valid sequence of packets passes: the usual handshake.
    "RFC 5382 REQ-2" rfc5382_req_02_a_handshake_passes = |nat| connect(nat);
    /// Simultaneous open passes.
    "RFC 5382 REQ-2a" rfc5382_req_02a_simultaneous_open_passes = |nat| {
        let (out, inward) = (
            |flags| format!("out: tcp[{flags}] {E} > {P}"),
            |flags| format!("in: tcp[{flags}] {P} > {A}"),
        );
        expect(&nat.send(&tcp("S", A, P, (100, 0))), &[&out("S")])?;
        expect(&nat.send(&tcp("S", P, E, (500, 0))), &[&inward("S")])?;
        expect(&nat.send(&tcp("SA", A, P, (100, 501))), &[&out("SA")])?;
        expect(&nat.send(&tcp("SA", P, E, (500, 101))), &[&inward("SA")])
    };
    /// Filtering can be endpoint-independent; the other choice, by address and port, is stricter than the
    /// address-dependent one that is recommended.
    "RFC 5382 REQ-3" rfc5382_req_03_filtering_can_be_chosen = |nat| {
        let stranger = "198.51.100.8:99";
        connect(nat)?;
        expect(&nat.send(&tcp("S", stranger, E, (1, 0))), &[])?;
        nat.set_up(Setup::Transparent)?;
        connect(nat)?;
        let passed = format!("in: tcp[S] {stranger} > {A}");
        expect(&nat.send(&tcp("S", stranger, E, (1, 0))), &[&passed])
    };
    /// An unsolicited SYN is not answered for six seconds, in which its receiver may call from inside.
    "RFC 5382 REQ-4" rfc5382_req_04_an_early_syn_is_not_answered = |nat| {
        expect(&nat.send(&tcp("S", P, E, (500, 0))), &[])?;
        expect(&nat.wait(seconds(6)), &[])?;
        expect(&nat.send(&tcp("S", A, P, (100, 0))), &[&format!("out: tcp[S] {E} > {P}")])?;
        expect(&nat.send(&tcp("S", P, E, (500, 0))), &[&format!("in: tcp[S] {P} > {A}")])
    };
    /// An idle connection lives for two hours and four minutes at least.
    "RFC 5382 REQ-5" rfc5382_req_05_a_silent_connection_lives_for_two_hours = |nat| {
        connect(nat)?;
        nat.wait(seconds(2 * 3600 + 4 * 60));
        expect(&nat.send(&tcp("A", P, E, (501, 101))), &[&format!("in: tcp[A] {P} > {A}")])
    };
    /// A connection that is not open yet, or closed, lives for four minutes at least.
    "RFC 5382 REQ-5 (transitory)" rfc5382_req_05_a_transitory_connection_lives_for_four_minutes = |nat| {
        expect(&nat.send(&tcp("S", A, P, (100, 0))), &[&format!("out: tcp[S] {E} > {P}")])?;
        nat.wait(seconds(240));
        expect(&nat.send(&tcp("SA", P, E, (500, 101))), &[&format!("in: tcp[SA] {P} > {A}")])
    };
    /// Nothing meddles with what is in the packets: there is no application-level gateway, or none by default.
    "RFC 5382 REQ-6" rfc5382_req_06_payloads_are_not_touched = |nat| {
        // Of protocols with addresses in them, for which there are gateways: IRC, H.323, PPTP, SIP.
        for port in [6667, 1720, 1723, 5060] {
            let server = format!("198.51.100.7:{port}");
            nat.set_up(Setup::Plain)?;
            external(nat, &tcp("S", A, &server, (100, 0)))?;
            nat.send(&tcp("SA", &server, E, (500, 101)));
            unchanged(nat, &tcp("A", A, &server, (101, 501)))?;
            unchanged(nat, &tcp("A", &server, E, (501, 101)))?;
        }
        Ok(())
    };
    /// No two endpoints share an external one.
    "RFC 5382 REQ-7" rfc5382_req_07_ports_are_not_overloaded = |nat| {
        let first = external(nat, &tcp("S", A, P, (1, 0)))?;
        let second = external(nat, &tcp("S", B, "198.51.100.8:80", (1, 0)))?;
        hold(second != first, "two stations have the same external endpoint")
    };
    /// Stations inside reach each other by their external endpoints, and are seen by these.
    "RFC 5382 REQ-8" rfc5382_req_08_hairpinning = |nat| {
        external(nat, &tcp("S", A, P, (1, 0)))?;
        let (ip, port) = external(nat, &tcp("S", B, P, (1, 0)))?;
        let b = format!("{ip}:{port}");
        expect(&nat.send(&tcp("S", A, &b, (100, 0))), &[&format!("in: tcp[S] {E} > {B}")])?;
        expect(&nat.send(&tcp("SA", B, E, (500, 101))), &[&format!("in: tcp[SA] {b} > {A}")])
    };
    /// ICMP "destination unreachable" about a connection is translated.
    "RFC 5382 REQ-9" rfc5382_req_09_icmp_errors_are_translated = |nat| {
        connect(nat)?;
        let about = tcp("A", E, P, (101, 501));
        let error = icmp_error((3, 1, 0), ("198.51.100.99", "203.0.113.1"), &about, 28);
        let passed = format!("in: icmp 3/1 198.51.100.99 > 10.0.0.2 (tcp {A} > {P})");
        expect(&nat.send(&error), &[&passed])
    };
    /// ICMP does not end a mapping or a connection.
    "RFC 5382 REQ-10" rfc5382_req_10_icmp_does_not_end_a_connection = |nat| {
        connect(nat)?;
        let about = tcp("A", E, P, (101, 501));
        nat.send(&icmp_error((3, 3, 0), ("198.51.100.7", "203.0.113.1"), &about, 40));
        nat.wait(seconds(600));
        expect(&nat.send(&tcp("A", P, E, (501, 101))), &[&format!("in: tcp[A] {P} > {A}")])
    };
}
