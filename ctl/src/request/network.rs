//! Requests about networks.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::given;
use crate::ipam::Span;
use crate::{
    BadName, BridgeName, HostName, IfName, MacAddr, Mtu, NetnsRef, NetworkSettings, Owner,
    PortName, Prefix, TapRoute,
};

/// A network to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkCreate {
    /// Its name, and that of its bridge.
    pub name: BridgeName,
    /// What it is made of.
    #[serde(default)]
    pub settings: NetworkSettings,
    /// Its subnets. Without any a free private one of IPv4 is chosen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subnets: Vec<Prefix>,
    /// It has IPv6 too: a free private subnet of it is chosen if none is among `subnets`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ipv6: bool,
    /// The gateways' addresses; the first host of each subnet that has none here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gateways: Vec<IpAddr>,
    /// The switch has no address on it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_gateway: bool,
    /// Nobody's addresses are given out on it, and the switch has none there: it has no subnets.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unnumbered: bool,
    /// What is given to containers that ask for no particular address; the whole subnets if not given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ranges: Vec<Span>,
    /// What is given to no container.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reserved: Vec<Span>,
    /// Networks out of which no subnet is chosen. The daemon adds those to which the host has routes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub avoid: Vec<Prefix>,
    /// The host itself gets an interface on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_port: Option<HostPort>,
}

/// An interface of the host itself on a network.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HostPort {
    /// Its name; the network's if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ifname: Option<IfName>,
    /// Its MAC address; chosen if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<MacAddr>,
}

impl HostPort {
    /// The name of its port.
    ///
    /// # Errors
    /// [`BadName`], when no valid name comes of the network's.
    pub fn port_name(network: &BridgeName) -> Result<PortName, BadName> {
        format!("{network}-host").parse()
    }
}

impl NetworkCreate {
    /// A network with nothing particular about it.
    pub fn new(name: BridgeName) -> Self {
        Self {
            name,
            settings: NetworkSettings::default(),
            subnets: Vec::new(),
            ipv6: false,
            gateways: Vec::new(),
            no_gateway: false,
            unnumbered: false,
            ranges: Vec::new(),
            reserved: Vec::new(),
            avoid: Vec::new(),
            host_port: None,
        }
    }
}

/// A network to change; what is not given stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkSet {
    /// Its name.
    pub name: BridgeName,
    /// See [`NetworkSettings`]; containers that are connected lose their default routes by the network, and get none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub internal: Option<bool>,
    /// See [`NetworkSettings`]; for all containers, those that are connected too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolated: Option<bool>,
    /// See [`NetworkSettings`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub masquerade: Option<bool>,
    /// See [`NetworkSettings`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<Mtu>,
    /// The other hosts of its tunnel, instead of the present ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remotes: Option<Vec<IpAddr>>,
    /// See [`NetworkSettings`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<bool>,
    /// Who is asked about other names, instead of the present ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolvers: Option<Vec<IpAddr>>,
    /// See [`NetworkSettings`]; for containers that are connected later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dhcp: Option<bool>,
    /// Labels to add or to change; one without a text is taken away.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The interface of the host itself; `null`, which is `Some(None)`, for none.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub host_port: Option<Option<HostPort>>,
}

impl NetworkSet {
    /// A change of nothing.
    pub fn new(name: BridgeName) -> Self {
        Self {
            name,
            internal: None,
            isolated: None,
            masquerade: None,
            mtu: None,
            remotes: None,
            dns: None,
            resolvers: None,
            dhcp: None,
            labels: BTreeMap::new(),
            host_port: None,
        }
    }
}

/// A network to remove.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkRm {
    /// Its name.
    pub name: BridgeName,
    /// It is no error if it does not exist.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub if_exists: bool,
    /// What refers to it goes with it: routes, rules, services, and interfaces on its bridge that are there without it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
}

impl NetworkRm {
    /// A network that is there, and that nothing refers to.
    pub fn new(name: BridgeName) -> Self {
        Self { name, if_exists: false, force: false }
    }
}

/// A container to connect to a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkConnect {
    /// The network.
    pub network: BridgeName,
    /// The container's namespace.
    pub netns: NetnsRef,
    /// The name of its interface; `eth0` if not given.
    #[serde(default)]
    pub ifname: IfName,
    /// The addresses that it wants; the next free one of each IP version of which none is here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ips: Vec<IpAddr>,
    /// The interface's MAC address; chosen if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<MacAddr>,
    /// The names by which others on the network find it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<HostName>,
    /// Whose its addresses are; the port's name if not given. What the owner holds already is his here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
    /// It gets no default route, even if it has none by another interface.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_default_route: bool,
    /// Its other routes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<TapRoute>,
    /// The networks, or everything, to which it has routes by other interfaces: these stay, and it gets none there. The
    /// daemon adds those that it finds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub elsewhere: Vec<Prefix>,
    /// It asks for its IPv4 addresses and routes by itself, by DHCP, even if the others of the network do not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dhcp: bool,
}

impl NetworkConnect {
    /// A container with nothing particular about it.
    pub fn new(network: BridgeName, netns: NetnsRef) -> Self {
        Self {
            network,
            netns,
            ifname: IfName::default(),
            ips: Vec::new(),
            mac: None,
            aliases: Vec::new(),
            owner: None,
            no_default_route: false,
            routes: Vec::new(),
            elsewhere: Vec::new(),
            dhcp: false,
        }
    }
}

/// A container to disconnect from a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkDisconnect {
    /// The network.
    pub network: BridgeName,
    /// The container's namespace.
    pub netns: NetnsRef,
    /// The name of its interface; without it, it has no more than one on the network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ifname: Option<IfName>,
}

impl NetworkDisconnect {
    /// Whether it means this interface of a namespace.
    pub(crate) fn means(&self, netns: &NetnsRef, ifname: &IfName) -> bool {
        self.netns == *netns && self.ifname.as_ref().is_none_or(|own| own == ifname)
    }
}

/// A container to connect to a network by an interface that its engine takes to it, and configures there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkHandover {
    /// The network.
    pub network: BridgeName,
    /// The port to make.
    pub port: PortName,
    /// The interface's name until the engine takes it from the daemon's namespace.
    pub ifname: IfName,
    /// The addresses that it wants; the next free one of each IP version of which none is here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ips: Vec<IpAddr>,
    /// The interface's MAC address; chosen if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<MacAddr>,
    /// Whose its addresses are; the port's name if not given. What the owner holds already is his here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
}
