//! [`Config`]: what the operator wants, whole. The daemon keeps it as JSON in its state directory.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::check::check;
use crate::{BridgeName, CtlError, IfName, IpCidr, MacAddr, Mtu, NetnsRef, PortName, Vlan, VlanId};

/// The version of the state format that this program writes.
pub const CONFIG_VERSION: u32 = 1;

/// Everything that is configured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// [`CONFIG_VERSION`].
    pub version: u32,
    /// The bridges.
    #[serde(default)]
    pub bridges: BTreeMap<BridgeName, Bridge>,
    /// The ports.
    #[serde(default)]
    pub ports: BTreeMap<PortName, Port>,
}

impl Default for Config {
    fn default() -> Self {
        Self { version: CONFIG_VERSION, bridges: BTreeMap::new(), ports: BTreeMap::new() }
    }
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
        let config: Self = serde_json::from_slice(text)?;
        check(&config)?;
        Ok(config)
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

    /// The MTU of a port: its own, or its bridge's.
    pub fn mtu_of(&self, port: &Port) -> Mtu {
        let of_bridge =
            || self.bridges.get(&port.bridge).map_or(Mtu::ETHERNET, |bridge| bridge.mtu);
        port.mtu.unwrap_or_else(of_bridge)
    }
}

/// A bridge: one or, by VLANs, several broadcast domains.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bridge {
    /// Seconds after which a silent station is forgotten (IEEE 802.1Q: 10 to 1 000 000, 300 by default).
    pub ageing_seconds: u32,
    /// The most stations that it learns.
    pub mac_limit: u32,
    /// The MTU of ports that have none of their own.
    pub mtu: Mtu,
    /// Stations entered by hand.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub statics: Vec<StaticMac>,
}

impl Default for Bridge {
    fn default() -> Self {
        Self { ageing_seconds: 300, mac_limit: 8192, mtu: Mtu::ETHERNET, statics: Vec::new() }
    }
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
}

/// A port of a bridge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Port {
    /// The bridge.
    pub bridge: BridgeName,
    /// What is behind it.
    pub kind: PortKind,
    /// VLANs.
    #[serde(default, skip_serializing_if = "Vlan::is_unaware")]
    pub vlan: Vlan,
    /// Talks to no other isolated port of its bridge.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub isolated: bool,
    /// Frames may go back to the port that they came from.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hairpin: bool,
    /// The most stations that are learned on it; its bridge's limit if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac_limit: Option<u32>,
    /// The MTU; its bridge's if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<Mtu>,
}

impl Port {
    /// A port with nothing particular about it.
    pub fn new(bridge: BridgeName, kind: PortKind) -> Self {
        Self {
            bridge,
            kind,
            vlan: Vlan::Unaware,
            isolated: false,
            hairpin: false,
            mac_limit: None,
            mtu: None,
        }
    }
}

/// What is behind a port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum PortKind {
    /// An interface that the switch makes, and moves into a container.
    Tap(Tap),
    /// An interface that exists already.
    Netdev {
        /// Its name.
        device: IfName,
        /// The namespace in which it is; the daemon's if not given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        netns: Option<NetnsRef>,
        /// How frames are moved.
        #[serde(default)]
        mode: NetdevMode,
    },
}

impl PortKind {
    /// The namespace and interface name behind the port, which no two ports can share.
    pub fn interface(&self) -> (Option<&NetnsRef>, &IfName) {
        match self {
            Self::Tap(tap) => (tap.netns.as_ref(), &tap.ifname),
            Self::Netdev { device, netns, .. } => (netns.as_ref(), device),
        }
    }
}

/// An interface that the switch makes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tap {
    /// The container's namespace; the daemon's own if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netns: Option<NetnsRef>,
    /// Its name there; `eth0` if not given.
    #[serde(default)]
    pub ifname: IfName,
    /// Its MAC address; chosen when the port is added, and kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<MacAddr>,
    /// Its addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ips: Vec<IpCidr>,
    /// Its default gateways, at most one of each IP version.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gateways: Vec<IpAddr>,
    /// Queues, each of which may be served by another worker; one if not given.
    #[serde(default = "one")]
    pub queues: u16,
}

fn one() -> u16 {
    1
}

/// How frames of an existing interface are moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetdevMode {
    /// What suits the device: `gso` for a veth, whose far end keeps its offloads.
    #[default]
    Auto,
    /// AF_PACKET with super-frames: the most bytes per second.
    Gso,
    /// AF_XDP: the most packets per second.
    Xdp,
}

impl std::fmt::Display for NetdevMode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Auto => "auto",
            Self::Gso => "gso",
            Self::Xdp => "xdp",
        })
    }
}

impl std::str::FromStr for NetdevMode {
    type Err = crate::BadName;

    fn from_str(text: &str) -> Result<Self, crate::BadName> {
        match text {
            "auto" => Ok(Self::Auto),
            "gso" => Ok(Self::Gso),
            "xdp" => Ok(Self::Xdp),
            _ => Err(crate::BadName {
                what: "mode of an interface",
                text: text.chars().take(64).collect(),
                rule: "use auto, gso or xdp",
            }),
        }
    }
}
