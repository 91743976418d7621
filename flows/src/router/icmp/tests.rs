//! Errors and resets as an independent parser reads them.

use etherparse::{Icmpv4Type, Icmpv6Type, PacketBuilder, SlicedPacket, TransportSlice};
use pktio::offload::checksum::verify;
use pktio::{Csum, Gso, Offload, PoolConfig};

use super::*;

const GATEWAY: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const HOST: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);

fn pool() -> Pool {
    Pool::new(PoolConfig { small: 16, slabs: 4 }).unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn station(text: &str) -> Station {
    Station { mac: GATEWAY, ip: ip(text) }
}

type Step = etherparse::PacketBuilderStep<etherparse::IpHeaders>;

/// From the host to somebody behind the gateway.
fn towards(from: &str, to: &str) -> Step {
    let link = PacketBuilder::ethernet2(HOST.0, GATEWAY.0);
    match (ip(from), ip(to)) {
        (IpAddr::V4(from), IpAddr::V4(to)) => link.ipv4(from.octets(), to.octets(), 7),
        (IpAddr::V6(from), IpAddr::V6(to)) => link.ipv6(from.octets(), to.octets(), 7),
        _ => panic!("two families"),
    }
}

fn udp(from: &str, to: &str, bytes: usize) -> Vec<u8> {
    let mut frame = Vec::new();
    towards(from, to).udp(4000, 53).write(&mut frame, &vec![7; bytes]).unwrap();
    frame
}

fn layers(frame: &[u8]) -> Layers {
    Layers::parse(frame).unwrap().unwrap()
}

fn answer(frame: &[u8], error: IcmpError, from: &str) -> Option<Vec<u8>> {
    let mut pool = pool();
    let offender = pool.frame_from(frame).unwrap();
    let reply = make(&offender, &layers(frame), error, station(from), &mut pool)?;
    Some(reply.data().to_vec())
}

/// What every answer must be: back to the host, with all checksums right.
fn assert_sound(frame: &[u8]) {
    assert_eq!(&frame[..6], &HOST.0);
    assert_eq!(&frame[6..12], &GATEWAY.0);
    let layers = layers(frame);
    assert_eq!(usize::try_from(layers.end).unwrap(), frame.len());
    if layers.network == Network::V4 {
        let at = usize::from(layers.l3);
        let header = etherparse::Ipv4HeaderSlice::from_slice(&frame[at..]).unwrap().to_header();
        assert_eq!(header.header_checksum, header.calc_header_checksum());
    }
    assert_ne!(verify(frame, &layers), Some(false));
}

#[test]
fn errors_over_ipv4_have_the_types_and_codes_of_the_standards() {
    let offender = udp("10.0.0.2", "10.1.0.2", 20);
    for (error, expected) in [
        (IcmpError::TimeExceeded, (11, 0, 0)),
        (IcmpError::NetUnreachable, (3, 0, 0)),
        (IcmpError::HostUnreachable, (3, 1, 0)),
        (IcmpError::ProtocolUnreachable, (3, 2, 0)),
        (IcmpError::PortUnreachable, (3, 3, 0)),
        (IcmpError::AdminProhibited, (3, 13, 0)),
        (IcmpError::SourceRefused, (3, 13, 0)),
        (IcmpError::TooBig { mtu_bytes: 1400 }, (3, 4, 1400)),
        (IcmpError::TooBig { mtu_bytes: 70_000 }, (3, 4, 65535)),
    ] {
        let reply = answer(&offender, error, "10.0.0.1").unwrap();
        assert_sound(&reply);
        let sliced = SlicedPacket::from_ethernet(&reply).unwrap();
        let Some(TransportSlice::Icmpv4(icmp)) = sliced.transport else { panic!("{error:?}") };
        let [.., mtu_high, mtu_low] = icmp.bytes5to8();
        let mtu = u16::from_be_bytes([mtu_high, mtu_low]);
        assert_eq!((icmp.type_u8(), icmp.code_u8(), mtu), expected, "{error:?}");
        assert_eq!(icmp.checksum(), icmp.icmp_type().calc_checksum(icmp.payload()));
        assert_eq!(icmp.payload(), &offender[14..], "the quote");
        let addresses = layers(&reply).addresses(&reply).unwrap();
        assert_eq!(addresses, (ip("10.0.0.1"), ip("10.0.0.2")));
        assert_eq!(reply[15], 0xc0, "internetwork control");
    }
}

#[test]
fn errors_over_ipv6_have_the_types_and_codes_of_the_standards() {
    let offender = udp("fd00::2", "fd01::2", 20);
    for (error, expected) in [
        (IcmpError::TimeExceeded, (3, 0, 0)),
        (IcmpError::NetUnreachable, (1, 0, 0)),
        (IcmpError::HostUnreachable, (1, 3, 0)),
        (IcmpError::ProtocolUnreachable, (4, 1, 6)),
        (IcmpError::PortUnreachable, (1, 4, 0)),
        (IcmpError::AdminProhibited, (1, 1, 0)),
        (IcmpError::SourceRefused, (1, 5, 0)),
        (IcmpError::TooBig { mtu_bytes: 1400 }, (2, 0, 1400)),
        (IcmpError::TooBig { mtu_bytes: 576 }, (2, 0, 1280)),
    ] {
        let reply = answer(&offender, error, "fd00::1").unwrap();
        assert_sound(&reply);
        let sliced = SlicedPacket::from_ethernet(&reply).unwrap();
        let Some(TransportSlice::Icmpv6(icmp)) = sliced.transport else { panic!("{error:?}") };
        let word = u32::from_be_bytes(icmp.bytes5to8());
        assert_eq!((icmp.type_u8(), icmp.code_u8(), word), expected, "{error:?}");
        assert_eq!(icmp.payload(), &offender[14..], "the quote");
    }
}

#[test]
fn an_error_quotes_as_much_as_may_be() {
    let reply = answer(&udp("10.0.0.2", "10.1.0.2", 1400), IcmpError::TimeExceeded, "10.0.0.1");
    assert_eq!(reply.unwrap().len(), 14 + 576);
    let reply = answer(&udp("fd00::2", "fd01::2", 1400), IcmpError::TimeExceeded, "fd00::1");
    assert_eq!(reply.unwrap().len(), 14 + 1280);
}

#[test]
fn ethernet_padding_is_not_quoted() {
    let mut frame = udp("10.0.0.2", "10.1.0.2", 1);
    let bytes = frame.len();
    frame.resize(60, 0xaa);
    let reply = answer(&frame, IcmpError::TimeExceeded, "10.0.0.1").unwrap();
    assert_eq!(reply.len(), 14 + 28 + bytes - 14);
}

#[test]
fn an_answer_keeps_the_vlan_of_the_offender() {
    let mut frame = udp("10.0.0.2", "10.1.0.2", 1);
    frame.splice(12..12, [0x81, 0, 0x60, 5]);
    let reply = answer(&frame, IcmpError::TimeExceeded, "10.0.0.1").unwrap();
    assert_eq!(&reply[12..18], &[0x81, 0, 0x60, 5, 8, 0]);
    assert_sound(&reply);
}

fn icmp4(kind: u8) -> Vec<u8> {
    let mut frame = Vec::new();
    towards("10.0.0.2", "10.1.0.2")
        .icmpv4_raw(kind, 0, [0; 4])
        .write(&mut frame, &[0; 28])
        .unwrap();
    frame
}

fn icmp6(kind: u8) -> Vec<u8> {
    let mut frame = Vec::new();
    towards("fd00::2", "fd01::2").icmpv6_raw(kind, 0, [0; 4]).write(&mut frame, &[0; 40]).unwrap();
    frame
}

fn is_answered(frame: &[u8]) -> bool {
    may_answer(frame, &layers(frame), IcmpError::HostUnreachable)
}

#[test]
fn errors_are_never_answered_with_errors_but_queries_are() {
    for kind in [3, 4, 5, 11, 12] {
        assert!(!is_answered(&icmp4(kind)), "type {kind}");
    }
    assert!(is_answered(&icmp4(8)));
    for kind in [1, 2, 3, 4, 99, 137] {
        assert!(!is_answered(&icmp6(kind)), "type {kind}");
    }
    assert!(is_answered(&icmp6(128)));
}

#[test]
fn packets_from_nobody_and_to_groups_are_not_answered() {
    for (from, to, expected) in [
        ("10.0.0.2", "10.1.0.2", true),
        ("0.0.0.0", "10.1.0.2", false),
        ("127.0.0.1", "10.1.0.2", false),
        ("224.0.0.1", "10.1.0.2", false),
        ("240.0.0.1", "10.1.0.2", false),
        ("10.0.0.2", "255.255.255.255", false),
        ("10.0.0.2", "224.0.0.251", false),
        ("fd00::2", "fd01::2", true),
        ("fe80::2", "fd01::2", true),
        ("::", "fd01::2", false),
        ("::1", "fd01::2", false),
        ("ff02::1", "fd01::2", false),
        ("fd00::2", "ff05::2", false),
    ] {
        assert_eq!(is_answered(&udp(from, to, 1)), expected, "{from} > {to}");
    }
}

#[test]
fn a_broadcast_frame_is_not_answered_even_when_its_packet_is_for_one_host() {
    let mut frame = udp("10.0.0.2", "10.1.0.2", 1);
    frame[..6].fill(0xff);
    assert!(!is_answered(&frame));
}

#[test]
fn only_packet_too_big_answers_an_ipv6_group() {
    let frame = udp("fd00::2", "ff05::2", 1400);
    let reply = answer(&frame, IcmpError::TooBig { mtu_bytes: 1300 }, "fd00::1").unwrap();
    assert_sound(&reply);
    assert!(answer(&frame, IcmpError::TimeExceeded, "fd00::1").is_none());
}

#[test]
fn later_fragments_are_not_answered() {
    let mut frame = udp("10.0.0.2", "10.1.0.2", 40);
    frame[14 + ipv4::FRAGMENT] = 0x20;
    assert!(is_answered(&frame), "the first one is");
    frame[14 + ipv4::FRAGMENT + 1] = 1;
    assert!(!is_answered(&frame));
}

#[test]
fn a_source_of_the_other_family_gives_no_answer_and_loses_no_buffer() {
    let frame = udp("10.0.0.2", "10.1.0.2", 40);
    let mut pool = pool();
    let offender = pool.frame_from(&frame).unwrap();
    let before = pool.free();
    let error = IcmpError::TimeExceeded;
    assert!(make(&offender, &layers(&frame), error, station("fd00::1"), &mut pool).is_none());
    assert_eq!(pool.free(), before);
}

#[test]
fn a_super_frame_with_half_a_checksum_is_quoted_from_its_first_byte() {
    let mut frame = Vec::new();
    towards("10.0.0.2", "10.1.0.2").tcp(4000, 80, 77, 100).write(&mut frame, &[9; 9000]).unwrap();
    let mut pool = pool();
    let mut offender = pool.frame_from(&frame).unwrap();
    let csum = Csum::Partial { start: 34, offset: 16 };
    offender.offload = Offload { csum, gso: Gso::Tcp4 { mss: 1448 } };
    let error = IcmpError::TooBig { mtu_bytes: 1400 };
    let reply = make(&offender, &layers(&frame), error, station("10.0.0.1"), &mut pool).unwrap();
    assert_sound(reply.data());
    assert_eq!(reply.offload, Offload { csum: Csum::Valid, gso: Gso::None });
    assert_eq!(&reply.data()[42..], &frame[14..14 + 576 - 28]);
}

fn tcp_frame(flags: u8, ack: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    towards("10.0.0.2", "10.1.0.2").tcp(4000, 80, 1000, 100).write(&mut frame, payload).unwrap();
    frame[34 + tcp::FLAGS] = flags;
    put_be32(&mut frame, 34 + tcp::ACK, ack);
    frame
}

fn reset_of(frame: &[u8]) -> Option<Vec<u8>> {
    let mut pool = pool();
    let offender = pool.frame_from(frame).unwrap();
    reset(&offender, &layers(frame), &mut pool).map(|reply| reply.data().to_vec())
}

#[test]
fn a_reset_has_the_numbers_that_make_it_acceptable() {
    for (flags, ack, payload, sequence, acked) in [
        (tcp::SYN, 0, &b""[..], 0, Some(1001)),
        (tcp::SYN | tcp::FIN, 0, b"abc", 0, Some(1005)),
        (0, 0, b"abcd", 0, Some(1004)),
        (tcp::ACK_FLAG, 5555, b"abcd", 5555, None),
        (tcp::SYN | tcp::ACK_FLAG, 7777, b"", 7777, None),
    ] {
        let reply = reset_of(&tcp_frame(flags, ack, payload)).unwrap();
        assert_sound(&reply);
        let sliced = SlicedPacket::from_ethernet(&reply).unwrap();
        let Some(TransportSlice::Tcp(segment)) = sliced.transport else { panic!("no TCP") };
        assert!(segment.rst() && !segment.syn());
        assert_eq!((segment.source_port(), segment.destination_port()), (80, 4000));
        assert_eq!(segment.sequence_number(), sequence);
        assert_eq!(segment.ack().then(|| segment.acknowledgment_number()), acked);
        let addresses = layers(&reply).addresses(&reply).unwrap();
        assert_eq!(addresses, (ip("10.1.0.2"), ip("10.0.0.2")), "as if from the destination");
    }
}

#[test]
fn resets_and_other_protocols_are_not_reset() {
    assert!(reset_of(&tcp_frame(tcp::RST, 0, b"")).is_none());
    assert!(reset_of(&udp("10.0.0.2", "10.1.0.2", 1)).is_none());
}

#[test]
fn a_reset_over_ipv6_is_sound() {
    let mut frame = Vec::new();
    towards("fd00::2", "fd01::2").tcp(4000, 80, 1000, 100).syn().write(&mut frame, &[]).unwrap();
    assert_sound(&reset_of(&frame).unwrap());
}

#[test]
fn the_oracle_knows_our_errors_by_name() {
    let reply = answer(&udp("10.0.0.2", "10.1.0.2", 1), IcmpError::PortUnreachable, "10.0.0.1");
    let reply = reply.unwrap();
    let sliced = SlicedPacket::from_ethernet(&reply).unwrap();
    let Some(TransportSlice::Icmpv4(icmp)) = sliced.transport else { panic!("no ICMP") };
    let port = etherparse::icmpv4::DestUnreachableHeader::Port;
    assert_eq!(icmp.icmp_type(), Icmpv4Type::DestinationUnreachable(port));
    let reply = answer(&udp("fd00::2", "fd01::2", 1), IcmpError::AdminProhibited, "fd00::1");
    let reply = reply.unwrap();
    let sliced = SlicedPacket::from_ethernet(&reply).unwrap();
    let Some(TransportSlice::Icmpv6(icmp)) = sliced.transport else { panic!("no ICMP") };
    let prohibited = etherparse::icmpv6::DestUnreachableCode::Prohibited;
    assert_eq!(icmp.icmp_type(), Icmpv6Type::DestinationUnreachable(prohibited));
}
