//! Bridges, and what the router is on them.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::check::{is_link_local, is_unique_local};
use crate::names::{BadName, bad, digits, fnv1a};
use crate::{BridgeName, IpCidr, MacAddr, Mtu, PortName, Prefix, VlanId};

/// A bridge: one or, by VLANs, several broadcast domains. With gateway addresses it is an interface of the
/// switch's router as well. The router takes each VLAN for a bridge of its own ([`Bridge::vlan_of`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bridge {
    /// The bridge of which this is a VLAN: what the router takes for a bridge, with the ports and stations of that
    /// one. Without it, this is a bridge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vlan_of: Option<VlanOf>,
    /// Seconds after which a silent station is forgotten (IEEE 802.1Q: 10 to 1 000 000, 300 by default).
    pub ageing_seconds: u32,
    /// The most stations that it learns.
    pub mac_limit: u32,
    /// The MTU of ports that have none of their own.
    pub mtu: Mtu,
    /// Stations entered by hand.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub statics: Vec<StaticMac>,
    /// The router's addresses; it is no interface of the router without any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gateways: Vec<IpCidr>,
    /// The router's MAC address; [`Bridge::router_mac`] if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway_mac: Option<MacAddr>,
    /// Router advertisements; none if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advertise: Option<Advertise>,
    /// The router answers ARP and neighbour solicitations for these, which are elsewhere.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub proxy: Vec<Prefix>,
    /// Neighbours entered by hand.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub neighbors: Vec<StaticNeighbor>,
}

impl Default for Bridge {
    fn default() -> Self {
        Self {
            vlan_of: None,
            ageing_seconds: 300,
            mac_limit: 8192,
            mtu: Mtu::ETHERNET,
            statics: Vec::new(),
            gateways: Vec::new(),
            gateway_mac: None,
            advertise: None,
            proxy: Vec::new(),
            neighbors: Vec::new(),
        }
    }
}

impl Bridge {
    /// The router's MAC address here: the one that is configured, or one made of the bridge's name, so that it is
    /// the same after a restart, and on every host that a tunnel joins to this bridge.
    pub fn router_mac(&self, name: &BridgeName) -> MacAddr {
        self.gateway_mac.unwrap_or_else(|| {
            let [_, _, rest @ ..] = fnv1a(name.as_str()).to_be_bytes();
            MacAddr::local(rest)
        })
    }

    /// The address of an IP version that packets leave with which are masqueraded: of IPv6 a unique local one only where there is no
    /// other, as it is nobody's beyond the site.
    pub fn outside(&self, ipv4: bool) -> Option<IpAddr> {
        let own = self.gateways.iter().map(|gateway| gateway.addr);
        let usable = own.filter(|addr| addr.is_ipv4() == ipv4 && !is_link_local(*addr));
        usable.min_by_key(|addr| is_unique_local(*addr))
    }

    /// The subnets that the router is in, each with its address there. A further address of a subnet, given by itself, is in
    /// that one.
    pub fn subnets(&self) -> impl Iterator<Item = (Prefix, &IpCidr)> {
        let is_further = |own: &IpCidr| {
            let is_in = |other: &IpCidr| *other != *own && other.contains(own.addr);
            *own == own.alone() && self.gateways.iter().any(is_in)
        };
        let own = self.gateways.iter().filter(move |own| !is_further(own));
        own.map(|own| (own.subnet(), own))
    }

    /// The router's address in the subnet in which another address is.
    pub fn gateway_for(&self, addr: IpAddr) -> Option<&IpCidr> {
        self.gateways.iter().find(|gateway| gateway.contains(addr))
    }
}

/// A VLAN of a bridge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VlanOf {
    /// The bridge.
    pub bridge: BridgeName,
    /// The VLAN.
    pub vlan: VlanId,
}

/// A station entered by hand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StaticMac {
    /// Its address.
    pub mac: MacAddr,
    /// Its VLAN, on VLAN-aware ports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<VlanId>,
    /// The port that it is behind.
    pub port: PortName,
    /// The host that it is on, behind a tunnel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vtep: Option<IpAddr>,
}

/// A neighbour entered by hand: it is not asked for its MAC address, and does not age.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StaticNeighbor {
    /// Its IP address.
    pub ip: IpAddr,
    /// Its MAC address.
    pub mac: MacAddr,
}

/// Router advertisements (RFC 4861, section 6.2.1). Written as `interval=600,lifetime=1800,managed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Advertise {
    /// The most seconds between two that nobody asked for: 4 to 1800.
    pub interval_seconds: u16,
    /// Seconds for which hosts may use the router as their default: 0, not at all, or `interval_seconds` to 9000.
    pub lifetime_seconds: u16,
    /// Hosts make themselves addresses of the prefix (RFC 4862), which has 64 bits then.
    pub autonomous: bool,
    /// Addresses are to be had by DHCPv6.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub managed: bool,
    /// Other settings are to be had by DHCPv6.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub other: bool,
    /// Name servers (RFC 8106).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<Ipv6Addr>,
}

impl Default for Advertise {
    fn default() -> Self {
        Self {
            interval_seconds: 600,
            lifetime_seconds: 1800,
            autonomous: true,
            managed: false,
            other: false,
            dns: Vec::new(),
        }
    }
}

impl Advertise {
    fn set(&mut self, word: &str) -> Option<()> {
        match word.split_once('=') {
            None if word == "managed" => self.managed = true,
            None if word == "other" => self.other = true,
            None if word == "no-autonomous" => self.autonomous = false,
            Some(("interval", seconds)) => self.interval_seconds = digits(seconds)?,
            Some(("lifetime", seconds)) => self.lifetime_seconds = digits(seconds)?,
            Some(("dns", addr)) => self.dns.push(addr.parse().ok()?),
            _ => return None,
        }
        Some(())
    }
}

impl FromStr for Advertise {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        const RULE: &str = "use interval=SECONDS, lifetime=SECONDS, managed, other, no-autonomous and dns=IPV6, \
                            separated by commas";
        let mut advertise = Self::default();
        for word in text.split(',').filter(|word| !word.is_empty()) {
            advertise.set(word).ok_or_else(|| bad("router advertisement", text, RULE))?;
        }
        Ok(advertise)
    }
}

impl fmt::Display for Advertise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "interval={},lifetime={}", self.interval_seconds, self.lifetime_seconds)?;
        let flags =
            [(self.managed, "managed"), (self.other, "other"), (!self.autonomous, "no-autonomous")];
        for (_, flag) in flags.iter().filter(|(is_set, _)| *is_set) {
            write!(f, ",{flag}")?;
        }
        self.dns.iter().try_for_each(|addr| write!(f, ",dns={addr}"))
    }
}
