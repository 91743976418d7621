//! Who is meant by the end of a conversation, and how it would send.
//!
//! Of a container that the switch attached, everything is configured: its addresses, its routes. Of what is behind
//! other ports, only what it said of itself is known; it is taken to use its bridge's gateway.

use std::net::IpAddr;

use ctl::{BridgeName, CtlError, IpCidr, NetnsRef, Party, Port, PortKind, PortName, RawNetns};
use flows::{PortIndex, Vid};
use pktio::wire::MacAddr;

use super::SOMEBODY;
use crate::control::compile::{self, Ways};
use crate::control::switch::Switch;

/// A container with one of its addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Its port.
    pub port: PortName,
    /// Its bridge.
    pub bridge: BridgeName,
    /// Its address on the link, if that is known.
    pub mac: Option<MacAddr>,
    /// Its address.
    pub ip: IpAddr,
    /// The subnets that it takes to be on its link.
    pub on_link: Vec<IpCidr>,
    /// Its default gateways.
    pub gateways: Vec<IpAddr>,
    /// The router beyond which it is, if it is not on its port's link.
    pub router: Option<IpAddr>,
}

/// Whom a container gives a packet to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextStation {
    /// This one, which it asks for by that address.
    Known(IpAddr, MacAddr),
    /// It would ask for that address, and nobody is known to have it.
    Unknown(IpAddr),
    /// It has no route.
    None,
}

impl Host {
    /// The address that it asks for on its link to send to another one.
    pub(super) fn next_hop(&self, to: IpAddr) -> Option<IpAddr> {
        if self.on_link.iter().any(|subnet| subnet.contains(to)) {
            return Some(to);
        }
        self.gateways.iter().copied().find(|gateway| gateway.is_ipv4() == to.is_ipv4())
    }

    /// By which way its packets come, where that is only to be concluded.
    pub(super) fn way_in(&self) -> String {
        let Self { ip, port, router, .. } = self;
        router.map_or_else(String::new, |router| {
            format!("; {ip} comes in by port {port}, from router {router}, to which the route to it leads")
        })
    }
}

impl Switch {
    /// The hosts that are meant: one for each address of a container.
    ///
    /// # Errors
    /// [`CtlError`], when no port and no container has the name.
    pub(super) fn hosts_of(&self, party: &Party) -> Result<Vec<Host>, CtlError> {
        match party {
            Party::Name(name) => {
                let ports = self.ports_of(name);
                if ports.is_empty() {
                    return Err(self.nobody_called(name));
                }
                Ok(ports.into_iter().flat_map(|port| self.hosts_behind(port)).collect())
            }
            Party::Address(ip) => {
                let configured = self.config().ports.keys().flat_map(|name| self.configured(name));
                let known: Vec<_> = configured.filter(|host| host.ip == *ip).collect();
                Ok(if known.is_empty() { self.heard_of(*ip).collect() } else { known })
            }
        }
    }

    /// That a name is no container's.
    fn nobody_called(&self, name: &PortName) -> CtlError {
        let is_network =
            self.config().networks.keys().any(|network| network.as_str() == name.as_str());
        let message = if is_network {
            format!(
                "{name} is a network; name a container on it, which `network inspect {name}` shows"
            )
        } else {
            format!(
                "no port and no attached container is named {name}, and no network knows one by this alias; `port list` shows those that \
                 there are"
            )
        };
        CtlError::not_found(message)
    }

    /// The port that a name means where one port is meant: that of the only container which is called so has that container's name too.
    pub(super) fn port_meant<'a>(&'a self, name: &'a PortName) -> &'a PortName {
        match self.ports_of(name)[..] {
            [only] => only,
            _ => name,
        }
    }

    /// The port of this name, or all ports of the container that is called so: by the name of its namespace, or otherwise on its
    /// networks.
    fn ports_of(&self, name: &PortName) -> Vec<&PortName> {
        let ports = &self.config().ports;
        if let Some((port, _)) = ports.get_key_value(name) {
            return vec![port];
        }
        let is_named = |netns: &NetnsRef| matches!(netns.raw(), RawNetns::Name(netns) if netns == name.as_str());
        let is_meant = |port: &Port| match &port.kind {
            PortKind::Tap(tap) => tap.netns.as_ref().is_some_and(is_named),
            PortKind::Netdev { .. } => false,
        };
        let attached = ports.iter().filter(|(_, port)| is_meant(port)).map(|(name, _)| name);
        let attached: Vec<_> = attached.collect();
        let called = || self.config().endpoints_called(name.as_str()).collect();
        if attached.is_empty() { called() } else { attached }
    }

    pub(super) fn hosts_behind(&self, port: &PortName) -> Vec<Host> {
        let configured = self.configured(port);
        if !configured.is_empty() {
            return configured;
        }
        let ips = self.acquaintances().into_iter().map(|(_, ip, _)| ip);
        ips.flat_map(|ip| self.heard_of(ip)).filter(|host| host.port == *port).collect()
    }

    /// Whether it is known which addresses there are behind a port.
    pub(super) fn has_addresses(&self, port: &PortName) -> bool {
        !self.configured(port).is_empty()
    }

    /// The addresses that a port's container was given.
    fn configured(&self, name: &PortName) -> Vec<Host> {
        let Some(port) = self.config().ports.get(name) else { return Vec::new() };
        let PortKind::Tap(tap) = &port.kind else { return Vec::new() };
        let domain = self.config().domain_of(port);
        let network = self.config().networks.get(domain);
        // An engine gives a container the gateways of its network.
        let gateways = match network.filter(|network| tap.handover && !network.settings.internal) {
            Some(network) => network.gateways().map(|cidr| cidr.addr).collect(),
            None => tap.gateways.clone(),
        };
        let host = |cidr: &IpCidr| Host {
            port: name.clone(),
            bridge: domain.clone(),
            mac: tap.mac.map(|mac| MacAddr(mac.0)),
            ip: cidr.addr,
            on_link: tap.ips.clone(),
            gateways: gateways.clone(),
            router: None,
        };
        tap.ips.iter().map(host).collect()
    }

    /// The hosts of an address that the router has heard of, on any bridge.
    fn heard_of(&self, ip: IpAddr) -> impl Iterator<Item = Host> + '_ {
        let entries = self.acquaintances().into_iter().filter(move |(_, known, _)| *known == ip);
        entries.filter_map(move |(bridge, ip, mac)| {
            self.host_at(self.port_towards(&bridge, mac)?, mac, ip)
        })
    }

    /// The port behind which a station is.
    fn port_towards(&self, bridge: &BridgeName, mac: MacAddr) -> Option<PortIndex> {
        let slot = self.numbering().bridges.get(bridge)?;
        slot.fdb.lookup(mac, self.vid_of(bridge), self.now())
    }

    /// Whoever sends from an address that is in no subnet here: it comes from where answers to it go, by a router; and where several
    /// lead there, on the bridge whose own address is asked.
    pub(super) fn beyond_a_router(&self, ip: IpAddr, to: IpAddr) -> Option<Host> {
        let config = self.config();
        let is_near = |bridge: &BridgeName| config.gateway_for(bridge, ip).is_some();
        let is_given = config.networks.values().any(|network| network.pool_of(ip).is_some());
        if is_given || config.bridges.keys().any(is_near) {
            return None;
        }
        let is_asked = |bridge: &BridgeName| {
            let own = config.bridges.get(bridge).map(|bridge| &bridge.gateways);
            own.into_iter().flatten().any(|own| own.addr == to)
        };
        let routes =
            config.routes.iter().flat_map(|(bridge, its)| its.iter().map(move |it| (bridge, it)));
        let leading = routes.filter(|(_, (prefix, _))| prefix.contains(ip));
        let (bridge, (_, route)) =
            leading.max_by_key(|(bridge, (prefix, _))| (is_asked(bridge), prefix.prefix_len()))?;
        let routers = route.via.iter().map(|via| (*via, self.station(bridge, *via)));
        let (router, mac) = routers.max_by_key(|(_, mac)| mac.is_some())?;
        let behind = mac.and_then(|mac| self.port_towards(bridge, mac));
        let port = behind.or_else(|| self.only_port(bridge))?;
        let host = self.host_at(port, mac.unwrap_or(SOMEBODY), ip)?;
        (host.bridge == *bridge).then_some(Host { router: Some(router), ..host })
    }

    /// The port of a bridge that has no other.
    fn only_port(&self, bridge: &BridgeName) -> Option<PortIndex> {
        let mut ports = self.config().ports_of(bridge).map(|(name, _)| name);
        let only = ports.next().filter(|_| ports.next().is_none())?;
        self.numbering().ports.get(only).map(|(index, _)| *index)
    }

    /// Whether two ports are those of one container: it may have several, in its namespace.
    pub(super) fn is_one_container(&self, one: &PortName, other: &PortName) -> bool {
        let netns = |name| match &self.config().ports.get(name)?.kind {
            PortKind::Tap(tap) => tap.netns.as_ref(),
            PortKind::Netdev { .. } => None,
        };
        one == other || netns(one).is_some_and(|own| netns(other) == Some(own))
    }

    /// The host with an address that is known to be behind a port.
    pub(super) fn host_at(&self, port: PortIndex, mac: MacAddr, ip: IpAddr) -> Option<Host> {
        let name = self.numbering().port_name(port)?;
        if let Some(configured) = self.configured(name).into_iter().find(|host| host.ip == ip) {
            return Some(configured);
        }
        let bridge = self.config().domain_of(self.config().ports.get(name)?).clone();
        let gateways = &self.config().bridges.get(&bridge)?.gateways;
        Some(Host {
            port: name.clone(),
            mac: Some(mac),
            ip,
            on_link: gateways.clone(),
            gateways: gateways.iter().map(|cidr| cidr.addr).collect(),
            bridge,
            router: None,
        })
    }

    /// The VLAN that a bridge is to the router.
    fn vid_of(&self, bridge: &BridgeName) -> Vid {
        let own = self.config().bridges.get(bridge).and_then(|bridge| bridge.vlan_of.as_ref());
        own.map_or(Vid::NONE, |own| Vid(own.vlan.number()))
    }

    /// Everybody whose address on the link the router knows.
    fn acquaintances(&self) -> Vec<(BridgeName, IpAddr, MacAddr)> {
        let entries = self.fleet_ref().tables().neighbors.entries(self.fleet_ref().clock().now());
        let named = entries.into_iter().filter_map(|entry| {
            Some((self.numbering().bridge_name(entry.bridge)?.clone(), entry.ip, entry.mac?))
        });
        named.collect()
    }

    /// Whom a host gives a packet to an address to.
    pub(super) fn next_station(&self, host: &Host, to: IpAddr) -> NextStation {
        match host.next_hop(to) {
            None => NextStation::None,
            Some(ip) => match self.station(&host.bridge, ip) {
                Some(mac) => NextStation::Known(ip, mac),
                None => NextStation::Unknown(ip),
            },
        }
    }

    /// Who answers for an address on a bridge.
    fn station(&self, name: &BridgeName, ip: IpAddr) -> Option<MacAddr> {
        let bridge = self.config().bridges.get(name)?;
        let gateway = compile::gateway(self.config(), &Ways::of(self.config()), name, bridge);
        let is_there = !bridge.gateways.is_empty();
        if is_there && (gateway.is_own(ip) || gateway.proxy.contains(ip)) {
            return Some(gateway.mac);
        }
        let is_here = |(_, port): &(_, &Port)| self.config().domain_of(port) == name;
        let here = self.config().ports.iter().filter(is_here);
        let mut configured = here.flat_map(|(port, _)| self.configured(port));
        let own = configured.find(|host| host.ip == ip).and_then(|host| host.mac);
        own.or_else(|| {
            let known = self.acquaintances().into_iter();
            known.filter(|(at, known, _)| (at, *known) == (name, ip)).map(|(_, _, mac)| mac).next()
        })
    }

    /// Who would answer for which address, if the router asked: the containers that the switch attached.
    pub(super) fn presumed(
        &self,
    ) -> std::collections::HashMap<(flows::BridgeIndex, IpAddr), MacAddr> {
        let hosts = self.config().ports.keys().filter(|name| self.why_waiting(name).is_none());
        let hosts = hosts.flat_map(|name| self.configured(name));
        let place = |host: Host| {
            let slot = self.numbering().bridges.get(&host.bridge)?;
            Some(((slot.index, host.ip), host.mac?))
        };
        hosts.filter_map(place).collect()
    }
}
