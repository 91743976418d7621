//! Answers about routes and neighbours.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{Allowance, BridgeName, MacAddr, Prefix};

/// Where packets go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Routes {
    /// The routes, of all bridges.
    pub routes: Vec<RouteInfo>,
    /// Which bridges may be reached from which.
    pub allowed: Vec<Allowance>,
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteInfo {
    /// Where it leads to.
    pub to: Prefix,
    /// The bridge on which its next hops or its hosts are.
    pub on: BridgeName,
    /// How it came about.
    pub kind: RouteKind,
    /// The next hops; none when the network is the bridge's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub via: Vec<IpAddr>,
}

/// How a route came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RouteKind {
    /// The router has an address in the network.
    Connected,
    /// It is an address of the router.
    Local,
    /// It was added by hand.
    Static,
}

/// A neighbour of the router.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeighborInfo {
    /// The bridge.
    pub bridge: BridgeName,
    /// Its IP address.
    pub ip: IpAddr,
    /// Its MAC address, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<MacAddr>,
    /// Whether it is there.
    pub state: NeighborState,
    /// Seconds since that was last confirmed.
    pub age_seconds: u32,
    /// Packets that wait for its MAC address.
    pub held: u32,
}

/// Whether a neighbour is there (RFC 4861, section 7.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NeighborState {
    /// It is being asked for.
    Resolving,
    /// It answered not long ago.
    Reachable,
    /// It answered once, and is asked again.
    Stale,
    /// It does not answer.
    Failed,
    /// Entered by hand.
    Static,
}
