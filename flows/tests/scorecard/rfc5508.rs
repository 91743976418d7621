//! RFC 5508: ICMP.

use super::packets::{Ip, Kind, Packet, icmp_error, summed};
use super::requirement::{
    A, B, E, P, connect, expect, external, hold, requirements, seconds, tcp, udp,
};
use super::subject::{Nat, Setup};

requirements! {
    /// Queries from inside and their answers pass.
    "RFC 5508 REQ-1" rfc5508_req_01_queries_pass = |nat| {
        expect(&nat.send(&ping()), &["out: ping#5000 203.0.113.1 > 198.51.100.7"])?;
        expect(&nat.send(&pong()), &["in: pong#5000 198.51.100.7 > 10.0.0.2"])
    };
    /// A query's mapping is independent of who is asked.
    "RFC 5508 REQ-1a" rfc5508_req_01a_query_mapping_is_endpoint_independent = |nat| {
        // With one of the destinations another station has taken the identifier.
        let id = |nat: &mut dyn Nat, host, whom| match &nat.send(&Packet::new(Kind::Ping, host, whom))[..] {
            [line] => Ok(line.split(' ').nth(1).unwrap_or_default().to_owned()),
            seen => Err(format!("{seen:?}")),
        };
        id(nat, B, "198.51.100.7")?;
        let (one, other) = (id(nat, A, "198.51.100.8")?, id(nat, A, "198.51.100.7")?);
        hold(one == other, "the external identifier depends on the destination")
    };
    /// A query's mapping lives for sixty seconds at least.
    "RFC 5508 REQ-2" rfc5508_req_02_a_query_may_be_answered_for_a_minute = |nat| {
        nat.send(&ping());
        nat.wait(seconds(60));
        expect(&nat.send(&pong()), &["in: pong#5000 198.51.100.7 > 10.0.0.2"])
    };
    /// How long may be configured.
    "RFC 5508 REQ-2a" rfc5508_req_02a_how_long_a_query_may_be_answered_can_be_chosen = |nat| {
        nat.set_up(Setup::Patient)?;
        nat.send(&ping());
        nat.wait(seconds(110));
        expect(&nat.send(&pong()), &["in: pong#5000 198.51.100.7 > 10.0.0.2"])
    };
    /// An error with a wrong checksum is dropped.
    "RFC 5508 REQ-3" rfc5508_req_03_damaged_errors_are_dropped = |nat| {
        external(nat, &udp(A, P))?;
        let mut error = from_outside(&udp(E, P));
        error.payload[2] ^= 1;
        expect(&nat.send(&error), &[])
    };
    /// One that quotes a damaged IP header is dropped.
    "RFC 5508 REQ-3a" rfc5508_req_03a_errors_about_damaged_headers_are_dropped = |nat| {
        external(nat, &udp(A, P))?;
        expect(&nat.send(&about_damaged(10)), &[])
    };
    /// Options in the quoted header are passed over.
    "RFC 5508 REQ-3b" rfc5508_req_03b_quoted_options_are_passed_over = |nat| {
        external(nat, &udp(A, P))?;
        let about = Packet { options: vec![1, 1, 1, 0], ..udp(E, P) };
        let error = icmp_error((3, 1, 0), ("198.51.100.99", "203.0.113.1"), &about, 32);
        let passed = format!("in: icmp 3/1 198.51.100.99 > 10.0.0.2 (udp {A} > {P})");
        expect(&nat.send(&error), &[&passed])
    };
    /// A wrong checksum of what is quoted does not matter.
    "RFC 5508 REQ-3c" rfc5508_req_03c_quoted_checksums_do_not_matter = |nat| {
        external(nat, &udp(A, P))?;
        let passed = format!("in: icmp 3/1 198.51.100.99 > 10.0.0.2 (udp {A} > {P})");
        expect(&nat.send(&about_damaged(26)), &[&passed])
    };
    /// An error from outside is translated, with what it quotes; one about nothing that is known is dropped.
    "RFC 5508 REQ-4 (a to c)" rfc5508_req_04_errors_from_outside_are_translated = |nat| {
        external(nat, &udp(A, P))?;
        let passed = format!("in: icmp 3/1 198.51.100.99 > 10.0.0.2 (udp {A} > {P})");
        expect(&nat.send(&from_outside(&udp(E, P))), &[&passed])?;
        expect(&nat.send(&from_outside(&udp("203.0.113.1:5001", P))), &[])
    };
    /// An error from inside is translated, with what it quotes; one about nothing that is known is dropped.
    "RFC 5508 REQ-5 (a to c)" rfc5508_req_05_errors_from_inside_are_translated = |nat| {
        external(nat, &udp(A, P))?;
        nat.send(&udp(P, E));
        let error = icmp_error((3, 3, 0), ("10.0.0.2", "198.51.100.7"), &udp(P, A), 60);
        expect(&nat.send(&error), &[&format!("out: icmp 3/3 203.0.113.1 > 198.51.100.7 (udp {P} > {E})")])?;
        let unknown = udp(P, "10.0.0.2:5001");
        expect(&nat.send(&icmp_error((3, 3, 0), ("10.0.0.2", "198.51.100.7"), &unknown, 60)), &[])
    };
    /// An error neither refreshes nor ends a mapping.
    "RFC 5508 REQ-6" rfc5508_req_06_errors_change_no_session = |nat| {
        // Shorter than the shortest timer, and together longer than the longest.
        nat.send(&ping());
        nat.wait(seconds(20));
        let about = Packet::new(Kind::Ping, "203.0.113.1:5000", "198.51.100.7");
        let passed = "in: icmp 3/1 198.51.100.99 > 10.0.0.2 (ping#5000 10.0.0.2 > 198.51.100.7)";
        expect(&nat.send(&from_outside(&about)), &[passed])?;
        expect(&nat.send(&pong()), &["in: pong#5000 198.51.100.7 > 10.0.0.2"])?;
        for _ in 0..4 {
            nat.wait(seconds(25));
            nat.send(&from_outside(&about));
        }
        expect(&nat.send(&pong()), &[])
    };
    /// An error about a hairpinned packet is translated at both ends.
    "RFC 5508 REQ-7, REQ-7a" rfc5508_req_07_hairpinned_errors_are_translated = |nat| {
        external(nat, &udp(A, P))?;
        let (ip, port) = external(nat, &udp(B, P))?;
        let b = format!("{ip}:{port}");
        expect(&nat.send(&udp(A, &b)), &[&format!("in: udp {E} > {B}")])?;
        let error = icmp_error((3, 3, 0), ("10.0.0.3", "203.0.113.1"), &udp(E, B), 60);
        expect(&nat.send(&error), &[&format!("in: icmp 3/3 203.0.113.1 > 10.0.0.2 (udp {A} > {b})")])
    };
    /// Who cannot have a session is told "administratively prohibited".
    "RFC 5508 REQ-8" rfc5508_req_08_exhaustion_is_told = |nat| {
        nat.set_up(Setup::OnePort)?;
        external(nat, &udp(A, P))?;
        expect(&nat.send(&udp(B, P)), &[&format!("in: icmp 3/13 10.0.0.1 > 10.0.0.3 (udp {B} > {P})")])
    };
    /// The NAT answers pings, and says when a packet's time is over, as any router; of others it passes that on.
    "RFC 5508 REQ-10a" rfc5508_req_10a_the_nat_is_a_router = |nat| {
        let ping = Packet::new(Kind::Ping, "10.0.0.2:7", "10.0.0.1");
        expect(&nat.send(&ping), &["in: pong#7 10.0.0.1 > 10.0.0.2"])?;
        let last = Packet { ttl: 1, ..udp(A, P) };
        expect(&nat.send(&last), &[&format!("in: icmp 11/0 10.0.0.1 > 10.0.0.2 (udp {A} > {P})")])?;
        connect(nat)?;
        let last = Packet { ttl: 1, ..tcp("A", A, P, (101, 501)) };
        expect(&nat.send(&last), &[&format!("in: icmp 11/0 10.0.0.1 > 10.0.0.2 (tcp[A] {A} > {P})")])?;
        external(nat, &udp(A, P))?;
        for (kind, code) in [(3, 1), (11, 0)] {
            let error = icmp_error((kind, code, 0), ("198.51.100.99", "203.0.113.1"), &udp(E, P), 28);
            let passed = format!("in: icmp {kind}/{code} 198.51.100.99 > 10.0.0.2 (udp {A} > {P})");
            expect(&nat.send(&error), &[&passed])?;
        }
        Ok(())
    };
    /// Parameter problems are translated, and so are timestamps and their answers, which a NAT may support.
    "RFC 5508 REQ-10b" rfc5508_req_10b_parameter_problems_and_timestamps_pass = |nat| {
        external(nat, &udp(A, P))?;
        let problem = icmp_error((12, 0, 20 << 24), ("198.51.100.99", "203.0.113.1"), &udp(E, P), 28);
        let passed = format!("in: icmp 12/0 198.51.100.99 > 10.0.0.2 (udp {A} > {P})");
        expect(&nat.send(&problem), &[&passed])?;
        let asked = timestamp(13, "10.0.0.2", "198.51.100.7");
        expect(&nat.send(&asked), &["out: icmp 13/0 203.0.113.1 > 198.51.100.7"])?;
        let told = timestamp(14, "198.51.100.7", "203.0.113.1");
        expect(&nat.send(&told), &["in: icmp 14/0 198.51.100.7 > 10.0.0.2"])
    };
    /// Source quench, which nobody believes in any more, is not passed on, nor are questions for the network that one is in.
    "RFC 5508 REQ-10c" rfc5508_req_10c_source_quench_and_information_are_not_supported = |nat| {
        external(nat, &udp(A, P))?;
        let quench = icmp_error((4, 0, 0), ("198.51.100.99", "203.0.113.1"), &udp(E, P), 28);
        expect(&nat.send(&quench), &[])?;
        let asked = nat.send(&timestamp(15, "10.0.0.2", "198.51.100.7"));
        hold(!asked.iter().any(|line| line.starts_with("out")), &format!("{asked:?}"))
    };
    /// Errors are sent as the network's own control (the code point CS6 or CS7).
    "RFC 5508 REQ-10d" rfc5508_req_10d_errors_have_precedence = |nat| {
        let seen = nat.carry(&Packet { ttl: 1, ..udp(A, P) });
        let classes: Vec<_> = seen.iter().map(|seen| Ip::of(&seen.frame).traffic_class >> 2).collect();
        hold(matches!(classes[..], [48 | 56]), &format!("the code points are {classes:?}"))
    };
    /// No error is sent about an error, or about what is for all (RFC 1812 section 4.3.2.7).
    "RFC 5508 REQ-10e" rfc5508_req_10e_no_errors_about_errors = |nat| {
        external(nat, &udp(A, P))?;
        nat.send(&udp(P, E));
        let error = icmp_error((3, 3, 0), ("10.0.0.2", "198.51.100.7"), &udp(P, A), 60);
        expect(&nat.send(&Packet { ttl: 1, ..error }), &[])?;
        expect(&nat.send(&udp(A, "10.0.0.255:9")), &[])
    };
    /// How many errors are sent is limited (RFC 1812 section 4.3.2.8).
    "RFC 5508 REQ-10f" rfc5508_req_10f_errors_are_limited = |nat| {
        nat.set_up(Setup::LimitedErrors)?;
        let last = Packet { ttl: 1, ..udp(A, P) };
        let told: usize = (0..100).map(|_| nat.send(&last).len()).sum();
        hold((1..=50).contains(&told), &format!("{told} of 100"))
    };
}

/// A timestamp query (13) or its answer (14), or another question of that form, of which the identifier is the port of [`A`].
fn timestamp(kind: u8, from: &str, to: &str) -> Packet {
    let [high, low] = 5000u16.to_be_bytes();
    let payload = [&[kind, 0, 0, 0, high, low, 0, 1][..], &[0; 12]].concat();
    summed(Packet { payload, ..Packet::new(Kind::Other(1), from, to) })
}

/// An error about a packet of [`A`] of which the byte at this place is another.
fn about_damaged(at: usize) -> Packet {
    let mut error = icmp_error((3, 1, 0), ("198.51.100.99", "203.0.113.1"), &udp(E, P), 60);
    error.payload[8 + at] ^= 1;
    summed(error)
}

fn ping() -> Packet {
    Packet::new(Kind::Ping, A, "198.51.100.7")
}

fn pong() -> Packet {
    Packet::new(Kind::Pong, "198.51.100.7", E)
}

/// A router on the way says that the destination of a packet is unreachable.
fn from_outside(about: &Packet) -> Packet {
    icmp_error((3, 1, 0), ("198.51.100.99", "203.0.113.1"), about, 28)
}
