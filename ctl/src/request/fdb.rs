//! Requests about stations.

use serde::{Deserialize, Serialize};

use crate::{BridgeName, MacAddr, PortName, StaticMac, VlanId};

/// A station to enter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FdbStatic {
    /// The bridge.
    pub bridge: BridgeName,
    /// The station.
    pub station: StaticMac,
}

/// A station to remove.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FdbKey {
    /// The bridge.
    pub bridge: BridgeName,
    /// Its address.
    pub mac: MacAddr,
    /// Its VLAN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<VlanId>,
}

/// Which stations are meant; what is not given matches all.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FdbFilter {
    /// Of this bridge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bridge: Option<BridgeName>,
    /// Behind this port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<PortName>,
    /// In this VLAN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<VlanId>,
}
