//! Ports of tunnels: who hears whom, and what becomes of what is too long.

use etherparse::{
    Icmpv4Type, Icmpv6Type, NetSlice, PacketBuilder, SlicedPacket, TransportSlice, icmpv4,
};

use super::*;

const CONTAINER: u16 = 0;
const BASE: u16 = 1;
const FIRST: u16 = 2;
const SECOND: u16 = 3;
const MTU: u32 = 1300;

/// A container, and a tunnel to two remotes.
fn rig() -> Rig {
    let vtep = PortConfig { horizon: Horizon::Tunnel, mtu_bytes: MTU, vni: Some(7), ..plain(0) };
    let base = PortConfig { is_ingress_only: true, mac_limit: 0, ..vtep.clone() };
    Rig::new(vec![plain(0), base, vtep.clone(), vtep])
}

/// A rig in which both stations are known: 1 is the container, 2 is behind the first remote.
fn acquainted() -> Rig {
    let mut rig = rig();
    rig.send(CONTAINER, &frame(MacAddr::BROADCAST, station(1), None));
    rig.send(FIRST, &frame(station(1), station(2), None));
    rig
}

fn udp4(payload: usize, dont_fragment: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    let payload: Vec<u8> = (0..=u8::MAX).cycle().take(payload).collect();
    PacketBuilder::ethernet2(station(1).0, station(2).0)
        .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
        .udp(1000, 2000)
        .write(&mut bytes, &payload)
        .unwrap();
    if !dont_fragment {
        // etherparse sets the bit.
        bytes[20] &= !0x40;
        let checksum = !pktio::wire::checksum::fold(pktio::wire::checksum::sum(&header_of(&bytes)));
        bytes[24..26].copy_from_slice(&checksum.to_be_bytes());
    }
    bytes
}

/// The IPv4 header with a checksum of zero.
fn header_of(frame: &[u8]) -> Vec<u8> {
    let mut header = frame[14..34].to_vec();
    header[10..12].fill(0);
    header
}

fn udp6(payload: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let [from, to] = [1u8, 2].map(|host| {
        let mut ip = [0; 16];
        (ip[0], ip[15]) = (0xfd, host);
        ip
    });
    PacketBuilder::ethernet2(station(1).0, station(2).0)
        .ipv6(from, to, 64)
        .udp(1000, 2000)
        .write(&mut bytes, &vec![0; payload])
        .unwrap();
    bytes
}

#[test]
fn what_one_remote_sends_the_others_have_heard_already() {
    let mut rig = rig();
    let broadcast = frame(MacAddr::BROADCAST, station(1), None);
    assert_eq!(ports_of(&rig.send(CONTAINER, &broadcast)), [FIRST, SECOND]);
    let broadcast = frame(MacAddr::BROADCAST, station(2), None);
    assert_eq!(ports_of(&rig.send(FIRST, &broadcast)), [CONTAINER]);
    assert_eq!(ports_of(&rig.send(SECOND, &frame(station(2), station(3), None))), [0u16; 0]);
    assert_eq!(rig.drops(SECOND, DropReason::Isolated), 1);
}

#[test]
fn by_the_base_frames_come_in_and_nothing_is_learned() {
    let mut rig = rig();
    let broadcast = frame(MacAddr::BROADCAST, station(2), None);
    assert_eq!(ports_of(&rig.send(BASE, &broadcast)), [CONTAINER]);
    let reply = frame(station(2), station(1), None);
    assert_eq!(ports_of(&rig.send(CONTAINER, &reply)), [FIRST, SECOND], "not known, and flooded");
}

#[test]
fn a_sender_that_forbids_fragments_is_told_how_long_they_may_be() {
    let mut rig = acquainted();
    assert_eq!(ports_of(&rig.send(CONTAINER, &udp4(1272, true))), [FIRST], "just fits");
    let out = rig.send(CONTAINER, &udp4(1273, true));
    let [(CONTAINER, answer)] = &out[..] else { panic!("{out:?}") };
    let packet = SlicedPacket::from_ethernet(answer).unwrap();
    let Some(TransportSlice::Icmpv4(icmp)) = packet.transport else { panic!("{packet:?}") };
    let expected = icmpv4::DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: 1300 };
    assert_eq!(icmp.icmp_type(), Icmpv4Type::DestinationUnreachable(expected));
    let Some(NetSlice::Ipv4(ip)) = packet.net else { panic!("no IPv4") };
    assert_eq!(ip.header().source(), [10, 0, 0, 2], "in the name of whom it was for");
    assert_eq!(answer[..12], [station(1).0, station(2).0].concat());
    assert_eq!(rig.drops(CONTAINER, DropReason::TooBig), 1);
}

#[test]
fn a_sender_by_ipv6_is_told_as_well() {
    let mut rig = acquainted();
    assert_eq!(ports_of(&rig.send(CONTAINER, &udp6(1252))), [FIRST], "just fits");
    let out = rig.send(CONTAINER, &udp6(1253));
    let [(CONTAINER, answer)] = &out[..] else { panic!("{out:?}") };
    let packet = SlicedPacket::from_ethernet(answer).unwrap();
    let Some(TransportSlice::Icmpv6(icmp)) = packet.transport else { panic!("{packet:?}") };
    assert_eq!(icmp.icmp_type(), Icmpv6Type::PacketTooBig { mtu: 1300 });
    assert_eq!(rig.drops(CONTAINER, DropReason::TooBig), 1);
}

#[test]
fn a_packet_that_may_be_fragmented_is() {
    let mut rig = acquainted();
    let whole = udp4(3000, false);
    let out = rig.send(CONTAINER, &whole);
    assert_eq!(ports_of(&out), [FIRST; 3]);
    let mut payload = vec![0; 3008];
    for (_, piece) in &out {
        let packet = SlicedPacket::from_ethernet(piece).unwrap();
        let Some(NetSlice::Ipv4(ip)) = packet.net else { panic!("no IPv4") };
        assert!(usize::from(ip.header().total_len()) <= 1300);
        let at = usize::from(ip.header().fragments_offset().value()) * 8;
        let bytes = ip.payload().payload;
        payload[at..at + bytes.len()].copy_from_slice(bytes);
    }
    assert_eq!(payload, whole[34..]);
}

#[test]
fn what_is_no_ip_and_too_long_is_dropped() {
    let mut rig = acquainted();
    let mut long = frame(station(2), station(1), None);
    long.resize(1315, 0);
    assert_eq!(rig.send(CONTAINER, &long), []);
    assert_eq!(rig.drops(CONTAINER, DropReason::Oversized), 1);
}
