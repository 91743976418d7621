use std::time::Duration;

use etherparse::icmpv6::{NeighborAdvertisementHeader, RouterAdvertisementHeader};
use etherparse::{Icmpv6Type, SlicedPacket, TransportSlice};
use pktio::wire::Network;

use super::*;
use crate::router::Solicitation;

const ALL_NODES_MAC: MacAddr = MacAddr([0x33, 0x33, 0, 0, 0, 1]);
const LINK_LOCAL: &str = "fe80::ff:fe00:1";

/// An ICMPv6 message with the hop limit of Neighbor Discovery.
fn message(from: &str, to: &str, kind: u8, word: [u8; 4], body: &[u8]) -> Vec<u8> {
    with_hop_limit(255, from, to, kind, word, body)
}

fn with_hop_limit(hops: u8, from: &str, to: &str, kind: u8, word: [u8; 4], body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(HOST.0, GATEWAY.0)
        .ipv6(v6(from), v6(to), hops)
        .icmpv6_raw(kind, 0, word)
        .write(&mut frame, body)
        .unwrap();
    frame
}

/// A link-layer address option: 1 the source's, 2 the target's.
fn mac_option(kind: u8, mac: MacAddr) -> Vec<u8> {
    [&[kind, 1][..], &mac.0].concat()
}

fn solicitation(from: &str, to: &str, target: &str, option: &[u8]) -> Vec<u8> {
    message(from, to, 135, [0; 4], &[&v6(target)[..], option].concat())
}

fn advertisement(target: &str, flags: u8, option: &[u8]) -> Vec<u8> {
    message(target, "fd00::1", 136, [flags, 0, 0, 0], &[&v6(target)[..], option].concat())
}

/// Type and body of a message, and the addresses it is between. Everything about it must be sound.
fn read(frame: &[u8]) -> (Icmpv6Type, Vec<u8>, (IpAddr, IpAddr)) {
    let layers = Layers::parse(frame).unwrap().unwrap();
    assert_eq!(layers.network, Network::V6);
    assert_eq!(verify(frame, &layers), Some(true));
    assert_eq!(frame[usize::from(layers.l3) + 7], 255, "the hop limit");
    let sliced = SlicedPacket::from_ethernet(frame).unwrap();
    let Some(TransportSlice::Icmpv6(icmp)) = sliced.transport else { panic!("no ICMPv6") };
    (icmp.icmp_type(), icmp.payload().to_vec(), layers.addresses(frame).unwrap())
}

fn flags(solicited: bool, overriding: bool) -> Icmpv6Type {
    Icmpv6Type::NeighborAdvertisement(NeighborAdvertisementHeader {
        router: true,
        solicited,
        r#override: overriding,
    })
}

#[test]
fn a_solicitation_for_the_gateway_is_answered_and_its_sender_learned() {
    for target in ["fd00::1", LINK_LOCAL] {
        let mut bench = Bench::new();
        let option = mac_option(1, HOST);
        let reply = bench.reply(&solicitation("fd00::2", "ff02::1:ff00:1", target, &option));
        assert_from_gateway(&reply, HOST);
        let (kind, body, addresses) = read(&reply);
        assert_eq!(kind, flags(true, true));
        assert_eq!(body, [&v6(target)[..], &mac_option(2, GATEWAY)].concat());
        assert_eq!(addresses, (ip(target), ip("fd00::2")));
        assert_eq!(bench.known("fd00::2"), Some(HOST));
    }
}

#[test]
fn a_solicitation_in_a_vlan_is_answered_there() {
    let mut frame = solicitation("fd00::2", "fd00::1", "fd00::1", &[]);
    frame.splice(12..12, [0x81, 0, 0, 5]);
    let reply = Bench::new().reply(&frame);
    assert_eq!(&reply[12..18], &[0x81, 0, 0, 5, 0x86, 0xdd]);
    read(&reply);
}

#[test]
fn a_probe_for_duplicates_is_answered_to_all() {
    let mut bench = Bench::new();
    let reply = bench.reply(&solicitation("::", "ff02::1:ff00:1", "fd00::1", &[]));
    assert_from_gateway(&reply, ALL_NODES_MAC);
    let (kind, _, addresses) = read(&reply);
    assert_eq!(kind, flags(false, true));
    assert_eq!(addresses, (ip("fd00::1"), ip("ff02::1")));
    assert!(bench.neighbors.is_empty());
    let free = solicitation("::", "ff02::1:ff00:7", "fd09::7", &[]);
    assert_eq!(bench.attend(&free).0, Outcome::Pass, "whoever is stood in for can come up");
}

#[test]
fn the_gateway_stands_in_for_containers_on_other_ports_only() {
    let mut bench = Bench::new();
    let option = mac_option(1, HOST);
    let reply = bench.reply(&solicitation("fd00::2", "ff02::1:ff00:7", "fd09::7", &option));
    let (kind, body, addresses) = read(&reply);
    assert_eq!(kind, flags(true, false), "gives way to the owner");
    assert_eq!(body[..16], v6("fd09::7"));
    assert_eq!(addresses, (ip(LINK_LOCAL), ip("fd00::2")));
    let near = solicitation("fd00::2", "ff02::1:ff00:8", "fd09::8", &option);
    assert_eq!(bench.attend(&near).0, Outcome::Pass);
}

#[test]
fn solicitations_for_others_are_passed_on() {
    let frame = solicitation("fd00::2", "ff02::1:ff00:3", "fd00::3", &mac_option(1, HOST));
    assert_eq!(Bench::new().attend(&frame), (Outcome::Pass, frame));
}

#[test]
fn messages_that_are_not_to_be_believed_are_not_answered() {
    let body = [&v6("fd00::1")[..], &mac_option(1, HOST)].concat();
    let mut damaged = solicitation("fd00::2", "fd00::1", "fd00::1", &[]);
    *damaged.last_mut().unwrap() ^= 1;
    let empty_option = [0u8; 8];
    for (why, frame) in [
        ("from another link", with_hop_limit(254, "fd00::2", "fd00::1", 135, [0; 4], &body)),
        ("damaged", damaged),
        ("anonymous with a MAC", message("::", "ff02::1:ff00:1", 135, [0; 4], &body)),
        ("an anonymous question to one", solicitation("::", "fd00::1", "fd00::1", &[])),
        ("an option of no length", solicitation("fd00::2", "fd00::1", "fd00::1", &empty_option)),
        ("a group as the target", solicitation("fd00::2", "fd00::1", "ff02::1", &[])),
        ("too short", message("fd00::2", "fd00::1", 135, [0; 4], &[0; 8])),
        (
            "a group as MAC",
            solicitation("fd00::2", "fd00::1", "fd00::1", &mac_option(1, ALL_NODES_MAC)),
        ),
    ] {
        let mut bench = Bench::new();
        assert_eq!(bench.attend(&frame), (Outcome::Pass, frame), "{why}");
        assert!(bench.neighbors.is_empty(), "{why}");
    }
}

#[test]
fn an_advertisement_makes_an_expected_neighbour_reachable() {
    const SOLICITED: u8 = 0x40;
    let mut bench = Bench::new();
    let frame = advertisement("fd00::2", SOLICITED, &mac_option(2, HOST));
    assert_eq!(bench.attend(&frame).0, Outcome::Done);
    assert_eq!(bench.state("fd00::2"), None, "nobody asked");
    bench.is_asked_for("fd00::2");
    bench.attend(&frame);
    assert_eq!(bench.state("fd00::2"), Some(NeighborState::Reachable));
    assert_eq!(bench.known("fd00::2"), Some(HOST));
}

#[test]
fn the_gateway_asks_one_or_those_that_end_alike() {
    let mut bench = Bench::new();
    let group = MacAddr([0x33, 0x33, 0xff, 0, 0x12, 0x34]);
    for (to, mac, destination) in
        [(None, group, "ff02::1:ff00:1234"), (Some(HOST), HOST, "fd00::1234")]
    {
        let question = Solicitation { bridge: BRIDGE, ip: ip("fd00::1234"), to };
        let frame = bench.gateway.solicit(&question, &mut bench.pool).unwrap();
        assert_from_gateway(frame.data(), mac);
        let (kind, body, addresses) = read(frame.data());
        assert_eq!(kind, Icmpv6Type::NeighborSolicitation);
        assert_eq!(body, [&v6("fd00::1234")[..], &mac_option(1, GATEWAY)].concat());
        assert_eq!(addresses, (ip("fd00::1"), ip(destination)));
    }
}

fn advertising() -> Bench {
    let mut bench = Bench::new();
    let prefix = |text, bits| Prefix::new(ip(text), bits).unwrap();
    bench.gateway.advertise = Some(Advertising {
        prefixes: vec![
            AdvertisedPrefix::autonomous(prefix("fd00::", 64)),
            AdvertisedPrefix {
                is_autonomous: false,
                valid_seconds: 7,
                ..AdvertisedPrefix::autonomous(prefix("fd05::", 48))
            },
            AdvertisedPrefix::autonomous(prefix("10.0.0.0", 24)),
        ],
        mtu_bytes: Some(1450),
        has_other_config: true,
        ..Advertising::default()
    });
    bench
}

/// Checks an advertisement and returns its lifetime.
fn assert_advertises(frame: &[u8], to: &str) -> u16 {
    let (kind, body, addresses) = read(frame);
    let Icmpv6Type::RouterAdvertisement(header) = kind else { panic!("{kind:?}") };
    let RouterAdvertisementHeader { router_lifetime, .. } = header;
    assert_eq!((header.cur_hop_limit, header.managed_address_config), (64, false));
    assert!(header.other_config);
    assert_eq!(addresses, (ip(LINK_LOCAL), ip(to)));
    let prefix = |text, bits: u8, flags: u8, valid: u32| {
        let lifetimes = [valid.to_be_bytes(), 604_800u32.to_be_bytes(), [0; 4]].concat();
        [&[3, 4, bits, flags][..], &lifetimes, &v6(text)].concat()
    };
    let expected = [
        vec![0; 8],
        mac_option(1, GATEWAY),
        [&[5, 1, 0, 0][..], &1450u32.to_be_bytes()].concat(),
        prefix("fd00::", 64, 0xc0, 2_592_000),
        prefix("fd05::", 48, 0x80, 7),
    ];
    assert_eq!(body, expected.concat());
    router_lifetime
}

#[test]
fn a_router_solicitation_is_answered_to_its_sender() {
    let mut bench = advertising();
    let asked = message("fe80::2", "ff02::2", 133, [0; 4], &mac_option(1, HOST));
    let reply = bench.reply(&asked);
    assert_from_gateway(&reply, HOST);
    assert_eq!(assert_advertises(&reply, "fe80::2"), 1800);
    assert_eq!(bench.known("fe80::2"), Some(HOST));
    let reply = bench.reply(&message("::", "ff02::2", 133, [0; 4], &[]));
    assert_from_gateway(&reply, ALL_NODES_MAC);
    assert_advertises(&reply, "ff02::1");
}

#[test]
fn a_gateway_that_does_not_advertise_leaves_router_solicitations_to_others() {
    let asked = message("fe80::2", "ff02::2", 133, [0; 4], &mac_option(1, HOST));
    assert_eq!(Bench::new().attend(&asked), (Outcome::Pass, asked));
    assert!(Bench::new().gateway.farewell(&mut Bench::new().pool).is_none());
}

#[test]
fn all_stations_are_told_of_the_gateway_and_of_its_end() {
    let mut bench = advertising();
    let frame = bench.gateway.advertisement(&mut bench.pool).unwrap();
    assert_from_gateway(frame.data(), ALL_NODES_MAC);
    assert_eq!(assert_advertises(frame.data(), "ff02::1"), 1800);
    let frame = bench.gateway.farewell(&mut bench.pool).unwrap();
    assert_eq!(assert_advertises(frame.data(), "ff02::1"), 0);
}

#[test]
fn an_advertisement_never_outgrows_the_minimum_mtu() {
    let mut bench = advertising();
    let config = bench.gateway.advertise.as_mut().unwrap();
    config.prefixes = vec![config.prefixes[0]; 100];
    config.name_servers = vec!["fd00::53".parse().unwrap(); 100];
    let frame = bench.gateway.advertisement(&mut bench.pool).unwrap();
    assert!((1200..=1280 + 14).contains(&frame.len()), "{}", frame.len());
    read(frame.data());
    // The option of name servers comes last: 17 units of 8 bytes, for three times the interval (RFC 8106).
    let option = &frame.data()[frame.len() - 17 * 8..];
    assert_eq!(option[..8], [25, 17, 0, 0, 0, 0, 7, 8]);
    assert_eq!(
        option[option.len() - 16..],
        std::net::Ipv6Addr::from([0xfd00, 0, 0, 0, 0, 0, 0, 0x53]).octets()
    );
}

#[test]
fn unasked_advertisements_come_quickly_at_first_and_then_at_random() {
    let config = Advertising::default();
    let mut schedule = AdvertisingSchedule::new(NOW, 7);
    let mut times = Vec::new();
    for second in 9..7200 {
        if schedule.is_due(&config, Nanos::from_secs(second)) {
            times.push(second);
        }
    }
    let pauses: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!((times[0], &pauses[..2]), (9, &[16, 16][..]));
    assert!(pauses[2..].iter().all(|pause| (200..=600).contains(pause)), "{pauses:?}");
    assert!(pauses[2..].windows(2).any(|pair| pair[0] != pair[1]), "{pauses:?}");
    assert_eq!(config.interval, Duration::from_secs(600));
}
