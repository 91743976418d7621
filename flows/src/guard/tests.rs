//! What a guarded port may send, by tables. Its own are station 1, 10.0.0.1 and fd00::1.

use etherparse::PacketBuilder;

use super::*;

const OWN: [u8; 6] = [2, 0, 0, 0, 0, 1];
const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 2];
const OWN_LINK_LOCAL: &str = "fe80::ff:fe00:1";

fn guard() -> Guard {
    let addresses = ["10.0.0.1", "fd00::1"].map(|ip| ip.parse().unwrap()).to_vec();
    Guard { mac: MacAddr(OWN), addresses }
}

fn admits(frame: &[u8]) -> bool {
    guard().admits(frame, Layers::parse(frame).unwrap().as_ref())
}

fn arp(station: [u8; 6], ip: [u8; 4]) -> Vec<u8> {
    let mut frame = [&[0xff; 6][..], &OWN, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &station, &ip].concat();
    frame.extend([0; 10]);
    frame
}

fn udp(from: &str, ports: (u16, u16)) -> Vec<u8> {
    let mut frame = Vec::new();
    let builder = PacketBuilder::ethernet2(OWN, OTHER);
    let builder = match from.parse().unwrap() {
        IpAddr::V4(ip) => builder.ipv4(ip.octets(), [10, 0, 0, 9], 64),
        IpAddr::V6(ip) => builder.ipv6(ip.octets(), [0xfd; 16], 64),
    };
    builder.udp(ports.0, ports.1).write(&mut frame, b"hello").unwrap();
    frame
}

/// An ICMPv6 message: type, target, and a link-layer address option.
fn discovery(from: &str, kind: u8, target: Option<&str>, link: Option<[u8; 6]>) -> Vec<u8> {
    let mut body = Vec::new();
    let ip = |text: &str| text.parse::<Ipv6Addr>().unwrap().octets();
    body.extend(target.map(ip).into_iter().flatten());
    body.extend(link.into_iter().flat_map(|link| [&[1, 1][..], &link].concat()));
    let mut frame = Vec::new();
    let builder = PacketBuilder::ethernet2(OWN, [0x33, 0x33, 0, 0, 0, 1]);
    let builder = builder.ipv6(ip(from), ip("ff02::1"), 255).icmpv6_raw(kind, 0, [0; 4]);
    builder.write(&mut frame, &body).unwrap();
    frame
}

#[test]
fn arp_is_about_its_own_addresses_or_asks_for_nobody() {
    assert!(admits(&arp(OWN, [10, 0, 0, 1])));
    assert!(admits(&arp(OWN, [0; 4])));
    assert!(!admits(&arp(OTHER, [10, 0, 0, 1])));
    assert!(!admits(&arp(OWN, [10, 0, 0, 2])));
    assert!(!admits(&arp(OWN, [10, 0, 0, 1])[..30]));
    let tagged = [&arp(OWN, [10, 0, 0, 2])[..12], &[0x81, 0, 0, 5], &arp(OWN, [10, 0, 0, 2])[12..]];
    assert!(!admits(&tagged.concat()), "a tag hides nothing");
}

#[test]
fn packets_come_from_its_own_addresses() {
    let table = [
        ("10.0.0.1", (4000, 53), true),
        ("10.0.0.2", (4000, 53), false),
        ("0.0.0.0", (68, 67), true),
        ("0.0.0.0", (4000, 53), false),
        ("10.0.0.1", (67, 68), false),
        ("10.0.0.1", (4000, 68), false),
        ("10.0.0.1", (68, 67), true),
        ("fd00::1", (4000, 53), true),
        ("fd00::2", (4000, 53), false),
        (OWN_LINK_LOCAL, (546, 547), true),
        ("fe80::1", (546, 547), false),
        ("fd00::1", (547, 546), false),
        ("fd00::1", (4000, 546), false),
        (OWN_LINK_LOCAL, (547, 546), false),
        (OWN_LINK_LOCAL, (4000, 546), false),
    ];
    for (from, ports, expected) in table {
        assert_eq!(admits(&udp(from, ports)), expected, "{from} {ports:?}");
    }
    let mut other = udp("10.0.0.1", (4000, 53));
    other[6..12].copy_from_slice(&OTHER);
    assert!(!admits(&other));
}

#[test]
fn it_is_no_router_and_advertises_nobody_else() {
    let table = [
        ("fd00::1", 136, Some("fd00::1"), Some(OWN), true),
        ("fd00::1", 136, Some("fd00::1"), None, true),
        ("fd00::1", 136, Some("fd00::1"), Some(OTHER), false),
        ("fd00::1", 136, Some("fd00::2"), Some(OWN), false),
        ("fd00::2", 136, Some("fd00::2"), Some(OWN), false),
        ("fd00::1", 135, Some("fd00::2"), Some(OWN), true),
        ("fd00::1", 135, Some("fd00::2"), Some(OTHER), false),
        ("::", 135, Some("fd00::1"), None, true),
        ("::", 135, Some(OWN_LINK_LOCAL), None, true),
        ("::", 135, Some("fd00::2"), None, false),
        ("::", 133, None, None, true),
        ("::", 143, None, None, true),
        (OWN_LINK_LOCAL, 133, None, None, true),
        (OWN_LINK_LOCAL, 134, None, None, false),
        (OWN_LINK_LOCAL, 137, Some("fd00::1"), None, false),
        ("fd00::1", 128, None, None, true),
        ("::", 128, None, None, false),
    ];
    for (from, kind, target, link, expected) in table {
        let frame = discovery(from, kind, target, link);
        assert_eq!(admits(&frame), expected, "{from} {kind} {target:?} {link:?}");
    }
}

#[test]
fn frames_of_other_protocols_need_its_own_station_only() {
    let other = [&OTHER[..], &OWN, &[0x88, 0xb5], &[0; 50]].concat();
    assert!(admits(&other));
    assert!(!guard().admits(&other[..10], None));
}
