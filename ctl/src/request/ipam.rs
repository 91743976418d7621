//! Requests about addresses, without ports.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::ipam::Span;
use crate::{BridgeName, Owner, Prefix};

/// A subnet to keep for a network to come.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolAdd {
    /// The subnet; a free private one is chosen if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subnet: Option<Prefix>,
    /// The one that is chosen is of IPv6.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ipv6: bool,
    /// The gateway's address; the first host if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    /// What is given to those who ask for no particular address; the whole subnet if not given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ranges: Vec<Span>,
    /// What is given to nobody.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reserved: Vec<Span>,
    /// Networks out of which none is chosen. The daemon adds those to which the host has routes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub avoid: Vec<Prefix>,
}

/// Which subnets are meant.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IpamFilter {
    /// Those of this network only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<BridgeName>,
    /// This one only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subnet: Option<Prefix>,
}

impl IpamFilter {
    /// Whether a subnet is meant: one of a network, or one that is kept for a network to come.
    pub fn means(&self, network: Option<&BridgeName>, subnet: &Prefix) -> bool {
        self.network.as_ref().is_none_or(|wanted| Some(wanted) == network)
            && self.subnet.is_none_or(|wanted| wanted == *subnet)
    }
}

/// An address to give to an owner, who holds it until he releases it. Asked again for the same owner, it is the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IpamRequest {
    /// Whose it is to be.
    pub owner: Owner,
    /// Of this network; an address of each IP version that it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<BridgeName>,
    /// Of this subnet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subnet: Option<Prefix>,
    /// This address; the next free one if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<IpAddr>,
}

/// Addresses to take back: those of an owner, or one. What a port has goes with the port.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IpamRelease {
    /// Whose they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
    /// Of this network only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<BridgeName>,
    /// Of this subnet only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subnet: Option<Prefix>,
    /// This one only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<IpAddr>,
}
