//! What routes and the bridges that they join keep to.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{check_host, check_number, is_link_local, overlapping, routed};
use crate::network::own_uplinks;
use crate::plan::{self, touched};
use crate::{Bridge, BridgeName, Config, CtlError, End, NatRule, Prefix, Route, Shape};

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
pub(super) fn check_joined(old: &Config, config: &Config) -> Result<(), CtlError> {
    let served = served(config);
    let concerned: BTreeSet<_> =
        concerned(old, config).into_iter().chain(served.keys().copied()).collect();
    for from in concerned {
        let mut reached: BTreeSet<_> = reached(config, from).collect();
        reached.extend(served.get(from).into_iter().flatten());
        // A port of the host's loopback may lead to a container of the very bridge.
        reached.remove(from);
        let members = std::iter::once(from).chain(reached);
        let subnets = members
            .flat_map(|name| subnets(config, name).into_iter().map(move |subnet| (subnet, name)));
        let Some([(one, first), (other, second)]) = overlapping(subnets.collect()) else {
            continue;
        };
        let remedy = parting(config, [first, second]);
        return Err(CtlError::invalid(format!(
            "{one} on {first} overlaps {other} on {second}, and what {from} sends there could go to either; {remedy}"
        )));
    }
    Ok(())
}

/// The bridges from which other subnets may be reached than before, as far as it is not by services.
fn concerned<'a>(old: &'a Config, config: &'a Config) -> BTreeSet<&'a BridgeName> {
    let bridges = touched(&old.bridges, &config.bridges).map(|(name, _)| name);
    let networks = touched(&old.networks, &config.networks).map(|(name, _)| name);
    let differing: BTreeSet<_> = bridges.chain(networks).collect();
    // Who leaves by the uplinks is asked after where it matters only.
    if own_uplinks(old).ne(own_uplinks(config))
        || own_uplinks(config).any(|uplink| differing.contains(uplink))
    {
        return config.bridges.keys().collect();
    }
    let allowed = config.allowed.iter().filter(|(from, reached)| {
        old.allowed.get(*from) != Some(reached) || reached.iter().any(|to| differing.contains(to))
    });
    let to = differing.iter().map(|name| End::To((*name).clone())).chain([End::Unnamed]);
    let rules = to.flat_map(|end| config.nat.marked(end));
    let rules = rules.chain(plan::differing(&old.nat, &config.nat)).map(|(_, rule)| rule.from());
    let froms = rules.chain(allowed.map(|(from, _)| from));
    froms.chain(differing.iter().copied()).collect()
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
pub(crate) fn subnets(config: &Config, name: &BridgeName) -> Vec<Prefix> {
    let gateways = config.bridges.get(name).into_iter().flat_map(Bridge::subnets);
    let global = gateways.filter(|(_, gateway)| !is_link_local(gateway.addr));
    match config.networks.get(name).map(|network| (network.settings.shape, network)) {
        Some((Shape::Routed, _)) => Vec::new(),
        Some((Shape::P2p, network)) => network.pools.keys().copied().collect(),
        _ => global.map(|(subnet, _)| subnet).collect(),
    }
}

/// Where packets go to from a bridge by any rule, but for services.
fn reached<'a>(
    config: &'a Config,
    from: &'a BridgeName,
) -> impl Iterator<Item = &'a BridgeName> + 'a {
    let rules = config.nat.marked(End::From(from.clone()));
    let translated = rules.filter_map(|(_, rule)| match rule {
        NatRule::Masquerade(rule) => Some(&rule.to),
        // The daemon's own bridge, from which it leads, reaches nothing by routing.
        NatRule::Publish(rule) if rule.is_on_loopback() => None,
        NatRule::Publish(rule) => config.container_bridge(rule),
        NatRule::Prefix(rule) => Some(&rule.to),
    });
    config.reached_from(from).chain(translated)
}

/// The bridges of the backends of services, by the bridges that these are found on by name. Where a service is found by itself, nobody
/// said that they belong together.
fn served(config: &Config) -> BTreeMap<&BridgeName, BTreeSet<&BridgeName>> {
    let mut served: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for service in config.services.values().filter(|service| !service.on.is_empty()) {
        let homes: BTreeSet<_> = config.homes_of(service).collect();
        for from in &service.on {
            served.entry(from).or_default().extend(&homes);
        }
    }
    served
}
