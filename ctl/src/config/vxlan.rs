//! Tunnels by VXLAN (RFC 7348).

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::names::{BadName, as_string, bad, digits};
use crate::{BridgeName, Mtu};

/// A VXLAN tunnel endpoint: a port of its bridge behind which other hosts are. It shares the names of
/// ports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vxlan {
    /// The bridge.
    pub bridge: BridgeName,
    /// The network's number.
    pub vni: Vni,
    /// The address of this host from which packets are sent, and at which they arrive.
    pub local: IpAddr,
    /// The bridge over which the packets travel, by its routes and neighbours, and at whose gateway they arrive: the switch
    /// itself sends and receives them. Without one a socket of the host's kernel does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<BridgeName>,
    /// The other hosts that are known from the start: broadcasts go to each of them. Hosts that are
    /// heard from are learned, if `learning`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remotes: Vec<IpAddr>,
    /// The UDP port, here and at the other hosts.
    #[serde(default = "Vxlan::default_port")]
    pub dstport: u16,
    /// Hops of the outer packets.
    #[serde(default = "Vxlan::default_ttl")]
    pub ttl: u8,
    /// The TOS byte of the outer packets, without ECN, which follows RFC 6040.
    #[serde(default)]
    pub tos: Tos,
    /// Stations and hosts are learned from what arrives.
    #[serde(default = "yes")]
    pub learning: bool,
    /// The longest IP packet that the network between the hosts carries.
    #[serde(default)]
    pub underlay_mtu: Mtu,
}

fn yes() -> bool {
    true
}

impl Vxlan {
    /// The assigned port (RFC 7348, section 8.1).
    pub const PORT: u16 = 4789;
    /// Hops of the outer packets unless another number is given.
    pub const TTL: u8 = 64;

    /// A tunnel with nothing particular about it.
    pub fn new(bridge: BridgeName, vni: Vni, local: IpAddr) -> Self {
        Self {
            bridge,
            vni,
            local,
            via: None,
            remotes: Vec::new(),
            dstport: Self::PORT,
            ttl: Self::TTL,
            tos: Tos::default(),
            learning: true,
            underlay_mtu: Mtu::ETHERNET,
        }
    }

    fn default_port() -> u16 {
        Self::PORT
    }

    fn default_ttl() -> u8 {
        Self::TTL
    }

    /// Whether this and another setting are of one tunnel, which stays open when one becomes the other.
    pub fn is_same_tunnel(&self, other: &Self) -> bool {
        let end = |vxlan: &Self| (vxlan.vni, vxlan.local, vxlan.dstport);
        (&self.bridge, &self.via) == (&other.bridge, &other.via) && end(self) == end(other)
    }

    /// What the outer IP, UDP and VXLAN headers and the inner Ethernet header take from the MTU.
    pub fn overhead_bytes(&self) -> u32 {
        if self.local.is_ipv4() { 20 + 8 + 8 + 14 } else { 40 + 8 + 8 + 14 }
    }

    /// The longest IP packet that fits through.
    ///
    /// # Errors
    /// [`BadName`], when nothing fits.
    pub fn inner_mtu(&self) -> Result<Mtu, BadName> {
        Mtu::try_from(self.underlay_mtu.bytes().saturating_sub(self.overhead_bytes()))
    }
}

/// The number of a VXLAN network, of 24 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Vni(u32);

impl Vni {
    const RULE: &str = "use 0 to 16777215";

    /// The number.
    pub fn number(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for Vni {
    type Error = BadName;

    fn try_from(number: u32) -> Result<Self, BadName> {
        if number < 1 << 24 {
            Ok(Self(number))
        } else {
            Err(bad("VNI", &number.to_string(), Self::RULE))
        }
    }
}

impl FromStr for Vni {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        Self::try_from(digits::<u32>(text).ok_or_else(|| bad("VNI", text, Self::RULE))?)
    }
}

impl fmt::Display for Vni {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Vni {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::try_from(u32::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// The TOS byte (traffic class) of outer packets: `inherit`, or a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tos {
    /// The DSCP of the inner packet.
    Inherit,
    /// Always this, whose two lowest bits are zero.
    Fixed(u8),
}

impl Default for Tos {
    fn default() -> Self {
        Self::Fixed(0)
    }
}

impl FromStr for Tos {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        if text == "inherit" {
            return Ok(Self::Inherit);
        }
        const RULE: &str =
            "use inherit, or a multiple of 4 up to 252: the two lowest bits are ECN's (RFC 6040)";
        let byte: Option<u8> = digits(text).filter(|byte: &u8| byte.is_multiple_of(4));
        byte.map(Self::Fixed).ok_or_else(|| bad("TOS", text, RULE))
    }
}

impl fmt::Display for Tos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inherit => f.pad("inherit"),
            Self::Fixed(byte) => byte.fmt(f),
        }
    }
}

as_string!(Tos);
