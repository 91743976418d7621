//! What the host's own programs reach of the switch at the host's addresses, where no packet of an uplink ever comes: which
//! ports these are, and the bridge by which the daemon relays what comes there.
//!
//! A program on the host that connects to `127.0.0.1`, or to the address of an interface that the host shares with the
//! switch, speaks with another program on the host: the daemon listens there, and passes on what it hears. For that it is a
//! station of the switch like any other, alone on a bridge ([`BridgeName::loopback`]) from which the same ports are
//! reached, in a namespace of its own that nobody else is in. So the host gets no interface, no address and no route by it, and
//! containers see the connection come from their gateway, whatever other networks they are on.
//!
//! What came to an address of the loopback goes to the bridge's gateway, where the same port is published once more; what
//! came to another address goes to that very address, as from any bridge that reaches it.
//!
//! Bridge and port are part of the configuration, so that whatever shows or carries out bridges and ports shows and
//! carries out these. [`settle`] makes them with the first port that needs them, and takes them away with the last.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use imbl::ordmap::DiffItem;

use crate::check::{is_link_local, references};
use crate::uplink::shared_otherwise;
use crate::{
    Bridge, BridgeName, Config, CtlError, ErrorCode, Forward, IfName, IpCidr, Listen, NatRule,
    Port, PortKind, PortName, PortRange, Protocol, Publish, RuleName, Service, ServiceName, Tap,
};

/// The switch's addresses and the daemon's, on a link that nobody else sees: of IPv4 out of what is set apart for such
/// links (RFC 7335), of IPv6 a unique local prefix.
const SWITCH: (Ipv4Addr, Ipv6Addr) =
    (Ipv4Addr::new(192, 0, 0, 1), Ipv6Addr::new(0xfd6c, 0x6f6f, 0x7062, 0, 0, 0, 0, 1));
const DAEMON: (Ipv4Addr, Ipv6Addr) =
    (Ipv4Addr::new(192, 0, 0, 2), Ipv6Addr::new(0xfd6c, 0x6f6f, 0x7062, 0, 0, 0, 0, 2));

/// What leads from ports of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelayedBy<'a> {
    /// A rule that publishes them.
    Rule(&'a RuleName, &'a Publish),
    /// A service, whose node port it is.
    Service(&'a ServiceName, &'a Service),
}

impl fmt::Display for RelayedBy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule(name, _) => write!(f, "nat rule {name}"),
            Self::Service(name, _) => write!(f, "service {name}"),
        }
    }
}

/// Where the daemon listens on the host, and what leads from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relayed<'a> {
    /// What leads from there.
    pub by: RelayedBy<'a>,
    /// The address: of the loopback, or another one of the host's.
    pub address: IpAddr,
    /// The ports.
    pub ports: PortRange,
    /// TCP or UDP.
    pub protocol: Protocol,
}

impl Relayed<'_> {
    /// The ports, one after another, each with its address.
    pub fn listened(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        let ports = self.ports;
        (ports.first()..=ports.last()).map(|port| SocketAddr::new(self.address, port))
    }

    /// Whether it is there as on every other address of the host.
    pub fn is_implied(&self) -> bool {
        match self.by {
            RelayedBy::Rule(_, rule) => rule.forward.address.is_none(),
            RelayedBy::Service(..) => true,
        }
    }

    /// Whether both say the same about the same ports.
    fn agrees_with(&self, other: &Self, config: &Config) -> bool {
        let meaning = |rule: &Publish| {
            let Forward { container, container_port, .. } = rule.forward;
            (container, container_port, config.container_bridge(rule).cloned())
        };
        self.ports == other.ports
            && match (self.by, other.by) {
                (RelayedBy::Rule(_, own), RelayedBy::Rule(_, others)) => {
                    meaning(own) == meaning(others)
                }
                (RelayedBy::Service(own, _), RelayedBy::Service(others, _)) => own == others,
                _ => false,
            }
    }
}

impl Publish {
    /// Whether it leads from the host's loopback, and from nowhere else.
    pub fn is_on_loopback(&self) -> bool {
        self.forward.address.is_some_and(|address| address.is_loopback())
    }
}

/// See [`Config::shared_bridges`].
type Shared<'a> = BTreeMap<&'a BridgeName, Vec<IpAddr>>;

impl Config {
    /// What is relayed from the host's own addresses, of TCP and UDP: ports that are published on the loopback and nowhere
    /// else; and those that are published, as node ports too, on a bridge that is, on its interface, what the host is.
    /// These are at the addresses where they are published, and, where that is every one of the bridge, on the loopback.
    pub fn relayed(&self) -> impl Iterator<Item = Relayed<'_>> + '_ {
        let shared = self.shared_bridges();
        let on = shared.clone();
        let rules = self.nat.iter().flat_map(move |(name, rule)| by_rule(name, rule, &on));
        let services = self.services.iter();
        let services = services.flat_map(move |(name, it)| self.by_service(name, it, &shared));
        let is_carried = |one: &Relayed<'_>| matches!(one.protocol, Protocol::Tcp | Protocol::Udp);
        rules.chain(services).filter(is_carried)
    }

    /// The bridges that are, on their interfaces, what the host is, with the host's addresses there, but for link-local ones.
    pub fn shared_bridges(&self) -> BTreeMap<&BridgeName, Vec<IpAddr>> {
        let shared = self.ports.values().filter(|port| port.shared).map(|port| &port.bridge);
        let own = |name: &BridgeName| -> Vec<IpAddr> {
            let gateways = self.bridges.get(name).into_iter().flat_map(|bridge| &bridge.gateways);
            gateways.map(|gateway| gateway.addr).filter(|ip| !is_link_local(*ip)).collect()
        };
        shared.map(|name| (name, own(name))).collect()
    }

    fn by_service<'a>(
        &self,
        name: &'a ServiceName,
        service: &'a Service,
        shared: &Shared<'_>,
    ) -> Vec<Relayed<'a>> {
        let Some(ports) = service.node_port.and_then(PortRange::one) else { return Vec::new() };
        let Listen { address, protocol } = service.listen;
        let finding = shared.iter().filter(|(on, _)| self.finds(on, service));
        let own: BTreeSet<IpAddr> = finding
            .flat_map(|(_, own)| every_address(own, address.is_ipv4()).collect::<Vec<_>>())
            .collect();
        let by = RelayedBy::Service(name, service);
        own.into_iter().map(|address| Relayed { by, address, ports, protocol }).collect()
    }

    /// Whether the same ports are relayed as with another configuration, since nothing differs that they follow from.
    pub fn relays_as(&self, other: &Self) -> bool {
        self.is_to_relay_as(other) && !has_moved(other, self)
    }

    /// Whether the same is to be relayed, be the host's addresses others or not.
    pub fn is_to_relay_as(&self, other: &Self) -> bool {
        self.nat == other.nat && !shares_otherwise(other, self) && !serves_otherwise(other, self)
    }

    /// Where the daemon finds, from its own bridge, what is relayed from an address and port of the host.
    pub fn relay_target(at: SocketAddr) -> SocketAddr {
        match at.ip() {
            ip if ip.is_loopback() => SocketAddr::new(Self::relay_gateway(ip.is_ipv4()), at.port()),
            _ => at,
        }
    }

    /// The address on the daemon's own bridge at which is published what leads from the loopback.
    pub fn relay_gateway(is_ipv4: bool) -> IpAddr {
        if is_ipv4 { SWITCH.0.into() } else { SWITCH.1.into() }
    }
}

fn by_rule<'a>(name: &'a RuleName, rule: &'a NatRule, shared: &Shared<'_>) -> Vec<Relayed<'a>> {
    let NatRule::Publish(rule) = rule else { return Vec::new() };
    let Forward { address, ports, protocol, container, .. } = rule.forward;
    let own = shared.get(&rule.on);
    let at: Vec<IpAddr> = match (address, own) {
        (Some(address), _) if address.is_loopback() => vec![address],
        (Some(address), Some(own)) if own.contains(&address) => vec![address],
        (None, Some(own)) => every_address(own, container.is_ipv4()).collect(),
        _ => Vec::new(),
    };
    let by = RelayedBy::Rule(name, rule);
    at.into_iter().map(|address| Relayed { by, address, ports, protocol }).collect()
}

/// The loopback's address and these, of an IP version.
fn every_address(own: &[IpAddr], is_ipv4: bool) -> impl Iterator<Item = IpAddr> + '_ {
    let loopback: IpAddr =
        if is_ipv4 { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
    let own = own.iter().copied().filter(move |ip| ip.is_ipv4() == is_ipv4);
    std::iter::once(loopback).chain(own)
}

/// Makes the daemon's bridge and port after a change if something needs them, and takes them away if nothing does any more.
pub(crate) fn settle(before: &Config, next: &mut Config) {
    let name = BridgeName::loopback();
    let is_enough = next.bridges.contains_key(&name) && is_more(before, next);
    if is_enough || next.relays_as(before) {
        return;
    }
    let is_needed = next.relayed().next().is_some();
    let is_ours = next.ports.get(&PortName::from(name.clone())) == Some(&port());
    if is_needed && !next.bridges.contains_key(&name) {
        next.bridges.insert(name.clone(), bridge());
        next.ports.insert(name.into(), port());
    } else if !is_needed && is_ours && references(next, &name).len() == 1 {
        // Who refers to it otherwise, such as a rule about its packets, finds it when it is needed again.
        next.bridges.remove(&name);
        next.ports.remove(&PortName::from(name));
    }
}

/// Whether a change adds rules and services and touches none.
fn is_more(before: &Config, next: &Config) -> bool {
    before.nat.diff(&next.nat).all(|item| matches!(item, DiffItem::Add(..)))
        && before.services.diff(&next.services).all(|item| matches!(item, DiffItem::Add(..)))
        && !shares_otherwise(before, next)
        && !has_moved(before, next)
}

/// Whether other interfaces are shared with the host than before, or on other bridges.
fn shares_otherwise(before: &Config, next: &Config) -> bool {
    shared_otherwise(before, next).next().is_some()
}

/// Whether services have other node ports than before, or have them elsewhere.
fn serves_otherwise(before: &Config, next: &Config) -> bool {
    let is_node = |item: DiffItem<'_, '_, ServiceName, Service>| match item {
        DiffItem::Add(_, one) | DiffItem::Remove(_, one) => one.node_port.is_some(),
        DiffItem::Update { old: (_, old), new: (_, new) } => !new.is_found_as(old),
    };
    before.services.diff(&next.services).any(is_node)
}

/// Whether the host has other addresses than before on interfaces that it shares.
fn has_moved(before: &Config, next: &Config) -> bool {
    let is_moved = |item: DiffItem<'_, '_, BridgeName, Bridge>| match item {
        DiffItem::Add(..) | DiffItem::Remove(..) => false,
        DiffItem::Update { old: (_, old), new: (name, new) } => {
            old.gateways != new.gateways && next.shared_port(name).is_some()
        }
    };
    before.bridges.diff(&next.bridges).any(is_moved)
}

fn cidr(addr: impl Into<IpAddr>) -> IpCidr {
    let addr = addr.into();
    IpCidr { addr, prefix_len: if addr.is_ipv4() { 29 } else { 64 } }
}

fn bridge() -> Bridge {
    Bridge { gateways: vec![cidr(SWITCH.0), cidr(SWITCH.1)], ..Bridge::default() }
}

fn port() -> Port {
    let kind = PortKind::Tap(Tap {
        ips: vec![cidr(DAEMON.0), cidr(DAEMON.1)],
        gateways: vec![SWITCH.0.into(), SWITCH.1.into()],
        ..Tap::new(IfName::loopback())
    });
    Port::new(BridgeName::loopback(), kind)
}

/// That the daemon's bridge and port are what they have to be, if they are there.
///
/// # Errors
/// [`CtlError`].
pub(crate) fn check(config: &Config) -> Result<(), CtlError> {
    let name = BridgeName::loopback();
    let own = PortName::from(name.clone());
    let Some(present) = config.bridges.get(&name) else {
        return match config.has_port(&own) {
            true => Err(reserved(&name)),
            false => Ok(()),
        };
    };
    let made = bridge();
    let is_made = (&present.gateways, present.mtu, present.gateway_mac)
        == (&made.gateways, made.mtu, made.gateway_mac);
    let mut ports = config.ports_of(&name);
    let is_alone =
        ports.all(|(other, _)| *other == own) && config.vxlans_of(&name).next().is_none();
    let is_there = config.ports.get(&own).is_some_and(|present| *present == port());
    if is_made && is_alone && is_there { Ok(()) } else { Err(reserved(&name)) }
}

/// That something is not on the daemon's bridge, where the daemon publishes.
///
/// # Errors
/// [`CtlError`].
pub(crate) fn check_elsewhere<'a>(
    mut bridges: impl Iterator<Item = &'a BridgeName>,
) -> Result<(), CtlError> {
    bridges.find(|name| name.is_loopback()).map_or(Ok(()), |name| Err(reserved(name)))
}

fn reserved(name: &BridgeName) -> CtlError {
    let message = format!(
        "bridge and port {name} are the daemon's own, for ports that are published on the host's loopback: they come and \
         go with these, and stay as they are; use another name"
    );
    CtlError::new(ErrorCode::InUse, message)
}

/// A port of the loopback leads to one container or service, from whichever of its addresses.
///
/// # Errors
/// [`CtlError`], which names what leads from there.
pub(crate) fn check_once(old: &Config, config: &Config) -> Result<(), CtlError> {
    if config.relays_as(old) {
        return Ok(());
    }
    let mut relayed: Vec<_> = config.relayed().filter(|one| one.address.is_loopback()).collect();
    let place = |one: &Relayed<'_>| (one.protocol, one.address.is_ipv4());
    relayed.sort_by_key(|one| (place(one), one.ports));
    let mut widest: Option<Relayed<'_>> = None;
    for one in relayed {
        if let Some(other) = widest.filter(|other| place(other) == place(&one)) {
            if one.ports.overlaps(&other.ports) && !one.agrees_with(&other, config) {
                let Relayed { by, ports, protocol, .. } = one;
                let message = format!(
                    "{} and {by} both lead from {protocol} port {ports} of the host's loopback; publish one of them \
                     at an address of its bridge alone, or at another port",
                    other.by
                );
                return Err(CtlError::new(ErrorCode::Exists, message));
            }
            if other.ports.last() >= one.ports.last() {
                continue;
            }
        }
        widest = Some(one);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
