//! Answers about tunnels.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Counters, PortState};
use crate::{BridgeName, PortName, Vxlan};

/// A tunnel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VxlanInfo {
    /// Its name.
    pub name: PortName,
    /// Its settings.
    pub settings: Vxlan,
    /// The network that it is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<BridgeName>,
    /// Whether it works.
    pub state: PortState,
    /// The longest IP packet that fits through, in bytes.
    pub inner_mtu: u32,
    /// The other hosts.
    pub vteps: Vec<VtepInfo>,
}

/// Another host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VtepInfo {
    /// Its address.
    pub remote: IpAddr,
    /// It was heard from, and is not among the tunnel's settings.
    pub learned: bool,
    /// Stations known on it now.
    pub stations: u32,
    /// Frames from and to it.
    #[serde(flatten)]
    pub counters: Counters,
}
