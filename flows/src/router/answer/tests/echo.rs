use etherparse::{Icmpv4Type, Icmpv6Type, SlicedPacket, TransportSlice};
use pktio::wire::Fragment;
use pktio::wire::checksum::{fold, pseudo_header, sum};
use pktio::wire::field::put_be16;
use pktio::{Csum, Gso, Offload};

use super::*;
use crate::router::fragment;

fn ping4(from: &str, to: &str, data: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(HOST.0, GATEWAY.0)
        .ipv4(v4(from), v4(to), 3)
        .icmpv4_echo_request(77, 5)
        .write(&mut frame, data)
        .unwrap();
    frame
}

fn ping6(from: &str, to: &str, data: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(HOST.0, GATEWAY.0)
        .ipv6(v6(from), v6(to), 3)
        .icmpv6_echo_request(77, 5)
        .write(&mut frame, data)
        .unwrap();
    frame
}

fn assert_pong4(frame: &[u8], data: &[u8]) {
    assert_from_gateway(frame, HOST);
    let header = etherparse::Ipv4HeaderSlice::from_slice(&frame[14..]).unwrap().to_header();
    assert_eq!(header.header_checksum, header.calc_header_checksum());
    assert_eq!((header.source, header.destination), (v4("10.0.0.1"), v4("10.0.0.2")));
    assert_eq!(header.time_to_live, 64);
    let sliced = SlicedPacket::from_ethernet(frame).unwrap();
    let Some(TransportSlice::Icmpv4(icmp)) = sliced.transport else { panic!("no ICMP") };
    let expected = etherparse::IcmpEchoHeader { id: 77, seq: 5 };
    assert_eq!(icmp.icmp_type(), Icmpv4Type::EchoReply(expected));
    assert_eq!(icmp.payload(), data);
    assert_eq!(icmp.checksum(), icmp.icmp_type().calc_checksum(icmp.payload()));
}

#[test]
fn the_answer_to_a_ping_of_nothing_but_zeros_has_a_checksum_that_holds() {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(HOST.0, GATEWAY.0)
        .ipv4(v4("10.0.0.2"), v4("10.0.0.1"), 3)
        .icmpv4_echo_request(0, 0)
        .write(&mut frame, &[0; 56])
        .unwrap();
    let reply = Bench::new().reply(&frame);
    assert_eq!(fold(sum(&reply[34..])), 0xffff, "all that is summed up is not zero");
}

#[test]
fn a_ping_is_answered_up_to_the_longest_packet() {
    for bytes in [0, 1, 56, 1472, 8972, 65_000] {
        let data = vec![0xa5; bytes];
        assert_pong4(&Bench::new().reply(&ping4("10.0.0.2", "10.0.0.1", &data)), &data);
        let reply = Bench::new().reply(&ping6("fd00::2", "fd00::1", &data));
        let layers = Layers::parse(&reply).unwrap().unwrap();
        assert_eq!(verify(&reply, &layers), Some(true));
        assert_eq!(reply[14 + 7], 64);
        let sliced = SlicedPacket::from_ethernet(&reply).unwrap();
        let Some(TransportSlice::Icmpv6(icmp)) = sliced.transport else { panic!("no ICMPv6") };
        let expected = etherparse::IcmpEchoHeader { id: 77, seq: 5 };
        assert_eq!(icmp.icmp_type(), Icmpv6Type::EchoReply(expected));
        assert_eq!(icmp.payload(), data);
    }
}

#[test]
fn the_link_local_address_answers_pings() {
    assert_eq!(Bench::new().attend(&ping6("fe80::2", "fe80::ff:fe00:1", b"x")).0, Outcome::Reply);
}

#[test]
fn a_fragmented_ping_is_answered_in_fragments() {
    let mut bench = Bench::new();
    let data: Vec<u8> = (0..3000u16).map(|number| number.to_be_bytes()[1]).collect();
    let mut frame = ping4("10.0.0.2", "10.0.0.1", &data);
    put_be16(&mut frame, 14 + 6, 0); // etherparse sets the don't-fragment bit
    put_be16(&mut frame, 14 + 10, 0);
    let header = etherparse::Ipv4HeaderSlice::from_slice(&frame[14..]).unwrap().to_header();
    put_be16(&mut frame, 14 + 10, header.calc_header_checksum());
    let layers = Layers::parse(&frame).unwrap().unwrap();
    let whole = bench.pool.frame_from(&frame).unwrap();
    let mut pieces = Burst::new();
    fragment(whole, &layers, 1500, &mut bench.pool, &mut pieces).unwrap();
    assert_eq!(pieces.len(), 3);
    let mut defrag = etherparse::defrag::IpDefragPool::<(), ()>::new();
    let mut whole = None;
    for mut piece in pieces.drain(..) {
        assert_eq!(bench.attend_frame(&mut piece), Outcome::Reply);
        let sliced = SlicedPacket::from_ethernet(piece.data()).unwrap();
        whole = whole.or(defrag.process_sliced_packet(&sliced, (), ()).unwrap());
    }
    let mut icmp = whole.unwrap().payload;
    assert_eq!(fold(pktio::wire::checksum::sum(&icmp)), 0xffff);
    assert_eq!((icmp[0], icmp.split_off(8)), (0, data));
}

#[test]
fn a_ping_with_half_a_checksum_keeps_it_half_done() {
    let mut bench = Bench::new();
    let mut bytes = ping6("fd00::2", "fd00::1", b"data");
    let layers = Layers::parse(&bytes).unwrap().unwrap();
    let pseudo = fold(pseudo_header(&bytes, &layers, bytes.len() - 54).unwrap());
    put_be16(&mut bytes, 56, pseudo);
    let mut frame = bench.pool.frame_from(&bytes).unwrap();
    frame.offload.csum = Csum::Partial { start: 54, offset: 2 };
    assert_eq!(bench.attend_frame(&mut frame), Outcome::Reply);
    assert!(pktio::offload::checksum::complete(&mut frame));
    assert_eq!(verify(frame.data(), &layers), Some(true));
}

#[test]
fn a_damaged_ping_is_not_answered() {
    for mut frame in [ping4("10.0.0.2", "10.0.0.1", b"data"), ping6("fd00::2", "fd00::1", b"data")]
    {
        *frame.last_mut().unwrap() ^= 1;
        assert_eq!(Bench::new().attend(&frame), (Outcome::Done, frame));
    }
}

#[test]
fn pings_for_others_are_passed_on_and_those_from_nobody_or_to_many_are_not_answered() {
    for (frame, expected) in [
        (ping4("10.0.0.2", "10.1.0.1", b""), Outcome::Pass),
        (ping4("10.0.0.2", "10.0.0.255", b""), Outcome::Pass),
        (ping4("0.0.0.0", "10.0.0.1", b""), Outcome::Done),
        (ping4("224.0.0.1", "10.0.0.1", b""), Outcome::Done),
        (ping6("::", "fd00::1", b""), Outcome::Done),
        (ping6("fd00::2", "ff02::1", b""), Outcome::Pass),
    ] {
        assert_eq!(Bench::new().attend(&frame).0, expected);
    }
    let mut broadcast = ping4("10.0.0.2", "10.0.0.1", b"");
    broadcast[..6].fill(0xff);
    assert_eq!(Bench::new().attend(&broadcast).0, Outcome::Done);
}

#[test]
fn other_packets_for_the_gateway_are_refused() {
    let to_gateway = || PacketBuilder::ethernet2(HOST.0, GATEWAY.0);
    let v4 = || to_gateway().ipv4(v4("10.0.0.2"), v4("10.0.0.1"), 64);
    let (mut udp, mut tcp, mut sctp, mut pong) = (vec![], vec![], vec![], vec![]);
    v4().udp(1, 2).write(&mut udp, &[]).unwrap();
    v4().tcp(1, 2, 3, 4).syn().write(&mut tcp, &[]).unwrap();
    v4().write(&mut sctp, etherparse::IpNumber::SCTP, &[0; 12]).unwrap();
    v4().icmpv4_echo_reply(1, 2).write(&mut pong, &[]).unwrap();
    for (frame, expected) in [
        (udp, Outcome::Refuse(IcmpError::PortUnreachable)),
        (tcp, Outcome::Reset),
        (sctp, Outcome::Refuse(IcmpError::ProtocolUnreachable)),
        (pong, Outcome::Done),
    ] {
        assert_eq!(Bench::new().attend(&frame), (expected, frame));
    }
}

#[test]
fn a_later_fragment_is_refused_silently() {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(HOST.0, GATEWAY.0)
        .ipv4(v4("10.0.0.2"), v4("10.0.0.1"), 64)
        .udp(1, 2)
        .write(&mut frame, &[0; 32])
        .unwrap();
    frame[14 + 7] = 1;
    assert_eq!(Layers::parse(&frame).unwrap().unwrap().fragment, Fragment::Later);
    assert_eq!(Bench::new().attend(&frame).0, Outcome::Done);
}

#[test]
fn a_ping_that_claims_to_be_a_super_frame_is_not_answered() {
    let mut bench = Bench::new();
    let mut frame = bench.pool.frame_from(&ping4("10.0.0.2", "10.0.0.1", b"")).unwrap();
    let csum = Csum::Partial { start: 34, offset: 2 };
    frame.offload = Offload { csum, gso: Gso::Udp { size: 4 } };
    assert_eq!(bench.attend_frame(&mut frame), Outcome::Done);
}
