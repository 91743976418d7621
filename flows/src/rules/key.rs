//! [`Key`]: a packet, a rule's values or a mask as machine words, and [`Cover`]: the keys that a rule is
//! found under.
//!
//! A key is a *filter*, not the truth: a rule's cover lets through every packet that the rule matches,
//! and perhaps more. So whatever has no place in a key (DSCP, TCP flags, states, odd MAC masks) costs a
//! closer look only, and prefixes may be shortened at will:
//! * to a multiple of 4 bits (8 for IPv6), which keeps the number of masks, and so of tables, small (the
//!   idea is that of J. Daly et al., "TupleMerge: Fast Software Packet Processing for Online Packet
//!   Classification", 2019);
//! * further, when sets and ranges would give a rule more than [`MOST_KEYS`] keys.

use std::net::IpAddr;

use pktio::wire::MacAddr;

use super::ranges::{Prefix, leading};
use super::{AddressSet, Packet, RuleMatch};

const WORDS: usize = 8;
/// The most keys that one rule is found under.
const MOST_KEYS: usize = 1024;

/// A field's place in a key.
#[derive(Debug, Clone, Copy)]
struct Place {
    word: usize,
    shift: u32,
    bits: u32,
}

const fn place(word: usize, shift: u32, bits: u32) -> Place {
    Place { word, shift, bits }
}

const BRIDGE: Place = place(0, 48, 16);
const INGRESS: Place = place(0, 32, 16);
const VID: Place = place(0, 16, 16);
const ETHERTYPE: Place = place(0, 0, 16);
const SOURCE_MAC: Place = place(1, 16, 48);
const PROTOCOL: Place = place(1, 8, 8);
const FAMILY: Place = place(1, 0, 8);
const DESTINATION_MAC: Place = place(2, 16, 48);
const ICMP_TYPE: Place = place(2, 0, 8);
const VNI: Place = place(3, 32, 32);
const SOURCE_PORT: Place = place(3, 16, 16);
const DESTINATION_PORT: Place = place(3, 0, 16);
/// The first of two words.
const SOURCE: usize = 4;
const DESTINATION: usize = 6;

/// Fields of a packet side by side. A mask has ones where a table looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Key([u64; WORDS]);

impl Key {
    /// The key of a packet.
    pub fn of(packet: &Packet) -> Self {
        let mut key = Self::default();
        key.put(BRIDGE, packet.bridge.0);
        key.put(INGRESS, packet.ingress.0);
        key.put(VID, packet.vid.0);
        key.put(ETHERTYPE, packet.ethertype);
        key.put(SOURCE_MAC, packet.source_mac.to_bits());
        key.put(DESTINATION_MAC, packet.destination_mac.to_bits());
        key.put(VNI, packet.vni.unwrap_or(0));
        key.put(ICMP_TYPE, packet.icmp.map_or(0, |icmp| icmp.kind));
        let Some(tuple) = packet.tuple else { return key };
        key.put(PROTOCOL, tuple.protocol);
        let (from, to) = packet.ports().unwrap_or_default();
        key.put(SOURCE_PORT, from);
        key.put(DESTINATION_PORT, to);
        key.put(FAMILY, family(tuple.source.ip) as u8);
        key.put_wide(SOURCE, aligned(tuple.source.ip));
        key.put_wide(DESTINATION, aligned(tuple.destination.ip));
        key
    }

    /// The hash of the bits that `mask` has.
    #[inline]
    pub fn hash(&self, mask: &Self) -> u32 {
        let mut hash = 0;
        for (word, mask) in self.0.iter().zip(&mask.0) {
            // The branch is the same for every packet that a table is asked about.
            if *mask != 0 {
                hash = mix(hash, word & mask);
            }
        }
        upper(hash)
    }

    fn put(&mut self, place: Place, value: impl Into<u64>) {
        self.0[place.word] |= value.into() << place.shift;
    }

    fn put_wide(&mut self, word: usize, bits: u128) {
        let [a, b] = halves(bits);
        self.0[word] |= a;
        self.0[word + 1] |= b;
    }

    fn wide(&self, word: usize) -> u128 {
        u128::from(self.0[word]) << 64 | u128::from(self.0[word + 1])
    }

    fn port(&self, place: Place) -> u128 {
        u128::from(self.0[place.word] >> place.shift & 0xffff) << 112
    }

    /// The address or port of an axis, aligned to the left, and of which kind it is.
    #[inline]
    pub fn along(&self, axis: Axis) -> (Kind, u128) {
        let family = || match self.0[FAMILY.word] >> FAMILY.shift & 0xff {
            4 => Kind::V4,
            6 => Kind::V6,
            _ => Kind::Any,
        };
        match axis {
            Axis::Source => (family(), self.wide(SOURCE)),
            Axis::Destination => (family(), self.wide(DESTINATION)),
            Axis::SourcePort => (Kind::Port, self.port(SOURCE_PORT)),
            Axis::DestinationPort => (Kind::Port, self.port(DESTINATION_PORT)),
        }
    }

    /// The IP version of a packet.
    #[inline]
    pub fn family(&self) -> Kind {
        self.along(Axis::Source).0
    }
}

/// Stirs a word into a hash (a step of S. Vigna's splitmix64). Rules are the operator's and packets do
/// not change the tables, so nobody gains by collisions and there is no seed.
#[inline]
pub(super) fn mix(hash: u64, word: u64) -> u64 {
    let stirred = (hash.rotate_left(23) ^ word).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (stirred ^ stirred >> 32).wrapping_mul(0x94d0_49bb_1331_11eb)
}

fn upper(hash: u64) -> u32 {
    let [a, b, c, d, ..] = hash.to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}

pub(super) fn halves(bits: u128) -> [u64; 2] {
    let [a, b, c, d, e, f, g, h, rest @ ..] = bits.to_be_bytes();
    [u64::from_be_bytes([a, b, c, d, e, f, g, h]), u64::from_be_bytes(rest)]
}

fn family(address: IpAddr) -> Kind {
    if address.is_ipv4() { Kind::V4 } else { Kind::V6 }
}

/// The bits of an address, aligned to the left.
fn aligned(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// A field whose values are matched by prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Axis {
    Source,
    Destination,
    SourcePort,
    DestinationPort,
}

impl Axis {
    pub const ALL: [Self; 4] =
        [Self::Source, Self::Destination, Self::SourcePort, Self::DestinationPort];
}

/// What the values of a [`Cell`] are. The numbers of the IP versions are their places in a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Anything at all.
    Any = 0,
    V4 = 4,
    V6 = 6,
    Port = 16,
}

impl Kind {
    /// Lengths of prefixes are multiples of this.
    #[inline]
    pub fn step(self) -> u8 {
        if self == Self::V6 { 8 } else { 4 }
    }

    /// The longest prefix.
    #[inline]
    pub fn width(self) -> u8 {
        match self {
            Self::Any => 0,
            Self::V4 => 32,
            Self::V6 => 128,
            Self::Port => 16,
        }
    }
}

/// A piece of an axis: all values of a kind that begin with a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cell {
    pub kind: Kind,
    pub prefix: Prefix,
}

impl Cell {
    const ANYTHING: Self = Self { kind: Kind::Any, prefix: Prefix { bits: 0, len: 0 } };

    /// The piece of no more than `len` bits around it.
    fn around(self, len: u8) -> Self {
        let len = len / self.kind.step() * self.kind.step();
        Self { prefix: Prefix { bits: self.prefix.bits & leading(len), len }, ..self }
    }
}

/// Pieces of one axis that cover what a rule wants there.
fn pieces(kind: Kind, prefixes: Vec<Prefix>) -> Vec<Cell> {
    let cells = prefixes.into_iter().map(|prefix| Cell { kind, prefix }.around(prefix.len));
    without_repetition(cells.collect())
}

fn without_repetition(mut cells: Vec<Cell>) -> Vec<Cell> {
    cells.sort_unstable();
    cells.dedup();
    cells
}

fn address_pieces(set: Option<&AddressSet>) -> Vec<Cell> {
    let Some(set) = set else { return vec![Cell::ANYTHING] };
    let [v4, v6] = set.prefixes();
    [pieces(Kind::V4, v4), pieces(Kind::V6, v6)].concat()
}

/// What a rule is found under: any of the pieces of each axis, and the values of the other fields.
#[derive(Debug)]
pub(super) struct Cover {
    axes: [Vec<Cell>; 4],
    key: Key,
    mask: Key,
}

impl Cover {
    /// The cover of what a rule is for.
    pub fn of(matches: &RuleMatch) -> Self {
        let ports = |set: Option<Vec<Prefix>>| {
            set.map_or_else(|| vec![Cell::ANYTHING], |set| pieces(Kind::Port, set))
        };
        let axes = [
            address_pieces(matches.source.as_ref()),
            address_pieces(matches.destination.as_ref()),
            ports(matches.source_ports.as_ref().map(|set| set.prefixes())),
            ports(matches.destination_ports.as_ref().map(|set| set.prefixes())),
        ];
        let mut cover = Self { axes, key: Key::default(), mask: Key::default() };
        cover.require_values(matches);
        while cover.keys_at_most() > MOST_KEYS && cover.coarsen() {}
        cover
    }

    fn require_values(&mut self, matches: &RuleMatch) {
        let exact = |mac: super::MacMatch| mac.mask == MacAddr::BROADCAST;
        let bits = |mac: super::MacMatch| mac.value.to_bits();
        let values = [
            (BRIDGE, matches.bridge.map(|bridge| bridge.0.into())),
            (INGRESS, matches.ingress.map(|port| port.0.into())),
            (VID, matches.vid.map(|vid| vid.0.into())),
            (ETHERTYPE, matches.ethertype.map(u64::from)),
            (SOURCE_MAC, matches.source_mac.filter(|mac| exact(*mac)).map(bits)),
            (DESTINATION_MAC, matches.destination_mac.filter(|mac| exact(*mac)).map(bits)),
            (PROTOCOL, matches.protocol.map(u64::from)),
            (ICMP_TYPE, matches.icmp.map(|icmp| icmp.kind.into())),
            (VNI, matches.vni.map(u64::from)),
        ];
        for (place, value) in values {
            let Some(value) = value else { continue };
            self.key.put(place, value);
            self.mask.put(place, u64::MAX >> (64 - place.bits));
        }
    }

    fn keys_at_most(&self) -> usize {
        self.axes.iter().map(Vec::len).fold(1, usize::saturating_mul)
    }

    /// Makes the pieces of the axis that has most of them larger. False when they are as large as can be.
    fn coarsen(&mut self) -> bool {
        let longest = |cells: &[Cell]| cells.iter().map(|cell| cell.prefix.len).max().unwrap_or(0);
        let splittable = self.axes.iter_mut().filter(|cells| longest(cells) > 0);
        let Some(cells) = splittable.max_by_key(|cells| cells.len()) else { return false };
        let shorter = longest(cells) - 1;
        let coarser = cells.iter().map(|cell| cell.around(shorter.min(cell.prefix.len)));
        *cells = without_repetition(coarser.collect());
        true
    }

    /// Each combination of pieces with its key and mask.
    pub fn for_each(&self, mut visit: impl FnMut(&[Cell; 4], Key, Key)) {
        let [sources, destinations, from, to] = &self.axes;
        for source in sources {
            for destination in destinations {
                let Some(family) = common_family(source.kind, destination.kind) else { continue };
                for (from, to) in from.iter().flat_map(|from| to.iter().map(move |to| (from, to))) {
                    let cells = [*source, *destination, *from, *to];
                    let (key, mask) = self.combine(family, &cells);
                    visit(&cells, key, mask);
                }
            }
        }
    }

    fn combine(&self, family: Kind, [source, destination, from, to]: &[Cell; 4]) -> (Key, Key) {
        let (mut key, mut mask) = (self.key, self.mask);
        if family != Kind::Any {
            key.put(FAMILY, family as u8);
            mask.put(FAMILY, 0xffu8);
        }
        for (word, cell) in [(SOURCE, source), (DESTINATION, destination)] {
            key.put_wide(word, cell.prefix.bits);
            mask.put_wide(word, leading(cell.prefix.len));
        }
        for (place, cell) in [(SOURCE_PORT, from), (DESTINATION_PORT, to)] {
            let [bits, _] = halves(cell.prefix.bits);
            let [ones, _] = halves(leading(cell.prefix.len));
            key.put(place, bits >> 48);
            mask.put(place, ones >> 48);
        }
        (key, mask)
    }
}

/// The IP version of packets with such a source and such a destination; `None` if there are none.
fn common_family(source: Kind, destination: Kind) -> Option<Kind> {
    match (source, destination) {
        (Kind::Any, other) | (other, Kind::Any) => Some(other),
        (a, b) => (a == b).then_some(a),
    }
}
