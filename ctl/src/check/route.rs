//! What routes and the bridges that they join keep to.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{check_host, check_number, is_link_local, overlapping, routed};
use crate::{Bridge, BridgeName, Config, CtlError, NatRule, Prefix, Route, Shape};

/// The most next hops of one route.
pub(crate) const MAX_NEXT_HOPS: usize = 16;

pub(super) fn check(config: &Config) -> Result<(), CtlError> {
    for (on, routes) in &config.routes {
        let bridge = routed(config, on).map_err(|error| error.within("routes on", on))?;
        for (to, route) in routes {
            let name = format!("{to} on {on}");
            check_route(config, (on, bridge), (to, route))
                .map_err(|error| error.within("route", name))?;
        }
    }
    for (from, reached) in &config.allowed {
        for to in reached {
            let name = format!("{from} {to}");
            check_allowance(config, from, to).map_err(|error| error.within("route allow", name))?;
        }
    }
    Ok(())
}

fn check_route(
    config: &Config,
    (on, bridge): (&BridgeName, &Bridge),
    (to, route): (&Prefix, &Route),
) -> Result<(), CtlError> {
    if to.addr().is_multicast() || to.addr().is_loopback() {
        return Err(CtlError::invalid("multicast and loopback addresses are not routed"));
    }
    if bridge.gateways.iter().any(|gateway| gateway.subnet() == *to) {
        return Err(CtlError::invalid("this is the bridge's own subnet, which needs no route"));
    }
    // Which networks are on its links the host says itself.
    if route.via.is_empty() && config.shared_port(on).is_none() {
        return Err(CtlError::invalid("a route needs a next hop: say --via"));
    }
    check_number("next hops of one route", route.via.len(), MAX_NEXT_HOPS)?;
    let mut hops = BTreeSet::new();
    for via in &route.via {
        let is_on_link = |(to, route): (&Prefix, &Route)| route.via.is_empty() && to.contains(*via);
        if !config.routes.get(on).into_iter().flatten().any(is_on_link) {
            check_next_hop(bridge, to, *via)?;
        }
        if !hops.insert(via) {
            return Err(CtlError::invalid(format!("next hop {via} is given twice")));
        }
    }
    Ok(())
}

fn check_next_hop(bridge: &Bridge, to: &Prefix, via: IpAddr) -> Result<(), CtlError> {
    check_host("next hop", via)?;
    if via.is_ipv4() != to.is_ipv4() {
        let message = format!("next hop {via} is not of the network's IP version");
        return Err(CtlError::invalid(message));
    }
    if bridge.gateways.iter().any(|gateway| gateway.addr == via) {
        return Err(CtlError::invalid(format!("next hop {via} is the router's own address")));
    }
    if is_link_local(via) || bridge.gateway_for(via).is_some() {
        return Ok(());
    }
    let subnets: Vec<_> = bridge.gateways.iter().map(ToString::to_string).collect();
    Err(CtlError::invalid(format!(
        "next hop {via} is in no subnet of the bridge's gateways ({}); \
         use one that is, or another bridge",
        subnets.join(", ")
    )))
}

fn check_allowance(config: &Config, from: &BridgeName, to: &BridgeName) -> Result<(), CtlError> {
    if from == to {
        return Err(CtlError::invalid("a bridge reaches itself without being allowed to"));
    }
    routed(config, from).and_then(|_| routed(config, to)).map(|_| ())
}

/// What a bridge reaches has to be told apart by its address.
pub(super) fn check_joined(config: &Config) -> Result<(), CtlError> {
    for (from, reached) in reachable(config) {
        let members = std::iter::once(from).chain(reached);
        let subnets = members
            .flat_map(|name| subnets(config, name).into_iter().map(move |subnet| (subnet, name)));
        let Some([(one, first), (other, second)]) = overlapping(subnets.collect()) else {
            continue;
        };
        return Err(CtlError::invalid(format!(
            "from bridge {from}, {one} on {first} and {other} on {second} cannot be told apart; \
             give bridges that a rule joins subnets that do not overlap"
        )));
    }
    Ok(())
}

/// The subnets that a bridge's addresses are of. Those of a routed network are known one by one, and may be among those of an
/// uplink.
fn subnets(config: &Config, name: &BridgeName) -> Vec<Prefix> {
    let gateways = config.bridges.get(name).into_iter().flat_map(Bridge::subnets);
    let global = gateways.filter(|(_, gateway)| !is_link_local(gateway.addr));
    match config.networks.get(name).map(|network| (network.settings.shape, network)) {
        Some((Shape::Routed, _)) => Vec::new(),
        Some((Shape::P2p, network)) => network.pools.keys().copied().collect(),
        _ => global.map(|(subnet, _)| subnet).collect(),
    }
}

/// Which other bridges packets go to from a bridge, by any rule.
fn reachable(config: &Config) -> BTreeMap<&BridgeName, BTreeSet<&BridgeName>> {
    let mut joined: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for from in config.bridges.keys() {
        let reached: BTreeSet<_> = config.reached_from(from).collect();
        if !reached.is_empty() {
            joined.entry(from).or_default().extend(reached);
        }
    }
    for rule in config.nat.values() {
        let (from, to) = match rule {
            NatRule::Masquerade(rule) => (&rule.from, Some(&rule.to)),
            // The daemon's own bridge, from which it leads, reaches nothing by routing.
            NatRule::Publish(rule) if rule.is_on_loopback() => continue,
            NatRule::Publish(rule) => (&rule.on, config.container_bridge(rule)),
            NatRule::Prefix(rule) => (&rule.from, Some(&rule.to)),
        };
        // A port of the host's loopback may lead to a container of the very bridge.
        joined.entry(from).or_default().extend(to.filter(|to| *to != from));
    }
    // Where a service is found by itself, nobody said that these bridges belong together.
    for service in config.services.values().filter(|service| !service.on.is_empty()) {
        for backend in &service.backends {
            let to = config.backend_bridges(service, backend.at.ip()).next();
            for from in &service.on {
                joined.entry(from).or_default().extend(to.filter(|to| *to != from));
            }
        }
    }
    joined
}
