//! Packets for the tests, built by `etherparse`: the oracle of every translation is the packet that it
//! would have built for the other tuple.

use std::net::IpAddr;

use etherparse::{
    IpFragOffset, IpHeaders, IpNumber, Ipv4Header, Ipv6Extensions, Ipv6FragmentHeader, Ipv6Header,
    Ipv6RawExtHeader, PacketBuilder,
};
use pktio::wire::checksum::{fold, pseudo_header};
use pktio::wire::field::{protocol, put_be16};
use pktio::wire::{Layers, VLAN_BYTES};
use pktio::{Csum, PktBuf, Pool, PoolConfig};
use proptest::prelude::*;

use crate::{Endpoint, Tuple};

/// What a packet has besides its tuple.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    /// A VLAN tag in front.
    pub tagged: bool,
    /// IPv4 options, or IPv6 extension headers.
    pub options: bool,
    /// TTL or hop limit.
    pub hops: u8,
    /// What follows the transport header.
    pub payload: Vec<u8>,
}

impl Shape {
    pub(super) fn plain(payload: &[u8]) -> Self {
        Self { tagged: false, options: false, hops: 64, payload: payload.to_vec() }
    }
}

pub(super) fn tuple(
    kind: u8,
    source: (impl Into<IpAddr>, u16),
    to: (impl Into<IpAddr>, u16),
) -> Tuple {
    Tuple {
        protocol: kind,
        source: Endpoint::new(source.0, source.1),
        destination: Endpoint::new(to.0, to.1),
    }
}

pub(super) fn pool() -> Pool {
    Pool::new(PoolConfig { small: 512, slabs: 8 }).unwrap()
}

pub(super) fn layers(frame: &[u8]) -> Layers {
    Layers::parse(frame).unwrap().unwrap()
}

fn ip_headers(tuple: &Tuple, shape: &Shape) -> IpHeaders {
    match (tuple.source.ip, tuple.destination.ip) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let mut header =
                Ipv4Header::new(0, shape.hops, IpNumber(0), from.octets(), to.octets()).unwrap();
            header.identification = 0x1234;
            if shape.options {
                // Router alert (RFC 2113) and padding.
                header.options = [148, 4, 0, 0, 1, 1, 1, 0].into();
            }
            IpHeaders::Ipv4(header, Default::default())
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let header = Ipv6Header {
                hop_limit: shape.hops,
                source: from.octets(),
                destination: to.octets(),
                ..Default::default()
            };
            let padding = || Ipv6RawExtHeader::new_raw(IpNumber(0), &[1, 4, 0, 0, 0, 0]).unwrap();
            let extensions = Ipv6Extensions {
                hop_by_hop_options: shape.options.then(padding),
                destination_options: shape.options.then(padding),
                ..Default::default()
            };
            IpHeaders::Ipv6(header, extensions)
        }
        _ => panic!("two IP versions in {tuple}"),
    }
}

/// A packet of any protocol around these bytes.
pub(super) fn raw(tuple: &Tuple, shape: &Shape, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    builder(tuple, shape).write(&mut bytes, IpNumber(tuple.protocol), body).unwrap();
    tagged(bytes, shape)
}

fn builder(tuple: &Tuple, shape: &Shape) -> etherparse::PacketBuilderStep<IpHeaders> {
    PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]).ip(ip_headers(tuple, shape))
}

fn tagged(mut bytes: Vec<u8>, shape: &Shape) -> Vec<u8> {
    if shape.tagged {
        bytes.splice(12..12, [0x81, 0x00, 0x20, 0x0a]);
        assert!(bytes.len() > VLAN_BYTES);
    }
    bytes
}

/// The packet of a tuple, with every checksum right.
pub(super) fn packet(tuple: &Tuple, shape: &Shape) -> Vec<u8> {
    let (from, to) = (tuple.source.port, tuple.destination.port);
    let (ip, payload) = (builder(tuple, shape), &shape.payload[..]);
    let mut bytes = Vec::new();
    match tuple.protocol {
        protocol::TCP => ip.tcp(from, to, 1000, 500).psh().ack(7).write(&mut bytes, payload),
        protocol::UDP => ip.udp(from, to).write(&mut bytes, payload),
        protocol::ICMP => ip.icmpv4_echo_request(from, 3).write(&mut bytes, payload),
        protocol::ICMPV6 => ip.icmpv6_echo_request(from, 3).write(&mut bytes, payload),
        protocol::SCTP => return raw(tuple, shape, &sctp(from, to, payload)),
        _ => return raw(tuple, shape, payload),
    }
    .unwrap();
    tagged(bytes, shape)
}

fn sctp(from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
    let mut body = [&from.to_be_bytes()[..], &to.to_be_bytes(), &[0; 8], payload].concat();
    let crc = crc32c::crc32c(&body).to_le_bytes();
    body[8..12].copy_from_slice(&crc);
    body
}

/// The packet as a container's kernel hands it out: its checksum is half done.
pub(super) fn half_done(mut bytes: Vec<u8>) -> (Vec<u8>, Csum) {
    let layers = layers(&bytes);
    let start = layers.l4;
    if layers.protocol == protocol::SCTP {
        let offset = 8;
        bytes[usize::from(start + offset)..][..4].fill(0);
        return (bytes, Csum::Partial { start, offset });
    }
    let offset = layers.checksum_offset().unwrap();
    let pseudo = pseudo_header(&bytes, &layers, layers.end as usize - usize::from(start)).unwrap();
    put_be16(&mut bytes, usize::from(start + offset), fold(pseudo));
    (bytes, Csum::Partial { start, offset })
}

/// A packet's datagram in two fragments, the first with `first` bytes (a multiple of 8).
pub(super) fn fragments(tuple: &Tuple, shape: &Shape, id: u32, first: usize) -> [Vec<u8>; 2] {
    let whole = packet(tuple, &Shape { options: false, tagged: false, ..shape.clone() });
    let body = &whole[usize::from(layers(&whole).l4)..];
    let piece = |at: usize, more: bool, body: &[u8]| {
        let offset = IpFragOffset::try_new(u16::try_from(at / 8).unwrap()).unwrap();
        let mut headers = ip_headers(tuple, &Shape { options: false, ..shape.clone() });
        match &mut headers {
            IpHeaders::Ipv4(header, _) => {
                header.identification = u16::try_from(id).unwrap();
                header.more_fragments = more;
                header.fragment_offset = offset;
            }
            IpHeaders::Ipv6(_, extensions) => {
                extensions.fragment = Some(Ipv6FragmentHeader::new(IpNumber(0), offset, more, id));
            }
        }
        let mut bytes = Vec::new();
        PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
            .ip(headers)
            .write(&mut bytes, IpNumber(tuple.protocol), body)
            .unwrap();
        bytes
    };
    [piece(0, true, &body[..first]), piece(first, false, &body[first..])]
}

/// A frame in a buffer.
pub(super) fn frame(pool: &mut Pool, bytes: &[u8], csum: Csum) -> PktBuf {
    let mut frame = pool.frame_from(bytes).unwrap();
    frame.offload.csum = csum;
    frame
}

pub(super) fn shapes() -> impl Strategy<Value = Shape> {
    (any::<bool>(), any::<bool>(), 2u8.., prop::collection::vec(any::<u8>(), 0..200))
        .prop_map(|(tagged, options, hops, payload)| Shape { tagged, options, hops, payload })
}

/// Two tuples of one protocol and one IP version; those of ICMP are of echo requests.
pub(super) fn tuple_pairs() -> impl Strategy<Value = (Tuple, Tuple)> {
    let v4 = prop::sample::select(vec![
        protocol::TCP,
        protocol::UDP,
        protocol::ICMP,
        protocol::SCTP,
        47,
    ]);
    let v6 = prop::sample::select(vec![
        protocol::TCP,
        protocol::UDP,
        protocol::ICMPV6,
        protocol::SCTP,
        47,
    ]);
    prop_oneof![
        (v4, any::<[([u8; 4], u16); 4]>()).prop_map(|(kind, ends)| pair(kind, ends)),
        (v6, any::<[([u8; 16], u16); 4]>()).prop_map(|(kind, ends)| pair(kind, ends)),
    ]
}

fn pair<A: Into<IpAddr> + Copy>(kind: u8, ends: [(A, u16); 4]) -> (Tuple, Tuple) {
    let port = |end: usize| match kind {
        protocol::ICMP if end & 1 == 1 => 8,
        protocol::ICMPV6 if end & 1 == 1 => 128,
        47 => 0,
        _ => ends[end].1,
    };
    let end = |at: usize| (ends[at].0, port(at));
    (tuple(kind, end(0), end(1)), tuple(kind, end(2), end(3)))
}

/// An ICMP error of this type and code, from one to the other, that quotes a packet's IP header and
/// `bytes` bytes of what follows it.
pub(super) fn error(
    (from, to): (IpAddr, IpAddr),
    (kind, code): (u8, u8),
    quoted: &[u8],
    bytes: usize,
    hops: u8,
) -> Vec<u8> {
    let inner = layers(quoted);
    let end = quoted.len().min(usize::from(inner.l4) + bytes);
    let quote = &quoted[usize::from(inner.l3)..end];
    let ip = builder(&tuple(0, (from, 0), (to, 0)), &Shape { hops, ..Shape::plain(&[]) });
    let mut frame = Vec::new();
    if from.is_ipv4() {
        ip.icmpv4_raw(kind, code, [0; 4]).write(&mut frame, quote).unwrap();
    } else {
        ip.icmpv6_raw(kind, code, [0; 4]).write(&mut frame, quote).unwrap();
    }
    frame
}
