//! What a gateway answers: any frames, as they are or made to look like ARP, neighbour discovery, a ping or DHCP. No
//! panic; what does not become an answer stays as it was; an answer goes from the gateway to a station, and its
//! checksums are right; and nobody is learned who cannot be a neighbour.
#![no_main]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use flows::router::{
    Advertising, Gateway, GatewayAddress, Neighbors, Outcome, Prefix, Scene, Services, Timers,
};
use flows::{BridgeIndex, Nanos};
use libfuzzer_sys::fuzz_target;
use pktio::offload::checksum::verify;
use pktio::wire::checksum::{finish, pseudo_header, sum};
use pktio::wire::field::{ethertype, protocol};
use pktio::wire::{Layers, MacAddr, after_tags};
use pktio::{PktBuf, Pool, PoolConfig};

const BRIDGE: BridgeIndex = BridgeIndex(0);
const MAC: MacAddr = MacAddr([2, 0, 0xff, 0, 0, 1]);
const V4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
const HEADERS_V4: usize = 34;
const HEADERS_V6: usize = 54;

fn gateway() -> Option<Gateway> {
    let addresses = [GatewayAddress::new(V4.into(), 24)?, GatewayAddress::new(V6.into(), 64)?];
    let proxy = [IpAddr::from([10, 0, 0, 77]), "fd00::77".parse().ok()?].map(Prefix::host);
    Some(Gateway {
        mac: MAC,
        addresses: addresses.to_vec(),
        proxy: proxy.into_iter().collect(),
        advertise: Some(Advertising::default()),
        serves: Services { names: true, addresses: true },
    })
}

/// Makes a frame look like something that gateways attend to.
fn dress(kind: u8, frame: &mut [u8]) {
    if frame.len() < 14 {
        return;
    }
    frame[..6].copy_from_slice(&MAC.0);
    match kind {
        0 => dress_arp(frame),
        1 => dress_v4(frame, protocol::ICMP, 8),
        // From DHCP's port to DHCP's port, and to the gateway instead of everybody.
        2 => dress_v4(frame, protocol::UDP, 0),
        _ => dress_v6(frame, 133 + kind % 5),
    }
}

/// A request or an answer for IPv4 on Ethernet; who asks for whom stays.
fn dress_arp(frame: &mut [u8]) {
    let header = [8, 6, 0, 1, 8, 0, 6, 4, 0];
    if let Some(place) = frame.get_mut(12..12 + header.len()) {
        place.copy_from_slice(&header);
    }
    if let Some(target) = frame.get_mut(38..41) {
        target.copy_from_slice(&V4.octets()[..3]);
    }
}

fn dress_v4(frame: &mut [u8], protocol: u8, kind: u8) {
    if frame.len() < HEADERS_V4 + 8 {
        return;
    }
    frame[12..16].copy_from_slice(&[8, 0, 0x45, 0]);
    let total = u16::try_from(frame.len() - 14).unwrap_or(0);
    frame[16..18].copy_from_slice(&total.to_be_bytes());
    frame[20..25].copy_from_slice(&[0, 0, 64, protocol, 0]);
    frame[25] = 0;
    frame[30..34].copy_from_slice(&V4.octets());
    let checksum = finish(sum(&frame[14..HEADERS_V4]));
    frame[24..26].copy_from_slice(&checksum.to_be_bytes());
    if protocol == protocol::UDP {
        frame[34..38].copy_from_slice(&[0, 68, 0, 67]);
        return;
    }
    frame[34..38].copy_from_slice(&[kind, 0, 0, 0]);
    let checksum = finish(sum(&frame[HEADERS_V4..]));
    frame[36..38].copy_from_slice(&checksum.to_be_bytes());
}

fn dress_v6(frame: &mut [u8], kind: u8) {
    if frame.len() < HEADERS_V6 + 8 {
        return;
    }
    let payload = u16::try_from(frame.len() - HEADERS_V6).unwrap_or(0);
    frame[12..18].copy_from_slice(&[0x86, 0xdd, 0x60, 0, 0, 0]);
    frame[18..20].copy_from_slice(&payload.to_be_bytes());
    frame[20..22].copy_from_slice(&[protocol::ICMPV6, 255]);
    frame[38..HEADERS_V6].copy_from_slice(&V6.octets());
    frame[54..58].copy_from_slice(&[kind, 0, 0, 0]);
    if let Some(target) = frame.get_mut(62..77) {
        target.copy_from_slice(&V6.octets()[..15]);
    }
    let Ok(Some(layers)) = Layers::parse(frame) else { return };
    let Some(pseudo) = pseudo_header(frame, &layers, payload.into()) else { return };
    let checksum = finish(pseudo + sum(&frame[HEADERS_V6..]));
    frame[56..58].copy_from_slice(&checksum.to_be_bytes());
}

/// An answer is one that a station can take.
fn check_answer(frame: &PktBuf) {
    let data = frame.data();
    assert_eq!(data[6..12], MAC.0);
    match Layers::parse(data) {
        Ok(Some(layers)) => {
            assert_ne!(verify(data, &layers), Some(false));
            let is_icmp4 = layers.protocol == protocol::ICMP;
            let body = &data[layers.l4.into()..usize::try_from(layers.end).unwrap()];
            assert!(!is_icmp4 || finish(sum(body)) == 0);
        }
        _ => assert!(matches!(after_tags(data), Ok((ethertype::ARP, _)))),
    }
}

fuzz_target!(|data: &[u8]| {
    let Some(gateway) = gateway() else { return };
    let Ok(mut pool) = Pool::new(PoolConfig { small: 4, slabs: 1 }) else { return };
    let neighbors = Neighbors::new(16, Timers::default(), 1);
    for (second, chunk) in (0..).zip(data.chunks(128)) {
        let Some((selector, bytes)) = chunk.split_first() else { continue };
        let mut before = bytes.to_vec();
        if selector & 0x80 == 0 {
            dress(selector & 7, &mut before);
        }
        let Some(mut frame) = pool.frame_from(&before) else { continue };
        let layers = Layers::parse(&before).ok().flatten();
        let is_on_askers_port = |_| selector & 0x40 != 0;
        let scene = Scene {
            bridge: BRIDGE,
            neighbors: &neighbors,
            now: Nanos::from_secs(second),
            is_on_askers_port: &is_on_askers_port,
        };
        match gateway.attend(&mut frame, layers.as_ref(), &scene) {
            Outcome::Reply => check_answer(&frame),
            _ => assert_eq!(frame.data(), before),
        }
        pool.recycle(frame);
        for entry in neighbors.entries(scene.now) {
            assert!(gateway.is_on_link(entry.ip) && !gateway.is_own(entry.ip), "{}", entry.ip);
            assert!(entry.mac.is_none_or(|mac| !mac.is_group()), "{:?}", entry.mac);
        }
    }
});
