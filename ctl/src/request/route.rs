//! Requests about routes.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{BridgeName, Destination};

/// A route to add.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteAdd {
    /// Where it leads to.
    pub to: Destination,
    /// The bridge on which its next hops are.
    pub on: BridgeName,
    /// The next hops, of one IP version.
    pub via: Vec<IpAddr>,
}

/// A route to remove. `default` means that of both IP versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteDel {
    /// Where it leads to.
    pub to: Destination,
    /// The bridge on which its next hops are.
    pub on: BridgeName,
    /// It is no error if it does not exist.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub if_exists: bool,
}

/// That one bridge may reach another. Answers come back without a second one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allowance {
    /// The bridge of those that begin.
    pub from: BridgeName,
    /// The bridge of those that answer.
    pub to: BridgeName,
}
