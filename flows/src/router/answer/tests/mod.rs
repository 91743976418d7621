//! A gateway and its answers, as an independent parser reads them.

mod arp;
mod discovery;
mod echo;
mod serve;

use etherparse::PacketBuilder;
use pktio::PoolConfig;
use pktio::offload::checksum::verify;
use proptest::prelude::*;

use super::*;
use crate::router::{Lookup, NeighborState, Timers};

const GATEWAY: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const HOST: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
const BRIDGE: BridgeIndex = BridgeIndex(4);
const NOW: Nanos = Nanos::from_secs(9);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn v4(text: &str) -> [u8; 4] {
    text.parse::<Ipv4Addr>().unwrap().octets()
}

fn v6(text: &str) -> [u8; 16] {
    text.parse::<Ipv6Addr>().unwrap().octets()
}

/// A gateway of 10.0.0.1/24 and fd00::1/64 that stands in for 10.9.0.7, 10.9.0.8, fd09::7 and fd09::8; of
/// each the latter is on the asker's port.
struct Bench {
    gateway: Gateway,
    neighbors: Neighbors,
    pool: Pool,
}

impl Bench {
    fn new() -> Self {
        let address = |text, bits| GatewayAddress::new(ip(text), bits).unwrap();
        let proxied = ["10.9.0.7", "10.9.0.8", "fd09::7", "fd09::8"].map(ip).map(Prefix::host);
        let gateway = Gateway {
            mac: GATEWAY,
            addresses: vec![address("10.0.0.1", 24), address("fd00::1", 64)],
            proxy: proxied.into_iter().collect(),
            advertise: None,
            serves: Services::default(),
        };
        let pool = Pool::new(PoolConfig { small: 32, slabs: 4 }).unwrap();
        Self { gateway, neighbors: Neighbors::new(64, Timers::default(), 1), pool }
    }

    /// What becomes of a frame, and its bytes afterwards.
    fn attend(&mut self, bytes: &[u8]) -> (Outcome, Vec<u8>) {
        let mut frame = self.pool.frame_from(bytes).unwrap();
        let outcome = self.attend_frame(&mut frame);
        (outcome, frame.data().to_vec())
    }

    fn attend_frame(&self, frame: &mut PktBuf) -> Outcome {
        let scene = Scene {
            bridge: BRIDGE,
            neighbors: &self.neighbors,
            now: NOW,
            is_on_askers_port: &|asked| asked == ip("10.9.0.8") || asked == ip("fd09::8"),
        };
        let layers = Layers::parse(frame.data()).ok().flatten();
        self.gateway.attend(frame, layers.as_ref(), &scene)
    }

    fn reply(&mut self, bytes: &[u8]) -> Vec<u8> {
        let (outcome, reply) = self.attend(bytes);
        assert_eq!(outcome, Outcome::Reply);
        reply
    }

    /// The MAC that is known of a neighbour.
    fn known(&self, text: &str) -> Option<MacAddr> {
        match self.neighbors.lookup(BRIDGE, ip(text), NOW) {
            Lookup::Known(neighbor) => Some(neighbor.mac),
            _ => None,
        }
    }

    fn state(&self, text: &str) -> Option<NeighborState> {
        let entries = self.neighbors.entries(NOW);
        entries.iter().find(|entry| entry.ip == ip(text)).map(|entry| entry.state)
    }

    /// Makes the gateway ask for a neighbour.
    fn is_asked_for(&self, text: &str) {
        let mut resolver = crate::router::Resolver::new(4);
        resolver.resolve(&self.neighbors, BRIDGE, ip(text), NOW);
    }
}

fn assert_from_gateway(frame: &[u8], to: MacAddr) {
    assert_eq!((&frame[..6], &frame[6..12]), (&to.0[..], &GATEWAY.0[..]));
}

#[test]
fn a_gateway_knows_its_addresses_and_subnets() {
    let gateway = Bench::new().gateway;
    assert_eq!(IpAddr::from(gateway.link_local()), ip("fe80::ff:fe00:1"));
    for (address, own, on_link, broadcast) in [
        ("10.0.0.1", true, true, false),
        ("10.0.0.2", false, true, false),
        ("10.0.0.255", false, true, true),
        ("255.255.255.255", false, false, true),
        ("10.1.0.1", false, false, false),
        ("fd00::1", true, true, false),
        ("fe80::ff:fe00:1", true, true, false),
        ("fe80::5", false, true, false),
        ("fd01::1", false, false, false),
    ] {
        let ip = ip(address);
        let found = (gateway.is_own(ip), gateway.is_on_link(ip), gateway.is_broadcast(ip));
        assert_eq!(found, (own, on_link, broadcast), "{address}");
    }
}

#[test]
fn a_gateway_speaks_with_its_nearest_address() {
    let mut gateway = Bench::new().gateway;
    gateway.addresses.push(GatewayAddress::new(ip("10.5.0.1"), 16).unwrap());
    let spoken = |gateway: &Gateway, to| gateway.station_for(ip(to)).map(|station| station.ip);
    for (to, expected) in [
        ("10.0.0.9", "10.0.0.1"),
        ("10.5.3.3", "10.5.0.1"),
        ("8.8.8.8", "10.0.0.1"),
        ("fd00::9", "fd00::1"),
        ("2001:db8::1", "fd00::1"),
        ("fe80::9", "fe80::ff:fe00:1"),
    ] {
        assert_eq!(spoken(&gateway, to), Some(ip(expected)), "{to}");
    }
    gateway.addresses.retain(|address| address.ip().is_ipv4());
    assert_eq!(spoken(&gateway, "fd00::9"), None);
    gateway.advertise = Some(Advertising::default());
    assert_eq!(spoken(&gateway, "fd00::9"), Some(ip("fe80::ff:fe00:1")));
}

#[test]
fn an_address_that_no_station_can_have_is_none_of_a_gateway() {
    for text in ["0.0.0.0", "224.0.0.1", "127.0.0.1", "::", "ff02::1", "::1"] {
        assert!(GatewayAddress::new(ip(text), 8).is_none(), "{text}");
    }
    assert!(GatewayAddress::new(ip("10.0.0.1"), 33).is_none());
    assert_eq!(GatewayAddress::new(ip("10.0.0.1"), 31).unwrap().broadcast(), None);
}

proptest! {
    #[test]
    fn no_frame_does_harm(
        kind in prop::sample::select(vec![0x0806u16, 0x86dd, 0x0800, 0x8100]),
        mut rest in prop::collection::vec(any::<u8>(), 0..120),
        discovery in 133u8..=137,
        shape in any::<bool>(),
    ) {
        // Half of the frames look like Neighbor Discovery up to its options.
        if shape && kind == 0x86dd && rest.len() > 44 {
            rest[0] = 0x60;
            let bytes = u16::try_from(rest.len() - 40).unwrap();
            rest[4..6].copy_from_slice(&bytes.to_be_bytes());
            rest[6..8].copy_from_slice(&[58, 255]);
            rest[40..42].copy_from_slice(&[discovery, 0]);
        }
        let frame = [&GATEWAY.0[..], &HOST.0, &kind.to_be_bytes(), &rest].concat();
        let mut bench = Bench::new();
        let mut frame = bench.pool.frame_from(&frame).unwrap();
        // The checksum counts as verified, so that what is behind it is reached.
        frame.offload.csum = pktio::Csum::Valid;
        bench.attend_frame(&mut frame);
    }
}
