//! What a runtime says about one container: `runtimeConfig`, by the capabilities that the configuration
//! declares, and `args.cni` (CONVENTIONS.md of the specification).

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ctl::{HostName, IpCidr, MacAddr, Protocol};
use serde::{Deserialize, Deserializer, de};
use serde_json::Value;

use crate::config::{Range, flat, only_known, part};
use crate::{CniError, Dns};

/// The capabilities that are known.
const CAPABILITIES: [&str; 7] =
    ["aliases", "bandwidth", "dns", "ipRanges", "ips", "mac", "portMappings"];

/// What the runtime says about this container.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RuntimeConfig {
    /// Ports of the host that lead to it.
    #[serde(deserialize_with = "or_null")]
    pub port_mappings: Vec<PortMapping>,
    /// How fast it may send and receive.
    pub bandwidth: Option<Bandwidth>,
    /// Its MAC address.
    pub mac: Option<MacAddr>,
    /// Its addresses.
    #[serde(deserialize_with = "or_null")]
    pub ips: Vec<RequestedIp>,
    /// The subnets that its addresses come from, instead of those of the configuration.
    #[serde(deserialize_with = "ranges")]
    pub ip_ranges: Vec<Range>,
    /// How it resolves names.
    pub dns: Option<ResolverSettings>,
    /// Names by which others find it.
    pub aliases: Option<Aliases>,
}

/// Names by which others find a container.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Aliases {
    /// As CONVENTIONS.md has it.
    Here(Vec<HostName>),
    /// By the names of networks, as podman has it.
    Networks(BTreeMap<String, Vec<HostName>>),
}

impl Aliases {
    /// The names on one network.
    pub fn on(&self, network: &str) -> &[HostName] {
        match self {
            Self::Here(names) => names,
            Self::Networks(networks) => networks.get(network).map_or(&[], Vec::as_slice),
        }
    }
}

/// Ports of the host that lead to a container's.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PortMapping {
    /// The port outside.
    pub host_port: u16,
    /// The container's.
    pub container_port: u16,
    /// TCP, UDP or SCTP.
    #[serde(default = "tcp", deserialize_with = "any_case")]
    pub protocol: Protocol,
    /// The address outside; every one if not given.
    #[serde(default, rename = "hostIP", deserialize_with = "specified")]
    pub host_ip: Option<IpAddr>,
}

/// How fast a container may receive (ingress) and send (egress): bits in a second, and bits at once. Zero is
/// no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Bandwidth {
    /// To the container.
    pub ingress_rate: u64,
    /// At once.
    pub ingress_burst: u64,
    /// From the container.
    pub egress_rate: u64,
    /// At once.
    pub egress_burst: u64,
}

/// How names are resolved, in the runtime's words.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ResolverSettings {
    #[serde(deserialize_with = "or_null")]
    servers: Vec<String>,
    #[serde(deserialize_with = "or_null")]
    searches: Vec<String>,
    #[serde(deserialize_with = "or_null")]
    options: Vec<String>,
}

impl From<ResolverSettings> for Dns {
    fn from(settings: ResolverSettings) -> Self {
        let ResolverSettings { servers, searches, options } = settings;
        Self { nameservers: servers, domain: None, search: searches, options }
    }
}

/// `args`, which holds what anybody likes; `cni` is ours to read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Conventions {
    pub(crate) cni: Convention,
}

/// What `args.cni` says; what else there is, is optional and skipped.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Convention {
    pub(crate) ips: Vec<RequestedIp>,
    pub(crate) mac: Option<MacAddr>,
}

/// An address that was asked for, with the length of its prefix or without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestedIp(pub IpAddr);

impl FromStr for RequestedIp {
    type Err = ctl::BadName;

    fn from_str(text: &str) -> Result<Self, ctl::BadName> {
        let alone = text.parse::<IpAddr>();
        alone.or_else(|_| text.parse::<IpCidr>().map(|cidr| cidr.addr)).map(Self)
    }
}

impl<'de> Deserialize<'de> for RequestedIp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(&String::deserialize(deserializer)?)
    }
}

impl RuntimeConfig {
    pub(crate) fn read(value: Value) -> Result<Self, CniError> {
        let Value::Object(object) = value else {
            let empty = value.is_null();
            let wrong = || Err(CniError::invalid("runtimeConfig", "it is no object"));
            return if empty { Ok(Self::default()) } else { wrong() };
        };
        only_known(&object, "runtimeConfig.", &CAPABILITIES)?;
        let config: Self = part("runtimeConfig", Value::Object(object))?;
        config.ip_ranges.iter().try_for_each(Range::check)?;
        Ok(config)
    }
}

fn tcp() -> Protocol {
    Protocol::Tcp
}

fn parsed<T: FromStr<Err: fmt::Display>, E: de::Error>(text: &str) -> Result<T, E> {
    text.parse().map_err(E::custom)
}

/// Podman and Kubernetes write the protocol in small letters, others do not.
fn any_case<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Protocol, D::Error> {
    let text = String::deserialize(deserializer)?.to_ascii_lowercase();
    let protocol: Protocol = if text.is_empty() { Protocol::Tcp } else { parsed(&text)? };
    if protocol.has_ports() {
        return Ok(protocol);
    }
    Err(de::Error::custom(format!("{text:?} has no ports; use tcp, udp or sctp")))
}

/// An address; nothing, and the one that means every address, are none.
fn specified<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<IpAddr>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?.filter(|text| !text.is_empty());
    let addr: Option<IpAddr> = text.map(|text| parsed(&text)).transpose()?;
    Ok(addr.filter(|addr| !addr.is_unspecified()))
}

/// A list that Go never made is written as null.
fn or_null<'de, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

fn ranges<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Range>, D::Error> {
    or_null(deserializer).map(flat)
}
