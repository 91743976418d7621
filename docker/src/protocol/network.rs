//! Messages of the network driver (`drivers/remote/api` of libnetwork).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::nullable;

/// Settings by their names.
pub type Options = Map<String, Value>;

/// Under this name among the settings of a network are those that a person gave with `-o`.
pub const GENERIC: &str = "com.docker.network.generic";
/// Under this name among the settings of a container are its published ports.
pub const PORT_MAP: &str = "com.docker.network.portmap";

/// The answer to `GetCapabilities`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Capabilities {
    /// Who knows of a network: this host.
    pub scope: &'static str,
    /// How far a network reaches. Through a tunnel it reaches other hosts, but Docker need not know.
    pub connectivity_scope: &'static str,
    /// The driver wants to be asked whether a network has gateways: it always has.
    pub gw_alloc_checker: bool,
}

/// `CreateNetwork`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct CreateNetwork {
    /// Docker's number of the network.
    #[serde(rename = "NetworkID")]
    pub network_id: String,
    /// Its settings.
    #[serde(rename = "Options", default, deserialize_with = "nullable")]
    pub options: Options,
    /// Its subnets of IPv4.
    #[serde(rename = "IPv4Data", default, deserialize_with = "nullable")]
    pub ipv4_data: Vec<IpamData>,
    /// Its subnets of IPv6.
    #[serde(rename = "IPv6Data", default, deserialize_with = "nullable")]
    pub ipv6_data: Vec<IpamData>,
}

/// A subnet of a network, as some address driver gave it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct IpamData {
    /// The subnet.
    #[serde(deserialize_with = "nullable")]
    pub pool: String,
    /// The gateway's address, with the subnet's prefix.
    #[serde(deserialize_with = "nullable")]
    pub gateway: String,
    /// Addresses that are somebody else's, with the subnet's prefix, by his name.
    #[serde(deserialize_with = "nullable")]
    pub aux_addresses: BTreeMap<String, String>,
}

/// `DeleteNetwork` and `FreeNetwork`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct NetworkId {
    /// Docker's number of the network.
    #[serde(rename = "NetworkID")]
    pub network_id: String,
}

/// `AllocateNetwork`, of which only the network matters: it is for drivers of a swarm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Allocated {
    /// Settings that `CreateNetwork` brings back.
    pub options: BTreeMap<String, String>,
}

/// The answer to `GwAllocCheck`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct GwAllocChecked {
    /// No gateway of IPv4 is needed.
    #[serde(rename = "SkipIPv4")]
    pub skip_ipv4: bool,
    /// No gateway of IPv6 is needed.
    #[serde(rename = "SkipIPv6")]
    pub skip_ipv6: bool,
}

/// `EndpointOperInfo`, `DeleteEndpoint`, `Leave` and `RevokeExternalConnectivity`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct EndpointId {
    /// Docker's number of the network.
    #[serde(rename = "NetworkID")]
    pub network_id: String,
    /// Docker's number of the endpoint.
    #[serde(rename = "EndpointID")]
    pub endpoint_id: String,
}

/// `CreateEndpoint`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct CreateEndpoint {
    /// Docker's number of the network.
    #[serde(rename = "NetworkID")]
    pub network_id: String,
    /// Docker's number of the endpoint.
    #[serde(rename = "EndpointID")]
    pub endpoint_id: String,
    /// The addresses that it has already.
    #[serde(rename = "Interface", default, deserialize_with = "nullable")]
    pub interface: Addresses,
}

/// The answer to `CreateEndpoint`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct EndpointCreated {
    /// The addresses that the request left open. To repeat one that it gave is an error.
    pub interface: Addresses,
}

/// The addresses of an interface; empty what is not given.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Addresses {
    /// Of IPv4, with the subnet's prefix.
    #[serde(
        rename = "Address",
        deserialize_with = "nullable",
        skip_serializing_if = "String::is_empty"
    )]
    pub address: String,
    /// Of IPv6, with the subnet's prefix.
    #[serde(
        rename = "AddressIPv6",
        deserialize_with = "nullable",
        skip_serializing_if = "String::is_empty"
    )]
    pub address_ipv6: String,
    /// The MAC address.
    #[serde(
        rename = "MacAddress",
        deserialize_with = "nullable",
        skip_serializing_if = "String::is_empty"
    )]
    pub mac_address: String,
}

/// The answer to `EndpointOperInfo`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct OperInfo {
    /// What there is to know.
    pub value: Options,
}

/// `Join`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Join {
    /// Docker's number of the network.
    #[serde(rename = "NetworkID")]
    pub network_id: String,
    /// Docker's number of the endpoint.
    #[serde(rename = "EndpointID")]
    pub endpoint_id: String,
    /// The file that refers to the container's namespace.
    #[serde(rename = "SandboxKey")]
    pub sandbox_key: String,
}

/// The answer to `Join`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Joined {
    /// The interface that Docker is to move.
    #[serde(rename = "InterfaceName")]
    pub interface_name: InterfaceName,
    /// The container's default gateway; empty for none.
    #[serde(rename = "Gateway")]
    pub gateway: String,
    /// The container's default gateway of IPv6; empty for none.
    #[serde(rename = "GatewayIPv6")]
    pub gateway_ipv6: String,
    /// Docker makes no way out of its own (`docker_gwbridge`) for a container that has none.
    #[serde(rename = "DisableGatewayService")]
    pub disable_gateway_service: bool,
}

/// An interface that Docker is to move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct InterfaceName {
    /// Its name here.
    pub src_name: String,
    /// Its name there, without the number.
    pub dst_prefix: &'static str,
}

/// `ProgramExternalConnectivity`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ProgramExternalConnectivity {
    /// Docker's number of the network.
    #[serde(rename = "NetworkID")]
    pub network_id: String,
    /// Docker's number of the endpoint.
    #[serde(rename = "EndpointID")]
    pub endpoint_id: String,
    /// The container's settings.
    #[serde(rename = "Options", default, deserialize_with = "nullable")]
    pub options: Options,
}

/// A published port, one of [`PORT_MAP`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct PortBinding {
    /// The protocol's number.
    pub proto: u8,
    /// The container's address.
    #[serde(rename = "IP", deserialize_with = "nullable")]
    pub ip: String,
    /// The container's port.
    pub port: u16,
    /// The address outside; every one if empty or `0.0.0.0`, every one of IPv6 if `::`.
    #[serde(rename = "HostIP", deserialize_with = "nullable")]
    pub host_ip: String,
    /// The port outside, or the first of those of which one is to be chosen; 0 for any.
    pub host_port: u16,
    /// The last of those of which one is to be chosen.
    pub host_port_end: u16,
}
