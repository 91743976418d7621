//! [`Requirement`]: what an RFC requires, and how it is seen whether a NAT meets it.

use std::time::Duration;

use crate::packets::{Ip, Kind, Packet};
use crate::subject::Nat;

pub const A: &str = "10.0.0.2:5000";
pub const B: &str = "10.0.0.3:5000";
pub const P: &str = "198.51.100.7:53";
/// What the world sees in place of [`A`].
pub const E: &str = "203.0.113.1:5000";

/// What a check finds: that the requirement is met, or what was seen instead.
pub type Finding = Result<(), String>;

/// A requirement with its check.
pub struct Requirement {
    /// As in `RFC 4787 REQ-1`.
    pub name: &'static str,
    /// What it asks for, shortly.
    pub text: &'static str,
    pub check: fn(&mut dyn Nat) -> Finding,
}

/// Makes of each requirement a test of the pipeline, and of all a table.
macro_rules! requirements {
    ($($(#[doc = $text:literal])+ $name:literal $test:ident = $check:expr;)+) => {
        pub const REQUIREMENTS: &[crate::requirement::Requirement] = &[
            $(crate::requirement::Requirement {
                name: $name,
                text: concat!($($text),+),
                check: $check,
            },)+
        ];
        $(
            fn $test() -> netlab::TestResult {
                let check: fn(&mut dyn crate::subject::Nat) -> crate::requirement::Finding = $check;
                Ok(check(&mut crate::ours::Ours::new())?)
            }
        )+

        pub fn tests() -> Vec<netlab::Test> {
            vec![$(netlab::test!($test)),+]
        }
    };
}
pub(crate) use requirements;

/// What was seen is what should be.
pub fn expect(seen: &[String], wanted: &[&str]) -> Finding {
    if seen == wanted { Ok(()) } else { Err(format!("{seen:?} instead of {wanted:?}")) }
}

/// Something holds.
pub fn hold(holds: bool, what: &str) -> Finding {
    if holds { Ok(()) } else { Err(what.to_owned()) }
}

pub fn udp(from: &str, to: &str) -> Packet {
    Packet::new(Kind::Udp, from, to)
}

pub fn tcp(flags: &'static str, from: &str, to: &str, numbers: (u32, u32)) -> Packet {
    Packet { payload: Vec::new(), ..Packet::new(Kind::Tcp(flags, numbers.0, numbers.1), from, to) }
}

pub fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Address and port that the world sees as the source of a packet.
pub fn external(nat: &mut dyn Nat, packet: &Packet) -> Result<(String, u16), String> {
    let seen = nat.send(packet);
    let source = match &seen[..] {
        [line] if line.starts_with("out: ") => line.split(' ').nth(2),
        _ => None,
    };
    let (ip, port) =
        source.and_then(|source| source.rsplit_once(':')).ok_or(format!("{seen:?}"))?;
    Ok((ip.to_owned(), port.parse().map_err(|_| format!("{seen:?}"))?))
}

/// What the packet says passes as it is, though there are addresses in it, in both ways of writing one.
pub fn unchanged(nat: &mut dyn Nat, packet: &Packet) -> Finding {
    let payload = [&b"INVITE sip:p@198.51.100.7\r\nVia: SIP/2.0 10.0.0.2:5000\r\n203,0,113,1"[..]];
    let bare = [[10, 0, 0, 2], [203, 0, 113, 1]];
    let packet =
        Packet { payload: [&payload.concat()[..], &bare.concat()].concat(), ..packet.clone() };
    match &nat.carry(&packet)[..] {
        [seen] if Ip::of(&seen.frame).payload.ends_with(&packet.payload) => Ok(()),
        [_] => Err("the payload is another".to_owned()),
        seen => Err(format!("{} frames instead of one", seen.len())),
    }
}

/// Completes a handshake between [`A`] and [`P`]; the next numbers are 101 and 501.
pub fn connect(nat: &mut dyn Nat) -> Finding {
    let out = |flags| format!("out: tcp[{flags}] {E} > {P}");
    expect(&nat.send(&tcp("S", A, P, (100, 0))), &[&out("S")])?;
    expect(&nat.send(&tcp("SA", P, E, (500, 101))), &[&format!("in: tcp[SA] {P} > {A}")])?;
    expect(&nat.send(&tcp("A", A, P, (101, 501))), &[&out("A")])
}
