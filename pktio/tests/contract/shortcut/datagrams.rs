//! Datagrams that are rewritten on their shortcut.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::ops::Range;

use etherparse::{IpHeaders, PacketBuilder, PacketBuilderStep};
use netlab::TestResult;
use pktio::shortcut::{Connection, Flow, Key, Number, Rewriting, Route};
use pktio::wire::MacAddr;
use pktio::wire::checksum::{finish, sum};
use pktio::wire::field::protocol;
use pktio::{Csum, Gso};

use super::{A, B, Pair};
use crate::suite::Outcome;
use crate::underlay::unfinished;

/// The stations of the gateways that A and B have.
const NEAR: MacAddr = MacAddr([2, 0, 0, 0, 1, 0xa]);
const FAR: MacAddr = MacAddr([2, 0, 0, 0, 1, 0xb]);
const TTL: u8 = 64;
const TAG: u16 = 7;
const UDP_CHECKSUM: usize = 6;
/// Of all that is rewritten here.
pub(super) const MTU_BYTES: u32 = 1000;

/// Two ends as the sender and as the receiver knows them.
#[derive(Clone, Copy)]
pub(super) struct Ends {
    pub(super) from: [SocketAddr; 2],
    pub(super) to: [SocketAddr; 2],
}

impl Ends {
    fn new(from: [&str; 2], to: [&str; 2]) -> Outcome<Self> {
        let ends = |[a, b]: [&str; 2]| Ok::<_, std::net::AddrParseError>([a.parse()?, b.parse()?]);
        Ok(Self { from: ends(from)?, to: ends(to)? })
    }

    pub(super) fn v4() -> Outcome<Self> {
        Self::new(["10.0.0.2:4000", "10.0.0.100:53"], ["192.0.2.1:61000", "10.1.0.3:5353"])
    }

    pub(super) fn v6() -> Outcome<Self> {
        Self::new(["[fd00::2]:4000", "[fd00::100]:53"], ["[fd01::1]:61000", "[fd01::3]:5353"])
    }

    pub(super) fn header_bytes(&self) -> usize {
        if self.from[0].is_ipv4() { 20 } else { 40 }
    }

    /// From A to its gateway.
    pub(super) fn near(&self) -> Leg {
        Leg { stations: (A, NEAR), ends: self.from, ttl: TTL }
    }

    /// From its gateway to B.
    pub(super) fn far(&self) -> Leg {
        Leg { stations: (FAR, B), ends: self.to, ttl: TTL - 1 }
    }

    /// A datagram as A sends it.
    fn sent(&self, payload: &[u8]) -> Outcome<Vec<u8>> {
        self.near().datagram(payload)
    }

    /// As B gets it.
    fn arrived(&self, payload: &[u8]) -> Outcome<Vec<u8>> {
        self.far().datagram(payload)
    }
}

/// A part of a packet's way.
#[derive(Clone, Copy)]
pub(super) struct Leg {
    stations: (MacAddr, MacAddr),
    pub(super) ends: [SocketAddr; 2],
    ttl: u8,
}

impl Leg {
    /// A packet there, but for what it carries.
    pub(super) fn packet(&self) -> Outcome<PacketBuilderStep<IpHeaders>> {
        let (src, dst) = self.stations;
        let link = PacketBuilder::ethernet2(src.0, dst.0);
        match self.ends.map(|end| end.ip()) {
            [IpAddr::V4(from), IpAddr::V4(to)] => {
                Ok(link.ipv4(from.octets(), to.octets(), self.ttl))
            }
            [IpAddr::V6(from), IpAddr::V6(to)] => {
                Ok(link.ipv6(from.octets(), to.octets(), self.ttl))
            }
            _ => Err("two IP versions".into()),
        }
    }

    fn datagram(&self, payload: &[u8]) -> Outcome<Vec<u8>> {
        let [source, destination] = self.ends.map(|end| end.port());
        let mut frame = Vec::new();
        self.packet()?.udp(source, destination).write(&mut frame, payload)?;
        Ok(frame)
    }
}

impl Pair {
    /// Makes the shortcut of what goes between two ends in a protocol, with the rewriting of that number. There is one with a tag,
    /// too, which nothing may take.
    pub(super) fn rewrite(
        &self,
        (of, ends): (u8, &Ends),
        number: u32,
        connection: Option<Connection>,
    ) -> Outcome<Key> {
        let between = |[from, to]: [SocketAddr; 2]| Flow::between(of, from, to).ok_or("no flow");
        let (from, to) = (between(ends.from)?, between(ends.to)?);
        let number = Number::new(NonZeroU32::new(number).ok_or("no number")?);
        self.shortcuts.define(number, &Rewriting { src: FAR, dst: B, from, to })?;
        let key = Key { dst: NEAR, flow: Some(from), ..self.key(0)? };
        let rewriting = Some(number);
        let route = Route { mtu_bytes: MTU_BYTES, rewriting, connection, ..self.route() };
        self.table.put(&Key { tag: TAG, ..key }, &route)?;
        self.table.put(&key, &route)?;
        Ok(key)
    }

    fn route_datagrams(&self, ends: &Ends, number: u32) -> Outcome<Key> {
        self.rewrite((protocol::UDP, ends), number, None)
    }
}

/// Two packets that have nothing behind their transport headers, each changed in all the ways that are the switch's to judge.
pub(super) fn not_the_plainest(v4: &[u8], v6: &[u8]) -> Vec<Vec<u8>> {
    let changed = |at: usize, by: u8| {
        let mut frame = v4.to_vec();
        frame[14 + at] ^= by;
        let sum = etherparse::Ipv4HeaderSlice::from_slice(&frame[14..])
            .map_or(0, |header| header.to_header().calc_header_checksum());
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
        frame
    };
    let tagged = |frame: &[u8]| [&frame[..12], &[0x81, 0, 0, 7], &frame[12..]].concat();
    let mut damaged = v4.to_vec();
    damaged[14 + 10] ^= 1;
    let mut options = v4.to_vec();
    options.splice(34..34, [1; 4]);
    options[14] = 0x46;
    let mut frames = vec![damaged, options, tagged(v4), tagged(v6)];
    // No hop left, one that may be fragmented, more fragments, a later one, another protocol, longer than the frame, shorter than
    // its header, another version.
    let (long, short) = (1, v4[17] ^ (v4[17] - 1));
    let changes = [(8, TTL), (8, TTL ^ 1), (6, 0x40), (6, 0x20), (7, 1), (9, 0x80)];
    for (at, by) in changes.into_iter().chain([(3, long), (3, short), (0, 0x20)]) {
        frames.push(changed(at, by));
    }
    let (long, short) = (1, v6[19] ^ (v6[19] - 1));
    for (at, by) in [(7, TTL), (7, TTL ^ 1), (6, 0x80), (5, long), (5, short), (0, 0x20)] {
        let mut frame = v6.to_vec();
        frame[14 + at] ^= by;
        frames.push(frame);
    }
    frames
}

pub fn a_datagram_is_rewritten_on_its_shortcut() -> TestResult {
    let mut pair = Pair::new()?;
    for (ends, number) in [(Ends::v4()?, 1), (Ends::v6()?, 2)] {
        let key = pair.route_datagrams(&ends, number)?;
        for payload in [&b""[..], b"a", b"datagram", &[0xff; 900]] {
            pair.becomes(&ends.sent(payload)?, &ends.arrived(payload)?)?;
        }
        let headers = 14 + ends.header_bytes() + 8;
        let tally = pair.table.tally(&key)?;
        assert_eq!(tally.frames, 4);
        assert_eq!(tally.bytes, u64::try_from(4 * headers + 909)?);
    }
    Ok(())
}

/// RFC 768: 0 is none.
pub fn a_datagram_without_a_checksum_stays_without() -> TestResult {
    let mut pair = Pair::new()?;
    for (ends, number) in [(Ends::v4()?, 1), (Ends::v6()?, 2)] {
        pair.route_datagrams(&ends, number)?;
        let at = 14 + ends.header_bytes() + UDP_CHECKSUM;
        let (mut sent, mut arrived) = (ends.sent(b"datagram")?, ends.arrived(b"datagram")?);
        sent[at..at + 2].fill(0);
        arrived[at..at + 2].fill(0);
        pair.becomes(&sent, &arrived)?;
    }
    Ok(())
}

/// Sums are carried around, and zero has two spellings.
pub fn a_checksum_is_right_whatever_it_was() -> TestResult {
    let mut pair = Pair::new()?;
    let ends = Ends::v4()?;
    let routed = Ends { to: ends.from, ..ends };
    for (number, ends) in [(1, ends), (2, routed)] {
        pair.route_datagrams(&ends, number)?;
        for word in (0..=u16::MAX).step_by(37).chain([u16::MAX]) {
            let payload = word.to_be_bytes();
            pair.becomes(&ends.sent(&payload)?, &ends.arrived(&payload)?)?;
        }
        // The one word with which the checksum is zero, which is sent as its other spelling.
        let [.., high, low, _, _] = ends.sent(&[0; 2])?[..] else { return Err("short".into()) };
        let (payload, at) = ([high, low], 14 + ends.header_bytes() + UDP_CHECKSUM);
        assert_eq!(ends.sent(&payload)?[at..at + 2], [0xff; 2]);
        pair.becomes(&ends.sent(&payload)?, &ends.arrived(&payload)?)?;
    }
    Ok(())
}

/// A tunnel's own checksum is finished where that of the packet inside is half done.
pub fn a_checksum_that_is_half_done_inside_leaves_the_outer_one_finished() -> TestResult {
    const INSIDE: Range<usize> = 20..60;
    let mut pair = Pair::new()?;
    let mut kernel = pair.kernel()?;
    for (ends, number) in [(Ends::v4()?, 1), (Ends::v6()?, 2)] {
        pair.route_datagrams(&ends, number)?;
        let headers = 14 + ends.header_bytes() + 8;
        let mut half_done = [0x5a; INSIDE.end];
        half_done[INSIDE.start..INSIDE.start + 2].copy_from_slice(&[0x12, 0x34]);
        let mut finished = half_done;
        let checksum = finish(sum(&half_done[INSIDE]));
        finished[INSIDE.start..INSIDE.start + 2].copy_from_slice(&checksum.to_be_bytes());
        let carrying = |mut frame: Vec<u8>| {
            frame[headers..].copy_from_slice(&half_done);
            frame
        };
        let (sent, arrived) = (carrying(ends.sent(&finished)?), carrying(ends.arrived(&finished)?));
        let mut frame = pair.pool.frame_from(&sent).ok_or("no buffer")?;
        let start = u16::try_from(headers + INSIDE.start)?;
        frame.offload.csum = Csum::Partial { start, offset: 0 };
        pair.send_by(&mut kernel, frame)?;
        pair.arrives(&arrived)?;
    }
    Ok(())
}

/// As the kernel's own senders leave it to the device.
pub fn a_checksum_that_is_half_done_stays_so() -> TestResult {
    let mut pair = Pair::new()?;
    let mut kernel = pair.kernel()?;
    for (ends, number) in [(Ends::v4()?, 1), (Ends::v6()?, 2)] {
        pair.route_datagrams(&ends, number)?;
        pair.send_uncut(&mut kernel, &ends.sent(b"datagram")?, Gso::None)?;
        let arrived = unfinished(&mut pair.pool, ends.arrived(b"datagram")?);
        pair.arrives(arrived.data())?;
    }
    Ok(())
}

pub fn what_is_not_the_plainest_datagram_goes_to_the_port() -> TestResult {
    let mut pair = Pair::new()?;
    let (v4, v6) = (Ends::v4()?, Ends::v6()?);
    let keys = [pair.route_datagrams(&v4, 1)?, pair.route_datagrams(&v6, 2)?];
    let payload = [0x5a; 972];
    pair.becomes(&v4.sent(&payload)?, &v4.arrived(&payload)?)?;
    let back = Ends { from: [v4.from[1], v4.from[0]], ..v4 };
    let mut frames = not_the_plainest(&v4.sent(b"")?, &v6.sent(b"")?);
    frames.extend([v4.sent(&[0x5a; 973])?, back.sent(b"")?]);
    for frame in frames {
        pair.goes_to_the_port(&frame)?;
    }
    assert_eq!(pair.table.tally(&keys[0])?.frames, 1);
    assert_eq!(pair.table.tally(&keys[1])?.frames, 0);
    Ok(())
}

pub fn super_frames_of_datagrams_go_to_the_port() -> TestResult {
    let mut pair = Pair::new()?;
    let mut kernel = pair.kernel()?;
    for (ends, number) in [(Ends::v4()?, 1), (Ends::v6()?, 2)] {
        pair.route_datagrams(&ends, number)?;
        let payload = [0x5a; 2000];
        let gso = Gso::Udp { size: 900 };
        let frame = pair.send_uncut(&mut kernel, &ends.sent(&payload)?, gso)?;
        pair.is_at_the_port(&frame)?;
        pair.becomes(&ends.sent(&payload[..900])?, &ends.arrived(&payload[..900])?)?;
    }
    Ok(())
}

/// Frames that both stations exchange otherwise take the shortcut between the two, if there is one.
pub fn datagrams_of_nobody_go_as_all_frames_do() -> TestResult {
    let mut pair = Pair::new()?;
    pair.route_datagrams(&Ends::v4()?, 1)?;
    let (key, route) = (pair.key(0)?, pair.route());
    pair.table.put(&key, &route)?;
    pair.goes_by_itself(&Leg { stations: (A, B), ..Ends::v4()?.near() }.datagram(b"")?)?;
    pair.goes_to_the_port(&Ends::v6()?.sent(b"")?)
}
