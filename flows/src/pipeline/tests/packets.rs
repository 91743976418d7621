//! Packets as text: what a test sends, and what it sees. Frames are built by `etherparse`; what comes out
//! is read, and every checksum in it verified, without the code under test.

use std::net::{IpAddr, SocketAddr};

use etherparse::{
    IcmpEchoHeader, Icmpv4Type, Icmpv6Type, IpFragOffset, IpHeaders, IpNumber, Ipv4Header,
    Ipv4HeaderSlice, Ipv6Header, PacketBuilder, TcpHeader,
};
use pktio::wire::MacAddr;

const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
const ETHERNET: usize = 14;
const FLAGS: [(u8, char); 5] = [(2, 'S'), (16, 'A'), (1, 'F'), (4, 'R'), (8, 'P')];

/// What a packet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Udp,
    /// Flags, sequence and acknowledgment number.
    Tcp(&'static str, u32, u32),
    /// An echo request; the source's port is its identifier.
    Ping,
    /// An echo reply; the destination's port is its identifier.
    Pong,
    /// Another protocol.
    Other(u8),
}

/// A packet to be.
#[derive(Debug, Clone)]
pub struct Packet {
    pub kind: Kind,
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub ttl: u8,
    pub may_fragment: bool,
    /// The identification of an IPv4 packet.
    pub id: u16,
    /// The options of an IPv4 packet, of four bytes each.
    pub options: Vec<u8>,
    pub payload: Vec<u8>,
}

/// An address with a port: `10.0.0.2:53`, `[fd00::2]:53`, or without any.
pub fn endpoint(text: &str) -> SocketAddr {
    let whole = text.parse().or_else(|_| text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 0)));
    whole.unwrap_or_else(|_| panic!("{text} is no endpoint"))
}

impl Packet {
    pub fn new(kind: Kind, from: &str, to: &str) -> Self {
        let (from, to) = (endpoint(from), endpoint(to));
        let (options, payload) = (Vec::new(), b"payload!".to_vec());
        Self { kind, from, to, ttl: 64, may_fragment: false, id: 0x1234, options, payload }
    }

    /// With a payload of so many bytes.
    pub fn of_length(self, bytes: usize) -> Self {
        Self { payload: (0..=250).cycle().take(bytes).collect(), ..self }
    }

    /// The frame that carries it from one station to another.
    pub fn frame(&self, from: MacAddr, to: MacAddr) -> Vec<u8> {
        let link = PacketBuilder::ethernet2(from.0, to.0);
        let ip = link.ip(self.header());
        let (from, to) = (self.from.port(), self.to.port());
        let (mut bytes, payload) = (Vec::new(), &self.payload[..]);
        let is_v4 = self.from.is_ipv4();
        let echo = |id| IcmpEchoHeader { id, seq: 1 };
        let written = match self.kind {
            Kind::Udp => ip.udp(from, to).write(&mut bytes, payload),
            Kind::Tcp(flags, seq, ack) => {
                ip.tcp_header(tcp(flags, (from, to), (seq, ack))).write(&mut bytes, payload)
            }
            Kind::Ping if is_v4 => {
                ip.icmpv4(Icmpv4Type::EchoRequest(echo(from))).write(&mut bytes, payload)
            }
            Kind::Ping => ip.icmpv6(Icmpv6Type::EchoRequest(echo(from))).write(&mut bytes, payload),
            Kind::Pong if is_v4 => {
                ip.icmpv4(Icmpv4Type::EchoReply(echo(to))).write(&mut bytes, payload)
            }
            Kind::Pong => ip.icmpv6(Icmpv6Type::EchoReply(echo(to))).write(&mut bytes, payload),
            Kind::Other(protocol) => ip.write(&mut bytes, IpNumber(protocol), payload),
        };
        written.unwrap();
        bytes
    }

    fn header(&self) -> IpHeaders {
        match (self.from.ip(), self.to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let ttl = self.ttl;
                let plain = Ipv4Header::new(0, ttl, IpNumber(0), from.octets(), to.octets());
                let header = Ipv4Header {
                    identification: self.id,
                    dont_fragment: !self.may_fragment,
                    options: self.options[..].try_into().unwrap(),
                    ..plain.unwrap()
                };
                IpHeaders::Ipv4(header, Default::default())
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let (source, destination) = (from.octets(), to.octets());
                let header =
                    Ipv6Header { hop_limit: self.ttl, source, destination, ..Default::default() };
                IpHeaders::Ipv6(header, Default::default())
            }
            _ => panic!("{} and {} are of two versions", self.from, self.to),
        }
    }
}

fn tcp(flags: &str, (from, to): (u16, u16), (seq, ack): (u32, u32)) -> TcpHeader {
    let has = |flag| flags.contains(flag);
    TcpHeader {
        syn: has('S'),
        ack: has('A'),
        fin: has('F'),
        rst: has('R'),
        psh: has('P'),
        acknowledgment_number: ack,
        ..TcpHeader::new(from, to, seq, 8192)
    }
}

/// An IPv4 frame in fragments, each with so many bytes of payload, in order.
pub fn fragments(frame: &[u8], bytes: usize) -> Vec<Vec<u8>> {
    let whole = Ipv4HeaderSlice::from_slice(&frame[ETHERNET..]).unwrap().to_header();
    let payload = &frame[ETHERNET + whole.header_len()..];
    let count = payload.len().div_ceil(bytes);
    let piece = |(number, piece): (usize, &[u8])| {
        let mut header = whole.clone();
        header.dont_fragment = false;
        header.more_fragments = number + 1 < count;
        let offset = u16::try_from(number * bytes / 8).unwrap();
        header.fragment_offset = IpFragOffset::try_new(offset).unwrap();
        header.set_payload_len(piece.len()).unwrap();
        let mut bytes = frame[..ETHERNET].to_vec();
        header.write(&mut bytes).unwrap();
        bytes.extend(piece);
        bytes
    };
    payload.chunks(bytes).enumerate().map(piece).collect()
}

/// An ICMPv4 error, or an ICMPv6 one, about a packet, quoting so much of it.
pub fn icmp_error(
    (kind, code, word): (u8, u8, u32),
    (from, to): (&str, &str),
    about: &Packet,
    quoted: usize,
) -> Packet {
    let offender = about.frame(MacAddr([2; 6]), MacAddr([4; 6]));
    let quote = &offender[ETHERNET..offender.len().min(ETHERNET + quoted)];
    let protocol = if about.from.is_ipv4() { ICMP } else { ICMPV6 };
    let packet = Packet::new(Kind::Other(protocol), from, to);
    let payload = [vec![kind, code, 0, 0], word.to_be_bytes().to_vec(), quote.to_vec()].concat();
    summed(Packet { payload, ..packet })
}

/// An ICMP message, with the right checksum.
pub fn summed(message: Packet) -> Packet {
    let Packet { from, to, mut payload, .. } = message.clone();
    let protocol = if from.is_ipv4() { ICMP } else { ICMPV6 };
    payload[2..4].fill(0);
    let sum = !(sum(&payload) + pseudo(protocol, from.ip(), to.ip(), payload.len()));
    payload[2..4].copy_from_slice(&sum.0.to_be_bytes());
    Packet { payload, ..message }
}

/// Asks who has an address.
pub fn arp_request(mac: MacAddr, from: &str, whom: &str) -> Vec<u8> {
    arp(1, (mac, from), (MacAddr::default(), whom), MacAddr::BROADCAST)
}

/// Says who has an address.
pub fn arp_reply(mac: MacAddr, whose: &str, to: (MacAddr, &str)) -> Vec<u8> {
    arp(2, (mac, whose), to, to.0)
}

fn arp(operation: u8, from: (MacAddr, &str), to: (MacAddr, &str), link: MacAddr) -> Vec<u8> {
    let v4 = |text: &str| text.parse::<std::net::Ipv4Addr>().unwrap().octets();
    let mut frame = [link.0, from.0.0].concat();
    frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, operation]);
    frame.extend([&from.0.0[..], &v4(from.1), &to.0.0, &v4(to.1)].concat());
    frame
}

/// Destination and source of a frame.
pub fn stations(frame: &[u8]) -> (MacAddr, MacAddr) {
    (MacAddr(frame[..6].try_into().unwrap()), MacAddr(frame[6..12].try_into().unwrap()))
}

/// What a frame carries, in one line. All its checksums are right.
pub fn describe(frame: &[u8]) -> String {
    match frame[12..14] {
        [8, 6] => describe_arp(&frame[ETHERNET..]),
        [8, 0] | [0x86, 0xdd] => describe_ip(&frame[ETHERNET..], false),
        _ => "?".to_owned(),
    }
}

fn describe_arp(arp: &[u8]) -> String {
    let ip = |at: usize| IpAddr::from(<[u8; 4]>::try_from(&arp[at..at + 4]).unwrap());
    match arp[7] {
        1 => format!("arp who-has {} tell {}", ip(24), ip(14)),
        _ => format!("arp {} is-at {}", ip(14), MacAddr(arp[8..14].try_into().unwrap())),
    }
}

/// An IP packet by its parts.
pub struct Ip<'a> {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub protocol: u8,
    pub ttl: u8,
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// The identification of an IPv4 packet.
    pub id: u16,
    /// Where its payload belongs in the datagram, and whether more follows.
    pub place: (usize, bool),
    pub payload: &'a [u8],
}

impl<'a> Ip<'a> {
    /// The packet in a frame.
    pub fn of(frame: &'a [u8]) -> Self {
        Self::read(&frame[ETHERNET..])
    }

    fn read(packet: &'a [u8]) -> Self {
        if packet[0] >> 4 == 6 {
            return Self::read_v6(packet);
        }
        assert!(has_right_header(packet), "a wrong header checksum in {packet:02x?}");
        let header = Ipv4HeaderSlice::from_slice(packet).unwrap();
        let end = usize::from(header.total_len()).min(packet.len());
        let offset = usize::from(header.fragments_offset().value()) * 8;
        Self {
            source: header.source_addr().into(),
            destination: header.destination_addr().into(),
            protocol: header.protocol().0,
            ttl: header.ttl(),
            traffic_class: packet[1],
            id: header.identification(),
            place: (offset, header.more_fragments()),
            payload: &packet[header.slice().len()..end],
        }
    }

    fn read_v6(packet: &'a [u8]) -> Self {
        let address = |at: usize| IpAddr::from(<[u8; 16]>::try_from(&packet[at..at + 16]).unwrap());
        let end = 40 + usize::from(u16::from_be_bytes([packet[4], packet[5]]));
        Self {
            source: address(8),
            destination: address(24),
            protocol: packet[6],
            ttl: packet[7],
            traffic_class: packet[0] << 4 | packet[1] >> 4,
            id: 0,
            place: (0, false),
            payload: &packet[40..end.min(packet.len())],
        }
    }

    fn has_right_checksum(&self) -> bool {
        let is_unsummed = self.protocol == UDP && self.payload[6..8] == [0, 0];
        let pseudo = match (self.protocol, self.source) {
            (ICMP, IpAddr::V4(_)) => Sum(0),
            _ => pseudo(self.protocol, self.source, self.destination, self.payload.len()),
        };
        let is_summed = [TCP, UDP, ICMP, ICMPV6].contains(&self.protocol);
        !is_summed || is_unsummed || (sum(self.payload) + pseudo).0 == 0xffff
    }
}

fn has_right_header(packet: &[u8]) -> bool {
    let header = Ipv4HeaderSlice::from_slice(packet).unwrap();
    header.header_checksum() == header.to_header().calc_header_checksum()
}

fn describe_ip(packet: &[u8], is_quote: bool) -> String {
    if is_quote && packet[0] >> 4 == 4 && !has_right_header(packet) {
        return "damaged".to_owned();
    }
    let ip = Ip::read(packet);
    let (offset, has_more) = ip.place;
    if offset > 0 {
        return format!("part@{offset} {} > {}", ip.source, ip.destination);
    }
    let first = if has_more { "first part of " } else { "" };
    assert!(is_quote || has_more || ip.has_right_checksum(), "a wrong checksum in {packet:02x?}");
    let short = |at: usize| u16::from_be_bytes([ip.payload[at], ip.payload[at + 1]]);
    let to = |name: String| {
        let end = |ip, at| SocketAddr::new(ip, short(at));
        format!("{first}{name} {} > {}", end(ip.source, 0), end(ip.destination, 2))
    };
    match (ip.protocol, ip.payload) {
        (UDP, _) => to("udp".to_owned()),
        (TCP, [_, _, _, _, _, _, _, _, _, _, _, _, _, flags, ..]) => {
            let set = FLAGS.iter().filter(|(bit, _)| flags & bit != 0);
            to(format!("tcp[{}]", set.map(|(_, name)| *name).collect::<String>()))
        }
        (TCP, _) => to("tcp".to_owned()),
        (ICMP | ICMPV6, [kind, code, ..]) => {
            let ends = format!("{} > {}", ip.source, ip.destination);
            match (ip.protocol, kind) {
                (ICMP, 8) | (ICMPV6, 128) => format!("{first}ping#{} {ends}", short(4)),
                (ICMP, 0) | (ICMPV6, 129) => format!("{first}pong#{} {ends}", short(4)),
                (ICMP, 3 | 11 | 12) | (ICMPV6, 1..=4) => {
                    let quote = describe_ip(&ip.payload[8..], true);
                    format!("icmp {kind}/{code} {ends} ({quote})")
                }
                _ => format!("icmp {kind}/{code} {ends}"),
            }
        }
        (protocol, _) => format!("{first}proto-{protocol} {} > {}", ip.source, ip.destination),
    }
}

/// A ones' complement sum (RFC 1071).
#[derive(Clone, Copy)]
struct Sum(u16);

impl std::ops::Add for Sum {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let (sum, carry) = self.0.overflowing_add(other.0);
        Self(sum + u16::from(carry))
    }
}

impl std::ops::Not for Sum {
    type Output = Self;

    fn not(self) -> Self {
        Self(!self.0)
    }
}

fn sum(bytes: &[u8]) -> Sum {
    let word = |pair: &[u8]| Sum(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
    bytes.chunks(2).map(word).fold(Sum(0), Sum::add)
}

fn pseudo(protocol: u8, source: IpAddr, destination: IpAddr, bytes: usize) -> Sum {
    let address = |ip| match ip {
        IpAddr::V4(ip) => sum(&ip.octets()),
        IpAddr::V6(ip) => sum(&ip.octets()),
    };
    let is_bare = protocol == ICMP;
    let ends = if is_bare { Sum(0) } else { address(source) + address(destination) };
    let rest =
        if is_bare { Sum(0) } else { Sum(u16::try_from(bytes).unwrap()) + Sum(protocol.into()) };
    ends + rest
}

use std::ops::Add as _;
