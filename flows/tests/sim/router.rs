//! What makes a switch a router between two bridges: its hosts on one, the next switch on the other.

use std::net::IpAddr;
use std::sync::Arc;

use flows::nat::{Mappings, Pool, Quota};
use flows::router::{Gateway, GatewayAddress, Routes, Target};
use flows::{
    BridgeDomain, BridgeIndex, Fdb, Filtering, Generation, Masquerade, PortConfig, RouterPort,
    Snapshot, Translation,
};
use pktio::wire::MacAddr;

use crate::host::address;

const INSIDE: BridgeIndex = BridgeIndex(0);
const OUTSIDE: BridgeIndex = BridgeIndex(1);

fn gateway(bridge: BridgeIndex) -> IpAddr {
    address(u8::try_from(bridge.0).unwrap(), 254).into()
}

fn domain(own: BridgeIndex, reachable: &[BridgeIndex]) -> Option<BridgeDomain> {
    let mac = MacAddr([2, 0, 0xff, 0, 0, u8::from(own == OUTSIDE)]);
    let subnet = |bridge| GatewayAddress::new(gateway(bridge), 24).unwrap();
    let connected =
        |bridge: &BridgeIndex| (subnet(*bridge).subnet(), Target::Connected { bridge: *bridge });
    let gateway = Gateway { mac, addresses: vec![subnet(own)], ..Gateway::default() };
    let routes: Routes = reachable.iter().map(connected).collect();
    Some(BridgeDomain {
        gateway_mac: mac,
        router: Some(Arc::new(RouterPort { gateway, routes })),
        ..BridgeDomain::new(Arc::new(Fdb::new(100, 300, 1)), 100)
    })
}

fn masquerading() -> Translation {
    let external = gateway(OUTSIDE);
    let pool = Pool::new(OUTSIDE.into(), external..=external, 1024..=u16::MAX, Quota::default());
    let pool = pool.unwrap();
    Translation {
        mappings: Mappings::new(16, 1).with_addresses([(OUTSIDE.into(), external)]),
        masquerades: [Masquerade::new(INSIDE, pool, Filtering::ByAddress)].into_iter().collect(),
        owners: [INSIDE, OUTSIDE].map(|from| ((from, external), OUTSIDE)).into_iter().collect(),
        ..Translation::default()
    }
}

/// The configuration of a router with so many ports, of which one leads outside. Masqueraded, the outside
/// knows no way back.
pub fn snapshot(is_masqueraded: bool, outside: u16, ports: u16) -> Snapshot {
    let bridge = |port| if port == outside { OUTSIDE } else { INSIDE };
    let ports = (0..ports).map(|port| Some(PortConfig::new(bridge(port)))).collect();
    let back: &[_] = if is_masqueraded { &[OUTSIDE] } else { &[INSIDE, OUTSIDE] };
    let bridges = vec![domain(INSIDE, &[INSIDE, OUTSIDE]), domain(OUTSIDE, back)];
    let snapshot = Snapshot::new(Generation(1), ports, bridges).unwrap();
    if is_masqueraded { snapshot.with_translation(Arc::new(masquerading())) } else { snapshot }
}
