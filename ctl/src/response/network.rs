//! Answers about networks and addresses.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::ipam::{Lease, Pool, Span};
use crate::network::{UPLINK_REMEDY, uplinks};
use crate::{
    BridgeName, Config, HostName, IfName, IpCidr, IpamFilter, MacAddr, NetnsRef, Network,
    NetworkSettings, Owner, PortKind, PortName, Prefix, Shape, TapRoute,
};

/// A network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkInfo {
    /// Its name, and that of its bridge.
    pub name: BridgeName,
    /// What it is made of.
    pub settings: NetworkSettings,
    /// Its subnets.
    pub subnets: Vec<SubnetInfo>,
    /// The MTU of its containers, in bytes: what its tunnel carries, if that is less than the setting.
    pub mtu: u32,
    /// The bridges by which it has a way out.
    pub uplinks: Vec<BridgeName>,
    /// The containers on it.
    pub endpoints: Vec<EndpointInfo>,
}

/// A subnet from which addresses are given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubnetInfo {
    /// The subnet.
    pub subnet: Prefix,
    /// The gateway's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    /// What is given to those who ask for no particular address; the whole subnet if none are there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ranges: Vec<Span>,
    /// What is given to nobody.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reserved: Vec<Span>,
    /// How many addresses are given to those who ask for no particular one, taken or not.
    pub addresses: u64,
    /// How many addresses are given out now.
    pub leases: usize,
    /// Nothing is left for those who ask for no particular address.
    #[serde(default)]
    pub exhausted: bool,
}

/// A container on a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointInfo {
    /// The network.
    pub network: BridgeName,
    /// Its port.
    pub port: PortName,
    /// Its namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netns: Option<NetnsRef>,
    /// The name of its interface.
    pub ifname: IfName,
    /// The interface's MAC address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<MacAddr>,
    /// The interface's MTU, in bytes.
    pub mtu: u32,
    /// Its addresses.
    pub addresses: Vec<AddressInfo>,
    /// Its default gateways: those of this network, unless it is internal, or another interface led out before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub default_gateways: Vec<IpAddr>,
    /// Its other routes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<TapRoute>,
    /// The gateways that answer names for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resolvers: Vec<IpAddr>,
    /// It is told its IPv4 addresses and routes by DHCP.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dhcp: bool,
    /// It is the host itself, and no container.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub host: bool,
    /// Whose its addresses are.
    pub owner: Owner,
    /// The names by which others on the network find it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<HostName>,
}

/// An address of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressInfo {
    /// The address, with the length of its subnet's prefix.
    pub address: IpCidr,
    /// The gateway of its subnet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
}

/// An address that is given out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseInfo {
    /// The address, with the prefix length that an interface has with it: its subnet's, or that of one address (see [`Shape::parts`](crate::Shape::parts)).
    pub address: IpCidr,
    /// The network; none has the subnet yet if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<BridgeName>,
    /// Whose it is.
    pub owner: Owner,
    /// The port that has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<PortName>,
    /// It stays its owner's without a port, until it is released.
    pub held: bool,
}

/// What nobody uses.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct UnusedInfo {
    /// The addresses that are given out and that no port has.
    pub leases: Vec<LeaseInfo>,
    /// The subnets that are kept for networks to come.
    pub pools: Vec<SubnetInfo>,
}

impl NetworkInfo {
    /// What a configuration says about a network.
    pub fn of(config: &Config, name: &BridgeName) -> Option<Self> {
        let network = config.networks.get(name)?;
        let endpoint = |port| EndpointInfo::of(config, port);
        let has_way_out = network.masquerades();
        let uplinks = uplinks(config).map(|(name, _)| name.clone());
        Some(Self {
            name: name.clone(),
            settings: network.settings.clone(),
            subnets: network.pools.values().map(SubnetInfo::of).collect(),
            mtu: config.mtu_within(name).bytes(),
            uplinks: uplinks.filter(|_| has_way_out).collect(),
            endpoints: network.endpoints.keys().filter_map(endpoint).collect(),
        })
    }

    /// Why it has no uplink on which ports could be published, and what to do, for who asks for that.
    pub fn no_uplink(&self) -> String {
        let (name, NetworkSettings { internal, masquerade, shape, .. }) =
            (&self.name, &self.settings);
        let has_gateway = self.subnets.iter().any(|subnet| subnet.gateway.is_some());
        let why = match shape {
            _ if *internal => {
                "is internal, and its containers answer nobody outside; connect the container to another network too, or publish at \
                 127.0.0.1, for programs of the host"
            }
            Shape::Routed => {
                "is routed, and its containers are reached from outside at their own addresses; leave the published port out"
            }
            Shape::Direct => {
                "is direct, and its containers are reached on its wire at their own addresses; leave the published port out"
            }
            _ if !has_gateway => {
                "has no gateway, which alone could lead to its containers; make it with one, or connect the container to another network too"
            }
            _ if !masquerade => {
                "is not masqueraded, and who makes its way out by hand publishes by hand: `vswitchctl nat publish add \
                 8080:CONTAINER-IP:80/tcp --on BRIDGE`"
            }
            _ => {
                return format!(
                    "network {name} has no uplink on which it could be published; {UPLINK_REMEDY}"
                );
            }
        };
        format!("network {name} {why}")
    }
}

impl SubnetInfo {
    /// What there is to tell of a pool.
    pub fn of(pool: &Pool) -> Self {
        Self {
            subnet: pool.subnet,
            gateway: pool.gateway,
            ranges: pool.ranges.clone(),
            reserved: pool.reserved.clone(),
            addresses: pool.capacity(),
            leases: pool.leases().len(),
            exhausted: pool.is_exhausted(),
        }
    }
}

impl EndpointInfo {
    /// What a configuration says about the container behind a port, if the port is one of a network's.
    pub fn of(config: &Config, port: &PortName) -> Option<Self> {
        let name = config.network_of(port)?;
        let network = config.networks.get(name)?;
        let endpoint = config.endpoint(port)?;
        let settings = config.ports.get(port)?;
        let PortKind::Tap(tap) = &settings.kind else { return None };
        let address = |cidr: &IpCidr| AddressInfo {
            address: *cidr,
            gateway: network.pool_of(cidr.addr).and_then(|pool| pool.gateway),
        };
        let addresses: Vec<_> = tap.ips.iter().map(address).collect();
        let gateways = addresses.iter().filter_map(|address| address.gateway);
        Some(Self {
            network: name.clone(),
            port: port.clone(),
            netns: tap.netns.clone(),
            ifname: tap.ifname.clone(),
            mac: tap.mac,
            mtu: config.mtu_of(settings).bytes(),
            resolvers: gateways.filter(|_| network.settings.dns).collect(),
            dhcp: settings.dhcp,
            addresses,
            default_gateways: tap.gateways.clone(),
            routes: tap.routes.clone(),
            host: tap.is_hosts(),
            owner: endpoint.owner.clone(),
            aliases: endpoint.aliases.clone(),
        })
    }
}

/// A network with its name.
type Named<'a> = (&'a BridgeName, &'a Network);

impl LeaseInfo {
    /// All leases of the subnets that a filter means: those of networks first.
    pub fn all(config: &Config, filter: &IpamFilter) -> Vec<Self> {
        let networks = config.networks.iter();
        let networks = networks.flat_map(|(name, network)| {
            network.pools.values().map(move |pool| (Some((name, &**network)), pool))
        });
        let kept = config.pools.values().map(|pool| (None, pool));
        let is_meant = |(network, pool): &(Option<Named<'_>>, &Pool)| {
            filter.means(network.map(|(name, _)| name), &pool.subnet)
        };
        let pools = networks.chain(kept).filter(is_meant);
        pools
            .flat_map(|(network, pool)| {
                let leases = pool.leases().iter();
                leases.map(move |(addr, lease)| Self::of(network, pool, *addr, lease))
            })
            .collect()
    }

    fn of(network: Option<Named<'_>>, pool: &Pool, addr: IpAddr, lease: &Lease) -> Self {
        Self {
            address: network.map_or_else(|| pool.cidr(addr), |(_, of)| of.cidr(pool, addr)),
            network: network.map(|(name, _)| name.clone()),
            owner: lease.owner.clone(),
            port: lease.port.clone(),
            held: lease.held,
        }
    }
}
