//! [`apply`]: the next configuration. Pure: what can be checked without the host is checked here.

use std::net::IpAddr;

use crate::{
    Attach, Bridge, BridgeAdd, BridgeName, BridgeSet, Config, CtlError, Detach, ErrorCode,
    FdbFilter, FdbKey, FdbStatic, IfName, Mtu, Mutation, Named, NetnsRef, Port, PortAdd, PortKind,
    PortName, PortSet, Tap, Vlan,
};

/// IEEE 802.1Q, table 8-3.
const AGEING_SECONDS: std::ops::RangeInclusive<u32> = 10..=1_000_000;
/// More stations than this on one bridge are more than the switch has memory for.
const MAC_LIMIT: std::ops::RangeInclusive<u32> = 1..=1_048_576;
/// The most queues of one port.
const QUEUES: std::ops::RangeInclusive<u16> = 1..=16;
/// The most ports of one switch.
const MAX_PORTS: usize = 16384;
/// The most bridges of one switch.
const MAX_BRIDGES: usize = 65535;
/// The shortest MTU with which IPv6 works (RFC 8200, section 5).
const IPV6_MTU: u32 = 1280;

/// The configuration after a change.
///
/// # Errors
/// [`CtlError`], when the change cannot be made; `config` is untouched in any case.
pub fn apply(config: &Config, mutation: &Mutation) -> Result<Config, CtlError> {
    let mut next = config.clone();
    match mutation {
        Mutation::BridgeAdd(add) => add_bridge(&mut next, add)?,
        Mutation::BridgeDel(named) => del_bridge(&mut next, named)?,
        Mutation::BridgeSet(set) => set_bridge(&mut next, set)?,
        Mutation::PortAdd(add) => add_port(&mut next, add)?,
        Mutation::PortDel(named) => del_port(&mut next, named)?,
        Mutation::PortSet(set) => set_port(&mut next, set)?,
        Mutation::Attach(attach) => self::attach(&mut next, attach)?,
        Mutation::Detach(detach) => self::detach(&mut next, detach),
        Mutation::FdbAdd(add) => add_static(&mut next, add)?,
        Mutation::FdbDel(key) => del_static(&mut next, key)?,
        Mutation::FdbFlush(filter) => check_filter(&next, filter)?,
    }
    Ok(next)
}

fn no_bridge(config: &Config, name: &BridgeName) -> CtlError {
    let all: Vec<_> = config.bridges.keys().map(BridgeName::as_str).collect();
    let there = match all.as_slice() {
        [] => "there are none yet; make it with `bridge add`".to_owned(),
        names => format!("there are: {}", names.join(", ")),
    };
    CtlError::not_found(format!("bridge {name} does not exist; {there}"))
}

fn no_port(name: &PortName) -> CtlError {
    CtlError::not_found(format!("port {name} does not exist; `port list` shows those that do"))
}

fn check_range<T: PartialOrd + std::fmt::Display>(
    what: &str,
    value: T,
    range: &std::ops::RangeInclusive<T>,
) -> Result<(), CtlError> {
    if range.contains(&value) {
        return Ok(());
    }
    let (least, most) = (range.start(), range.end());
    Err(CtlError::invalid(format!("{what} {value} is out of range: use {least} to {most}")))
}

fn check_bridge(bridge: &Bridge) -> Result<(), CtlError> {
    check_range("ageing time", bridge.ageing_seconds, &AGEING_SECONDS)?;
    check_range("MAC limit", bridge.mac_limit, &MAC_LIMIT)
}

fn add_bridge(config: &mut Config, add: &BridgeAdd) -> Result<(), CtlError> {
    if config.bridges.contains_key(&add.name) {
        if add.may_exist {
            return Ok(());
        }
        let message = format!("bridge {} exists already; change it with `bridge set`", add.name);
        return Err(CtlError::new(ErrorCode::Exists, message));
    }
    if config.bridges.len() >= MAX_BRIDGES {
        return Err(CtlError::invalid(format!("the switch has {MAX_BRIDGES} bridges already")));
    }
    let default = Bridge::default();
    let bridge = Bridge {
        ageing_seconds: add.ageing_seconds.unwrap_or(default.ageing_seconds),
        mac_limit: add.mac_limit.unwrap_or(default.mac_limit),
        mtu: add.mtu.unwrap_or(default.mtu),
        statics: Vec::new(),
    };
    check_bridge(&bridge)?;
    config.bridges.insert(add.name.clone(), bridge);
    Ok(())
}

fn del_bridge(config: &mut Config, named: &Named<BridgeName>) -> Result<(), CtlError> {
    let ports: Vec<_> = config.ports_of(&named.name).map(|(name, _)| name.as_str()).collect();
    if !ports.is_empty() {
        let message = format!(
            "bridge {} has ports: {}; remove them first with `port del`",
            named.name,
            ports.join(", ")
        );
        return Err(CtlError::new(ErrorCode::InUse, message));
    }
    match config.bridges.remove(&named.name) {
        None if !named.if_exists => Err(no_bridge(config, &named.name)),
        _ => Ok(()),
    }
}

fn set_bridge(config: &mut Config, set: &BridgeSet) -> Result<(), CtlError> {
    let Some(bridge) = config.bridges.get_mut(&set.name) else {
        return Err(no_bridge(config, &set.name));
    };
    bridge.ageing_seconds = set.ageing_seconds.unwrap_or(bridge.ageing_seconds);
    bridge.mac_limit = set.mac_limit.unwrap_or(bridge.mac_limit);
    bridge.mtu = set.mtu.unwrap_or(bridge.mtu);
    check_bridge(bridge)?;
    for (name, port) in config.ports_of(&set.name) {
        check_ipv6_mtu(name, port, config.mtu_of(port))?;
    }
    Ok(())
}

fn add_port(config: &mut Config, add: &PortAdd) -> Result<(), CtlError> {
    if config.ports.contains_key(&add.name) {
        let message = format!("port {} exists already; change it with `port set`", add.name);
        return Err(CtlError::new(ErrorCode::Exists, message));
    }
    if config.ports.len() >= MAX_PORTS {
        return Err(CtlError::invalid(format!("the switch has {MAX_PORTS} ports already")));
    }
    check_port(config, &add.name, &add.port)?;
    config.ports.insert(add.name.clone(), add.port.clone());
    Ok(())
}

fn check_port(config: &Config, name: &PortName, port: &Port) -> Result<(), CtlError> {
    if !config.bridges.contains_key(&port.bridge) {
        return Err(no_bridge(config, &port.bridge));
    }
    if let Some(limit) = port.mac_limit {
        check_range("MAC limit", limit, &MAC_LIMIT)?;
    }
    if let PortKind::Tap(tap) = &port.kind {
        check_range("number of queues", tap.queues, &QUEUES)?;
        check_gateways(tap)?;
    }
    check_ipv6_mtu(name, port, config.mtu_of(port))?;
    let clash = |(other, theirs): &(&PortName, &Port)| {
        *other != name && theirs.kind.interface() == port.kind.interface()
    };
    match config.ports.iter().find(clash) {
        Some((other, _)) => {
            let (netns, interface) = port.kind.interface();
            let place = netns.map_or(String::new(), |netns| format!(" of namespace {netns}"));
            let message = format!("interface {interface}{place} belongs to port {other} already");
            Err(CtlError::new(ErrorCode::Exists, message))
        }
        None => Ok(()),
    }
}

fn check_gateways(tap: &Tap) -> Result<(), CtlError> {
    for (at, gateway) in tap.gateways.iter().enumerate() {
        if tap.gateways[..at].iter().any(|other| other.is_ipv4() == gateway.is_ipv4()) {
            let message = "give at most one gateway of each IP version";
            return Err(CtlError::invalid(message));
        }
        let link_local = matches!(gateway, IpAddr::V6(addr) if addr.is_unicast_link_local());
        if !link_local && !tap.ips.iter().any(|cidr| cidr.contains(*gateway)) {
            let ips: Vec<_> = tap.ips.iter().map(ToString::to_string).collect();
            let message = format!(
                "gateway {gateway} is in no subnet of the interface (addresses: {}); \
                 check --ip and its prefix length",
                if ips.is_empty() { "none".to_owned() } else { ips.join(", ") }
            );
            return Err(CtlError::invalid(message));
        }
        if tap.ips.iter().any(|cidr| cidr.addr == *gateway) {
            let message =
                format!("{gateway} cannot be both the interface's address and its gateway");
            return Err(CtlError::invalid(message));
        }
    }
    Ok(())
}

fn check_ipv6_mtu(name: &PortName, port: &Port, mtu: Mtu) -> Result<(), CtlError> {
    let PortKind::Tap(tap) = &port.kind else { return Ok(()) };
    if mtu.bytes() < IPV6_MTU && tap.ips.iter().any(|cidr| cidr.addr.is_ipv6()) {
        let message = format!(
            "port {name} has an IPv6 address, for which MTU {mtu} is too small: use {IPV6_MTU} or more"
        );
        return Err(CtlError::invalid(message));
    }
    Ok(())
}

fn del_port(config: &mut Config, named: &Named<PortName>) -> Result<(), CtlError> {
    if config.ports.remove(&named.name).is_none() && !named.if_exists {
        return Err(no_port(&named.name));
    }
    for bridge in config.bridges.values_mut() {
        bridge.statics.retain(|station| station.port != named.name);
    }
    Ok(())
}

fn set_port(config: &mut Config, set: &PortSet) -> Result<(), CtlError> {
    let Some(port) = config.ports.get(&set.name) else { return Err(no_port(&set.name)) };
    let mut port = port.clone();
    if let Some(vlan) = &set.vlan {
        port.vlan = vlan.clone();
    }
    port.isolated = set.isolated.unwrap_or(port.isolated);
    port.hairpin = set.hairpin.unwrap_or(port.hairpin);
    port.mac_limit = set.mac_limit.or(port.mac_limit);
    port.mtu = set.mtu.or(port.mtu);
    check_port(config, &set.name, &port)?;
    config.ports.insert(set.name.clone(), port);
    Ok(())
}

impl Attach {
    /// The name of the port that it makes: after the namespace and the interface, so that the same
    /// container always has the same.
    ///
    /// # Errors
    /// [`CtlError`], when no valid name comes of it.
    pub fn port_name(&self) -> Result<PortName, CtlError> {
        attachment_name(&self.netns, &self.ifname)
    }

    /// The port that it makes.
    pub fn port(&self) -> Port {
        let tap = Tap {
            netns: Some(self.netns.clone()),
            ifname: self.ifname.clone(),
            mac: self.mac,
            ips: self.ips.clone(),
            gateways: self.gateways.clone(),
            queues: 1,
        };
        Port {
            bridge: self.bridge.clone(),
            kind: PortKind::Tap(tap),
            vlan: self.vlan.clone(),
            isolated: false,
            hairpin: false,
            mac_limit: None,
            mtu: self.mtu,
        }
    }
}

fn attachment_name(netns: &NetnsRef, ifname: &IfName) -> Result<PortName, CtlError> {
    let whole = netns.to_string();
    let last = whole.rsplit('/').find(|part| !part.is_empty()).unwrap_or("netns");
    // A path such as /proc/7/ns/net has nothing in its last part that tells it from others.
    let stem = match netns.raw() {
        crate::RawNetns::Pid(pid) => format!("pid{pid}"),
        crate::RawNetns::Name(name) => name.clone(),
        crate::RawNetns::Path(_) if whole.starts_with("/run/netns/") => last.to_owned(),
        crate::RawNetns::Path(_) => whole.trim_start_matches('/').replace('/', "-"),
    };
    let plain = |c: char| if c.is_ascii_alphanumeric() || "_.-".contains(c) { c } else { '_' };
    let stem: String = stem.chars().map(plain).collect();
    let room = 64 - ifname.as_str().len() - 1;
    let start = stem.len().saturating_sub(room);
    let name = format!("{}-{ifname}", stem[start..].trim_start_matches(['-', '.', '_']));
    name.parse().map_err(|error| {
        CtlError::invalid(format!(
            "cannot name a port after namespace {netns}: {error}; use `port add`"
        ))
    })
}

fn attach(config: &mut Config, attach: &Attach) -> Result<(), CtlError> {
    let name = attach.port_name()?;
    let mut wanted = attach.port();
    let Some(existing) = config.ports.get(&name) else {
        return add_port(config, &PortAdd { name, port: wanted });
    };
    // A MAC address that was chosen for it is no difference.
    if let (PortKind::Tap(wanted), PortKind::Tap(existing)) = (&mut wanted.kind, &existing.kind) {
        wanted.mac = wanted.mac.or(existing.mac);
    }
    if *existing == wanted {
        return Ok(());
    }
    let message = format!(
        "namespace {} is attached by port {name} with other settings; `port show {name}` shows them, \
         `detach` it first",
        attach.netns
    );
    Err(CtlError::new(ErrorCode::Exists, message))
}

fn detach(config: &mut Config, detach: &Detach) {
    let is_it = |port: &Port| port.kind.interface() == (Some(&detach.netns), &detach.ifname);
    let found: Vec<_> =
        config.ports.iter().filter(|(_, port)| is_it(port)).map(|(name, _)| name.clone()).collect();
    for name in found {
        // It is there, so removing it cannot fail.
        let _ = del_port(config, &Named::new(name));
    }
}

fn add_static(config: &mut Config, add: &FdbStatic) -> Result<(), CtlError> {
    let station = &add.station;
    let port = config.ports.get(&station.port).ok_or_else(|| no_port(&station.port))?;
    if port.bridge != add.bridge {
        let message =
            format!("port {} belongs to bridge {}, not {}", station.port, port.bridge, add.bridge);
        return Err(CtlError::invalid(message));
    }
    let carried = match (&port.vlan, station.vlan) {
        (Vlan::Unaware, None) => true,
        (Vlan::Unaware, Some(_)) | (Vlan::Access(_) | Vlan::Trunk { .. }, None) => false,
        (Vlan::Access(own), Some(vlan)) => *own == vlan,
        (Vlan::Trunk { allowed, native }, Some(vlan)) => {
            allowed.contains(vlan) || *native == Some(vlan)
        }
    };
    if !carried {
        let message = format!(
            "port {} ({}) does not carry that VLAN; give --vlan one that it carries",
            station.port, port.vlan
        );
        return Err(CtlError::invalid(message));
    }
    let bridge = config.bridges.get_mut(&add.bridge);
    if let Some(bridge) = bridge {
        bridge.statics.retain(|old| (old.mac, old.vlan) != (station.mac, station.vlan));
        bridge.statics.push(station.clone());
    }
    Ok(())
}

/// The daemon removes a learned station; the configuration only knows those entered by hand.
fn del_static(config: &mut Config, key: &FdbKey) -> Result<(), CtlError> {
    let Some(bridge) = config.bridges.get_mut(&key.bridge) else {
        return Err(no_bridge(config, &key.bridge));
    };
    bridge.statics.retain(|old| (old.mac, old.vlan) != (key.mac, key.vlan));
    Ok(())
}

fn check_filter(config: &Config, filter: &FdbFilter) -> Result<(), CtlError> {
    match (&filter.bridge, &filter.port) {
        (Some(bridge), _) if !config.bridges.contains_key(bridge) => Err(no_bridge(config, bridge)),
        (_, Some(port)) if !config.ports.contains_key(port) => Err(no_port(port)),
        _ => Ok(()),
    }
}
