//! Requests about bridges.

use serde::{Deserialize, Serialize};

use super::given;
use crate::{Advertise, BridgeName, IpCidr, MacAddr, Mtu, Prefix, VlanOf};

/// A bridge to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BridgeAdd {
    /// Its name.
    pub name: BridgeName,
    /// See [`crate::Bridge`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan_of: Option<VlanOf>,
    /// See [`crate::Bridge`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ageing_seconds: Option<u32>,
    /// See [`crate::Bridge`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac_limit: Option<u32>,
    /// See [`crate::Bridge`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<Mtu>,
    /// See [`crate::Bridge`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gateways: Vec<IpCidr>,
    /// See [`crate::Bridge`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway_mac: Option<MacAddr>,
    /// See [`crate::Bridge`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advertise: Option<Advertise>,
    /// See [`crate::Bridge`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub proxy: Vec<Prefix>,
    /// It is no error if it exists.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub may_exist: bool,
}

impl BridgeAdd {
    /// A bridge with nothing particular about it.
    pub fn new(name: BridgeName) -> Self {
        Self {
            name,
            vlan_of: None,
            ageing_seconds: None,
            mac_limit: None,
            mtu: None,
            gateways: Vec::new(),
            gateway_mac: None,
            advertise: None,
            proxy: Vec::new(),
            may_exist: false,
        }
    }
}

/// A bridge to change; what is not given stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BridgeSet {
    /// Its name.
    pub name: BridgeName,
    /// See [`crate::Bridge`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ageing_seconds: Option<u32>,
    /// See [`crate::Bridge`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac_limit: Option<u32>,
    /// See [`crate::Bridge`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<Mtu>,
    /// See [`crate::Bridge`]; these instead of the present ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateways: Option<Vec<IpCidr>>,
    /// See [`crate::Bridge`]; `null`, which is `Some(None)`, for the one made of its name.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub gateway_mac: Option<Option<MacAddr>>,
    /// See [`crate::Bridge`]; `null`, which is `Some(None)`, for none.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub advertise: Option<Option<Advertise>>,
    /// See [`crate::Bridge`]; these instead of the present ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<Vec<Prefix>>,
}

impl BridgeSet {
    /// A change of nothing.
    pub fn new(name: BridgeName) -> Self {
        Self {
            name,
            ageing_seconds: None,
            mac_limit: None,
            mtu: None,
            gateways: None,
            gateway_mac: None,
            advertise: None,
            proxy: None,
        }
    }
}
