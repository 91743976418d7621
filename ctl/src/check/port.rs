//! What ports keep to.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::ops::RangeInclusive;

use super::network::check_stranger;
use super::{IPV6_MTU, MAC_LIMIT, bridge_for_ports, bridge_of, check_range, is_link_local};
use crate::plan::differing;
use crate::{
    BridgeName, Config, CtlError, Egress, ErrorCode, IpCidr, Mtu, NatRule, Port, PortKind,
    PortName, Prefix, Tap, TapRoute, Vlan,
};

/// The most queues of one port.
const QUEUES: RangeInclusive<u16> = 1..=16;
/// How many bytes may wait for a port with a limited rate, or come in at once.
const QUEUE_BYTES: RangeInclusive<u32> = Egress::MIN_QUEUE_BYTES..=Egress::MAX_QUEUE_BYTES;

pub(super) fn check(config: &Config, name: &PortName, port: &Port) -> Result<(), CtlError> {
    bridge_for_ports(config, &port.bridge)?;
    if let Some(limit) = port.mac_limit {
        check_range("MAC limit", limit, &MAC_LIMIT)?;
    }
    if let Some(bytes) = port.egress.and_then(|egress| egress.queue_bytes) {
        check_range("egress queue", bytes, &QUEUE_BYTES)?;
    }
    if let Some(bytes) = port.ingress.and_then(|ingress| ingress.burst_bytes) {
        check_range("ingress burst", bytes, &QUEUE_BYTES)?;
    }
    check_carried(config, port)?;
    if port.dhcp && config.network_of(name).is_none() {
        return Err(CtlError::invalid(
            "only a network's container is told its address by DHCP; use `network connect --dhcp`",
        ));
    }
    check_shared(config, name, port)?;
    match &port.kind {
        PortKind::Tap(tap) => {
            check_tap(tap, config.mtu_of(port))?;
            check_router_apart(config, config.domain_of(port), tap)?;
            check_stranger(config, name, &port.bridge, tap)
        }
        PortKind::Netdev { .. } if port.guard => {
            Err(CtlError::invalid("--guard needs a port whose addresses are known: one with --tap"))
        }
        PortKind::Netdev { .. } => Ok(()),
    }
}

/// What a port by which the host shares its interface cannot be, and that it is alone.
fn check_shared(config: &Config, name: &PortName, port: &Port) -> Result<(), CtlError> {
    let wrong = |why: &str| Err(CtlError::invalid(why));
    let is_only = || {
        let mut others = config.ports.iter().filter(|(_, other)| other.bridge == port.bridge);
        others.all(|(other, _)| other == name)
    };
    let is_shared = config.shared_port(&port.bridge).is_some();
    let is_prefixed =
        |rule: &NatRule| matches!(rule, NatRule::Prefix(rule) if rule.to == port.bridge);
    match &port.kind {
        _ if !is_shared => Ok(()),
        _ if !is_only() || config.vxlans_of(&port.bridge).next().is_some() => wrong(
            "a bridge with an interface that the host shares has no other port; use a bridge of its own",
        ),
        _ if config.nat.values().any(is_prefixed) => wrong(
            "the bridge has a rule that translates prefixes (`nat prefix`), which an interface that the host keeps cannot \
             carry; `nat del` it first",
        ),
        _ if config.networks.contains_key(&port.bridge) => {
            wrong("a network cannot have an interface of the host's; use a bridge of its own")
        }
        PortKind::Netdev { netns: None, .. }
            if port.vlan.is_unaware() && port.mtu.is_none() && port.egress.is_none() =>
        {
            Ok(())
        }
        _ => wrong(
            "--shared is for an interface (--netdev) of the daemon's own namespace, whose VLANs, MTU and rate stay the host's",
        ),
    }
}

/// A tunnel carries less than an MTU that a port has of its own.
fn check_carried(config: &Config, port: &Port) -> Result<(), CtlError> {
    let Some(own) = port.mtu else { return Ok(()) };
    for (name, vxlan) in config.vxlans_of(&port.bridge) {
        // What is wrong with the tunnel itself is told elsewhere.
        let Ok(carried) = vxlan.inner_mtu() else { continue };
        if own > carried {
            return Err(CtlError::invalid(format!(
                "its MTU of {own} is more than the {carried} bytes that vxlan {name} carries; \
                 use --mtu {carried} or --mtu bridge, or give the tunnel more with --underlay-mtu"
            )));
        }
    }
    Ok(())
}

/// A container cannot have the router's addresses.
fn check_router_apart(config: &Config, name: &BridgeName, tap: &Tap) -> Result<(), CtlError> {
    let bridge = bridge_of(config, name)?;
    let is_routers =
        |cidr: &&IpCidr| bridge.gateways.iter().any(|gateway| gateway.addr == cidr.addr);
    let taken = |what: String| {
        let message = format!("{what} of bridge {name}'s gateway; choose another one");
        Err(CtlError::new(ErrorCode::Exists, message))
    };
    if let Some(cidr) = tap.ips.iter().find(is_routers) {
        return taken(format!("{} is the address", cidr.addr));
    }
    let router = (!bridge.gateways.is_empty()).then(|| bridge.router_mac(name));
    match tap.mac.filter(|mac| Some(*mac) == router) {
        Some(mac) => taken(format!("{mac} is the MAC address")),
        None => Ok(()),
    }
}

fn check_tap(tap: &Tap, mtu: Mtu) -> Result<(), CtlError> {
    check_range("number of queues", tap.queues, &QUEUES)?;
    if tap.handover && (tap.queues > 1 || tap.mac.is_none()) {
        return Err(CtlError::invalid(
            "an interface that is handed over to an engine has one queue, and a MAC address by which it is found again",
        ));
    }
    let mut addresses = BTreeSet::new();
    if let Some(twice) = tap.ips.iter().find(|cidr| !addresses.insert(cidr.addr)) {
        return Err(CtlError::invalid(format!("address {} is given twice", twice.addr)));
    }
    let mut versions = BTreeSet::new();
    for gateway in &tap.gateways {
        check_gateway(tap, *gateway)?;
        if !versions.insert(gateway.is_ipv4()) {
            return Err(CtlError::invalid("give at most one gateway of each IP version"));
        }
    }
    for route in &tap.routes {
        check_route(tap, route)?;
    }
    if mtu.bytes() < IPV6_MTU && tap.ips.iter().any(|cidr| cidr.addr.is_ipv6()) {
        return Err(CtlError::invalid(format!(
            "its IPv6 address needs an MTU of {IPV6_MTU} or more, and it has {mtu}"
        )));
    }
    Ok(())
}

fn check_gateway(tap: &Tap, gateway: IpAddr) -> Result<(), CtlError> {
    if tap.ips.iter().any(|cidr| cidr.addr == gateway) {
        let message = format!("{gateway} cannot be both its address and its gateway");
        return Err(CtlError::invalid(message));
    }
    // Every interface has a link-local subnet of IPv6, whatever its addresses are.
    // An address by itself is that of a link of two ends, and the gateway is the other.
    let reaches = |cidr: &IpCidr| {
        let alone = Prefix::host(cidr.addr).prefix_len() == cidr.prefix_len;
        cidr.contains(gateway) || (alone && cidr.addr.is_ipv4() == gateway.is_ipv4())
    };
    if is_link_local(gateway) || tap.ips.iter().any(reaches) {
        return Ok(());
    }
    let ips: Vec<_> = tap.ips.iter().map(ToString::to_string).collect();
    let ips = if ips.is_empty() { "none".to_owned() } else { ips.join(", ") };
    Err(CtlError::invalid(format!(
        "gateway {gateway} is in no subnet of its addresses ({ips}); check them and their prefix lengths"
    )))
}

fn check_route(tap: &Tap, route: &TapRoute) -> Result<(), CtlError> {
    let same_version = route.to.is_ipv4() == route.via.is_ipv4();
    let has_address = tap.ips.iter().any(|cidr| cidr.addr.is_ipv4() == route.via.is_ipv4());
    if same_version && (has_address || is_link_local(route.via)) {
        return Ok(());
    }
    let why =
        if same_version { "it has no address of that IP version" } else { "its ends are of two" };
    Err(CtlError::invalid(format!("route {route}: {why}; check the addresses")))
}

/// That no interface gets a MAC address that another one has, where both could be its station. Those that have one already keep
/// it: a state that was kept is one that a daemon served.
pub(super) fn check_stations(old: &Config, config: &Config) -> Result<(), CtlError> {
    if old.ports.is_empty() {
        return Ok(());
    }
    let new: BTreeSet<_> = differing(&old.ports, &config.ports).map(|(name, _)| name).collect();
    let mut owners = BTreeMap::new();
    let (before, added): (Vec<_>, Vec<_>) =
        config.ports.iter().partition(|(name, _)| !new.contains(name));
    for (name, port) in before.into_iter().chain(added) {
        let PortKind::Tap(Tap { mac: Some(mac), .. }) = &port.kind else { continue };
        if matches!(port.vlan, Vlan::Trunk { native: None, .. }) {
            continue;
        }
        let station = (&port.bridge, port.vlan.untagged(), mac);
        let Some(other) = owners.insert(station, name).filter(|_| new.contains(name)) else {
            continue;
        };
        let message = format!(
            "MAC address {mac} cannot be both port {other}'s and port {name}'s on bridge {}; choose another one",
            port.bridge
        );
        return Err(CtlError::new(ErrorCode::Exists, message));
    }
    Ok(())
}

pub(super) fn check_interfaces(config: &Config) -> Result<(), CtlError> {
    let mut owners = BTreeMap::new();
    for (name, port) in &config.ports {
        let (netns, interface) = port.kind.interface();
        let Some(other) = owners.insert((netns, interface), name) else { continue };
        let place = netns.map_or(String::new(), |netns| format!(" of namespace {netns}"));
        let message =
            format!("interface {interface}{place} cannot be both port {other} and {name}");
        return Err(CtlError::new(ErrorCode::Exists, message));
    }
    Ok(())
}
