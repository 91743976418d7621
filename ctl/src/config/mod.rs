//! [`Config`]: what the operator wants, whole. The daemon keeps it as JSON in its state directory.

mod bridge;
mod flows;
mod health;
mod indexed;
mod nat;
mod network;
mod port;
mod service;
mod vxlan;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use imbl::ordmap::DiffItem;
use serde::{Deserialize, Serialize};

use crate::check::check;
use crate::ipam::Pool;
use crate::network::settle;
use crate::{BridgeName, CtlError, IpCidr, Mtu, PortName, Prefix, ServiceName};

pub use bridge::{Advertise, Bridge, StaticMac, StaticNeighbor, VlanOf};
pub use flows::Flows;
pub use health::{HealthCheck, Probe};
pub use indexed::{Indexed, Marked};
pub use nat::{
    End, Filtering, Forward, Masquerade, NatRule, NatRules, PrefixTranslation, Publish, Timeouts,
    Tracking,
};
pub(crate) use network::short;
pub use network::{Endpoint, Network, NetworkChange, NetworkSettings, Overlay, Shape};
pub use port::{Egress, Ingress, NetdevMode, NetnsIdentity, Port, PortKind, Tap, TapRoute};
pub use service::{Affinity, Backend, Balance, Listen, Service, Target};
pub use vxlan::{Tos, Vni, Vxlan};

/// The version of the state format that this program writes. What is added to the format may be left out,
/// so that a state that an earlier program wrote is one of the same version.
pub const CONFIG_VERSION: u32 = 1;

/// A collection of the configuration, sorted. A copy shares everything with its original, and after a change still
/// all but a path to what changed; so every change of anything can begin with a copy of the whole
/// configuration, and what differs between two of them is found without looking at the rest.
pub type Table<K, V> = imbl::OrdMap<K, V>;

/// Everything that is configured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// [`CONFIG_VERSION`].
    pub version: u32,
    /// How many changes made it: the daemon counts them, so that it knows which of those that it noted are in a
    /// kept configuration already.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub revision: u64,
    /// The bridges.
    #[serde(default)]
    pub bridges: Table<BridgeName, Bridge>,
    /// The ports.
    #[serde(default)]
    pub ports: Table<PortName, Port>,
    /// The tunnels, which are ports as well.
    #[serde(default, skip_serializing_if = "Table::is_empty")]
    pub vxlans: Table<PortName, Vxlan>,
    /// The routes, by the bridge on which their next hops are.
    #[serde(default, skip_serializing_if = "Table::is_empty")]
    pub routes: Table<BridgeName, BTreeMap<Prefix, Route>>,
    /// Which other bridges may be reached from a bridge.
    #[serde(default, skip_serializing_if = "Table::is_empty")]
    pub allowed: Table<BridgeName, BTreeSet<BridgeName>>,
    /// The networks, by their bridges.
    #[serde(default, skip_serializing_if = "Table::is_empty")]
    pub networks: Table<BridgeName, Arc<Network>>,
    /// Subnets that are kept for networks to come, and what is given out of them already.
    #[serde(default, skip_serializing_if = "Table::is_empty")]
    pub pools: Table<Prefix, Pool>,
    /// Address translation.
    #[serde(default, skip_serializing_if = "are_none")]
    pub nat: NatRules,
    /// Services.
    #[serde(default, skip_serializing_if = "Table::is_empty")]
    pub services: Table<ServiceName, Service>,
    /// Rules, by their numbers.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub flows: Flows,
    /// What sessions are kept by.
    #[serde(default, skip_serializing_if = "Tracking::is_default")]
    pub tracking: Tracking,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            version: CONFIG_VERSION,
            revision: 0,
            bridges: Table::new(),
            ports: Table::new(),
            vxlans: Table::new(),
            routes: Table::new(),
            allowed: Table::new(),
            networks: Table::new(),
            pools: Table::new(),
            nat: NatRules::default(),
            services: Table::new(),
            flows: Flows::default(),
            tracking: Tracking::default(),
        }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the form that serde asks for")]
fn is_zero(revision: &u64) -> bool {
    *revision == 0
}

fn are_none(rules: &NatRules) -> bool {
    rules.is_empty()
}

fn is_empty(flows: &Flows) -> bool {
    flows.is_empty()
}

/// How packets to a network go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// The next hops, among which the conversations are divided. None, where the network is on the very link, as only the
    /// host can say of a link of its own.
    pub via: Vec<IpAddr>,
}

/// A text that is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// No JSON, or not of this form.
    #[error("{0}")]
    Syntax(#[from] serde_json::Error),
    /// Written by another version.
    #[error("it has format version {found}, and this program understands version {CONFIG_VERSION}")]
    Version {
        /// The version found.
        found: u32,
    },
    /// Its parts do not fit together, or a value is out of range.
    #[error(transparent)]
    Inconsistent(#[from] CtlError),
}

impl Config {
    /// Reads a configuration, and holds it to the same rules as one that requests made.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn from_json(text: &[u8]) -> Result<Self, ConfigError> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        // The version first: fields of a later one are not errors of this one.
        let Versioned { version: found } = serde_json::from_slice(text)?;
        if found != CONFIG_VERSION {
            return Err(ConfigError::Version { found });
        }
        let mut config: Self = serde_json::from_slice(text)?;
        settle(&Self::default(), &mut config);
        config.check()?;
        Ok(config)
    }

    /// Holds a configuration that was put together by hand to the rules.
    ///
    /// # Errors
    /// [`CtlError`], which says what is wrong with which of its parts.
    pub fn check(&self) -> Result<(), CtlError> {
        check(self)
    }

    /// Writes the configuration, for people to read.
    pub fn to_json(&self) -> String {
        // Serialising plain data with string keys into memory cannot fail.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// The ports of a bridge.
    pub fn ports_of<'a>(
        &'a self,
        bridge: &'a BridgeName,
    ) -> impl Iterator<Item = (&'a PortName, &'a Port)> + 'a {
        self.ports.iter().filter(move |(_, port)| port.bridge == *bridge)
    }

    /// The tunnels of a bridge.
    pub fn vxlans_of<'a>(
        &'a self,
        bridge: &'a BridgeName,
    ) -> impl Iterator<Item = (&'a PortName, &'a Vxlan)> + 'a {
        self.vxlans.iter().filter(move |(_, vxlan)| vxlan.bridge == *bridge)
    }

    /// The tunnels whose packets travel over a bridge.
    pub fn vxlans_over<'a>(
        &'a self,
        bridge: &'a BridgeName,
    ) -> impl Iterator<Item = (&'a PortName, &'a Vxlan)> + 'a {
        self.vxlans.iter().filter(move |(_, vxlan)| vxlan.via.as_ref() == Some(bridge))
    }

    /// Whether a port or a tunnel has this name.
    pub fn has_port(&self, name: &PortName) -> bool {
        self.ports.contains_key(name) || self.vxlans.contains_key(name)
    }

    /// The ports by which the host itself is on a network.
    pub fn host_ports<'a>(
        &'a self,
        network: &'a Network,
    ) -> impl Iterator<Item = (&'a PortName, &'a Tap)> + 'a {
        network.endpoints.keys().filter_map(|name| match &self.ports.get(name)?.kind {
            PortKind::Tap(tap) if tap.is_hosts() => Some((name, tap)),
            _ => None,
        })
    }

    /// The MTU of a port: its own, or its bridge's.
    pub fn mtu_of(&self, port: &Port) -> Mtu {
        port.mtu.unwrap_or_else(|| self.mtu_within(&port.bridge))
    }

    /// The VLANs of a bridge that the router takes for bridges.
    pub fn vlans_of<'a>(
        &'a self,
        bridge: &'a BridgeName,
    ) -> impl Iterator<Item = (&'a BridgeName, &'a VlanOf)> + 'a {
        let vlans = self.bridges.iter().filter_map(|(name, it)| Some((name, it.vlan_of.as_ref()?)));
        vlans.filter(move |(_, own)| own.bridge == *bridge)
    }

    /// What a container behind a port is on, to the router: the port's bridge, or the VLAN that its untagged frames
    /// are in.
    pub fn domain_of<'a>(&'a self, port: &'a Port) -> &'a BridgeName {
        let Some(untagged) = port.vlan.untagged() else { return &port.bridge };
        let mut vlans = self.vlans_of(&port.bridge);
        let own = vlans.find(|(_, own)| own.vlan == untagged);
        own.map_or(&port.bridge, |(name, _)| name)
    }

    /// Whether a container has no use for IPv6 on a port: it is given addresses, and the switch is the router of its link, and
    /// none of either's addresses is one of IPv6. Where the switch is not the router, another one may speak IPv6.
    pub fn is_ipv4_only(&self, port: &Port) -> bool {
        let (PortKind::Tap(tap), Some(bridge)) =
            (&port.kind, self.bridges.get(self.domain_of(port)))
        else {
            return false;
        };
        let all = [&tap.ips, &bridge.gateways];
        all.into_iter()
            .all(|cidrs| !cidrs.is_empty() && cidrs.iter().all(|cidr| cidr.addr.is_ipv4()))
    }

    /// The MTU of a bridge's ports that have none of their own: the bridge's, or less if a tunnel carries
    /// less.
    pub fn mtu_within(&self, bridge: &BridgeName) -> Mtu {
        let vlan_of = self.bridges.get(bridge).and_then(|bridge| bridge.vlan_of.as_ref());
        let bridge = vlan_of.map_or(bridge, |own| &own.bridge);
        let own = self.bridges.get(bridge).map_or(Mtu::ETHERNET, |bridge| bridge.mtu);
        let tunnels = self.vxlans_of(bridge).filter_map(|(_, vxlan)| vxlan.inner_mtu().ok());
        tunnels.min().map_or(own, |carried| carried.min(own))
    }

    /// The bridge of the container to which a published port leads: the one that the rule names, or the
    /// only other one in whose subnet the container is.
    pub fn container_bridge<'a>(&'a self, rule: &'a Publish) -> Option<&'a BridgeName> {
        if rule.to.is_some() {
            return rule.to.as_ref();
        }
        let mut holders = self.holders(rule);
        let (first, another) = (holders.next()?, holders.next());
        another.is_none().then_some(first)
    }

    /// The bridges whose stations find a service.
    pub fn bridges_finding<'a>(
        &'a self,
        service: &'a Service,
    ) -> impl Iterator<Item = &'a BridgeName> + 'a {
        self.bridges.keys().filter(|name| self.finds(name, service))
    }

    /// Whether the stations of a bridge find a service.
    pub(crate) fn finds(&self, name: &BridgeName, service: &Service) -> bool {
        match service.on.is_empty() {
            true => self.finds_all(name),
            false => service.on.contains(name) && self.bridges.contains_key(name),
        }
    }

    /// Whether the stations of a bridge find services that name no bridges.
    pub fn finds_all(&self, name: &BridgeName) -> bool {
        let has_gateway = self.bridges.get(name).is_some_and(|bridge| !bridge.gateways.is_empty());
        // The daemon's own asks for no service.
        has_gateway && !self.is_internal(name) && !name.is_loopback()
    }

    /// Whether a bridge is that of an internal network.
    pub fn is_internal(&self, name: &BridgeName) -> bool {
        self.networks.get(name).is_some_and(|network| network.settings.internal)
    }

    /// Whether the same networks are internal as with another configuration.
    pub fn is_internal_as(&self, other: &Self) -> bool {
        let differs = |item: DiffItem<'_, '_, BridgeName, Arc<Network>>| match item {
            DiffItem::Add(_, one) | DiffItem::Remove(_, one) => one.settings.internal,
            DiffItem::Update { old: (_, old), new: (_, new) } => {
                old.settings.internal != new.settings.internal
            }
        };
        !other.networks.diff(&self.networks).any(differs)
    }

    /// The router's address for whoever has an address on a bridge: that in whose subnet it is. The subnets of containers that have no
    /// link in common are no link's, but their network's.
    pub fn gateway_for(&self, name: &BridgeName, addr: IpAddr) -> Option<IpCidr> {
        let of_link = self.bridges.get(name)?.gateway_for(addr).copied();
        of_link.or_else(|| self.networks.get(name)?.gateway_of_parted(addr))
    }

    /// The bridges with a gateway for whoever has an address. Where that is of a network whose containers have no link in common, the
    /// links whose subnets have it as well, such as an uplink's, are not among them.
    fn homes_for(&self, addr: IpAddr) -> impl Iterator<Item = &BridgeName> {
        let parted = self.networks.iter().filter(|(_, it)| it.gateway_of_parted(addr).is_some());
        let parted: Vec<_> = parted.map(|(name, _)| name).collect();
        let links =
            self.bridges.iter().filter(move |(_, bridge)| bridge.gateway_for(addr).is_some());
        let links = parted.is_empty().then(|| links.map(|(name, _)| name));
        parted.into_iter().chain(links.into_iter().flatten())
    }

    /// The bridges on which a service's backend with this address can be: the one that the service names, or those in whose
    /// subnets it is.
    pub fn backend_bridges<'a>(
        &'a self,
        service: &'a Service,
        ip: IpAddr,
    ) -> impl Iterator<Item = &'a BridgeName> + 'a {
        let named = service.to.as_ref().filter(|to| self.gateway_for(to, ip).is_some());
        let found = service.to.is_none().then(|| self.homes_for(ip));
        named.into_iter().chain(found.into_iter().flatten())
    }

    /// The bridges of a service's backends.
    pub fn homes_of<'a>(
        &'a self,
        service: &'a Service,
    ) -> impl Iterator<Item = &'a BridgeName> + 'a {
        let backends = service.backends.iter();
        backends.filter_map(|backend| self.backend_bridges(service, backend.at.ip()).next())
    }

    /// The bridges, other than the one where it is published, in whose subnets the container of a published port is.
    pub(crate) fn holders<'a>(
        &'a self,
        rule: &'a Publish,
    ) -> impl Iterator<Item = &'a BridgeName> + 'a {
        self.homes_for(rule.forward.container)
            .filter(|name| **name != rule.on || rule.is_on_loopback())
    }
}
