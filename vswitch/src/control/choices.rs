//! What a request leaves to the daemon: MAC addresses, this host's end of a tunnel, what no subnet is chosen out of, and where a
//! container's other interfaces lead. It becomes part of the request, so that whatever comes of a request follows from the request and the configuration alone.

use std::net::IpAddr;

use ctl::{
    Batch, BridgeName, Config, HostPort, MacAddr, Mutation, NetworkConnect, Overlay, PortKind,
    PortName, Prefix, Tap,
};
use hostnet::{Netlink, Netns};

use crate::random::random;

/// The request, with all choices made.
pub fn complete(mutation: Mutation, config: &Config) -> Mutation {
    match mutation {
        Mutation::PortAdd(mut add) => {
            add.port.place = None;
            if let PortKind::Tap(tap) = &mut add.port.kind {
                tap.mac = tap.mac.or_else(|| mac_for(Some(add.name.clone()), config));
            }
            Mutation::PortAdd(add)
        }
        Mutation::Attach(mut attach) => {
            attach.mac = attach.mac.or_else(|| mac_for(attach.port_name().ok(), config));
            Mutation::Attach(attach)
        }
        Mutation::NetworkConnect(mut connect) => {
            let port = connect.port_name().ok();
            if port.as_ref().is_none_or(|name| !config.ports.contains_key(name)) {
                connect.elsewhere.extend(other_routes(&connect));
            }
            connect.mac = connect.mac.or_else(|| mac_for(port, config));
            Mutation::NetworkConnect(connect)
        }
        Mutation::NetworkHandover(mut handover) => {
            handover.mac = handover.mac.or_else(|| mac_for(Some(handover.port.clone()), config));
            Mutation::NetworkHandover(handover)
        }
        Mutation::NetworkCreate(mut create) => {
            let name = &create.name;
            create.host_port = create.host_port.map(|port| with_mac(port, name, config));
            if let Some(overlay) = &mut create.settings.vxlan {
                overlay.local = overlay.local.or_else(|| end_for(overlay, name, config));
            }
            if !config.networks.contains_key(name) {
                create.avoid.extend(host_routes());
            }
            Mutation::NetworkCreate(create)
        }
        Mutation::NetworkSet(mut set) => {
            let wanted = set.host_port.take();
            set.host_port = wanted.map(|port| port.map(|port| with_mac(port, &set.name, config)));
            Mutation::NetworkSet(set)
        }
        Mutation::PoolAdd(mut add) if add.subnet.is_none() => {
            add.avoid.extend(host_routes());
            Mutation::PoolAdd(add)
        }
        Mutation::Batch(batch) => {
            let changes = batch.changes.into_iter().map(|one| complete(one, config));
            Mutation::Batch(Batch { changes: changes.collect() })
        }
        other => other,
    }
}

/// This host's end of a network's tunnel: what it was before, if the network is there and travels as before; otherwise the address of the bridge that it
/// travels over, or that the first remote would see, or whoever is beyond the default route.
fn end_for(overlay: &Overlay, network: &BridgeName, config: &Config) -> Option<IpAddr> {
    let present = config.networks.get(network);
    let before = present.and_then(|network| network.settings.vxlan.as_ref());
    let kept = before.filter(|before| before.via == overlay.via).and_then(|before| before.local);
    let peer = overlay.remotes.first().copied();
    let bridge = overlay.via.as_ref().and_then(|via| config.bridges.get(via));
    let gateways = bridge.into_iter().flat_map(|bridge| &bridge.gateways).map(|own| own.addr);
    let mut of_version =
        gateways.filter(|own| peer.is_none_or(|peer| own.is_ipv4() == peer.is_ipv4()));
    kept.or_else(|| of_version.next()).or_else(|| {
        let source = Netlink::open().and_then(|netlink| netlink.source_address(peer));
        source.unwrap_or_else(|error| {
            tracing::warn!(%error, "no address of the host is found for the tunnel of network {network}");
            None
        })
    })
}

fn with_mac(port: HostPort, network: &BridgeName, config: &Config) -> HostPort {
    let mac = port.mac.or_else(|| mac_for(HostPort::port_name(network).ok(), config));
    HostPort { mac, ..port }
}

fn fresh_mac() -> Option<MacAddr> {
    Some(MacAddr::local(random()))
}

/// The address of an interface that was given none. What is attached already keeps its own, and is recognised as
/// unchanged.
fn mac_for(port: Option<PortName>, config: &Config) -> Option<MacAddr> {
    let known = port.and_then(|name| config.ports.get(&name));
    let kept = known.and_then(|port| match &port.kind {
        PortKind::Tap(Tap { mac, .. }) => *mac,
        PortKind::Netdev { .. } => None,
    });
    kept.or_else(fresh_mac)
}

/// Where a container's packets go by other interfaces, whoever made them. A namespace that cannot be looked into has none:
/// nothing can be connected there either.
fn other_routes(connect: &NetworkConnect) -> Vec<Prefix> {
    let netlink = Netns::open(&connect.netns).and_then(|netns| Netlink::open_in(&netns));
    let routes = netlink.and_then(|netlink| netlink.routes_elsewhere(connect.ifname.as_str()));
    routes.unwrap_or_default()
}

/// Where the host's own packets go. A host whose routes cannot be listed has none to avoid.
fn host_routes() -> Vec<Prefix> {
    let routes = Netlink::open().and_then(|netlink| netlink.routes());
    routes.unwrap_or_else(|error| {
        tracing::warn!(%error, "subnets are chosen without regard to the host's routes");
        Vec::new()
    })
}
