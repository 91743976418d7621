//! Gateways, and where packets of each bridge go.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ctl::{Advertise, Bridge, BridgeName, Config, IpCidr};
use flows::router::{
    AdvertisedPrefix, Advertising, Gateway, GatewayAddress, Inside, NextHop, Prefix, Routes,
    Services, Target,
};
use flows::{BridgeIndex, RouterPort};
use pktio::wire::MacAddr;

use super::Numbering;
use super::ways::Ways;

/// The router's interface on a bridge; `None` when it has no gateway addresses.
pub(super) fn router_port<'a>(
    (config, ways): (&'a Config, &Ways<'a>),
    numbering: &Numbering,
    (name, index): (&'a BridgeName, BridgeIndex),
    bridge: &Bridge,
    inside: &Arc<Inside>,
) -> Option<RouterPort> {
    (!bridge.gateways.is_empty()).then(|| RouterPort {
        gateway: gateway(config, ways, name, bridge),
        routes: routes((config, ways), numbering, name, index).around(index, Arc::clone(inside)),
    })
}

/// The subnets of networks, and of other bridges that have no routes and nothing of the host's: what is for one of them leaves by
/// no uplink.
pub(super) fn inside(config: &Config) -> Inside {
    let shared = config.shared_bridges();
    let is_inner = |name: &BridgeName| {
        config.networks.contains_key(name)
            || !config.routes.contains_key(name) && !shared.contains_key(name)
    };
    let inner = config.bridges.iter().filter(|(name, _)| is_inner(name));
    let gateways = inner.flat_map(|(_, bridge)| &bridge.gateways).filter_map(gateway_address);
    gateways.map(|gateway| gateway.subnet()).collect()
}

/// The station address of a bridge's gateway.
pub(super) fn gateway_mac(name: &BridgeName, bridge: &Bridge) -> MacAddr {
    if bridge.gateways.is_empty() { MacAddr::default() } else { MacAddr(bridge.router_mac(name).0) }
}

/// What the router is to the stations of a bridge.
pub fn gateway(config: &Config, ways: &Ways<'_>, name: &BridgeName, bridge: &Bridge) -> Gateway {
    let own = bridge.gateways.iter().filter_map(gateway_address).collect();
    let proxied =
        bridge.proxy.iter().filter_map(|prefix| Prefix::new(prefix.addr(), prefix.prefix_len()));
    // Addresses that masquerading uses are the switch's too, though no gateway's.
    let lent = ways.lent_on(name);
    Gateway {
        mac: gateway_mac(name, bridge),
        addresses: own,
        proxy: proxied.chain(lent.chain(config.answered_on(name)).map(Prefix::host)).collect(),
        serves: services(config, name),
        advertise: bridge.advertise.as_ref().map(|wanted| {
            let mtu_bytes = Some(config.mtu_within(name).bytes());
            Advertising { mtu_bytes, ..advertising(bridge, wanted) }
        }),
    }
}

/// What containers of a network are served with.
fn services(config: &Config, name: &BridgeName) -> Services {
    let Some(network) = config.networks.get(name) else { return Services::default() };
    let asks = |port| config.ports.get(port).is_some_and(|port| port.dhcp);
    Services { names: network.settings.dns, addresses: network.endpoints.keys().any(asks) }
}

fn gateway_address(cidr: &IpCidr) -> Option<GatewayAddress> {
    GatewayAddress::new(cidr.addr, cidr.prefix_len)
}

fn advertising(bridge: &Bridge, wanted: &Advertise) -> Advertising {
    let has_prefix =
        |cidr: &&IpCidr| matches!(cidr.addr, IpAddr::V6(addr) if !addr.is_unicast_link_local());
    let prefixes = bridge.gateways.iter().filter(has_prefix);
    let prefixes = prefixes.filter_map(|cidr| Prefix::new(cidr.addr, cidr.prefix_len));
    let advertised = |prefix| AdvertisedPrefix {
        is_autonomous: wanted.autonomous,
        ..AdvertisedPrefix::autonomous(prefix)
    };
    Advertising {
        prefixes: prefixes.map(advertised).collect(),
        lifetime_seconds: wanted.lifetime_seconds,
        mtu_bytes: None,
        is_managed: wanted.managed,
        has_other_config: wanted.other,
        name_servers: wanted.dns.clone(),
        interval: Duration::from_secs(wanted.interval_seconds.into()),
    }
}

/// The routes of a bridge. Of equal prefixes the last one counts: the bridge's own.
fn routes<'a>(
    (config, ways): (&'a Config, &Ways<'a>),
    numbering: &Numbering,
    name: &'a BridgeName,
    own: BridgeIndex,
) -> Routes {
    let mut routes = Vec::new();
    for (other, is_ipv4) in ways.reachable(name) {
        if let Some(slot) = numbering.bridges.get(other) {
            let lies = lying_on(config, ways, other, slot.index).into_iter();
            routes.extend(lies.filter(|(prefix, _)| prefix.ip().is_ipv4() == is_ipv4));
        }
    }
    routes.extend(lying_on(config, ways, name, own));
    routes.into_iter().collect()
}

/// What lies on a bridge: networks behind its routers, its subnets, and the switch itself.
fn lying_on(
    config: &Config,
    ways: &Ways<'_>,
    name: &BridgeName,
    index: BridgeIndex,
) -> Vec<(Prefix, Target)> {
    let mut routes = Vec::new();
    let Some(bridge) = config.bridges.get(name) else { return routes };
    for (prefix, route) in config.routes.get(name).into_iter().flatten() {
        let next_hops: Box<[_]> =
            route.via.iter().map(|ip| NextHop { bridge: index, ip: *ip }).collect();
        let target = match next_hops.is_empty() {
            true => Target::Connected { bridge: index },
            false => Target::Via { next_hops },
        };
        let prefix = Prefix::new(prefix.addr(), prefix.prefix_len());
        routes.extend(prefix.map(|prefix| (prefix, target)));
    }
    let addresses: Vec<_> = bridge.gateways.iter().filter_map(gateway_address).collect();
    for address in &addresses {
        routes.push((address.subnet(), Target::Connected { bridge: index }));
        let broadcast = address.broadcast().map(IpAddr::V4);
        routes.extend(broadcast.map(|ip| (Prefix::host(ip), Target::Broadcast)));
    }
    let parted = config.parted_on(name).map(|(ip, _)| Prefix::host(ip));
    routes.extend(parted.map(|host| (host, Target::Connected { bridge: index })));
    for ip in addresses.iter().map(|address| address.ip()).chain(ways.lent_on(name)) {
        routes.push((Prefix::host(ip), Target::Local));
    }
    routes
}
