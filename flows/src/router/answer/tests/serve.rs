//! What is for a service of the gateway, and what is not.

use etherparse::PacketBuilder;

use super::*;

const ASKER: [u8; 4] = [10, 0, 0, 2];
const NOBODY: [u8; 4] = [0; 4];
const GATEWAYS: [u8; 4] = [10, 0, 0, 1];
const ALL: [u8; 4] = [255; 4];

fn udp(from: [u8; 4], to: [u8; 4], port: u16) -> Vec<u8> {
    let mac = if to == ALL { MacAddr([0xff; 6]) } else { GATEWAY };
    let builder = PacketBuilder::ethernet2(HOST.0, mac.0).ipv4(from, to, 64).udp(6868, port);
    let mut frame = Vec::new();
    builder.write(&mut frame, b"question").unwrap();
    frame
}

fn tcp(to: [u8; 4], port: u16) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2(HOST.0, GATEWAY.0).ipv4(ASKER, to, 64);
    let mut frame = Vec::new();
    builder.tcp(6868, port, 1, 1000).syn().write(&mut frame, &[]).unwrap();
    frame
}

fn serving(names: bool, addresses: bool) -> Bench {
    let mut bench = Bench::new();
    bench.gateway.serves = Services { names, addresses };
    bench
}

#[test]
fn a_gateway_is_asked_for_what_it_serves_and_for_nothing_else() {
    let unreachable = Outcome::Refuse(IcmpError::PortUnreachable);
    for (frame, names, addresses, otherwise) in [
        (udp(ASKER, GATEWAYS, 53), true, false, unreachable),
        (tcp(GATEWAYS, 53), true, false, Outcome::Reset),
        (udp(NOBODY, ALL, 67), false, true, Outcome::Pass),
        (udp(ASKER, [10, 0, 0, 255], 67), false, true, Outcome::Pass),
        (udp(ASKER, GATEWAYS, 67), false, true, unreachable),
        (udp(ASKER, GATEWAYS, 54), false, false, unreachable),
        (tcp(GATEWAYS, 67), false, false, Outcome::Reset),
        (udp(ASKER, [10, 0, 0, 3], 53), false, false, Outcome::Pass),
        (udp(ASKER, [10, 0, 0, 3], 67), false, false, Outcome::Pass),
        (udp(ASKER, ALL, 53), false, false, Outcome::Pass),
    ] {
        let what = |is_served| if is_served { Outcome::Serve } else { otherwise };
        assert_eq!(serving(true, false).attend(&frame).0, what(names), "{frame:x?}");
        assert_eq!(serving(false, true).attend(&frame).0, what(addresses), "{frame:x?}");
        let (outcome, after) = serving(true, true).attend(&frame);
        assert_eq!(outcome, what(names || addresses), "{frame:x?}");
        assert_eq!(after, frame, "it is handed on as it came");
    }
}

#[test]
fn names_are_asked_for_at_every_address_of_the_gateway() {
    for to in ["fd00::1", "fe80::ff:fe00:1"] {
        let builder = PacketBuilder::ethernet2(HOST.0, GATEWAY.0).ipv6(v6("fd00::2"), v6(to), 64);
        let mut frame = Vec::new();
        builder.udp(6868, 53).write(&mut frame, b"question").unwrap();
        assert_eq!(serving(true, false).attend(&frame).0, Outcome::Serve, "{to}");
    }
}

#[test]
fn fragments_and_what_nobody_can_be_answered_for_are_no_questions() {
    let mut fragment = udp(ASKER, GATEWAYS, 53);
    fragment[20] |= 0x20;
    assert_ne!(serving(true, true).attend(&fragment).0, Outcome::Serve);
    let from_a_group = udp([224, 0, 0, 1], GATEWAYS, 53);
    assert_ne!(serving(true, true).attend(&from_a_group).0, Outcome::Serve);
}
