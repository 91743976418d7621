//! Changes of networks, and who is on them.

mod apart;
mod removal;
mod same;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use super::host;
use super::ipam::{free_subnet, new_pool};
use super::port::remove_port;
use crate::attach::{difference, list};
use crate::check::{check_room, no_network, shown};
use crate::ipam::{IpamError, Pool, Span};
use crate::network::{dismantle, masquerades_from, own_uplinks};
use crate::{
    BridgeName, Config, CtlError, Endpoint, ErrorCode, Network, NetworkConnect, NetworkCreate,
    NetworkDisconnect, NetworkHandover, NetworkSet, NetworkSettings, Owner, Port, PortKind,
    PortName, Prefix, Shape, Tap, TapRoute,
};

pub(super) use removal::rm;

pub(super) fn create(config: &mut Config, create: &NetworkCreate) -> Result<(), CtlError> {
    let name = &create.name;
    if let Some(present) = config.networks.get(name) {
        same::check(config, present, create)?;
        return create.host_port.as_ref().map_or(Ok(()), |wanted| host::put(config, name, wanted));
    }
    if config.bridges.contains_key(name) {
        let message =
            format!("network {name} needs a bridge of this name, and there is one that is not its");
        return Err(CtlError::new(ErrorCode::Exists, message));
    }
    if create.unnumbered && (!create.subnets.is_empty() || create.ipv6) {
        return Err(CtlError::invalid(
            "a network without addresses has no subnets; give one or the other",
        ));
    }
    if create.settings.shape == Shape::Direct && create.subnets.is_empty() && !create.unnumbered {
        return Err(CtlError::invalid(
            "a direct network has the subnet of its wire; give it with --subnet, or --unnumbered if others give addresses there",
        ));
    }
    if create.settings.shape == Shape::Routed && !create.settings.internal {
        check_answered(config)?;
    }
    if !create.settings.dns && !create.settings.resolvers.is_empty() {
        return Err(CtlError::invalid(
            "where the gateways answer no names they ask no resolvers; leave out --no-dns or --resolver",
        ));
    }
    let subnets = subnets(config, create)?;
    check_in_some("gateway", &subnets, &create.gateways, |subnet, addr| subnet.contains(*addr))?;
    check_one_gateway_each(&subnets, &create.gateways)?;
    check_in_some("range", &subnets, &create.ranges, |subnet, span| subnet.contains(span.first()))?;
    check_in_some("reserved", &subnets, &create.reserved, |subnet, span| {
        subnet.contains(span.first())
    })?;
    let mut network = Network { settings: create.settings.clone(), ..Network::default() };
    for subnet in subnets {
        let kept = config.pools.remove(&subnet);
        network.pools.insert(subnet, pool(kept, subnet, create));
    }
    apart::check(config, name, &network)?;
    config.networks.insert(name.clone(), Arc::new(network));
    create.host_port.as_ref().map_or(Ok(()), |wanted| host::put(config, name, wanted))
}

/// That somebody outside can be told where a routed network is: not by an interface that the host shares, where the host
/// answers for its own addresses only.
fn check_answered(config: &Config) -> Result<(), CtlError> {
    let mut shared = config.ports.iter().filter(|(_, port)| port.shared);
    match shared.next() {
        Some((port, _)) if own_uplinks(config).next().is_none() => Err(CtlError::invalid(format!(
            "nobody outside would find a routed network: the host answers on the interface of port {port}, which it shares, and for \
             its own addresses only; give the switch an uplink of its own first, or make a network that is masqueraded"
        ))),
        _ => Ok(()),
    }
}

/// A subnet has one gateway of the switch's.
fn check_one_gateway_each(subnets: &BTreeSet<Prefix>, gateways: &[IpAddr]) -> Result<(), CtlError> {
    for subnet in subnets {
        let of_it: Vec<_> = gateways.iter().filter(|addr| subnet.contains(**addr)).collect();
        if let [one, other, ..] = of_it[..] {
            let message = format!(
                "gateways {one} and {other} are both of {subnet}; give one address of each subnet"
            );
            return Err(CtlError::invalid(message));
        }
    }
    Ok(())
}

/// The subnets of a new network: those that were asked for, and what has to be chosen.
fn subnets(config: &Config, create: &NetworkCreate) -> Result<BTreeSet<Prefix>, CtlError> {
    let mut subnets = BTreeSet::new();
    for subnet in &create.subnets {
        check_room(subnet).map_err(|error| error.within("subnet", subnet))?;
        if let Some(other) = subnets.iter().find(|other: &&Prefix| other.overlaps(subnet)) {
            let message = format!("subnets {other} and {subnet} overlap; give the larger one only");
            return Err(CtlError::invalid(message));
        }
        subnets.insert(*subnet);
    }
    let has = |ipv4: bool| create.subnets.iter().any(|subnet| subnet.is_ipv4() == ipv4);
    let wanted = [
        (true, create.subnets.is_empty() && !create.unnumbered),
        (false, create.ipv6 && !has(false)),
    ];
    for (ipv4, _) in wanted.into_iter().filter(|(_, is_wanted)| *is_wanted) {
        subnets.insert(free_subnet(config, ipv4, create.name.as_str(), &create.avoid)?);
    }
    Ok(subnets)
}

fn check_in_some<T: std::fmt::Display>(
    what: &str,
    subnets: &BTreeSet<Prefix>,
    items: &[T],
    is_in: impl Fn(&Prefix, &T) -> bool,
) -> Result<(), CtlError> {
    match items.iter().find(|item| !subnets.iter().any(|subnet| is_in(subnet, item))) {
        Some(item) => {
            let subnets: Vec<_> = subnets.iter().copied().collect();
            let message = format!(
                "{what} {item} is in no subnet of the network ({}); use one that is",
                list(&subnets)
            );
            Err(CtlError::invalid(message))
        }
        None => Ok(()),
    }
}

/// The pool of a subnet: the one that was kept for it, or a new one.
fn pool(kept: Option<Pool>, subnet: Prefix, create: &NetworkCreate) -> Pool {
    let its = |span: &&Span| subnet.contains(span.first());
    let ranges = create.ranges.iter().filter(its).copied().collect();
    let reserved = create.reserved.iter().filter(its).copied().collect();
    let gateway = create.gateways.iter().find(|gateway| subnet.contains(**gateway)).copied();
    let mut pool = kept.unwrap_or_else(|| Pool::new(subnet));
    new_pool(&mut pool, gateway, ranges, reserved);
    pool.gateway = pool.gateway.filter(|_| !create.no_gateway);
    pool
}

/// Takes the default routes by a network from its containers. Those of who was handed over are his engine's.
fn close(config: &mut Config, network: &Network) {
    for port in network.endpoints.keys() {
        if let Some(PortKind::Tap(tap)) = config.ports.get_mut(port).map(|port| &mut port.kind) {
            tap.gateways.clear();
        }
    }
}

pub(super) fn set(config: &mut Config, set: &NetworkSet) -> Result<(), CtlError> {
    match &set.host_port {
        Some(Some(wanted)) => host::put(config, &set.name, wanted)?,
        Some(None) => host::remove(config, &set.name),
        None => {}
    }
    let Some(present) = config.networks.get(&set.name).cloned() else {
        return Err(no_network(config, &set.name));
    };
    let entered = config.bridges.get(&set.name).cloned();
    dismantle(config, &set.name, &present);
    let mut network = Network::clone(&present);
    let settings = &mut network.settings;
    if set.internal == Some(true) && !settings.internal {
        close(config, &present);
    }
    settings.internal = set.internal.unwrap_or(settings.internal);
    settings.masquerade = set.masquerade.unwrap_or(settings.masquerade);
    settings.mtu = set.mtu.unwrap_or(settings.mtu);
    settings.dhcp = set.dhcp.unwrap_or(settings.dhcp);
    settings.dns = set.dns.unwrap_or(settings.dns);
    settings.resolvers = set.resolvers.clone().unwrap_or_else(|| settings.resolvers.clone());
    match (&mut settings.vxlan, &set.remotes) {
        (_, None) => {}
        (Some(overlay), Some(remotes)) => overlay.remotes.clone_from(remotes),
        (None, Some(_)) => {
            let message = format!("network {} has no tunnel; make it with --vni", set.name);
            return Err(CtlError::invalid(message));
        }
    }
    settings.labels.extend(set.labels.clone());
    settings.labels.retain(|_, text| !text.is_empty());
    if let Some(isolated) = set.isolated {
        settings.isolated = isolated;
        let hosts: Vec<_> = config.host_ports(&present).map(|(port, _)| port.clone()).collect();
        for port in network.endpoints.keys() {
            let isolated = (isolated && !hosts.contains(port)) || settings.shape.parts();
            config.ports.get_mut(port).into_iter().for_each(|port| port.isolated = isolated);
        }
    }
    let masquerades = network.masquerades();
    config.networks.insert(set.name.clone(), Arc::new(network));
    let by_hand = masquerades_from(config, &set.name).next();
    if let Some((rule, _)) = by_hand.filter(|_| masquerades) {
        let message =
            format!("network {} is masqueraded by nat rule {rule}; `nat del` it first", set.name);
        return Err(CtlError::new(ErrorCode::InUse, message));
    }
    // What was entered by hand about its stations stays.
    config.bridges.extend(entered.map(|bridge| (set.name.clone(), bridge)));
    Ok(())
}

pub(super) fn connect(config: &mut Config, connect: &NetworkConnect) -> Result<(), CtlError> {
    let Some(network) = config.networks.get(&connect.network) else {
        return Err(no_network(config, &connect.network));
    };
    let name = connect.port_name()?;
    if let Some(port) = config.ports.get(&name) {
        return connected(network, &name, port, connect);
    }
    let owner = connect.owner.clone().unwrap_or_else(|| name.clone().into());
    let mut network = Network::clone(network);
    lease(&mut network, &owner, &name, &connect.ips)
        .map_err(|error| error.within("network", &connect.network))?;
    let endpoint = Endpoint { owner, aliases: connect.aliases.clone() };
    network.endpoints.insert(name.clone(), endpoint);
    let port = port(config, &network, &name, connect);
    config.networks.insert(connect.network.clone(), Arc::new(network));
    config.ports.insert(name, port);
    Ok(())
}

/// That a port which is there is the one that is asked for.
fn connected(
    network: &Network,
    name: &PortName,
    port: &Port,
    connect: &NetworkConnect,
) -> Result<(), CtlError> {
    let taken = |why: String| Err(CtlError::new(ErrorCode::Exists, why));
    let NetworkConnect { netns, ifname, .. } = connect;
    let (PortKind::Tap(tap), true) = (&port.kind, port.kind.interface() == (Some(netns), ifname))
    else {
        return taken(format!("port name {name} is taken by another interface"));
    };
    let Some(endpoint) = network.endpoints.get(name) else {
        return taken(format!(
            "interface {ifname} of namespace {netns} is on bridge {} already; \
             disconnect it first, or choose another --ifname",
            port.bridge
        ));
    };
    let has: Vec<_> = tap.ips.iter().map(|cidr| cidr.addr).collect();
    let has_ips = connect.ips.iter().all(|addr| has.contains(addr));
    let found = [
        connect.mac.zip(tap.mac).and_then(|(asked, has)| difference("MAC", has, asked)),
        if has_ips { None } else { difference("addresses", list(&has), list(&connect.ips)) },
        connect.owner.as_ref().and_then(|asked| difference("owner", &endpoint.owner, asked)),
        difference("aliases", list(&endpoint.aliases), list(&connect.aliases)),
        (connect.dhcp && !port.dhcp).then(|| "configured, not by DHCP".to_owned()),
    ];
    let found: Vec<_> = found.into_iter().flatten().collect();
    if found.is_empty() {
        return Ok(());
    }
    taken(format!(
        "namespace {netns} is connected already, by port {name}, otherwise: {}; \
         `network disconnect` it first",
        found.join("; ")
    ))
}

pub(super) fn handover(config: &mut Config, handover: &NetworkHandover) -> Result<(), CtlError> {
    let NetworkHandover { network: name, port, ifname, ips, mac, owner } = handover;
    let Some(network) = config.networks.get(name) else { return Err(no_network(config, name)) };
    let owner = owner.clone().unwrap_or_else(|| port.clone().into());
    if let Some(present) = config.ports.get(port) {
        return handed_over(network, present, handover, &owner);
    }
    let mut network = Network::clone(network);
    lease(&mut network, &owner, port, ips).map_err(|error| error.within("network", name))?;
    network.endpoints.insert(port.clone(), Endpoint { owner, aliases: Vec::new() });
    let tap = Tap {
        netns: None,
        ifname: ifname.clone(),
        mac: *mac,
        ips: network.addresses_of(port).map(|(cidr, _)| cidr).collect(),
        gateways: Vec::new(),
        routes: Vec::new(),
        queues: 1,
        handover: true,
    };
    let made = container_port(name, &network, tap);
    config.networks.insert(name.clone(), Arc::new(network));
    config.ports.insert(port.clone(), made);
    Ok(())
}

/// That a port which is there is the one that is asked for, wherever its engine has taken it.
fn handed_over(
    network: &Network,
    present: &Port,
    handover: &NetworkHandover,
    owner: &Owner,
) -> Result<(), CtlError> {
    let is_same = |tap: &Tap| {
        let has = |addr: &IpAddr| tap.ips.iter().any(|cidr| cidr.addr == *addr);
        let is_its = network.endpoints.get(&handover.port).is_some_and(|its| its.owner == *owner);
        is_its
            && tap.handover
            && tap.ifname == handover.ifname
            && handover.mac.is_none_or(|mac| tap.mac == Some(mac))
            && handover.ips.iter().all(has)
    };
    match &present.kind {
        PortKind::Tap(tap) if is_same(tap) => Ok(()),
        _ => Err(super::otherwise("port", &handover.port, "`port del` it first")),
    }
}

/// Gives a port its addresses: those that it asks for, and otherwise, of each IP version that the network has, the
/// one that its owner holds or the next free one.
pub(super) fn lease(
    network: &mut Network,
    owner: &Owner,
    port: &PortName,
    ips: &[IpAddr],
) -> Result<(), CtlError> {
    for addr in ips {
        let pool = network.pools.values_mut().find(|pool| pool.subnet.contains(*addr));
        let Some(pool) = pool else {
            let subnets: Vec<_> = network.pools.keys().copied().collect();
            return Err(CtlError::invalid(format!(
                "address {addr} is in no subnet of it ({})",
                list(&subnets)
            )));
        };
        pool.give(*addr, owner)?;
        bind(pool, *addr, port)?;
    }
    for ipv4 in [true, false] {
        if ips.iter().all(|addr| addr.is_ipv4() != ipv4) {
            lease_any(network, owner, port, ipv4)?;
        }
    }
    Ok(())
}

fn lease_any(
    network: &mut Network,
    owner: &Owner,
    port: &PortName,
    ipv4: bool,
) -> Result<(), CtlError> {
    let mut full: Option<IpamError> = None;
    let of_version = |pool: &&mut Pool| pool.subnet.is_ipv4() == ipv4;
    for pool in network.pools.values_mut().filter(of_version) {
        let owned = pool.owned_by(owner).next();
        match owned.map_or_else(|| pool.give_next(owner), Ok) {
            Ok(addr) => return bind(pool, addr, port),
            Err(error) => full = full.or(Some(error)),
        }
    }
    full.map_or(Ok(()), |error| Err(error.into()))
}

/// One address is one port's.
fn bind(pool: &mut Pool, addr: IpAddr, port: &PortName) -> Result<(), CtlError> {
    if let Some(lease) = pool.leases().get(&addr)
        && let Some(other) = lease.port.as_ref().filter(|other| *other != port)
    {
        let message = format!(
            "{addr} of {} is in use by port {other}; disconnect it first, or give another --owner",
            lease.owner
        );
        return Err(CtlError::new(ErrorCode::Exists, message));
    }
    pool.bind(addr, port);
    Ok(())
}

fn port(config: &Config, network: &Network, name: &PortName, connect: &NetworkConnect) -> Port {
    let addresses: Vec<_> = network.addresses_of(name).collect();
    let has_way_out = !network.settings.internal && !connect.no_default_route;
    let is_free = |to: &Prefix| !connect.elsewhere.contains(to);
    let leads = |gateway: &IpAddr| {
        has_way_out
            && is_free(&Prefix::everything(gateway.is_ipv4()))
            && !has_default_route(config, connect, *gateway)
    };
    let routes = connect.routes.iter().copied().chain(to_others(network));
    let tap = Tap {
        netns: Some(connect.netns.clone()),
        mac: connect.mac,
        ips: addresses.iter().map(|(cidr, _)| *cidr).collect(),
        gateways: gateways(addresses.iter().filter_map(|(_, gateway)| *gateway).filter(leads)),
        routes: routes.filter(|route| is_free(&route.to)).collect(),
        ..Tap::new(connect.ifname.clone())
    };
    let port = container_port(&connect.network, network, tap);
    Port { dhcp: network.settings.dhcp || connect.dhcp, ..port }
}

/// The port of a container, as the shape of its network wants it.
fn container_port(name: &BridgeName, network: &Network, tap: Tap) -> Port {
    let NetworkSettings { shape, isolated, .. } = network.settings;
    // Whose addresses are given by somebody else, such as a DHCP server on the wire, cannot be held to them.
    let guard = shape.guards() && !tap.ips.is_empty();
    let isolated = isolated || shape.parts();
    Port { isolated, guard, ..Port::new(name.clone(), PortKind::Tap(tap)) }
}

/// The routes by which a container reaches the others of its network, where they have no link in common.
pub(super) fn to_others(network: &Network) -> impl Iterator<Item = TapRoute> + '_ {
    let pools = network.pools.values().filter(|_| network.settings.shape.parts());
    pools.filter_map(|pool| Some(TapRoute { to: pool.subnet, via: pool.gateway? }))
}

/// One gateway of each IP version.
fn gateways(all: impl Iterator<Item = IpAddr>) -> Vec<IpAddr> {
    let mut gateways: Vec<IpAddr> = Vec::new();
    for gateway in all {
        if gateways.iter().all(|other| other.is_ipv4() != gateway.is_ipv4()) {
            gateways.push(gateway);
        }
    }
    gateways
}

/// Whether a network gave the container a default route already, be it by DHCP.
fn has_default_route(config: &Config, connect: &NetworkConnect, gateway: IpAddr) -> bool {
    config.ports.values().any(|port| match &port.kind {
        PortKind::Tap(tap) if tap.netns.as_ref() == Some(&connect.netns) => {
            tap.gateways.iter().any(|other| other.is_ipv4() == gateway.is_ipv4())
        }
        _ => false,
    })
}

pub(super) fn disconnect(config: &mut Config, request: &NetworkDisconnect) -> Result<(), CtlError> {
    let NetworkDisconnect { network: name, netns, .. } = request;
    let Some(network) = config.networks.get(name) else { return Err(no_network(config, name)) };
    let there = config.containers_on(network);
    let meant: Vec<_> = there.filter(|(_, netns, ifname)| request.means(netns, ifname)).collect();
    match meant.as_slice() {
        // Who is gone already is disconnected; the answer says who is there.
        [] => Ok(()),
        [(port, ..)] => {
            let port = PortName::clone(port);
            remove_port(config, &port);
            Ok(())
        }
        several => {
            let ifnames: Vec<_> = several.iter().map(|(_, _, ifname)| ifname).collect();
            Err(CtlError::invalid(format!(
                "namespace {netns} is on network {name} by several interfaces: {}; say which with --ifname",
                shown(&ifnames)
            )))
        }
    }
}
