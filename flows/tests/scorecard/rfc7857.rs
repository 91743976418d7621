//! RFC 7857: what experience changed about the others.

use super::packets::icmp_error;
use super::requirement::{
    A, E, P, connect, expect, external, hold, requirements, seconds, tcp, udp,
};
use super::subject::{Nat, Setup};

requirements! {
    /// A connection is half closed for as long as its ends like.
    "RFC 7857 section 2.1" rfc7857_2_1_a_half_closed_connection_lives = |nat| {
        connect(nat)?;
        expect(&nat.send(&tcp("FA", A, P, (101, 501))), &[&format!("out: tcp[AF] {E} > {P}")])?;
        expect(&nat.send(&tcp("A", P, E, (501, 102))), &[&format!("in: tcp[A] {P} > {A}")])?;
        nat.wait(seconds(3600));
        expect(&nat.send(&tcp("A", P, E, (501, 102))), &[&format!("in: tcp[A] {P} > {A}")])
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
    /// Mappings and filters are those of one protocol.
    "RFC 7857 sections 5, 6" rfc7857_5_mappings_are_of_one_protocol = |nat| {
        external(nat, &udp(A, P))?;
        expect(&nat.send(&tcp("S", P, E, (1, 0))), &[])?;
        expect(&nat.send(&udp(P, E)), &[&format!("in: udp {P} > {A}")])
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
