use etherparse::{
    ArpEthIpv4Packet, ArpOperation, ArpPacketSlice, EtherType, NetSlice, SlicedPacket,
};

use super::*;
use crate::router::Solicitation;

const ANYBODY: &str = "0.0.0.0";

fn arp(operation: ArpOperation, sender: (MacAddr, &str), target: (MacAddr, &str)) -> Vec<u8> {
    let packet = ArpEthIpv4Packet {
        operation,
        sender_mac: sender.0.0,
        sender_ipv4: v4(sender.1),
        target_mac: target.0.0,
        target_ipv4: v4(target.1),
    };
    let to = if operation == ArpOperation::REPLY { target.0 } else { MacAddr::BROADCAST };
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(sender.0.0, to.0).arp(packet.into()).write(&mut frame).unwrap();
    frame
}

fn question(sender: &str, target: &str) -> Vec<u8> {
    arp(ArpOperation::REQUEST, (HOST, sender), (MacAddr::default(), target))
}

fn answer(sender: (MacAddr, &str)) -> Vec<u8> {
    arp(ArpOperation::REPLY, sender, (GATEWAY, "10.0.0.1"))
}

fn read(frame: &[u8]) -> ArpEthIpv4Packet {
    let sliced = SlicedPacket::from_ethernet(frame).unwrap();
    let Some(NetSlice::Arp(slice)) = sliced.net else { panic!("no ARP") };
    let slice: ArpPacketSlice = slice;
    slice.to_packet().try_eth_ipv4().unwrap()
}

#[test]
fn a_question_for_the_gateway_is_answered_and_its_sender_learned() {
    let mut bench = Bench::new();
    let reply = bench.reply(&question("10.0.0.2", "10.0.0.1"));
    assert_from_gateway(&reply, HOST);
    let expected = ArpEthIpv4Packet {
        operation: ArpOperation::REPLY,
        sender_mac: GATEWAY.0,
        sender_ipv4: v4("10.0.0.1"),
        target_mac: HOST.0,
        target_ipv4: v4("10.0.0.2"),
    };
    assert_eq!(read(&reply), expected);
    assert_eq!(bench.known("10.0.0.2"), Some(HOST));
}

#[test]
fn a_question_in_a_vlan_is_answered_there() {
    let mut frame = question("10.0.0.2", "10.0.0.1");
    frame.splice(12..12, [0x81, 0, 0, 5]);
    let reply = Bench::new().reply(&frame);
    assert_eq!(&reply[12..18], &[0x81, 0, 0, 5, 8, 6]);
    assert_eq!(read(&reply).sender_ipv4, v4("10.0.0.1"));
}

#[test]
fn questions_for_others_are_passed_on() {
    let mut bench = Bench::new();
    let frame = question("10.0.0.2", "10.0.0.3");
    assert_eq!(bench.attend(&frame), (Outcome::Pass, frame));
    assert_eq!(bench.known("10.0.0.2"), None, "nobody is learned who does not want the gateway");
}

#[test]
fn an_asker_outside_of_the_subnets_is_answered_but_not_learned() {
    let mut bench = Bench::new();
    bench.reply(&question("10.77.0.2", "10.0.0.1"));
    assert_eq!(bench.known("10.77.0.2"), None);
}

#[test]
fn the_gateway_stands_in_for_containers_on_other_ports_only() {
    let mut bench = Bench::new();
    let reply = bench.reply(&question("10.0.0.2", "10.9.0.7"));
    assert_eq!((read(&reply).sender_mac, read(&reply).sender_ipv4), (GATEWAY.0, v4("10.9.0.7")));
    assert_eq!(bench.attend(&question("10.0.0.2", "10.9.0.8")).0, Outcome::Pass);
}

#[test]
fn a_probe_finds_the_gateways_addresses_taken_and_those_it_stands_in_for_free() {
    let mut bench = Bench::new();
    let reply = bench.reply(&question(ANYBODY, "10.0.0.1"));
    assert_eq!(read(&reply).target_ipv4, v4(ANYBODY));
    assert_eq!(bench.attend(&question(ANYBODY, "10.9.0.7")).0, Outcome::Pass);
    assert_eq!(
        bench.attend(&question("10.9.0.7", "10.9.0.7")).0,
        Outcome::Pass,
        "nor when claimed"
    );
    assert!(bench.neighbors.is_empty());
}

#[test]
fn an_answer_to_the_gateways_question_makes_a_neighbour_reachable() {
    let mut bench = Bench::new();
    assert_eq!(bench.attend(&answer((HOST, "10.0.0.2"))).0, Outcome::Done);
    assert_eq!(bench.state("10.0.0.2"), None, "nobody asked");
    bench.is_asked_for("10.0.0.2");
    assert_eq!(bench.attend(&answer((HOST, "10.0.0.2"))).0, Outcome::Done);
    assert_eq!(bench.state("10.0.0.2"), Some(NeighborState::Reachable));
}

#[test]
fn an_announcement_changes_only_what_is_known() {
    let mut bench = Bench::new();
    let other = MacAddr([2, 0, 0, 0, 0, 9]);
    let announcement =
        arp(ArpOperation::REQUEST, (other, "10.0.0.2"), (MacAddr::default(), "10.0.0.2"));
    assert_eq!(bench.attend(&announcement).0, Outcome::Pass);
    assert_eq!(bench.known("10.0.0.2"), None);
    bench.reply(&question("10.0.0.2", "10.0.0.1"));
    bench.attend(&announcement);
    assert_eq!(bench.known("10.0.0.2"), Some(other));
}

#[test]
fn who_claims_an_address_of_the_gateway_is_told_and_not_learned() {
    let mut bench = Bench::new();
    let reply = bench.reply(&question("10.0.0.1", "10.0.0.1"));
    assert_eq!(read(&reply).sender_mac, GATEWAY.0);
    assert_eq!(bench.known("10.0.0.1"), None);
}

#[test]
fn a_sender_without_a_proper_mac_is_not_answered() {
    let mut frame = question("10.0.0.2", "10.0.0.1");
    frame[22..28].fill(0xff);
    assert_eq!(Bench::new().attend(&frame).0, Outcome::Pass);
}

#[test]
fn the_gateway_asks_one_or_all() {
    let mut bench = Bench::new();
    for (to, expected) in [(None, MacAddr::BROADCAST), (Some(HOST), HOST)] {
        let question = Solicitation { bridge: BRIDGE, ip: ip("10.0.0.2"), to };
        let frame = bench.gateway.solicit(&question, &mut bench.pool).unwrap();
        assert_from_gateway(frame.data(), expected);
        let asked = read(frame.data());
        assert_eq!(asked.operation, ArpOperation::REQUEST);
        assert_eq!((asked.sender_ipv4, asked.target_ipv4), (v4("10.0.0.1"), v4("10.0.0.2")));
        assert_eq!(asked.sender_mac, GATEWAY.0);
    }
    bench.gateway.addresses.clear();
    let question = Solicitation { bridge: BRIDGE, ip: ip("10.0.0.2"), to: None };
    assert!(bench.gateway.solicit(&question, &mut bench.pool).is_none());
}

#[test]
fn the_gateway_announces_its_addresses() {
    let mut bench = Bench::new();
    let mut out = Burst::new();
    bench.gateway.announce(&mut bench.pool, &mut out);
    let sliced = SlicedPacket::from_ethernet(out[0].data()).unwrap();
    assert_eq!(sliced.ether_payload().unwrap().ether_type, EtherType::ARP);
    let told = read(out[0].data());
    assert_eq!((told.sender_ipv4, told.target_ipv4), (v4("10.0.0.1"), v4("10.0.0.1")));
    assert_eq!(out.len(), 2);
    assert_from_gateway(out[1].data(), MacAddr([0x33, 0x33, 0, 0, 0, 1]));
}
