//! The table: its rules one by one. See the other files for the model, the stress and TCP.

mod lending;
mod model;
mod packets;
mod rules;
mod stress;
mod tcp;

use std::net::{Ipv4Addr, Ipv6Addr};

use pktio::wire::field::protocol;

use super::{
    InsertError, Inserted, Key, NewSession, Packet, Segment, SessionRef, Sessions, TcpPolicy,
    Timeouts,
};
use crate::{Endpoint, PortIndex, Seconds, Tuple, Zone};

const POLICY: TcpPolicy = TcpPolicy { check_windows: true, pick_up: true };
const UDP: Packet = Packet { bytes: 100, segment: None, is_equivocal: false };

fn endpoint(number: u32) -> Endpoint {
    let port = u16::try_from(number % 60_000).unwrap();
    if number.is_multiple_of(2) {
        Endpoint::new(Ipv4Addr::from(0x0a00_0000 | number), port)
    } else {
        Endpoint::new(Ipv6Addr::from(0xfd00 << 112 | u128::from(number)), port)
    }
}

/// The key of packets from one endpoint to another, in zone 0. Numbers of one parity share a
/// family.
fn key(protocol: u8, from: u32, to: u32) -> Key {
    let tuple = Tuple { protocol, source: endpoint(from), destination: endpoint(to) };
    Key::new(Zone(0), tuple)
}

fn udp(from: u32, to: u32) -> Key {
    key(protocol::UDP, from, to)
}

/// A session whose replies are the reverse of what began it.
fn plain(initiator: Key, packet: Packet) -> NewSession {
    let responder = Key { tuple: initiator.tuple.reversed(), ..initiator };
    NewSession { initiator, responder, entrance: None, packet }
}

fn port(number: u32) -> Option<PortIndex> {
    u16::try_from(number).ok().map(PortIndex)
}

fn insert(sessions: &Sessions, new: NewSession, now: u32) -> Result<Inserted, InsertError> {
    sessions.insert(&new, Seconds(now), POLICY, |_| ())
}

/// Inserts a session that is not there.
fn begin(sessions: &Sessions, new: NewSession, now: u32) -> SessionRef {
    match insert(sessions, new, now) {
        Ok(Inserted::New(session)) => session,
        other => panic!("{other:?}"),
    }
}

fn tcp_packet(flags: u8, sequence: u32, acknowledgment: u32) -> Packet {
    let segment = Segment { sequence, acknowledgment, flags, window: 1000, length: 0, scale: None };
    Packet { bytes: 60, segment: Some(segment), is_equivocal: false }
}

/// Expires the whole table, in small slices, and returns how many sessions ended.
fn expire_all(sessions: &Sessions, now: u32, timeouts: &Timeouts) -> usize {
    let (mut from, mut ended) = (0, 0);
    loop {
        from = sessions.expire(Seconds(now), from, 3, timeouts, |_| ended += 1);
        if from == 0 {
            return ended;
        }
    }
}
