//! What networks keep to: who has which address is said at one place only, and agreed upon everywhere.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use super::check_number;
use crate::ipam::{Pool, Span};
use crate::plan::touched;
use crate::{
    BridgeName, Config, CtlError, ErrorCode, IpCidr, Network, NetworkSettings, PortKind, PortName,
    Prefix, Shape, Tap,
};

/// The most subnets of one network: its bridge has a gateway in each.
const MAX_SUBNETS: usize = 32;
/// The most ranges, of each kind, of one subnet.
const MAX_RANGES: usize = 256;
/// The most resolvers of one network: as many as one query goes to.
const MAX_RESOLVERS: usize = 3;
/// The most labels of one network.
const MAX_LABELS: usize = 256;

/// The networks that have to be looked at after a change: those that differ, or have a port that does.
pub(super) fn concerned<'a>(
    old: &'a Config,
    config: &'a Config,
) -> impl Iterator<Item = (&'a BridgeName, &'a Network)> {
    let ports = touched(&old.ports, &config.ports).flat_map(|(_, both)| both).flatten();
    let names: BTreeSet<_> = touched(&old.networks, &config.networks)
        .map(|(name, _)| name)
        .chain(ports.map(|port| &port.bridge))
        .collect();
    names.into_iter().filter_map(|name| Some((name, &**config.networks.get(name)?)))
}

pub(super) fn check(config: &Config, name: &BridgeName, network: &Network) -> Result<(), CtlError> {
    check_number("subnets in one network", network.pools.len(), MAX_SUBNETS)?;
    check_number("labels on one network", network.settings.labels.len(), MAX_LABELS)?;
    check_number("resolvers of one network", network.settings.resolvers.len(), MAX_RESOLVERS)?;
    check_overlay(network)?;
    network.pools.iter().try_for_each(|(subnet, pool)| check_pool(subnet, pool))?;
    check_shape(network)?;
    let mut addresses = 0;
    for port in network.endpoints.keys() {
        let tap = tap_of(config, name, port).map_err(|error| error.within("endpoint", port))?;
        let given = |cidr: &&IpCidr| network.port_of(cidr) == Some(port);
        if !tap.ips.iter().all(|cidr| given(&cidr)) {
            return Err(not_given(port));
        }
        addresses += tap.ips.len();
    }
    // Each address of a container is given to it. So if there are as many, all that is given is a container's.
    let mut leases = network.pools.values().flat_map(|pool| pool.leases());
    let has_port = leases.clone().filter(|(_, lease)| lease.port.is_some()).count();
    if has_port == addresses {
        return Ok(());
    }
    let port = leases.find_map(|(_, lease)| {
        let port = lease.port.as_ref()?;
        (!network.endpoints.contains_key(port)).then_some(port)
    });
    Err(port.or(network.endpoints.keys().next()).map_or_else(
        || CtlError::invalid("addresses are given to ports, and it has none"),
        not_given,
    ))
}

/// Networks' resolvers are others than the switch, which would ask itself. What it has in common with the host is the host's, who may well
/// answer.
pub(super) fn check_resolvers(config: &Config) -> Result<(), CtlError> {
    let all = config.networks.iter();
    let asked = all.flat_map(|(name, it)| it.settings.resolvers.iter().map(move |ip| (ip, name)));
    let asked: HashMap<_, _> = asked.collect();
    let gateways = config.bridges.iter().flat_map(|(bridge, settings)| {
        settings.gateways.iter().map(move |gateway| (bridge, &gateway.addr))
    });
    let own = gateways.filter_map(|(bridge, addr)| Some((bridge, addr, asked.get(addr)?)));
    let mut own = own.filter(|(bridge, ..)| config.shared_port(bridge).is_none());
    match own.next() {
        Some((bridge, addr, network)) => {
            let message = format!(
                "resolver {addr} is the gateway of bridge {bridge}, so that the switch would ask itself; name another one"
            );
            Err(CtlError::invalid(message).within("network", network))
        }
        None => Ok(()),
    }
}

/// That its tunnel has an end here. Where the request gave none, the daemon looked for it.
fn check_overlay(network: &Network) -> Result<(), CtlError> {
    let overlay = network.settings.vxlan.as_ref().filter(|overlay| overlay.local.is_none());
    let Some(overlay) = overlay else { return Ok(()) };
    let sought = match overlay.remotes.first() {
        Some(remote) => format!("no route leads to {remote}, and there is not one address"),
        None => "there is no default route, and not one address".to_owned(),
    };
    Err(CtlError::invalid(format!(
        "the host's end of the tunnel cannot be told: {sought} only; give the host's address with --local"
    )))
}

/// That the other settings go with the shape.
fn check_shape(network: &Network) -> Result<(), CtlError> {
    let NetworkSettings { shape, isolated, internal, vxlan, .. } = &network.settings;
    let has_gateways = network.pools.values().all(|pool| pool.gateway.is_some());
    let wrong = match shape {
        Shape::Bridged | Shape::Direct => None,
        _ if network.pools.is_empty() => {
            Some("its containers are known by their addresses; give a --subnet")
        }
        _ if !has_gateways => {
            Some("its containers reach each other by the gateway; leave out --no-gateway")
        }
        _ if *isolated => Some(
            "its containers have no link in common anyway; deny what they may not reach with `flow add`",
        ),
        _ if vxlan.is_some() => Some(
            "a tunnel joins links, and its containers have none in common; use a bridged network",
        ),
        Shape::Routed if *internal => {
            Some("to be routed is to be reached from outside; use --p2p with --internal")
        }
        Shape::Routed | Shape::P2p => None,
    };
    wrong.map_or(Ok(()), |why| Err(CtlError::invalid(format!("it is {shape}: {why}"))))
}

fn not_given(port: &PortName) -> CtlError {
    let message = format!(
        "the addresses of {port} are the network's to give; \
         `network disconnect` it, and connect it again with --ip"
    );
    CtlError::new(ErrorCode::InUse, message)
}

/// The interface of a container.
fn tap_of<'a>(config: &'a Config, name: &BridgeName, port: &PortName) -> Result<&'a Tap, CtlError> {
    let wrong = |why: &str| Err(CtlError::invalid(why));
    let Some(settings) = config.ports.get(port) else { return wrong("it has no port") };
    match &settings.kind {
        _ if settings.bridge != *name => wrong("its port is on another bridge"),
        PortKind::Tap(tap) => Ok(tap),
        PortKind::Netdev { .. } => wrong("its port is no --tap"),
    }
}

/// Who was put on a network's bridge by hand has no address that the network may give to others.
pub(super) fn check_stranger(
    config: &Config,
    name: &PortName,
    bridge: &BridgeName,
    tap: &Tap,
) -> Result<(), CtlError> {
    let network = config.networks.get(bridge).filter(|of| !of.endpoints.contains_key(name));
    let Some(network) = network else { return Ok(()) };
    for IpCidr { addr, .. } in &tap.ips {
        let pool = network.pool_of(*addr);
        let reserves = |pool: &Pool| pool.reserved.iter().any(|span| span.contains(*addr));
        if pool.is_some_and(|pool| !reserves(pool)) {
            return Err(CtlError::new(
                ErrorCode::InUse,
                format!("address {addr} is network {bridge}'s to give; use `network connect --ip`"),
            ));
        }
    }
    Ok(())
}

pub(super) fn check_pool(subnet: &Prefix, pool: &Pool) -> Result<(), CtlError> {
    check_own(subnet, pool).map_err(|error| error.within("subnet", subnet))
}

fn check_own(subnet: &Prefix, pool: &Pool) -> Result<(), CtlError> {
    let addr = subnet.addr();
    if pool.subnet != *subnet {
        return Err(CtlError::invalid(format!("it is kept as {subnet}, and is {}", pool.subnet)));
    }
    if addr.is_loopback() || addr.is_multicast() || addr.is_unspecified() {
        return Err(CtlError::invalid("containers cannot have addresses of it"));
    }
    check_room(subnet)?;
    check_number("ranges in one subnet", pool.ranges.len().max(pool.reserved.len()), MAX_RANGES)?;
    let all = Span::of(subnet);
    let within = |span: &Span| all.contains(span.first()) && all.contains(span.last());
    if let Some(span) = pool.ranges.iter().chain(&pool.reserved).find(|span| !within(span)) {
        return Err(CtlError::invalid(format!("range {span} is not in it")));
    }
    pool.gateway.map_or(Ok(()), |gateway| check_gateway(pool, gateway))?;
    let mut leases = pool.leases().keys();
    match leases.find(|addr| pool.check_host(**addr).is_err() || pool.gateway == Some(**addr)) {
        Some(addr) => Err(CtlError::new(
            ErrorCode::InUse,
            format!("address {addr} is given out already, and cannot be reserved or the gateway's"),
        )),
        None => Ok(()),
    }
}

/// That a subnet is more than one address, as which one is read that is written without the length of its prefix.
///
/// # Errors
/// [`CtlError`], with how it is written.
pub(crate) fn check_room(subnet: &Prefix) -> Result<(), CtlError> {
    if Span::hosts(subnet).count() > 1 {
        return Ok(());
    }
    let usual = if subnet.is_ipv4() { 24 } else { 64 };
    let example = Prefix::of(subnet.addr(), usual).unwrap_or(*subnet);
    Err(CtlError::invalid(format!(
        "it has no room for a gateway and a container; write a subnet with the length of its prefix, such as {example}"
    )))
}

/// The gateway may be among what is reserved.
fn check_gateway(pool: &Pool, gateway: IpAddr) -> Result<(), CtlError> {
    if Span::hosts(&pool.subnet).contains(gateway) {
        return Ok(());
    }
    Err(CtlError::invalid(format!(
        "gateway {gateway} is not in it, or its own or broadcast address"
    )))
}
