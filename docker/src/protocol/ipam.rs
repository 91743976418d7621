//! Messages of the address driver (`ipams/remote/api` of libnetwork).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::nullable;

/// Texts by their names.
pub type Options = BTreeMap<String, String>;

/// What an address is for, among the settings of a request.
pub const ADDRESS_TYPE: &str = "RequestAddressType";
/// The gateway's address: as what an address is for, and among what is told about a subnet.
pub const GATEWAY: &str = "com.docker.network.gateway";
/// The MAC address of whom an address is for, among the settings of a request.
pub const MAC_ADDRESS: &str = "com.docker.network.endpoint.macaddress";

/// The answer to `GetCapabilities`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Capabilities {
    /// Whoever asks for an address says for which MAC address: it is how the owner is known.
    #[serde(rename = "RequiresMACAddress")]
    pub requires_mac_address: bool,
    /// After a restart of dockerd it has to ask again for what it had: it has not.
    #[serde(rename = "RequiresRequestReplay")]
    pub requires_request_replay: bool,
}

/// The answer to `GetDefaultAddressSpaces`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AddressSpaces {
    /// Of networks of one host.
    pub local_default_address_space: &'static str,
    /// Of networks of a swarm.
    pub global_default_address_space: &'static str,
}

/// `RequestPool`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RequestPool {
    /// The subnet; any if empty.
    #[serde(deserialize_with = "nullable")]
    pub pool: String,
    /// The part of it from which addresses are given.
    #[serde(deserialize_with = "nullable")]
    pub sub_pool: String,
    /// Settings, which a person gives with `--ipam-opt`.
    #[serde(deserialize_with = "nullable")]
    pub options: Options,
    /// It is to be of IPv6.
    pub v6: bool,
}

/// The answer to `RequestPool`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pool {
    /// How it is called from now on.
    #[serde(rename = "PoolID")]
    pub pool_id: String,
    /// The subnet.
    #[serde(rename = "Pool")]
    pub pool: String,
    /// What else there is to tell.
    #[serde(rename = "Data")]
    pub data: Options,
}

/// `ReleasePool`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ReleasePool {
    /// The subnet.
    #[serde(rename = "PoolID")]
    pub pool_id: String,
}

/// `RequestAddress`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RequestAddress {
    /// The subnet.
    #[serde(rename = "PoolID")]
    pub pool_id: String,
    /// The address; any if empty.
    #[serde(rename = "Address", default, deserialize_with = "nullable")]
    pub address: String,
    /// What it is for.
    #[serde(rename = "Options", default, deserialize_with = "nullable")]
    pub options: Options,
}

/// The answer to `RequestAddress`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Address {
    /// The address, with the subnet's prefix.
    pub address: String,
    /// What else there is to tell.
    pub data: Options,
}

/// `ReleaseAddress`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ReleaseAddress {
    /// The subnet.
    #[serde(rename = "PoolID")]
    pub pool_id: String,
    /// The address.
    #[serde(rename = "Address")]
    pub address: String,
}
