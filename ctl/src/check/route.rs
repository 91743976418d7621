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
        let link = Link::of(bridge, routes.iter().map(|(to, route)| (to, &*route.via)));
        if let Some(to) = link.networks.first().filter(|_| config.shared_port(on).is_none()) {
            let error = CtlError::invalid("a route needs a next hop: say --via");
            return Err(error.within("route", format!("{to} on {on}")));
        }
        for (to, route) in routes {
            let name = format!("{to} on {on}");
            check_route(&link, to, route).map_err(|error| error.within("route", name))?;
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

/// What can be reached from a bridge without a router.
pub(crate) struct Link<'a> {
    bridge: &'a Bridge,
    /// Networks with a route by no router, as only the host has them on a link of its own.
    networks: Vec<Prefix>,
}

impl<'a> Link<'a> {
    /// That of a bridge with these routes.
    pub(crate) fn of<'b>(
        bridge: &'a Bridge,
        routes: impl Iterator<Item = (&'b Prefix, &'b [IpAddr])>,
    ) -> Self {
        let networks = routes.filter(|(_, via)| via.is_empty()).map(|(to, _)| *to).collect();
        Self { bridge, networks }
    }

    /// Whether an address is one of it.
    pub(crate) fn has(&self, ip: IpAddr) -> bool {
        is_link_local(ip)
            || self.bridge.gateway_for(ip).is_some()
            || self.networks.iter().any(|network| network.contains(ip))
    }
}

fn check_route(link: &Link<'_>, to: &Prefix, route: &Route) -> Result<(), CtlError> {
    if to.addr().is_multicast() || to.addr().is_loopback() {
        return Err(CtlError::invalid("multicast and loopback addresses are not routed"));
    }
    if link.bridge.gateways.iter().any(|gateway| gateway.subnet() == *to) {
        return Err(CtlError::invalid("this is the bridge's own subnet, which needs no route"));
    }
    check_number("next hops of one route", route.via.len(), MAX_NEXT_HOPS)?;
    let mut hops = BTreeSet::new();
    for via in &route.via {
        check_next_hop(link, to, *via)?;
        if !hops.insert(via) {
            return Err(CtlError::invalid(format!("next hop {via} is given twice")));
        }
    }
    Ok(())
}

fn check_next_hop(link: &Link<'_>, to: &Prefix, via: IpAddr) -> Result<(), CtlError> {
    let bridge = link.bridge;
    check_host("next hop", via)?;
    if via.is_ipv4() != to.is_ipv4() {
        let message = format!("next hop {via} is not of the network's IP version");
        return Err(CtlError::invalid(message));
    }
    if bridge.gateways.iter().any(|gateway| gateway.addr == via) {
        return Err(CtlError::invalid(format!("next hop {via} is the router's own address")));
    }
    if link.has(via) {
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
        let remedy = parting(config, [first, second]);
        return Err(CtlError::invalid(format!(
            "from bridge {from}, {one} on {first} and {other} on {second} cannot be told apart; {remedy}"
        )));
    }
    Ok(())
}

/// How two bridges get subnets that can be told apart. Where those of one are the host's, the other is to have another one.
fn parting(config: &Config, both: [&BridgeName; 2]) -> String {
    let (hosts, others): (Vec<_>, Vec<_>) =
        both.into_iter().partition(|name| config.shared_port(name).is_some());
    match (&hosts[..], &others[..]) {
        ([hosts], [other]) if config.networks.contains_key(*other) => format!(
            "{hosts} has the host's, so make network {other} with another --subnet (`network rm` it first if it is there)"
        ),
        ([hosts], [other]) => {
            format!(
                "{hosts} has the host's, so give {other} another one, with `bridge set {other} --gateway`"
            )
        }
        _ => "give bridges that a rule joins subnets that do not overlap".to_owned(),
    }
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
