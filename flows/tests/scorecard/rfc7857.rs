//! RFC 7857: what experience changed about the others.

use std::collections::BTreeSet;

use super::packets::{Ip, Packet, fragments, icmp_error};
use super::requirement::{
    A, B, E, Finding, P, connect, expect, external, hold, requirements, seconds, tcp, udp,
};
use super::rfc4787::ports_keep_their_parity;
use super::rfc6888::ports_are_hard_to_guess;
use super::subject::{Nat, Setup};

requirements! {
    /// A connection is half closed for as long as its ends like.
    "RFC 7857 section 2" rfc7857_2_a_half_closed_connection_lives = |nat| {
        connect(nat)?;
        expect(&nat.send(&tcp("FA", A, P, (101, 501))), &[&format!("out: tcp[AF] {E} > {P}")])?;
        expect(&nat.send(&tcp("A", P, E, (501, 102))), &[&format!("in: tcp[A] {P} > {A}")])?;
        nat.wait(seconds(3600));
        expect(&nat.send(&tcp("A", P, E, (501, 102))), &[&format!("in: tcp[A] {P} > {A}")])
    };
    /// Connections that open and connections that end have timers of their own, of four minutes by default.
    "RFC 7857 section 2.1" rfc7857_2_1_opening_and_closing_have_timers_of_their_own = |nat| {
        opens_after(nat, 239)?;
        nat.set_up(Setup::Plain)?;
        ends_within(nat, 239)?;
        nat.set_up(Setup::QuickOpening)?;
        hold(opens_after(nat, 31).is_err(), "a connection has more than half a minute to open")?;
        nat.set_up(Setup::QuickOpening)?;
        ends_within(nat, 239)
    };
    /// After a reset within the window a mapping lives for four minutes, in case that the connection goes on.
    "RFC 7857 section 2.2" rfc7857_2_2_a_reset_ends_a_connection_after_four_minutes = |nat| {
        connect(nat)?;
        expect(&nat.send(&tcp("R", P, E, (501, 0))), &[&format!("in: tcp[R] {P} > {A}")])?;
        nat.wait(seconds(239));
        expect(&nat.send(&tcp("A", P, E, (501, 101))), &[&format!("in: tcp[A] {P} > {A}")])?;
        expect(&nat.send(&tcp("R", P, E, (501, 0))), &[&format!("in: tcp[R] {P} > {A}")])?;
        nat.wait(seconds(245));
        expect(&nat.send(&tcp("A", P, E, (501, 101))), &[])
    };
    /// A station whose address has no ports left is refused, and does not get another address.
    "RFC 7857 section 4" rfc7857_4_a_station_keeps_to_its_address_when_ports_run_out = |nat| {
        nat.set_up(Setup::SmallPool)?;
        external(nat, &udp(A, P))?;
        let again = nat.send(&udp("10.0.0.2:5002", P));
        hold(!again.iter().any(|line| line.starts_with("out")), "a station has two external addresses")
    };
    /// A mapping is one protocol's.
    "RFC 7857 section 5" rfc7857_5_mappings_are_of_one_protocol = |nat| {
        external(nat, &udp(A, P))?;
        expect(&nat.send(&tcp("S", P, E, (1, 0))), &[])?;
        expect(&nat.send(&udp(P, E)), &[&format!("in: udp {P} > {A}")])
    };
    /// And so is whom it lets in, where filtering is endpoint-independent.
    "RFC 7857 section 6" rfc7857_6_filters_are_of_one_protocol = |nat| {
        nat.set_up(Setup::Transparent)?;
        external(nat, &udp(A, P))?;
        let stranger = "198.51.100.8:99";
        expect(&nat.send(&tcp("S", stranger, E, (1, 0))), &[])?;
        expect(&nat.send(&udp(stranger, E)), &[&format!("in: udp {stranger} > {A}")])
    };
    /// What is not let in does not keep a mapping alive.
    "RFC 7857 section 7" rfc7857_7_what_is_filtered_refreshes_nothing = |nat| {
        external(nat, &udp(A, P))?;
        repeat(nat, |nat| expect(&nat.send(&udp("198.51.100.8:99", E)), &[]))?;
        expect(&nat.send(&udp(P, E)), &[])
    };
    /// Nor do errors that a station answers with.
    "RFC 7857 section 7.1" rfc7857_7_1_errors_refresh_nothing = |nat| {
        external(nat, &udp(A, P))?;
        repeat(nat, |nat| {
            nat.send(&icmp_error((3, 3, 0), ("10.0.0.2", "198.51.100.7"), &udp(P, A), 36));
            Ok(())
        })?;
        expect(&nat.send(&udp(P, E)), &[])?;
        connect(nat)?;
        repeat(nat, |nat| {
            nat.send(&tcp("R", A, P, (101, 0)));
            Ok(())
        })?;
        expect(&nat.send(&tcp("A", P, E, (501, 101))), &[])
    };
    /// Port parity can be had.
    "RFC 7857 section 8" rfc7857_8_ports_keep_their_parity = |nat| ports_keep_their_parity(nat);
    /// A port that cannot be kept becomes one that is hard to guess.
    "RFC 7857 section 9" rfc7857_9_ports_are_hard_to_guess = |nat| ports_are_hard_to_guess(nat);
    /// Datagrams of two stations with one identification have two behind one address, and their fragments stay together.
    "RFC 7857 section 10" rfc7857_10_identifications_are_unique_behind_an_address = |nat| {
        let datagram = |from| Packet { may_fragment: true, ..udp(from, P).of_length(1500) };
        let mut ids = |from| -> Result<BTreeSet<u16>, String> {
            let pieces = fragments(&nat.frame(&datagram(from)), 1000);
            let seen: Vec<_> = pieces.iter().flat_map(|piece| nat.put(datagram(from).from.ip(), piece)).collect();
            hold(seen.len() == 2, &format!("{} fragments instead of two", seen.len()))?;
            Ok(seen.iter().map(|seen| Ip::of(&seen.frame).id).collect())
        };
        let (one, other) = (ids(A)?, ids(B)?);
        hold(one.len() == 1 && other.len() == 1, "the fragments of a datagram do not belong together")?;
        hold(one != other, "fragments of two stations belong together")
    };
}

/// A connection that has been asked for may be answered after so long.
fn opens_after(nat: &mut dyn Nat, time: u64) -> Finding {
    expect(&nat.send(&tcp("S", A, P, (100, 0))), &[&format!("out: tcp[S] {E} > {P}")])?;
    nat.wait(seconds(time));
    expect(&nat.send(&tcp("SA", P, E, (500, 101))), &[&format!("in: tcp[SA] {P} > {A}")])
}

/// What is said after so long in a connection that both ends closed is translated.
fn ends_within(nat: &mut dyn Nat, time: u64) -> Finding {
    connect(nat)?;
    nat.send(&tcp("FA", A, P, (101, 501)));
    nat.send(&tcp("FA", P, E, (501, 102)));
    nat.wait(seconds(time));
    expect(&nat.send(&tcp("A", A, P, (102, 502))), &[&format!("out: tcp[A] {E} > {P}")])
}

/// Something happens again and again, for longer than any of the timers that it should not touch.
fn repeat(
    nat: &mut dyn Nat,
    mut what: impl FnMut(&mut dyn Nat) -> Result<(), String>,
) -> Result<(), String> {
    for _ in 0..16 {
        nat.wait(seconds(25));
        what(nat)?;
    }
    Ok(())
}
