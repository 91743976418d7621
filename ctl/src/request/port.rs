//! Requests about ports and containers.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::given;
use crate::{
    BridgeName, Egress, IfName, Ingress, IpCidr, MacAddr, Mtu, NetnsRef, Port, PortName, Vlan,
};

/// A port to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PortAdd {
    /// Its name.
    pub name: PortName,
    /// What it is.
    pub port: Port,
}

/// Which ports are meant; what is not given matches all.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PortFilter {
    /// Of this bridge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bridge: Option<BridgeName>,
}

/// Whose traffic is meant: of these ports and tunnels, or of all, if none is named.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrafficFilter {
    /// Their names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortName>,
}

/// A port to change; what is not given stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PortSet {
    /// Its name.
    pub name: PortName,
    /// VLANs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<Vlan>,
    /// See [`crate::Port`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolated: Option<bool>,
    /// See [`crate::Port`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hairpin: Option<bool>,
    /// See [`crate::Port`]; `null`, which is `Some(None)`, for its bridge's again.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub mac_limit: Option<Option<u32>>,
    /// See [`crate::Port`]; `null`, which is `Some(None)`, for its bridge's again.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub mtu: Option<Option<Mtu>>,
    /// See [`crate::Port`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guard: Option<bool>,
    /// See [`crate::Port`]; `null`, which is `Some(None)`, for no limit.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub egress: Option<Option<Egress>>,
    /// See [`crate::Port`]; `null`, which is `Some(None)`, for no limit.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub ingress: Option<Option<Ingress>>,
    /// Where the engine took the interface to that it was handed over. See [`crate::Tap`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netns: Option<NetnsRef>,
    /// The addresses of an interface that the switch made, instead of those that it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ips: Option<Vec<IpCidr>>,
    /// Its default gateways, instead of those that it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateways: Option<Vec<IpAddr>>,
}

impl PortSet {
    /// A change of nothing.
    pub fn new(name: PortName) -> Self {
        Self {
            name,
            vlan: None,
            isolated: None,
            hairpin: None,
            mac_limit: None,
            mtu: None,
            guard: None,
            egress: None,
            ingress: None,
            netns: None,
            ips: None,
            gateways: None,
        }
    }
}

/// A container to attach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attach {
    /// Its namespace.
    pub netns: NetnsRef,
    /// The bridge.
    pub bridge: BridgeName,
    /// The name of its interface; `eth0` if not given.
    #[serde(default)]
    pub ifname: IfName,
    /// The interface's MAC address; chosen if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<MacAddr>,
    /// The interface's addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ips: Vec<IpCidr>,
    /// The container's default gateways.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gateways: Vec<IpAddr>,
    /// The MTU; the bridge's if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<Mtu>,
    /// VLANs.
    #[serde(default, skip_serializing_if = "Vlan::is_unaware")]
    pub vlan: Vlan,
}

/// A container to detach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Detach {
    /// Its namespace.
    pub netns: NetnsRef,
    /// The name of its interface; `eth0` if not given.
    #[serde(default)]
    pub ifname: IfName,
}

/// A port to move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PortMove {
    /// Its name.
    pub name: PortName,
    /// The worker that is to serve all of its queues, counted from 0.
    pub worker: u16,
}
