//! Answers about address translation.

use serde::{Deserialize, Serialize};

use crate::{BridgeName, NatRule, RuleName};

/// A rule of address translation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NatInfo {
    /// Its name.
    pub name: RuleName,
    /// What it does.
    pub rule: NatRule,
    /// The network that it is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<BridgeName>,
    /// The bridge of the container, of a published port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_bridge: Option<BridgeName>,
    /// Sessions that use it now.
    pub sessions: u64,
    /// Mappings that it holds now: ports outside that are taken.
    pub mappings: u64,
    /// Sessions that it began so far.
    pub begun: u64,
    /// Packets refused so far for want of a port, or because of a quota.
    pub exhausted: u64,
}
