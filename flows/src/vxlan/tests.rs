//! The codec by the tables of the RFCs; `etherparse` builds the packets and reads them again.

use std::collections::HashSet;

use etherparse::{
    IpEcn, IpFragOffset, IpHeaders, IpNumber, PacketBuilder, SlicedPacket, TransportSlice,
};
use pktio::{Csum, Pool, PoolConfig};
use proptest::prelude::*;

use super::*;

const VNI: Vni = Vni(0x00ab_cdef);
const TUNNEL: Tunnel = Tunnel::new(VNI);

fn pool() -> Pool {
    Pool::new(PoolConfig { small: 64, slabs: 1 }).unwrap()
}

fn layers(frame: &[u8]) -> Option<Layers> {
    Layers::parse(frame).ok().flatten()
}

/// What differs between the packets of a test.
#[derive(Debug, Clone, Copy)]
struct Packet {
    v6: bool,
    tos: u8,
    hops: u8,
    source_port: u16,
    udp: bool,
}

const PACKET: Packet = Packet { v6: false, tos: 0, hops: 17, source_port: 1000, udp: true };

fn bytes(packet: Packet) -> Vec<u8> {
    let Packet { v6, tos, hops, source_port, udp } = packet;
    let ethernet = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let ip = if v6 {
        let header = etherparse::Ipv6Header {
            traffic_class: tos,
            hop_limit: hops,
            source: [1; 16],
            destination: [2; 16],
            ..Default::default()
        };
        IpHeaders::Ipv6(header, Default::default())
    } else {
        let mut header =
            etherparse::Ipv4Header::new(0, hops, IpNumber::UDP, [10, 0, 0, 1], [10, 0, 0, 2])
                .unwrap();
        header.dscp = etherparse::IpDscp::try_new(tos >> 2).unwrap();
        header.ecn = IpEcn::try_new(tos & 3).unwrap();
        IpHeaders::Ipv4(header, Default::default())
    };
    let mut bytes = Vec::new();
    match udp {
        true => ethernet.ip(ip).udp(source_port, 53).write(&mut bytes, b"payload"),
        false => ethernet.ip(ip).tcp(source_port, 53, 1, 1).write(&mut bytes, b"payload"),
    }
    .unwrap();
    bytes
}

/// TOS or traffic class, after the header checksum was verified.
fn checked_tos(frame: &[u8]) -> u8 {
    match SlicedPacket::from_ethernet(frame).unwrap().net.unwrap() {
        etherparse::NetSlice::Ipv4(ip) => {
            let header = ip.header().to_header();
            assert_eq!(header.header_checksum, header.calc_header_checksum());
            header.dscp.value() << 2 | header.ecn.value()
        }
        etherparse::NetSlice::Ipv6(ip) => ip.header().traffic_class(),
        etherparse::NetSlice::Arp(_) => panic!("no IP"),
    }
}

fn encap_bytes(inner: &[u8], tunnel: &Tunnel) -> (Vec<u8>, Mark) {
    let mut pool = pool();
    let mut frame = pool.frame_from(inner).unwrap();
    let mark = encap(&mut frame, layers(inner).as_ref(), tunnel).unwrap();
    (frame.data().to_vec(), mark)
}

fn decap_bytes(outer: &[u8]) -> Result<(Vni, Vec<u8>), Refusal> {
    let mut pool = pool();
    let mut frame = pool.frame_from(outer).unwrap();
    let result = decap(&mut frame);
    assert!(result.is_ok() || frame.data() == outer, "a refused frame stays as it is");
    result.map(|vni| (vni, frame.data().to_vec()))
}

fn admit_bytes(inner: &[u8], outer_tos: u8, tunnel: &Tunnel) -> Result<Vec<u8>, Refusal> {
    let mut pool = pool();
    let mut frame = pool.frame_from(inner).unwrap();
    let result = admit(&mut frame, layers(inner).as_ref(), outer_tos, tunnel);
    assert!(result.is_ok() || frame.data() == inner, "a refused frame stays as it is");
    result.map(|()| frame.data().to_vec())
}

/// The frame with a tag behind its addresses.
fn tagged(inner: &[u8], ethertype: u16, vid: u16) -> Vec<u8> {
    let tag = [ethertype.to_be_bytes(), vid.to_be_bytes()].concat();
    [&inner[..12], &tag, &inner[12..]].concat()
}

// RFC 7348, section 5: the header

#[test]
fn the_header_is_that_of_rfc_7348() {
    let inner = bytes(PACKET);
    let (outer, _) = encap_bytes(&inner, &TUNNEL);
    assert_eq!(outer[..8], [0x08, 0, 0, 0, 0xab, 0xcd, 0xef, 0]);
    assert_eq!(outer[8..], inner);
    assert_eq!(decap_bytes(&outer), Ok((VNI, inner)));
}

#[test]
fn a_network_identifier_has_24_bits() {
    assert_eq!(Vni::new(0xff_ffff).map(Vni::get), Some(0xff_ffff));
    assert_eq!(Vni::new(0x100_0000), None);
}

#[test]
fn reserved_bits_are_not_looked_at_and_the_i_flag_is_required() {
    let (mut outer, _) = encap_bytes(&bytes(PACKET), &TUNNEL);
    for (at, bits) in [(0, 0xf7), (1, 0xff), (2, 0xff), (3, 0xff), (7, 0xff)] {
        outer[at] |= bits;
    }
    assert_eq!(decap_bytes(&outer), Ok((VNI, bytes(PACKET))));
    outer[0] &= !0x08;
    assert_eq!(decap_bytes(&outer), Err(Refusal::NoVni));
}

#[test]
fn what_holds_no_frame_is_refused() {
    let (outer, _) = encap_bytes(&bytes(PACKET), &TUNNEL);
    for length in 0..8 {
        assert_eq!(decap_bytes(&outer[..length]), Err(Refusal::Short));
    }
    for length in 8..22 {
        assert_eq!(decap_bytes(&outer[..length]), Err(Refusal::InnerRunt));
    }
    assert!(decap_bytes(&outer[..22]).is_ok());
}

#[test]
fn without_header_room_nothing_is_encapsulated() {
    let mut pool = pool();
    let mut frame = pool.frame_from(&bytes(PACKET)).unwrap();
    assert!(frame.grow_front(u16::try_from(frame.headroom() - 7).unwrap()));
    let before = frame.data().to_vec();
    assert_eq!(encap(&mut frame, None, &TUNNEL), None);
    assert_eq!(frame.data(), before);
}

// RFC 7348, section 6.1: inner VLAN tags

#[test]
fn tags_are_stripped_on_the_way_in_and_refused_on_the_way_out() {
    let inner = bytes(PACKET);
    let customer = tagged(&inner, 0x8100, 7);
    let both = tagged(&customer, 0x88a8, 8);
    let carries = Tunnel { carries_tags: true, ..TUNNEL };
    for frame in [&customer, &both] {
        assert_eq!(encap_bytes(frame, &TUNNEL).0[8..], inner);
        assert_eq!(encap_bytes(frame, &carries).0[8..], frame[..]);
        assert_eq!(admit_bytes(frame, 0, &TUNNEL), Err(Refusal::InnerTagged));
        assert_eq!(admit_bytes(frame, 0, &carries).as_ref(), Ok(frame));
    }
    // Cut off inside its tag, there is nothing to strip it from.
    assert_eq!(encap_bytes(&customer[..16], &TUNNEL).0[8..], customer[..16]);
}

#[test]
fn a_stripped_tag_does_not_change_the_mark() {
    let tunnel = Tunnel { dscp: Dscp::Inherited, ttl: Ttl::Inherited, ..TUNNEL };
    let inner = bytes(Packet { tos: 0xba, ..PACKET });
    let (_, mark) = encap_bytes(&tagged(&inner, 0x8100, 7), &tunnel);
    assert_eq!(mark, encap_bytes(&inner, &tunnel).1);
}

// RFC 6040: congestion

const ECN: [(&str, u8); 4] = [("Not-ECT", 0), ("ECT(1)", 1), ("ECT(0)", 2), ("CE", 3)];

#[test]
fn going_in_the_congestion_field_is_copied_or_cleared_by_the_mode() {
    let compatibility = Tunnel { ecn: EcnMode::Compatibility, ..TUNNEL };
    for (v6, (name, ecn)) in [false, true].into_iter().flat_map(|v6| ECN.map(|ecn| (v6, ecn))) {
        let inner = bytes(Packet { v6, tos: 0xb8 | ecn, ..PACKET });
        let (outer, mark) = encap_bytes(&inner, &TUNNEL);
        assert_eq!(mark.tos, ecn, "{name}");
        assert_eq!(encap_bytes(&inner, &compatibility).1.tos, 0, "{name}");
        assert_eq!(outer[8..], inner, "the inner field stays");
    }
}

/// Figure 4 of RFC 6040: inner, outer, result.
const COMBINED: [(u8, u8, Option<u8>); 16] = [
    (0, 0, Some(0)),
    (0, 2, Some(0)),
    (0, 1, Some(0)),
    (0, 3, None),
    (2, 0, Some(2)),
    (2, 2, Some(2)),
    (2, 1, Some(1)),
    (2, 3, Some(3)),
    (1, 0, Some(1)),
    (1, 2, Some(1)),
    (1, 1, Some(1)),
    (1, 3, Some(3)),
    (3, 0, Some(3)),
    (3, 2, Some(3)),
    (3, 1, Some(3)),
    (3, 3, Some(3)),
];

#[test]
fn coming_out_the_congestion_fields_are_combined_by_figure_4_of_rfc_6040() {
    for (v6, (inner, outer, result)) in
        [false, true].into_iter().flat_map(|v6| COMBINED.map(|row| (v6, row)))
    {
        let dscp = 0xb8;
        let before = bytes(Packet { v6, tos: dscp | inner, ..PACKET });
        // The outer DSCP says nothing inside.
        let after = admit_bytes(&before, 0x28 | outer, &TUNNEL);
        let Some(result) = result else {
            assert_eq!(after, Err(Refusal::Congestion), "v6 {v6}: {inner} in {outer}");
            continue;
        };
        let after = after.unwrap();
        assert_eq!(checked_tos(&after), dscp | result, "v6 {v6}: {inner} in {outer}");
        let sliced = SlicedPacket::from_ethernet(&after).unwrap();
        let Some(TransportSlice::Udp(udp)) = sliced.transport else { panic!("no UDP") };
        assert_eq!(udp.payload(), b"payload");
    }
}

#[test]
fn what_is_no_ip_passes_whatever_the_outer_field_says() {
    let mut arp = vec![0xff; 60];
    arp[12..14].copy_from_slice(&[0x08, 0x06]);
    assert_eq!(admit_bytes(&arp, 3, &TUNNEL), Ok(arp));
}

// DSCP and TTL

#[test]
fn dscp_and_ttl_are_the_tunnels_own_or_the_packets() {
    let fixed = Tunnel { dscp: Dscp::Fixed(10), ..TUNNEL };
    let inherited = Tunnel { dscp: Dscp::Inherited, ttl: Ttl::Inherited, ..TUNNEL };
    for v6 in [false, true] {
        let inner = bytes(Packet { v6, tos: 0xba, ..PACKET });
        let mark = |tunnel| encap_bytes(&inner, tunnel).1;
        assert_eq!((mark(&TUNNEL).tos, mark(&TUNNEL).ttl), (0x02, None));
        assert_eq!((mark(&fixed).tos, mark(&fixed).ttl), (10 << 2 | 2, None));
        assert_eq!((mark(&inherited).tos, mark(&inherited).ttl), (0xba, NonZeroU8::new(17)));
    }
    let (_, mark) = encap_bytes(&[0x11; 60], &inherited);
    assert_eq!((mark.tos, mark.ttl), (0, None));
}

#[test]
fn an_inner_packet_is_50_or_70_bytes_shorter_than_the_outer_one() {
    let (v4, v6) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([1; 16]));
    assert_eq!((inner_mtu_bytes(1500, v4), inner_mtu_bytes(1500, v6)), (1450, 1430));
    assert_eq!(inner_mtu_bytes(40, v6), 0);
}

// Source-port entropy

fn entropy_of(frame: &[u8]) -> u16 {
    entropy(frame, layers(frame).as_ref())
}

#[test]
fn a_flow_keeps_its_entropy_whatever_its_packets_are_like() {
    for (v6, udp) in [(false, true), (false, false), (true, true), (true, false)] {
        let packet = Packet { v6, udp, ..PACKET };
        let first = entropy_of(&bytes(packet));
        assert_eq!(first, entropy_of(&bytes(Packet { tos: 3, hops: 64, ..packet })));
        let other = Packet { source_port: 1001, ..packet };
        assert_ne!(first, entropy_of(&bytes(other)), "v6 {v6} udp {udp}");
    }
}

#[test]
fn flows_are_spread_over_all_source_ports() {
    let mut counts = [0usize; 8];
    for source_port in 0..4096 {
        let entropy = entropy_of(&bytes(Packet { source_port, ..PACKET }));
        counts[(usize::from(entropy) * 8) >> 16] += 1;
    }
    assert!(counts.iter().all(|count| (400..640).contains(count)), "{counts:?}");
}

/// The fragments of a datagram, each of 16 bytes, the first of which has the ports.
fn fragments(source_port: u16) -> Vec<Vec<u8>> {
    let fragment = |number: u16| {
        let mut header =
            etherparse::Ipv4Header::new(16, 64, IpNumber::UDP, [10, 0, 0, 1], [10, 0, 0, 2])
                .unwrap();
        header.more_fragments = number < 3;
        header.fragment_offset = IpFragOffset::try_new(number * 2).unwrap();
        header.header_checksum = header.calc_header_checksum();
        let mut bytes = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x08, 0x00];
        header.write(&mut bytes).unwrap();
        let ports = [source_port.to_be_bytes(), 53u16.to_be_bytes()].concat();
        bytes.extend(if number == 0 { ports } else { vec![number.to_be_bytes()[1]; 4] });
        bytes.resize(34 + 16, 0);
        bytes
    };
    (0..4).map(fragment).collect()
}

#[test]
fn all_fragments_of_a_datagram_have_one_entropy() {
    let values: HashSet<u16> = fragments(1000).iter().map(|bytes| entropy_of(bytes)).collect();
    assert_eq!(values.len(), 1);
    // Whole datagrams between the same hosts are told apart by their ports.
    assert!(!values.contains(&entropy_of(&bytes(PACKET))));
}

#[test]
fn what_is_no_ip_goes_by_its_stations() {
    let frame = |station| {
        let mut bytes = vec![0x11; 60];
        bytes[11] = station;
        bytes
    };
    assert_eq!(entropy_of(&frame(1)), entropy_of(&frame(1)));
    let values: HashSet<u16> = (0..=255).map(|station| entropy_of(&frame(station))).collect();
    assert!(values.len() > 250, "{}", values.len());
}

// Any bytes

proptest! {
    #[test]
    fn what_goes_in_comes_out(
        inner in prop::collection::vec(any::<u8>(), 14..200), vni in 0u32..1 << 24, start in 0u16..100,
    ) {
        let tunnel = Tunnel { carries_tags: true, ..Tunnel::new(Vni::new(vni).unwrap()) };
        let mut pool = pool();
        let mut frame = pool.frame_from(&inner).unwrap();
        let csum = Csum::Partial { start, offset: 16 };
        frame.offload.csum = csum;
        let mark = encap(&mut frame, layers(&inner).as_ref(), &tunnel).unwrap();
        prop_assert_eq!(frame.offload.csum, Csum::Partial { start: start + 8, offset: 16 });
        prop_assert_eq!(decap(&mut frame), Ok(tunnel.vni));
        prop_assert_eq!(frame.offload.csum, csum);
        // What was not marked outside is let in as it was sent.
        prop_assert_eq!(admit(&mut frame, layers(&inner).as_ref(), mark.tos, &tunnel), Ok(()));
        prop_assert_eq!(frame.data(), inner);
    }

    #[test]
    fn no_bytes_make_it_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..200), kind in 0usize..5, outer_tos: u8, tags: bool,
    ) {
        let mut bytes = bytes;
        let kinds = [&[8u8, 0][..], &[0x86, 0xdd], &[0x81, 0], &[0x88, 0xa8], &[]];
        if let Some(field) = bytes.get_mut(12..12 + kinds[kind].len()) {
            field.copy_from_slice(kinds[kind]);
        }
        let tunnel = Tunnel { carries_tags: tags, ttl: Ttl::Inherited, ..TUNNEL };
        let mut pool = pool();
        let mut frame = pool.frame_from(&bytes).unwrap();
        let _ = admit(&mut frame, layers(&bytes).as_ref(), outer_tos, &tunnel);
        let _ = encap(&mut frame, layers(&bytes).as_ref(), &tunnel);
        let _ = decap(&mut frame);
    }
}
