//! Segments of TCP that are rewritten on their shortcut, and those that are left to the port.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use etherparse::TcpHeader;
use netlab::TestResult;
use pktio::Gso;
use pktio::shortcut::{Connection, Key, Trail, Trails};
use pktio::wire::ETHERNET_BYTES;
use pktio::wire::field::{protocol, tcp};

use super::datagrams::{Ends, Leg, MTU_BYTES, not_the_plainest};
use super::{CONNECTIONS, Pair};
use crate::suite::Outcome;
use crate::underlay::unfinished;

const CONNECTION: Connection = Connection { position: 2, version: 77, is_second: false };
static DATA: [u8; 30_000] = [0x5a; 30_000];

/// How far an end has come, and the window that it offers.
#[derive(Debug, Clone, Copy)]
struct Side {
    end: u32,
    class: u8,
    scale: u8,
}

/// The sender, whose numbers are about to begin again, and the receiver.
const SIDES: [Side; 2] =
    [Side { end: 0xffff_ff00, class: 0, scale: 7 }, Side { end: 5000, class: 1, scale: 2 }];

impl Side {
    fn trail(&self) -> Trail {
        Trail::of(CONNECTION.version, self.end, self.class << 4 | self.scale).opened()
    }

    fn window_bytes(&self) -> i64 {
        0x1_0000 << (2 * self.class)
    }

    /// The number that lies so far ahead of its end.
    fn ahead(&self, by: i64) -> Outcome<u32> {
        Ok(self.end.wrapping_add_signed(i32::try_from(by)?))
    }
}

/// A segment, its numbers as they lie to the ends of its sender and its receiver.
#[derive(Clone, Copy)]
struct Segment<'a> {
    sequence: i64,
    acknowledgment: i64,
    window: u16,
    flags: u8,
    options: &'a [u8],
    payload: &'a [u8],
    padding_bytes: usize,
}

/// The next of the sender's, with an acknowledgment of all.
const NEXT: Segment<'static> = Segment {
    sequence: 0,
    acknowledgment: 0,
    window: 500,
    flags: tcp::ACK_FLAG,
    options: &[],
    payload: b"next",
    padding_bytes: 0,
};

impl Segment<'_> {
    fn header(&self, [sender, receiver]: &[Side; 2], leg: &Leg) -> Outcome<TcpHeader> {
        let [source, destination] = leg.ends.map(|end| end.port());
        let sequence = sender.ahead(self.sequence)?;
        let has = |bit: u8| self.flags >> bit & 1 == 1;
        let mut header = TcpHeader {
            acknowledgment_number: receiver.ahead(self.acknowledgment)?,
            fin: has(0),
            syn: has(1),
            rst: has(2),
            psh: has(3),
            ack: has(4),
            urg: has(5),
            ece: has(6),
            cwr: has(7),
            ..TcpHeader::new(source, destination, sequence, self.window)
        };
        header.set_options_raw(self.options)?;
        Ok(header)
    }

    fn on(&self, leg: &Leg, sides: &[Side; 2]) -> Outcome<Vec<u8>> {
        let header = self.header(sides, leg)?;
        let mut frame = Vec::new();
        leg.packet()?.tcp_header(header).write(&mut frame, self.payload)?;
        frame.resize(frame.len() + self.padding_bytes, 0);
        Ok(frame)
    }
}

/// A connection, and the shortcut of its segments from A to B.
struct Lane {
    pair: Pair,
    ends: Ends,
    connection: Connection,
    key: Key,
    trails: Arc<Trails>,
    /// The sender and the receiver, as their trails should be.
    sides: [Side; 2],
}

impl Lane {
    fn new(ends: Ends, connection: Connection) -> Outcome<Self> {
        let pair = Pair::new()?;
        let trails = pair.shortcuts.trails();
        let key = pair.connect(&ends, connection)?;
        Ok(Self { pair, ends, connection, key, trails, sides: SIDES })
    }

    /// One of IPv4 where both ends are as they should be.
    fn open() -> Outcome<Self> {
        let lane = Self::new(Ends::v4()?, CONNECTION)?;
        lane.put(SIDES.map(|side| side.trail().word()))?;
        Ok(lane)
    }

    /// The words of the sender and of the receiver.
    fn words(&self) -> Outcome<[&AtomicU64; 2]> {
        let Connection { position, is_second, .. } = self.connection;
        let word = |is_second| self.trails.word(position, is_second).ok_or("no word");
        Ok([word(is_second)?, word(!is_second)?])
    }

    fn put(&self, words: [u64; 2]) -> Outcome {
        let places = self.words()?.into_iter();
        places.zip(words).for_each(|(place, word)| place.store(word, Ordering::Relaxed));
        Ok(())
    }

    fn get(&self) -> Outcome<[u64; 2]> {
        Ok(self.words()?.map(|word| word.load(Ordering::Relaxed)))
    }

    /// Opens both trails anew.
    fn begin(&mut self, sides: [Side; 2]) -> Outcome {
        self.sides = sides;
        self.put(sides.map(|side| side.trail().word()))
    }

    fn sent(&self, segment: &Segment) -> Outcome<Vec<u8>> {
        segment.on(&self.ends.near(), &self.sides)
    }

    fn arrived(&self, segment: &Segment) -> Outcome<Vec<u8>> {
        segment.on(&self.ends.far(), &self.sides)
    }

    /// A segment takes the shortcut, and only its sender's trail is moved on, if by anything.
    fn carries(&mut self, segment: &Segment) -> TestResult {
        self.pair.becomes(&self.sent(segment)?, &self.arrived(segment)?)?;
        self.moved(segment)
    }

    fn moved(&mut self, segment: &Segment) -> TestResult {
        let by = segment.sequence + i64::try_from(segment.payload.len())?;
        self.sides[0].end = self.sides[0].ahead(by.max(0))?;
        assert_eq!(self.get()?, self.sides.map(|side| side.trail().word()));
        Ok(())
    }

    /// A segment goes to the port, and no trail is moved.
    fn refuses(&mut self, segment: &Segment) -> TestResult {
        let frame = self.sent(segment)?;
        self.leaves(&frame)
    }

    fn leaves(&mut self, frame: &[u8]) -> TestResult {
        let before = (self.get()?, self.pair.table.tally(&self.key)?);
        self.pair.goes_to_the_port(frame)?;
        assert_eq!((self.get()?, self.pair.table.tally(&self.key)?), before);
        Ok(())
    }

    /// The same connection from B to A.
    fn turned(self) -> Outcome<Self> {
        let Self { mut pair, ends: Ends { from, to }, mut connection, .. } = self;
        pair.wires.swap(0, 1);
        pair.ports.swap(0, 1);
        let ends = Ends { from: [to[1], to[0]], to: [from[1], from[0]] };
        connection.is_second = !connection.is_second;
        pair.interface = pair.places[0].link(if connection.is_second { "a" } else { "b" })?.index;
        let key = pair.connect(&ends, connection)?;
        let sides = [self.sides[1], self.sides[0]];
        Ok(Self { pair, ends, connection, key, trails: self.trails, sides })
    }
}

impl Pair {
    /// Makes the shortcut of a direction of a connection.
    fn connect(&self, ends: &Ends, connection: Connection) -> Outcome<Key> {
        let number = 1 + u32::from(connection.is_second);
        self.rewrite((protocol::TCP, ends), number, Some(connection))
    }
}

pub fn a_segment_that_fits_is_rewritten_and_moves_its_senders_trail_on() -> TestResult {
    for ends in [Ends::v4()?, Ends::v6()?] {
        let mut lane = Lane::new(ends, CONNECTION)?;
        lane.begin(SIDES)?;
        for bytes in [0, 1, 900] {
            lane.carries(&Segment { payload: &DATA[..bytes], ..NEXT })?;
        }
        assert_eq!(lane.sides[0].end, 0xffff_ff00_u32.wrapping_add(901));
        let headers = ETHERNET_BYTES + ends.header_bytes() + tcp::MIN_BYTES;
        let tally = lane.pair.table.tally(&lane.key)?;
        assert_eq!((tally.frames, tally.bytes), (3, u64::try_from(3 * headers + 901)?));
        // One is missing before this, and comes later.
        lane.carries(&Segment { sequence: 900, ..NEXT })?;
        lane.carries(&Segment { sequence: -904, payload: &DATA[..900], ..NEXT })?;
    }
    Ok(())
}

pub fn what_was_sent_before_goes_by_and_moves_nothing() -> TestResult {
    let mut lane = Lane::open()?;
    lane.carries(&Segment { payload: &DATA[..900], ..NEXT })?;
    let Side { end, .. } = lane.sides[0];
    for (sequence, bytes) in [(-900, 900), (-900, 100), (-1, 0), (-1, 1), (-5000, 900)] {
        lane.carries(&Segment { sequence, payload: &DATA[..bytes], ..NEXT })?;
        assert_eq!(lane.sides[0].end, end);
    }
    // Part of it is new.
    lane.carries(&Segment { sequence: -800, payload: &DATA[..900], ..NEXT })?;
    assert_eq!(lane.sides[0].end, end + 100);
    Ok(())
}

pub fn options_and_padding_are_no_data() -> TestResult {
    let mut lane = Lane::open()?;
    for options in [[1; 4].as_slice(), &[1; 40]] {
        for payload in [&b""[..], b"data"] {
            lane.carries(&Segment { options, payload, ..NEXT })?;
        }
    }
    lane.carries(&Segment { padding_bytes: 6, payload: b"", ..NEXT })
}

/// There are no two spellings of it as UDP has them.
pub fn a_segments_checksum_may_be_zero() -> TestResult {
    let mut lane = Lane::open()?;
    let place = ETHERNET_BYTES + lane.ends.header_bytes() + tcp::CHECKSUM;
    for (zero, leg) in [(0, lane.ends.near()), (1, lane.ends.far())] {
        // With this word its checksum is 0.
        let frame = Segment { payload: &[0; 2], ..NEXT }.on(&leg, &lane.sides)?;
        let segment = Segment { payload: &frame[place..place + 2], ..NEXT };
        let frames = [lane.sent(&segment)?, lane.arrived(&segment)?];
        assert_eq!(frames[zero][place..place + 2], [0; 2]);
        lane.carries(&segment)?;
    }
    Ok(())
}

/// Of each limit, the last that fits and the first that does not.
fn limits([sender, receiver]: [Side; 2], payload: &[u8]) -> Outcome<[[Segment<'_>; 2]; 5]> {
    let (own, others) = (sender.window_bytes(), receiver.window_bytes());
    let (next, bytes) = (Segment { payload, ..NEXT }, i64::try_from(payload.len())?);
    let sequence = |sequence| Segment { sequence, ..next };
    let acknowledgment = |acknowledgment| Segment { acknowledgment, ..next };
    let window = u16::try_from(own >> sender.scale)?;
    Ok([
        [others, others + 1].map(sequence),
        [-others - bytes, -others - bytes - 1].map(sequence),
        [own, own + 1].map(acknowledgment),
        [-own, -own - 1].map(acknowledgment),
        [window, window + 1].map(|window| Segment { window, ..next }),
    ])
}

pub fn what_fits_no_window_goes_to_the_port_and_moves_nothing() -> TestResult {
    let side = |end, class, scale| Side { end, class, scale };
    let mut lane = Lane::open()?;
    for sides in [
        [side(0xffff_ff00, 0, 2), side(100, 2, 5)],
        [side(100, 2, 5), side(0xffff_ff00, 0, 2)],
        [side(0x7fff_ffff, 6, 14), side(0x8000_0000, 0, 3)],
        [side(0, 1, 3), side(u32::MAX, 7, 14)],
    ] {
        for bytes in [0, 1, 900] {
            for [last, beyond] in limits(sides, &DATA[..bytes])? {
                lane.begin(sides)?;
                lane.refuses(&beyond)?;
                lane.carries(&last)?;
            }
        }
        lane.begin(sides)?;
        for far in [i32::MAX, i32::MIN].map(i64::from) {
            lane.refuses(&Segment { sequence: far, ..NEXT })?;
            lane.refuses(&Segment { sequence: far, payload: b"", ..NEXT })?;
            lane.refuses(&Segment { acknowledgment: far, ..NEXT })?;
        }
    }
    Ok(())
}

pub fn only_data_and_acknowledgments_take_the_shortcut() -> TestResult {
    const LOOKED_AT: u8 = tcp::SYN | tcp::ACK_FLAG | tcp::FIN | tcp::RST;
    let mut lane = Lane::open()?;
    for flags in 0..=u8::MAX {
        let segment = Segment { flags, ..NEXT };
        if flags & LOOKED_AT == tcp::ACK_FLAG {
            lane.carries(&segment)?;
        } else {
            lane.refuses(&segment)?;
        }
    }
    Ok(())
}

pub fn what_is_not_the_plainest_segment_goes_to_the_port() -> TestResult {
    let (v4, v6) = (Ends::v4()?, Ends::v6()?);
    let mut lane = Lane::open()?;
    lane.pair.connect(&v6, Connection { is_second: true, ..CONNECTION })?;
    let empty = Segment { payload: b"", ..NEXT };
    let frame = |ends: Ends| empty.on(&ends.near(), &SIDES);
    for frame in not_the_plainest(&frame(v4)?, &frame(v6)?) {
        lane.leaves(&frame)?;
    }
    // Its header has too few words, or more than there are.
    let place = ETHERNET_BYTES + v4.header_bytes() + tcp::DATA_OFFSET;
    for (words, bytes) in [(0, 39), (4, 39), (15, 39), (6, 3), (6, 0)] {
        let mut frame = lane.sent(&Segment { payload: &DATA[..bytes], ..NEXT })?;
        frame[place] = words << 4;
        lane.leaves(&frame)?;
    }
    let longest = usize::try_from(MTU_BYTES)? - v4.header_bytes() - tcp::MIN_BYTES;
    lane.refuses(&Segment { payload: &DATA[..=longest], ..NEXT })?;
    lane.carries(&Segment { payload: &DATA[..longest], ..NEXT })?;
    lane.leaves(&NEXT.on(&Ends { from: [v4.from[1], v4.from[0]], ..v4 }.near(), &SIDES)?)?;
    assert_eq!(lane.pair.table.tally(&lane.key)?.frames, 1);
    Ok(())
}

pub fn segments_go_by_only_while_both_trails_are_open() -> TestResult {
    let mut lane = Lane::open()?;
    for side in [0, 1] {
        let Side { end, class, scale } = lane.sides[side];
        let other = Trail::of(CONNECTION.version + 1, end, class << 4 | scale);
        let closed = lane.sides[side].trail().closed();
        for word in [0, closed.word(), other.word(), other.opened().word()] {
            let mut words = lane.sides.map(|side| side.trail().word());
            words[side] = word;
            lane.put(words)?;
            lane.refuses(&NEXT)?;
            lane.begin(lane.sides)?;
            lane.carries(&NEXT)?;
        }
    }
    // There is no room for this one, and no word.
    lane.pair.connect(&lane.ends, Connection { position: CONNECTIONS, ..CONNECTION })?;
    lane.refuses(&NEXT)
}

pub fn each_direction_moves_a_word_of_its_own() -> TestResult {
    let mut lane = Lane::open()?;
    lane.begin(SIDES.map(|side| Side { class: 0, ..side }))?;
    for _ in 0..4 {
        // More than the other end could acknowledge if it went by what was there before.
        for _ in 0..80 {
            lane.carries(&Segment { payload: &DATA[..900], ..NEXT })?;
        }
        lane = lane.turned()?;
    }
    Ok(())
}

pub fn a_super_frame_moves_the_trail_by_all_that_is_in_it() -> TestResult {
    for ends in [Ends::v4()?, Ends::v6()?] {
        let mut lane = Lane::new(ends, CONNECTION)?;
        lane.begin(SIDES)?;
        let mut kernel = lane.pair.kernel()?;
        let tcp = |mss| if ends.from[0].is_ipv4() { Gso::Tcp4 { mss } } else { Gso::Tcp6 { mss } };
        let headers = ends.header_bytes() + tcp::MIN_BYTES;
        let longest = u16::try_from(usize::try_from(MTU_BYTES)? - headers)?;
        for (gso, bytes) in [(Gso::None, 900), (tcp(900), DATA.len()), (tcp(longest), 2000)] {
            let segment = Segment { payload: &DATA[..bytes], ..NEXT };
            lane.pair.send_uncut(&mut kernel, &lane.sent(&segment)?, gso)?;
            let arrived = lane.arrived(&segment)?;
            let arrived = unfinished(&mut lane.pair.pool, arrived);
            lane.pair.arrives(arrived.data())?;
            lane.moved(&segment)?;
        }
        let segment = Segment { payload: &DATA[..2000], ..NEXT };
        for (gso, sequence) in [(tcp(longest + 1), 0), (tcp(900), lane.sides[1].window_bytes() + 1)]
        {
            let segment = Segment { sequence, ..segment };
            let before = lane.get()?;
            let frame = lane.pair.send_uncut(&mut kernel, &lane.sent(&segment)?, gso)?;
            lane.pair.is_at_the_port(&frame)?;
            assert_eq!(lane.get()?, before);
        }
    }
    Ok(())
}
