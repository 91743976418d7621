//! [`check`]: whether a configuration is one that the switch can carry out, as far as that can be told
//! without the host. The one place for such rules: a state file and a request meet the same ones.

mod bridge;
mod flow;
mod nat;
mod network;
mod port;
mod references;
mod route;
mod service;
mod vxlan;

use std::fmt::Display;
use std::net::IpAddr;
use std::ops::RangeInclusive;

pub(crate) use bridge::MAX_GATEWAYS;
pub(crate) use nat::{address_nowhere, check_addressed, published_already};
pub(crate) use network::check_room;
pub(crate) use references::{Reference, references};
pub(crate) use route::{Link, MAX_NEXT_HOPS};

use crate::loopback;
use crate::plan::differing;
use crate::{Bridge, BridgeName, Config, CtlError, PortName, Prefix, Table, VlanOf};

/// More stations than this on one bridge are more than the switch has memory for.
const MAC_LIMIT: RangeInclusive<u32> = 1..=1_048_576;
/// The most ports of one switch, tunnels and the hosts behind them included.
const MAX_PORTS: usize = 16384;
/// The most bridges of one switch.
const MAX_BRIDGES: usize = 65535;
/// The most routes added by hand.
const MAX_ROUTES: usize = 65536;
/// The most rules of address translation.
const MAX_NAT_RULES: usize = 65536;
/// The most services.
const MAX_SERVICES: usize = 65536;
/// The shortest MTU with which IPv6 works (RFC 8200, section 5).
const IPV6_MTU: u32 = 1280;

/// Whether a configuration can be carried out.
///
/// # Errors
/// [`CtlError`], which says what is wrong with which of its parts.
pub(crate) fn check(config: &Config) -> Result<(), CtlError> {
    check_change(&Config::default(), config)
}

/// Whether a configuration can be carried out that was made from another which can: what is as it was, and refers to
/// nothing that is not, is not looked at again.
///
/// # Errors
/// [`CtlError`], which says what is wrong with which of its parts.
pub(crate) fn check_change(old: &Config, config: &Config) -> Result<(), CtlError> {
    check_numbers(config)?;
    let same_bridges = old.bridges == config.bridges;
    let same_ports = old.ports == config.ports;
    let same_vxlans = old.vxlans == config.vxlans;
    let same_nat = old.nat == config.nat;
    let are_alone = || config.bridges.values().all(|bridge| bridge.vlan_of.is_none());
    let is_rest_same = same_ports && same_vxlans && (same_bridges || are_alone());
    let bridges = concerned(&old.bridges, &config.bridges, is_rest_same);
    for (name, bridge) in bridges {
        bridge::check(config, name, bridge).map_err(|error| error.within("bridge", name))?;
    }
    for (name, port) in concerned(&old.ports, &config.ports, same_bridges && same_vxlans) {
        port::check(config, name, port).map_err(|error| error.within("port", name))?;
    }
    for (name, vxlan) in concerned(&old.vxlans, &config.vxlans, same_bridges && same_ports) {
        vxlan::check(config, name, vxlan).map_err(|error| error.within("vxlan", name))?;
    }
    if !same_ports {
        port::check_interfaces(config)?;
        port::check_stations(old, config)?;
    }
    if !same_bridges || !same_ports || !same_vxlans {
        loopback::check(config)?;
    }
    if !same_vxlans {
        vxlan::check_endpoints(config)?;
    }
    let same_reach = (&old.routes, &old.allowed) == (&config.routes, &config.allowed);
    if !same_bridges || !same_reach {
        route::check(config)?;
    }
    if !same_ports {
        nat::check_left_addressed(old, config)?;
    }
    for (name, rule) in nat::concerned(old, config) {
        nat::check(config, rule).map_err(|error| error.within("nat rule", name))?;
    }
    if !same_nat {
        nat::check_apart(old, config)?;
    }
    loopback::check_once(old, config)?;
    nat::check_timeouts(config)?;
    let same_services = old.services == config.services && old.networks == config.networks;
    for (name, service) in concerned(&old.services, &config.services, same_bridges) {
        service::check(config, service).map_err(|error| error.within("service", name))?;
    }
    if !same_bridges || !same_nat || !service::are_placed_as(old, config) {
        service::check_apart(config)?;
    }
    for (id, rule) in concerned(&old.flows, &config.flows, same_bridges) {
        flow::check(config, rule).map_err(|error| error.within("rule", id))?;
    }
    for (name, network) in network::concerned(old, config) {
        network::check(config, name, network).map_err(|error| error.within("network", name))?;
    }
    if !same_bridges || old.networks != config.networks {
        network::check_resolvers(config)?;
    }
    for (subnet, pool) in differing(&old.pools, &config.pools) {
        network::check_pool(subnet, pool)?;
    }
    // Last: what is wrong with one part alone is better told alone.
    if same_bridges && same_nat && same_services && same_reach {
        return Ok(());
    }
    route::check_joined(old, config)
}

/// What has to be looked at: what differs, or everything, unless all that it refers to is the same.
fn concerned<'a, K: Ord, V: PartialEq>(
    old: &'a Table<K, V>,
    new: &'a Table<K, V>,
    is_rest_same: bool,
) -> impl Iterator<Item = (&'a K, &'a V)> {
    let differing = is_rest_same.then(|| differing(old, new));
    let all = (!is_rest_same).then(|| new.iter());
    differing.into_iter().flatten().chain(all.into_iter().flatten())
}

fn check_numbers(config: &Config) -> Result<(), CtlError> {
    let vteps: usize = config.vxlans.values().map(|vxlan| 1 + vxlan.remotes.len()).sum();
    check_total("bridges", config.bridges.len(), MAX_BRIDGES)?;
    check_total("ports", config.ports.len() + vteps, MAX_PORTS)?;
    check_total("routes", config.routes.values().map(|routes| routes.len()).sum(), MAX_ROUTES)?;
    check_total("nat rules", config.nat.len(), MAX_NAT_RULES)?;
    check_total("services", config.services.len(), MAX_SERVICES)
}

/// More names than this in one message help nobody.
const SHOWN: usize = 10;

/// Names of what a message is about, for people.
pub fn shown(names: &[impl Display]) -> String {
    let more = if names.len() > SHOWN { ", ..." } else { "" };
    let shown: Vec<_> = names.iter().take(SHOWN).map(ToString::to_string).collect();
    shown.join(", ") + more
}

/// That a bridge does not exist, and which do.
pub(crate) fn no_bridge(config: &Config, name: &BridgeName) -> CtlError {
    let there = there_are(config.bridges.keys(), "bridge add");
    CtlError::not_found(format!("bridge {name} does not exist; {there}"))
}

/// That a network does not exist, and which do.
pub(crate) fn no_network(config: &Config, name: &BridgeName) -> CtlError {
    let there = there_are(config.networks.keys(), "network create");
    CtlError::not_found(format!("network {name} does not exist; {there}"))
}

/// Which there are, or how to make one.
fn there_are<'a>(names: impl Iterator<Item = &'a BridgeName>, make: &str) -> String {
    // One more than are shown, so that it is known that there are more.
    let names: Vec<_> = names.map(ToString::to_string).take(SHOWN + 1).collect();
    match names.as_slice() {
        [] => format!("there are none yet; make it with `{make}`"),
        names => format!("there are: {}", shown(names)),
    }
}

/// That a port does not exist, or is a tunnel.
pub(crate) fn no_port(config: &Config, name: &PortName) -> CtlError {
    if config.vxlans.contains_key(name) {
        return CtlError::not_found(format!("port {name} is a tunnel; use `vxlan`, not `port`"));
    }
    CtlError::not_found(format!("port {name} does not exist; `port list` shows those that do"))
}

/// That a tunnel does not exist.
pub(crate) fn no_vxlan(name: &PortName) -> CtlError {
    CtlError::not_found(format!("vxlan {name} does not exist; `vxlan list` shows those that do"))
}

/// A bridge that has to be there.
fn bridge_of<'a>(config: &'a Config, name: &BridgeName) -> Result<&'a Bridge, CtlError> {
    config.bridges.get(name).ok_or_else(|| no_bridge(config, name))
}

/// A bridge that has to be there, and that ports can be of.
fn bridge_for_ports<'a>(config: &'a Config, name: &BridgeName) -> Result<&'a Bridge, CtlError> {
    let bridge = bridge_of(config, name)?;
    match &bridge.vlan_of {
        None => Ok(bridge),
        Some(VlanOf { bridge: whole, vlan }) => Err(CtlError::invalid(format!(
            "bridge {name} is VLAN {vlan} of bridge {whole}, whose ports it has; \
             name bridge {whole}, and VLAN {vlan}"
        ))),
    }
}

/// A bridge that has to be there, and to be an interface of the router.
fn routed<'a>(config: &'a Config, name: &BridgeName) -> Result<&'a Bridge, CtlError> {
    let bridge = bridge_of(config, name)?;
    // The host's addresses come and go.
    if bridge.gateways.is_empty() && config.shared_port(name).is_none() {
        return Err(CtlError::invalid(format!(
            "bridge {name} has no gateway address, so nothing is routed there; \
             give it one with `bridge set {name} --gateway`"
        )));
    }
    Ok(bridge)
}

/// An address that one host can have.
fn check_host(what: &str, addr: IpAddr) -> Result<(), CtlError> {
    let is_broadcast = matches!(addr, IpAddr::V4(addr) if addr.is_broadcast());
    if addr.is_unspecified() || addr.is_multicast() || is_broadcast {
        return Err(CtlError::invalid(format!("{what} {addr} is not the address of one host")));
    }
    Ok(())
}

/// Whether an address is one of IPv6 that is nobody's beyond the site (RFC 4193).
pub(crate) fn is_unique_local(addr: IpAddr) -> bool {
    matches!(addr, IpAddr::V6(addr) if addr.is_unique_local())
}

/// Whether every IPv6 interface has this address's subnet.
pub(crate) fn is_link_local(addr: IpAddr) -> bool {
    matches!(addr, IpAddr::V6(addr) if addr.is_unicast_link_local())
}

/// Two networks that have addresses in common, if there are any. In order, whatever is in a network comes
/// right after it.
fn overlapping<T: Copy>(mut networks: Vec<(Prefix, T)>) -> Option<[(Prefix, T); 2]> {
    networks.sort_by_key(|(network, _)| *network);
    let pair = networks.windows(2).find(|pair| pair[0].0.overlaps(&pair[1].0))?;
    Some([pair[0], pair[1]])
}

/// That there are not too many of something that one of the parts has.
fn check_number(of: &str, number: usize, most: usize) -> Result<(), CtlError> {
    if number <= most {
        return Ok(());
    }
    Err(CtlError::invalid(format!("{number} {of} are too many; give {most} at most")))
}

/// That there are not too many of something altogether.
fn check_total(of: &str, number: usize, most: usize) -> Result<(), CtlError> {
    if number <= most {
        return Ok(());
    }
    Err(CtlError::invalid(format!("one switch has at most {most} {of}; run another one for more")))
}

fn check_range<T: PartialOrd + Display>(
    what: &str,
    value: T,
    range: &RangeInclusive<T>,
) -> Result<(), CtlError> {
    if range.contains(&value) {
        return Ok(());
    }
    let (least, most) = (range.start(), range.end());
    Err(CtlError::invalid(format!("{what} {value} is out of range: use {least} to {most}")))
}
