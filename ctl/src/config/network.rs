//! Networks: a bridge with all that belongs to it, in one noun.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ipam::{Pool, PoolChange, differing, put};
use crate::names::bad;
use crate::{
    BridgeName, Config, HostName, IfName, IpCidr, MacAddr, Mtu, NetnsRef, Owner, PortName, Prefix,
    Vni, Vxlan,
};

/// A network: a bridge of the same name with gateways, masquerading and a tunnel as these settings say
/// (`ctl/src/network.rs` makes them), the addresses of its subnets, and the containers on it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// What it is made of.
    #[serde(default)]
    pub settings: NetworkSettings,
    /// Its subnets and what is given out of them, by subnet.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pools: BTreeMap<Prefix, Pool>,
    /// The containers on it, by the port of each.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub endpoints: BTreeMap<PortName, Endpoint>,
}

/// What a network is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NetworkSettings {
    /// It has no way out: nothing is masqueraded, and containers get no default route.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub internal: bool,
    /// Its containers do not reach each other, but the gateway and what is beyond it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub isolated: bool,
    /// How its containers are joined.
    #[serde(skip_serializing_if = "Shape::is_bridged")]
    pub shape: Shape,
    /// Its containers have the uplinks' addresses outside. Where it is not so, rules of address translation may be
    /// added by hand.
    pub masquerade: bool,
    /// The MTU, if no tunnel carries less.
    pub mtu: Mtu,
    /// The tunnel that joins it to the network of the same VNI on other hosts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vxlan: Option<Overlay>,
    /// Its gateways answer the names of its containers, and ask others about other names.
    pub dns: bool,
    /// Who is asked about other names; the host's resolvers if nobody is here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resolvers: Vec<IpAddr>,
    /// Its containers ask for their IPv4 addresses and routes by themselves, by DHCP, unless they were connected before.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dhcp: bool,
    /// What its owner notes about it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

impl NetworkSettings {
    /// What the labels begin with that say which of Docker's networks it is; Docker's number of that follows.
    pub const DOCKER_LABEL: &str = "docker.network/";

    /// Docker's networks that it is, by Docker's numbers.
    pub fn docker_networks(&self) -> impl Iterator<Item = &str> {
        self.labels.keys().filter_map(|key| key.strip_prefix(Self::DOCKER_LABEL))
    }
}

impl Default for NetworkSettings {
    fn default() -> Self {
        Self {
            internal: false,
            isolated: false,
            shape: Shape::Bridged,
            masquerade: true,
            mtu: Mtu::ETHERNET,
            vxlan: None,
            dns: true,
            resolvers: Vec::new(),
            dhcp: false,
            labels: BTreeMap::new(),
        }
    }
}

/// How the containers of a network are joined to each other and to what is outside. It stays what the network was made
/// with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    /// They are stations of one bridge, behind its gateway.
    #[default]
    Bridged,
    /// They are stations of a wire outside, each with its own MAC address, as with macvlan: the network's bridge
    /// is that of the wire's port, and its gateway is a router there, no address of the switch.
    Direct,
    /// They are behind the MAC address of the uplinks, where the gateways answer for them, and reached by routing alone, as
    /// with ipvlan in its L3 mode.
    Routed,
    /// Each is alone with the gateway on a link of two ends, and reaches the others by routing alone.
    P2p,
}

impl Shape {
    /// Whether it is the shape of a network that says none.
    pub fn is_bridged(&self) -> bool {
        *self == Self::Bridged
    }

    /// Whether its containers have no link in common: their subnets are no link's, and each has the gateway as its only
    /// neighbour.
    pub fn parts(self) -> bool {
        matches!(self, Self::Routed | Self::P2p)
    }

    /// Whether what a container sends is held to the addresses that it was given.
    pub fn guards(self) -> bool {
        self != Self::Bridged
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Bridged => "bridged",
            Self::Direct => "direct",
            Self::Routed => "routed",
            Self::P2p => "p2p",
        })
    }
}

impl std::str::FromStr for Shape {
    type Err = crate::BadName;

    fn from_str(text: &str) -> Result<Self, crate::BadName> {
        let all = [Self::Bridged, Self::Direct, Self::Routed, Self::P2p];
        let rule = "use bridged, direct, routed or p2p";
        let named = all.into_iter().find(|shape| shape.to_string() == text);
        named.ok_or_else(|| bad("shape of a network", text, rule))
    }
}

/// The tunnel of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Overlay {
    /// The network's number.
    pub vni: Vni,
    /// The address of this host; the daemon chooses it where it is not given, once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local: Option<IpAddr>,
    /// The bridge over which its packets travel, see [`Vxlan::via`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<BridgeName>,
    /// The other hosts that are known from the start.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remotes: Vec<IpAddr>,
}

/// A container on a network. Its addresses are the leases that its port has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// Whose its addresses are.
    pub owner: Owner,
    /// The names by which others on the network find it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<HostName>,
}

impl Endpoint {
    /// Whether it, on this network and by this port, is called so: by an alias, alone or followed by the network's name, by what its owner
    /// is called, or by a number of its engine's in either.
    fn is_called(&self, name: &str, network: &BridgeName, port: &PortName) -> bool {
        let is_alias = |alias: &HostName| {
            let rest = name.strip_prefix(alias.as_str());
            rest.is_some_and(|rest| {
                rest.is_empty() || rest.strip_prefix('.') == Some(network.as_str())
            })
        };
        let mut parts = self.owner.as_str().split(['/', ':']).chain(port.as_str().split('-'));
        self.aliases.iter().any(is_alias)
            || self.owner.as_str() == name
            || parts.any(|part| are_one_number(name, part))
    }
}

/// As many digits of its numbers as an engine shows to people.
const SHORT: usize = 12;

/// As much of an engine's number as it shows to people, and takes from them.
pub(crate) fn short(number: &str) -> &str {
    number.get(..SHORT).unwrap_or(number)
}

/// Whether both are the same number of an engine's, whole or as it is shown to people.
fn are_one_number(one: &str, other: &str) -> bool {
    let is_number =
        |text: &str| text.len() >= SHORT && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_number(one) && is_number(other) && (one.starts_with(other) || other.starts_with(one))
}

impl Network {
    /// Its gateways, as the bridge has them.
    pub fn gateways(&self) -> impl Iterator<Item = IpCidr> + '_ {
        let pools = self.pools.values().filter(|_| self.settings.shape != Shape::Direct);
        pools.filter_map(|pool| Some(self.cidr(pool, pool.gateway?)))
    }

    /// The gateway of the subnet in which an address is, where that subnet is no link's.
    pub(crate) fn gateway_of_parted(&self, addr: IpAddr) -> Option<IpCidr> {
        if !self.settings.shape.parts() {
            return None;
        }
        let pool = self.pool_of(addr)?;
        Some(self.cidr(pool, pool.gateway?))
    }

    /// An address of a pool as an interface has it: in the pool's subnet, or by itself where that is no link's.
    pub(crate) fn cidr(&self, pool: &Pool, addr: IpAddr) -> IpCidr {
        let alone = IpCidr { addr, prefix_len: Prefix::host(addr).prefix_len() };
        if self.settings.shape.parts() { alone } else { pool.cidr(addr) }
    }

    /// Whether it masquerades: whether it has a way out, and nobody else is to say how.
    pub fn masquerades(&self) -> bool {
        let NetworkSettings { masquerade, internal, shape, .. } = self.settings;
        masquerade && !internal && shape != Shape::Routed && self.gateways().next().is_some()
    }

    /// The subnet that an address is of.
    pub fn pool_of(&self, addr: IpAddr) -> Option<&Pool> {
        self.pools.values().find(|pool| pool.subnet.contains(addr))
    }

    /// The port that has an address of one of the subnets.
    pub(crate) fn port_of(&self, cidr: &IpCidr) -> Option<&PortName> {
        let pool = self.pool_of(cidr.addr).filter(|pool| self.cidr(pool, cidr.addr) == *cidr)?;
        pool.leases().get(&cidr.addr)?.port.as_ref()
    }

    /// The addresses that a port has, in the order of the subnets, each with its subnet's gateway.
    pub fn addresses_of<'a>(
        &'a self,
        port: &'a PortName,
    ) -> impl Iterator<Item = (IpCidr, Option<IpAddr>)> + 'a {
        self.pools.values().flat_map(move |pool| {
            let its = pool.leases().iter().filter(|(_, lease)| lease.port.as_ref() == Some(port));
            its.map(|(addr, _)| (self.cidr(pool, *addr), pool.gateway))
        })
    }
}

/// The containers and leases of a network that are not what they were. It says what shall be: made twice, it changes
/// nothing more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkChange {
    /// Who comes or is another one, and (`null`) who is not there any more.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    endpoints: BTreeMap<PortName, Option<Endpoint>>,
    /// What becomes of the leases of its subnets.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pools: BTreeMap<Prefix, PoolChange>,
}

impl NetworkChange {
    /// What leads from a network to what it becomes; `None` if more than containers and leases changes.
    pub(crate) fn between(old: &Network, new: &Network) -> Option<Self> {
        let is_same = old.settings == new.settings && old.pools.keys().eq(new.pools.keys());
        let pairs = is_same.then(|| old.pools.iter().zip(new.pools.values()))?;
        let pools = pairs.filter(|((_, before), after)| before != after);
        let pools = pools
            .map(|((subnet, before), after)| Some((*subnet, PoolChange::between(before, after)?)));
        let endpoints = differing(&old.endpoints, &new.endpoints);
        Some(Self { endpoints, pools: pools.collect::<Option<_>>()? })
    }

    /// Makes the change.
    pub(crate) fn carry_out(self, network: &mut Network) {
        put(&mut network.endpoints, self.endpoints);
        for (subnet, change) in self.pools {
            if let Some(pool) = network.pools.get_mut(&subnet) {
                change.carry_out(pool);
            }
        }
    }
}

impl Overlay {
    /// The tunnel on a bridge, if its end here is known.
    pub fn vxlan(&self, bridge: BridgeName) -> Option<Vxlan> {
        let plain = Vxlan::new(bridge, self.vni, self.local?);
        Some(Vxlan { remotes: self.remotes.clone(), via: self.via.clone(), ..plain })
    }
}

impl Config {
    /// The network on which a port is a container's.
    pub fn network_of(&self, port: &PortName) -> Option<&BridgeName> {
        let bridge = &self.ports.get(port)?.bridge;
        let network = self.networks.get(bridge)?;
        network.endpoints.contains_key(port).then_some(bridge)
    }

    /// The container on a network that a port is, if it is one.
    pub fn endpoint(&self, port: &PortName) -> Option<&Endpoint> {
        self.networks.get(self.network_of(port)?)?.endpoints.get(port)
    }

    /// The ports of the containers on networks that are called so, though their ports are not.
    pub fn endpoints_called<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a PortName> {
        let all = self.networks.iter().flat_map(|(network, it)| {
            it.endpoints.iter().map(move |(port, endpoint)| (network, port, endpoint))
        });
        let called =
            all.filter(move |(network, port, endpoint)| endpoint.is_called(name, network, port));
        called.map(|(_, port, _)| port)
    }

    /// The containers on a network of which it is known where they are: the port of each, its namespace and the interface there.
    pub(crate) fn containers_on<'a>(
        &'a self,
        network: &'a Network,
    ) -> impl Iterator<Item = (&'a PortName, &'a NetnsRef, &'a IfName)> + 'a {
        network.endpoints.keys().filter_map(|port| {
            let (netns, ifname) = self.ports.get(port)?.kind.interface();
            Some((port, netns?, ifname))
        })
    }

    /// The containers that are a bridge's by routing alone, with the MAC address of each: all others' addresses of their subnets are
    /// nobody's.
    pub fn parted_on(
        &self,
        bridge: &BridgeName,
    ) -> impl Iterator<Item = (IpAddr, Option<MacAddr>)> + '_ {
        let network = self.networks.get(bridge).filter(|of| of.settings.shape.parts());
        let ports = network.into_iter().flat_map(|network| network.endpoints.keys());
        let taps = ports.filter_map(|name| self.ports.get(name)?.kind.tap());
        taps.flat_map(|tap| tap.ips.iter().map(|cidr| (cidr.addr, tap.mac)))
    }

    /// A port is no more: so are the rules that go with it and the endpoint, and its addresses are free, but those
    /// that their owners hold.
    pub fn forget_endpoint(&mut self, bridge: &BridgeName, port: &PortName) {
        let rules = self.nat.iter().filter(|(_, rule)| rule.port() == Some(port));
        let rules: Vec<_> = rules.map(|(name, _)| name.clone()).collect();
        rules.iter().for_each(|name| _ = self.nat.remove(name));
        let has_it = |network: &&mut Arc<Network>| network.endpoints.contains_key(port);
        let Some(network) = self.networks.get_mut(bridge).filter(has_it) else { return };
        let network = Arc::make_mut(network);
        network.endpoints.remove(port);
        network.pools.values_mut().for_each(|pool| pool.forget_port(port));
    }
}
