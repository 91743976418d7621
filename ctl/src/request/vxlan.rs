//! Requests about tunnels.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{Mtu, PortName, Tos, Vxlan};

/// A tunnel to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VxlanAdd {
    /// Its name.
    pub name: PortName,
    /// What it is.
    pub vxlan: Vxlan,
}

/// A tunnel to change; what is not given stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VxlanSet {
    /// Its name.
    pub name: PortName,
    /// See [`crate::Vxlan`]; these instead of the present ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remotes: Option<Vec<IpAddr>>,
    /// See [`crate::Vxlan`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u8>,
    /// See [`crate::Vxlan`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tos: Option<Tos>,
    /// See [`crate::Vxlan`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learning: Option<bool>,
    /// See [`crate::Vxlan`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub underlay_mtu: Option<Mtu>,
}

impl VxlanSet {
    /// A change of nothing.
    pub fn new(name: PortName) -> Self {
        Self { name, remotes: None, ttl: None, tos: None, learning: None, underlay_mtu: None }
    }
}
