//! Datagrams that are rewritten on their shortcut.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;

use etherparse::PacketBuilder;
use netlab::TestResult;
use pktio::shortcut::{Datagrams, Key, Number, Rewriting, Route};
use pktio::wire::MacAddr;

use super::{A, B, Pair};
use crate::suite::Outcome;

/// The stations of the gateways that A and B have.
const NEAR: MacAddr = MacAddr([2, 0, 0, 0, 1, 0xa]);
const FAR: MacAddr = MacAddr([2, 0, 0, 0, 1, 0xb]);
const TTL: u8 = 64;
const UDP_CHECKSUM: usize = 6;

/// What goes on between two ends as the sender and as the receiver knows it.
#[derive(Clone, Copy)]
struct Flow {
    from: [SocketAddr; 2],
    to: [SocketAddr; 2],
}

impl Flow {
    fn new(from: [&str; 2], to: [&str; 2]) -> Outcome<Self> {
        let ends = |[a, b]: [&str; 2]| Ok::<_, std::net::AddrParseError>([a.parse()?, b.parse()?]);
        Ok(Self { from: ends(from)?, to: ends(to)? })
    }

    fn v4() -> Outcome<Self> {
        Self::new(["10.0.0.2:4000", "10.0.0.100:53"], ["192.0.2.1:61000", "10.1.0.3:5353"])
    }

    fn v6() -> Outcome<Self> {
        Self::new(["[fd00::2]:4000", "[fd00::100]:53"], ["[fd01::1]:61000", "[fd01::3]:5353"])
    }

    fn header_bytes(&self) -> usize {
        if self.from[0].is_ipv4() { 20 } else { 40 }
    }

    /// As A sends it.
    fn sent(&self, payload: &[u8]) -> Outcome<Vec<u8>> {
        datagram((A, NEAR), self.from, TTL, payload)
    }

    /// As B gets it.
    fn arrived(&self, payload: &[u8]) -> Outcome<Vec<u8>> {
        datagram((FAR, B), self.to, TTL - 1, payload)
    }
}

fn datagram(
    (src, dst): (MacAddr, MacAddr),
    [source, destination]: [SocketAddr; 2],
    ttl: u8,
    payload: &[u8],
) -> Outcome<Vec<u8>> {
    let link = PacketBuilder::ethernet2(src.0, dst.0);
    let packet = match (source.ip(), destination.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => link.ipv4(from.octets(), to.octets(), ttl),
        (IpAddr::V6(from), IpAddr::V6(to)) => link.ipv6(from.octets(), to.octets(), ttl),
        _ => return Err("two IP versions".into()),
    };
    let mut frame = Vec::new();
    packet.udp(source.port(), destination.port()).write(&mut frame, payload)?;
    Ok(frame)
}

impl Pair {
    /// Makes the shortcut of a flow, with the rewriting of that number.
    fn route_datagrams(&self, flow: &Flow, number: u32) -> Outcome<Key> {
        let between = |[from, to]: [SocketAddr; 2]| Datagrams::between(from, to).ok_or("no flow");
        let (from, to) = (between(flow.from)?, between(flow.to)?);
        let number = Number::new(NonZeroU32::new(number).ok_or("no number")?);
        self.shortcuts.define(number, &Rewriting { src: FAR, dst: B, from, to })?;
        let key = Key { dst: NEAR, datagrams: Some(from), ..self.key(0)? };
        self.table
            .put(&key, &Route { mtu_bytes: 1000, rewriting: Some(number), ..self.route() })?;
        Ok(key)
    }

    /// A frame from container A arrives in container B as another, and the port does not see it.
    fn becomes(&mut self, frame: &[u8], other: &[u8]) -> TestResult {
        self.wires[0].send(frame)?;
        let arrived = self.wires[1].receive(super::SOON, |bytes| bytes[..12] == other[..12])?;
        assert_eq!(arrived.map(|frame| frame.bytes).as_deref(), Some(other));
        assert_eq!(self.port_has()?, Vec::<Vec<u8>>::new());
        Ok(())
    }
}

pub fn a_datagram_is_rewritten_on_its_shortcut() -> TestResult {
    let mut pair = Pair::new()?;
    for (flow, number) in [(Flow::v4()?, 1), (Flow::v6()?, 2)] {
        let key = pair.route_datagrams(&flow, number)?;
        for payload in [&b""[..], b"a", b"datagram", &[0xff; 900]] {
            pair.becomes(&flow.sent(payload)?, &flow.arrived(payload)?)?;
        }
        let headers = 14 + flow.header_bytes() + 8;
        let tally = pair.table.tally(&key)?;
        assert_eq!(tally.frames, 4);
        assert_eq!(tally.bytes, u64::try_from(4 * headers + 909)?);
    }
    Ok(())
}

/// RFC 768: 0 is none.
pub fn a_datagram_without_a_checksum_stays_without() -> TestResult {
    let mut pair = Pair::new()?;
    for (flow, number) in [(Flow::v4()?, 1), (Flow::v6()?, 2)] {
        pair.route_datagrams(&flow, number)?;
        let at = 14 + flow.header_bytes() + UDP_CHECKSUM;
        let (mut sent, mut arrived) = (flow.sent(b"datagram")?, flow.arrived(b"datagram")?);
        sent[at..at + 2].fill(0);
        arrived[at..at + 2].fill(0);
        pair.becomes(&sent, &arrived)?;
    }
    Ok(())
}

/// Sums are carried around, and zero has two spellings.
pub fn a_checksum_is_right_whatever_it_was() -> TestResult {
    let mut pair = Pair::new()?;
    let flow = Flow::v4()?;
    let routed = Flow { to: flow.from, ..flow };
    for (number, flow) in [(1, flow), (2, routed)] {
        pair.route_datagrams(&flow, number)?;
        for word in (0..=u16::MAX).step_by(37).chain([u16::MAX]) {
            let payload = word.to_be_bytes();
            pair.becomes(&flow.sent(&payload)?, &flow.arrived(&payload)?)?;
        }
        // The one word with which the checksum is zero, which is sent as its other spelling.
        let [.., high, low, _, _] = flow.sent(&[0; 2])?[..] else { return Err("short".into()) };
        let (payload, at) = ([high, low], 14 + flow.header_bytes() + UDP_CHECKSUM);
        assert_eq!(flow.sent(&payload)?[at..at + 2], [0xff; 2]);
        pair.becomes(&flow.sent(&payload)?, &flow.arrived(&payload)?)?;
    }
    Ok(())
}

pub fn what_is_not_the_plainest_datagram_goes_to_the_port() -> TestResult {
    let mut pair = Pair::new()?;
    let (v4, v6) = (Flow::v4()?, Flow::v6()?);
    let keys = [pair.route_datagrams(&v4, 1)?, pair.route_datagrams(&v6, 2)?];
    let payload = [0x5a; 972];
    pair.becomes(&v4.sent(&payload)?, &v4.arrived(&payload)?)?;
    let ttl = |ttl| datagram((A, NEAR), v4.from, ttl, b"");
    let changed = |at: usize, to: u8| {
        let mut frame = v4.sent(b"")?;
        frame[14 + at] = to;
        let sum = etherparse::Ipv4HeaderSlice::from_slice(&frame[14..])
            .map_or(0, |header| header.to_header().calc_header_checksum());
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
        Ok::<_, Box<dyn std::error::Error>>(frame)
    };
    let mut damaged = v4.sent(b"")?;
    damaged[14 + 10] ^= 1;
    let back = Flow { from: [v4.from[1], v4.from[0]], ..v4 };
    let tagged = |frame: Vec<u8>| [&frame[..12], &[0x81, 0, 0, 7], &frame[12..]].concat();
    let mut frames = vec![ttl(1)?, ttl(0)?, v4.sent(&[0x5a; 973])?, damaged, back.sent(b"")?];
    // One that may be fragmented, more fragments, a later one, another protocol, longer than the frame, shorter than its
    // header, another version.
    for (at, to) in [(6, 0), (6, 0x60), (7, 1), (9, 136), (3, 29), (3, 27), (0, 0x65)] {
        frames.push(changed(at, to)?);
    }
    frames.push(tagged(v4.sent(b"")?));
    let mut options = v4.sent(b"")?;
    options.splice(34..34, [1; 4]);
    options[14] = 0x46;
    frames.push(options);
    for (at, to) in [(7, 1), (6, 44), (5, 9), (5, 7), (0, 0x40)] {
        let mut frame = v6.sent(b"")?;
        frame[14 + at] = to;
        frames.push(frame);
    }
    for frame in frames {
        pair.goes_to_the_port(&frame)?;
    }
    assert_eq!(pair.table.tally(&keys[0])?.frames, 1);
    assert_eq!(pair.table.tally(&keys[1])?.frames, 0);
    Ok(())
}

/// Frames that both stations exchange otherwise take the shortcut between the two, if there is one.
pub fn datagrams_of_nobody_go_as_all_frames_do() -> TestResult {
    let mut pair = Pair::new()?;
    pair.route_datagrams(&Flow::v4()?, 1)?;
    let (key, route) = (pair.key(0)?, pair.route());
    pair.table.put(&key, &route)?;
    pair.goes_by_itself(&datagram((A, B), Flow::v4()?.from, TTL, b"")?)?;
    pair.goes_to_the_port(&Flow::v6()?.sent(b"")?)
}
