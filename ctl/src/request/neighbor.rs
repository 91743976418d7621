//! Requests about the router's neighbours.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{BridgeName, StaticNeighbor};

/// A neighbour to enter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NeighborAdd {
    /// The bridge.
    pub bridge: BridgeName,
    /// The neighbour.
    pub neighbor: StaticNeighbor,
}

/// A neighbour to remove.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NeighborKey {
    /// The bridge.
    pub bridge: BridgeName,
    /// Its address.
    pub ip: IpAddr,
}

/// Which neighbours are meant; what is not given matches all.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NeighborFilter {
    /// On this bridge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bridge: Option<BridgeName>,
    /// With this address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<IpAddr>,
}
