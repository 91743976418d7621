//! Packets as read from frames, which etherparse builds.

use etherparse::{
    IpFragOffset, IpHeaders, Ipv4Header, Ipv6FlowLabel, PacketBuilder, icmpv4, icmpv6,
};
use pktio::wire::{Fragment, Layers, MacAddr};

use super::super::{Icmp, Packet};
use crate::{BridgeIndex, Endpoint, PortIndex, Tuple, Vid};

const FROM: [u8; 6] = [2, 0, 0, 0, 0, 1];
const TO: [u8; 6] = [2, 0, 0, 0, 0, 2];
const HERE: [u8; 4] = [10, 0, 0, 1];
const THERE: [u8; 4] = [10, 0, 0, 2];

fn read(frame: &[u8]) -> Packet {
    let layers = Layers::parse(frame).unwrap();
    Packet::read(frame, layers.as_ref(), (PortIndex(3), BridgeIndex(1), Vid(7))).unwrap()
}

fn built(write: impl FnOnce(&mut Vec<u8>)) -> Packet {
    let mut frame = Vec::new();
    write(&mut frame);
    read(&frame)
}

fn v4(header: Ipv4Header) -> IpHeaders {
    IpHeaders::Ipv4(header, etherparse::Ipv4Extensions::default())
}

fn tuple(protocol: u8, ports: (u16, u16)) -> Option<Tuple> {
    Some(Tuple {
        protocol,
        source: Endpoint::new(HERE, ports.0),
        destination: Endpoint::new(THERE, ports.1),
    })
}

#[test]
fn a_tcp_segment_shows_its_flags_and_ports_and_code_point() {
    let mut ip = Ipv4Header::new(60, 64, etherparse::IpNumber::TCP, HERE, THERE).unwrap();
    ip.dscp = 46.try_into().unwrap();
    let packet = built(|frame| {
        let builder = PacketBuilder::ethernet2(FROM, TO).ip(v4(ip));
        builder.tcp(4000, 80, 1, 1024).syn().ack(5).write(frame, b"hello").unwrap();
    });
    assert_eq!((packet.source_mac, packet.destination_mac), (MacAddr(FROM), MacAddr(TO)));
    assert_eq!((packet.ingress, packet.bridge, packet.vid), (PortIndex(3), BridgeIndex(1), Vid(7)));
    assert_eq!((packet.ethertype, packet.dscp), (0x0800, 46));
    assert_eq!((packet.tcp_flags, packet.icmp), (Some(0x12), None));
    assert_eq!(packet.tuple, tuple(6, (4000, 80)));
    assert_eq!(packet.ports(), Some((4000, 80)));
}

#[test]
fn a_tagged_datagram_of_ipv6_is_seen_behind_its_tag() {
    let ip = etherparse::Ipv6Header {
        traffic_class: 46 << 2 | 1,
        flow_label: Ipv6FlowLabel::ZERO,
        payload_length: 0,
        next_header: etherparse::IpNumber::UDP,
        hop_limit: 64,
        source: [0xfd; 16],
        destination: [0xfc; 16],
    };
    let packet = built(|frame| {
        let builder = PacketBuilder::ethernet2(FROM, TO).single_vlan(9.try_into().unwrap());
        let ip = IpHeaders::Ipv6(ip, etherparse::Ipv6Extensions::default());
        builder.ip(ip).udp(53, 5353).write(frame, b"hello").unwrap();
    });
    assert_eq!((packet.ethertype, packet.dscp), (0x86dd, 46));
    assert_eq!((packet.tcp_flags, packet.ports()), (None, Some((53, 5353))));
}

#[test]
fn an_icmp_message_shows_type_and_code_and_has_no_ports() {
    let echo = icmpv4::CODE_DST_UNREACH_PORT;
    let builder = || PacketBuilder::ethernet2(FROM, TO).ipv4(HERE, THERE, 64);
    let packet = built(|frame| {
        builder().icmpv4_raw(3, echo, [0; 4]).write(frame, &[0; 28]).unwrap();
    });
    assert_eq!(packet.icmp, Some(Icmp { kind: 3, code: echo }));
    assert_eq!((packet.tuple, packet.ports()), (tuple(1, (0, 0)), None));
    let query = built(|frame| builder().icmpv4_echo_request(77, 1).write(frame, b"").unwrap());
    assert_eq!((query.tuple, query.ports()), (tuple(1, (77, 77)), None));
    let solicitation = built(|frame| {
        let builder = PacketBuilder::ethernet2(FROM, TO).ipv6([1; 16], [2; 16], 255);
        builder
            .icmpv6_raw(icmpv6::TYPE_NEIGHBOR_SOLICITATION, 0, [0; 4])
            .write(frame, &[0; 16])
            .unwrap();
    });
    assert_eq!(solicitation.icmp, Some(Icmp { kind: 135, code: 0 }));
}

#[test]
fn a_later_fragment_has_addresses_and_protocol_and_nothing_more() {
    let mut ip = Ipv4Header::new(0, 64, etherparse::IpNumber::TCP, HERE, THERE).unwrap();
    ip.fragment_offset = IpFragOffset::try_new(100).unwrap();
    let packet = built(|frame| {
        let builder = PacketBuilder::ethernet2(FROM, TO).ip(v4(ip));
        builder.write(frame, etherparse::IpNumber::TCP, &[0xff; 64]).unwrap();
    });
    assert_eq!(packet.fragment, Fragment::Later);
    assert_eq!((packet.tuple, packet.ports()), (tuple(6, (0, 0)), None));
    assert_eq!((packet.tcp_flags, packet.icmp), (None, None));
}

#[test]
fn what_is_not_ip_shows_its_ethertype_behind_any_tags() {
    let arp = [&TO[..], &FROM, &[0x08, 0x06], &[0; 28]].concat();
    assert_eq!((read(&arp).ethertype, read(&arp).tuple), (0x0806, None));
    let twice = [&TO[..], &FROM, &[0x88, 0xa8, 0, 5, 0x81, 0, 0, 6, 0x88, 0xcc], &[0; 20]].concat();
    assert_eq!(read(&twice).ethertype, 0x88cc);
    let at = (PortIndex(0), BridgeIndex(0), Vid::NONE);
    assert_eq!(Packet::read(&arp[..13], None, at), None);
    // Cut off inside of its tag: what there is, is the tag's.
    assert_eq!(Packet::read(&twice[..16], None, at).unwrap().ethertype, 0x88a8);
}
