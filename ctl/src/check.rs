//! [`check`]: whether a configuration is one that the switch can carry out, as far as that can be told
//! without the host. The one place for such rules: a state file and a request meet the same ones.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use crate::{
    Bridge, BridgeName, Config, CtlError, ErrorCode, Mtu, Port, PortKind, PortName, StaticMac, Tap,
};

/// IEEE 802.1Q, table 8-3.
const AGEING_SECONDS: RangeInclusive<u32> = 10..=1_000_000;
/// More stations than this on one bridge are more than the switch has memory for.
const MAC_LIMIT: RangeInclusive<u32> = 1..=1_048_576;
/// The most queues of one port.
const QUEUES: RangeInclusive<u16> = 1..=16;
/// The most ports of one switch.
const MAX_PORTS: usize = 16384;
/// The most bridges of one switch.
const MAX_BRIDGES: usize = 65535;
/// The shortest MTU with which IPv6 works (RFC 8200, section 5).
const IPV6_MTU: u32 = 1280;

/// Whether a configuration can be carried out.
///
/// # Errors
/// [`CtlError`], which says what is wrong with which of its parts.
pub(crate) fn check(config: &Config) -> Result<(), CtlError> {
    check_number("bridges", config.bridges.len(), MAX_BRIDGES)?;
    check_number("ports", config.ports.len(), MAX_PORTS)?;
    for (name, bridge) in &config.bridges {
        check_bridge(config, name, bridge).map_err(|error| error.within("bridge", name))?;
    }
    for (name, port) in &config.ports {
        check_port(config, port).map_err(|error| error.within("port", name))?;
    }
    check_interfaces(config)
}

/// That a bridge does not exist, and which do.
pub(crate) fn no_bridge(config: &Config, name: &BridgeName) -> CtlError {
    /// More names than this help nobody.
    const SHOWN: usize = 10;
    let mut names: Vec<_> = config.bridges.keys().map(BridgeName::as_str).take(SHOWN).collect();
    if config.bridges.len() > SHOWN {
        names.push("...");
    }
    let there = match names.as_slice() {
        [] => "there are none yet; make it with `bridge add`".to_owned(),
        names => format!("there are: {}", names.join(", ")),
    };
    CtlError::not_found(format!("bridge {name} does not exist; {there}"))
}

/// That a port does not exist.
pub(crate) fn no_port(name: &PortName) -> CtlError {
    CtlError::not_found(format!("port {name} does not exist; `port list` shows those that do"))
}

fn check_number(of: &str, number: usize, most: usize) -> Result<(), CtlError> {
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

fn check_bridge(config: &Config, name: &BridgeName, bridge: &Bridge) -> Result<(), CtlError> {
    check_range("ageing time", bridge.ageing_seconds, &AGEING_SECONDS)?;
    check_range("MAC limit", bridge.mac_limit, &MAC_LIMIT)?;
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
    let StaticMac { mac, vlan, port: name } = station;
    let port = config.ports.get(name).ok_or_else(|| no_port(name))?;
    if port.bridge != *bridge {
        let message = format!(
            "station {mac} cannot be behind port {name}, which is of bridge {}",
            port.bridge
        );
        return Err(CtlError::invalid(message));
    }
    if port.vlan.carries(*vlan) {
        return Ok(());
    }
    let message = match vlan {
        Some(vlan) => format!("port {name} (VLANs: {}) does not carry VLAN {vlan}", port.vlan),
        None => format!("port {name} (VLANs: {}) carries VLANs: say which", port.vlan),
    };
    Err(CtlError::invalid(format!("station {mac}: {message}")))
}

fn check_port(config: &Config, port: &Port) -> Result<(), CtlError> {
    if !config.bridges.contains_key(&port.bridge) {
        return Err(no_bridge(config, &port.bridge));
    }
    if let Some(limit) = port.mac_limit {
        check_range("MAC limit", limit, &MAC_LIMIT)?;
    }
    match &port.kind {
        PortKind::Tap(tap) => check_tap(tap, config.mtu_of(port)),
        PortKind::Netdev { .. } => Ok(()),
    }
}

fn check_tap(tap: &Tap, mtu: Mtu) -> Result<(), CtlError> {
    check_range("number of queues", tap.queues, &QUEUES)?;
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
    let link_local = matches!(gateway, IpAddr::V6(addr) if addr.is_unicast_link_local());
    if link_local || tap.ips.iter().any(|cidr| cidr.contains(gateway)) {
        return Ok(());
    }
    let ips: Vec<_> = tap.ips.iter().map(ToString::to_string).collect();
    let ips = if ips.is_empty() { "none".to_owned() } else { ips.join(", ") };
    Err(CtlError::invalid(format!(
        "gateway {gateway} is in no subnet of its addresses ({ips}); check them and their prefix lengths"
    )))
}

fn check_interfaces(config: &Config) -> Result<(), CtlError> {
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
