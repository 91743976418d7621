//! What bridges keep to.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use super::{
    IPV6_MTU, MAC_LIMIT, check_host, check_number, check_range, is_link_local, no_bridge, no_port,
    overlapping,
};
use crate::{
    Advertise, Bridge, BridgeName, Config, CtlError, ErrorCode, StaticMac, StaticNeighbor, Vlan,
    VlanOf,
};

/// IEEE 802.1Q, table 8-3.
const AGEING_SECONDS: RangeInclusive<u32> = 10..=1_000_000;
/// RFC 4861, section 6.2.1.
const ADVERTISEMENT_SECONDS: RangeInclusive<u16> = 4..=1800;
/// RFC 4861, section 6.2.1.
const MAX_LIFETIME_SECONDS: u16 = 9000;
/// What one router advertisement has room for, with the shortest MTU.
const MAX_DNS: usize = 8;
/// The most gateway addresses of one bridge.
pub(crate) const MAX_GATEWAYS: usize = 32;
/// The most networks that the router answers for on one bridge.
const MAX_PROXIED: usize = 1024;
/// The most neighbours entered by hand on one bridge.
const MAX_NEIGHBORS: usize = 16384;

pub(super) fn check(config: &Config, name: &BridgeName, bridge: &Bridge) -> Result<(), CtlError> {
    if let Some(own) = &bridge.vlan_of {
        check_vlan(config, name, bridge, own)?;
    }
    check_range("ageing time", bridge.ageing_seconds, &AGEING_SECONDS)?;
    check_range("MAC limit", bridge.mac_limit, &MAC_LIMIT)?;
    check_stations(config, name, bridge)?;
    check_gateways(config, name, bridge)?;
    check_proxied(bridge)?;
    check_neighbors(bridge)?;
    bridge.advertise.as_ref().map_or(Ok(()), |advertise| check_advertise(bridge, advertise))
}

/// What is of all VLANs of a bridge is not of one.
fn check_vlan(
    config: &Config,
    name: &BridgeName,
    bridge: &Bridge,
    own: &VlanOf,
) -> Result<(), CtlError> {
    let VlanOf { bridge: whole, vlan } = own;
    let of = config.bridges.get(whole).ok_or_else(|| no_bridge(config, whole))?;
    if of.vlan_of.is_some() {
        let message =
            format!("bridge {whole} is a VLAN itself; name the bridge that has the ports");
        return Err(CtlError::invalid(message));
    }
    if config.shared_port(whole).is_some() {
        let message =
            format!("bridge {whole} is by an interface of the host's, whose VLANs stay the host's");
        return Err(CtlError::invalid(message));
    }
    let mut others = config.vlans_of(whole).filter(|(other, _)| *other != name);
    if let Some((other, _)) = others.find(|(_, other)| other.vlan == *vlan) {
        let message = format!("bridge {other} is VLAN {vlan} of bridge {whole} already; use that");
        return Err(CtlError::new(ErrorCode::Exists, message));
    }
    let settings = |of: &Bridge| (of.ageing_seconds, of.mac_limit, of.mtu);
    if settings(bridge) != settings(&Bridge::default()) || !bridge.statics.is_empty() {
        return Err(CtlError::invalid(format!(
            "ageing, MAC limit, MTU and stations of a VLAN are those of its bridge; set them on bridge {whole}"
        )));
    }
    if config.networks.contains_key(name) {
        return Err(CtlError::invalid("a network has a bridge of its own, and not a VLAN of one"));
    }
    Ok(())
}

fn check_stations(config: &Config, name: &BridgeName, bridge: &Bridge) -> Result<(), CtlError> {
    let (entries, limit) = (bridge.statics.len(), bridge.mac_limit);
    if entries > usize::try_from(limit).unwrap_or(usize::MAX) {
        let message = format!("{entries} stations entered by hand exceed its MAC limit of {limit}");
        return Err(CtlError::invalid(message));
    }
    let mut entered = BTreeSet::new();
    for station in &bridge.statics {
        check_station(config, name, station)?;
        if !entered.insert((station.mac, station.vlan)) {
            let message = format!("station {} is entered twice", station.mac);
            return Err(CtlError::invalid(message));
        }
    }
    Ok(())
}

fn check_station(
    config: &Config,
    bridge: &BridgeName,
    station: &StaticMac,
) -> Result<(), CtlError> {
    let StaticMac { mac, vlan, port: name, vtep } = station;
    let wrong = |why: String| Err(CtlError::invalid(format!("station {mac}: {why}")));
    let (of, vlans) = match (config.ports.get(name), config.vxlans.get(name)) {
        (Some(port), _) => (&port.bridge, &port.vlan),
        (None, Some(vxlan)) => (&vxlan.bridge, &Vlan::Unaware),
        (None, None) => return Err(no_port(config, name)),
    };
    if of != bridge {
        let message =
            format!("station {mac} cannot be behind port {name}, which is of bridge {of}");
        return Err(CtlError::invalid(message));
    }
    match (config.vxlans.get(name), vtep) {
        (Some(_), None) => {
            return wrong(format!("{name} is a tunnel: say on which host, with --vtep"));
        }
        (Some(vxlan), Some(vtep)) if !vxlan.remotes.contains(vtep) => {
            return wrong(format!(
                "{vtep} is no remote of vxlan {name}; add it with `vxlan set {name} --remote`"
            ));
        }
        (None, Some(_)) => return wrong(format!("port {name} is no tunnel, and has no --vtep")),
        _ => {}
    }
    match vlan {
        _ if vlans.carries(*vlan) => Ok(()),
        Some(vlan) => wrong(format!("port {name} (VLANs: {vlans}) does not carry VLAN {vlan}")),
        None => wrong(format!("port {name} (VLANs: {vlans}) carries VLANs: say which")),
    }
}

fn check_gateways(config: &Config, name: &BridgeName, bridge: &Bridge) -> Result<(), CtlError> {
    check_number("gateway addresses on one bridge", bridge.gateways.len(), MAX_GATEWAYS)?;
    for gateway in &bridge.gateways {
        // A subnet's own address and its broadcast address are no `IpCidr`.
        check_host("gateway address", gateway.addr)?;
        if gateway.addr.is_loopback() {
            let message = format!("gateway address {} is a loopback address", gateway.addr);
            return Err(CtlError::invalid(message));
        }
    }
    let mut known = BTreeSet::new();
    if let Some(twice) = bridge.gateways.iter().find(|gateway| !known.insert(gateway.addr)) {
        let message = format!("gateway address {} is given twice", twice.addr);
        return Err(CtlError::invalid(message));
    }
    if let Some([(_, one), (_, other)]) = overlapping(bridge.subnets().collect()) {
        return Err(CtlError::invalid(format!(
            "gateways {one} and {other} are in overlapping subnets; give one address of each subnet, and further ones of it by \
             themselves ({})",
            other.alone()
        )));
    }
    let mtu = config.mtu_within(name);
    if mtu.bytes() < IPV6_MTU && bridge.gateways.iter().any(|gateway| gateway.addr.is_ipv6()) {
        return Err(CtlError::invalid(format!(
            "its IPv6 gateway needs an MTU of {IPV6_MTU} or more, and the bridge or a tunnel has {mtu}"
        )));
    }
    Ok(())
}

fn check_proxied(bridge: &Bridge) -> Result<(), CtlError> {
    check_number("proxied networks on one bridge", bridge.proxy.len(), MAX_PROXIED)?;
    let networks = bridge.proxy.iter().map(|network| (*network, ())).collect();
    if let Some([(one, ()), (other, ())]) = overlapping(networks) {
        let message =
            format!("proxied networks {one} and {other} overlap; give the larger one only");
        return Err(CtlError::invalid(message));
    }
    match bridge.proxy.first() {
        Some(network) if bridge.gateways.is_empty() => Err(CtlError::invalid(format!(
            "the router answers for {network} only where it has an address; add --gateway"
        ))),
        _ => Ok(()),
    }
}

fn check_neighbors(bridge: &Bridge) -> Result<(), CtlError> {
    check_number("neighbours on one bridge", bridge.neighbors.len(), MAX_NEIGHBORS)?;
    let mut entered = BTreeSet::new();
    for StaticNeighbor { ip, .. } in &bridge.neighbors {
        check_host("neighbour", *ip)?;
        if bridge.gateways.iter().any(|gateway| gateway.addr == *ip) {
            return Err(CtlError::invalid(format!("neighbour {ip} is the router's own address")));
        }
        if !is_link_local(*ip) && bridge.gateway_for(*ip).is_none() {
            return Err(CtlError::invalid(format!(
                "neighbour {ip} is in no subnet of the bridge's gateways; see `bridge show`"
            )));
        }
        if !entered.insert(ip) {
            return Err(CtlError::invalid(format!("neighbour {ip} is entered twice")));
        }
    }
    Ok(())
}

fn check_advertise(bridge: &Bridge, advertise: &Advertise) -> Result<(), CtlError> {
    let Advertise { interval_seconds: interval, lifetime_seconds: lifetime, .. } = advertise;
    check_range("interval of router advertisements", *interval, &ADVERTISEMENT_SECONDS)?;
    if *lifetime != 0 {
        let lifetimes = *interval..=MAX_LIFETIME_SECONDS;
        check_range("lifetime of router advertisements", *lifetime, &lifetimes)?;
    }
    check_number("name servers in a router advertisement", advertise.dns.len(), MAX_DNS)?;
    let advertised =
        |gateway: &&crate::IpCidr| gateway.addr.is_ipv6() && !is_link_local(gateway.addr);
    let mut gateways = bridge.gateways.iter().filter(advertised).peekable();
    if gateways.peek().is_none() {
        return Err(CtlError::invalid("--advertise needs an IPv6 gateway; add one with --gateway"));
    }
    match gateways.find(|gateway| advertise.autonomous && gateway.prefix_len != 64) {
        // RFC 4862, section 5.5.3, with the interface identifiers of RFC 2464.
        Some(gateway) => Err(CtlError::invalid(format!(
            "hosts make themselves addresses of /64 networks only, and {gateway} is none; \
             advertise it with no-autonomous"
        ))),
        None => Ok(()),
    }
}
