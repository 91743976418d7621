//! [`NetConf`]: the network configuration, which the runtime writes to standard input.
//!
//! What is not known is refused by name (error code 2) rather than skipped: a network without the isolation
//! that a misspelt key was to give it is worse than no network. Keys with a slash are other programs', and
//! `args` is for everybody, as the specification says.

use std::net::IpAddr;
use std::path::PathBuf;

use ctl::{BridgeName, DEFAULT_SOCKET, MacAddr, Mtu, Prefix, Shape, Vni};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::runtime::{Conventions, RuntimeConfig};
use crate::{CniError, Dns, Route, SpecVersion};

/// The keys that are read or are the runtime's.
const KEYS: [&str; 23] = [
    "args",
    "bridge",
    "capabilities",
    "cniVersion",
    "cniVersions",
    "disableCheck",
    "dns",
    "internal",
    "ipMasq",
    "ipam",
    "isDefaultGateway",
    "isolated",
    "mac",
    "mtu",
    "name",
    "network",
    "prevResult",
    "publishOn",
    "runtimeConfig",
    "shape",
    "socket",
    "type",
    "vxlan",
];

/// Of which attachments GC is told; the second key is what the specification's first text of 1.1 said, and
/// runtimes give both.
const VALID_ATTACHMENTS: [&str; 2] = ["cni.dev/valid-attachments", "cni.dev/attachments"];

/// A network configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetConf {
    /// The version of the specification that it is written by.
    pub version: SpecVersion,
    /// What it says.
    pub keys: Keys,
    /// Who gives the addresses.
    pub ipam: Ipam,
    /// What the runtime says about this container.
    pub runtime: RuntimeConfig,
    /// What the plugins before us did, or we did ourselves.
    pub previous: Option<Map<String, Value>>,
    /// The attachments that GC leaves alone, if it was told of any list.
    pub valid: Option<Vec<Valid>>,
}

/// What the configuration itself says.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Keys {
    /// The network's name, by which the runtime knows it.
    pub name: String,
    /// Where the daemon listens.
    #[serde(default = "default_socket")]
    pub socket: PathBuf,
    /// The switch's network; `name` if not given.
    network: Option<BridgeName>,
    /// The same, by the name of its bridge.
    bridge: Option<BridgeName>,
    /// The MTU of the network.
    pub mtu: Option<Mtu>,
    /// The interface's MAC address.
    pub mac: Option<MacAddr>,
    /// Containers have the uplinks' addresses outside.
    pub ip_masq: Option<bool>,
    /// The network has no way out.
    pub internal: Option<bool>,
    /// Its containers do not reach each other.
    pub isolated: Option<bool>,
    /// How its containers are joined.
    pub shape: Option<Shape>,
    /// The container's default routes go by the network's gateways.
    #[serde(default)]
    pub is_default_gateway: bool,
    /// The bridges outside on which `portMappings` are published.
    #[serde(default)]
    pub publish_on: Vec<BridgeName>,
    /// The tunnel to the same network on other hosts.
    pub vxlan: Option<Tunnel>,
    /// How names are resolved.
    #[serde(default)]
    pub dns: Dns,
    /// What is passed beside the configuration.
    #[serde(default)]
    args: Conventions,
}

/// The tunnel to the same network on other hosts.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tunnel {
    /// Its number.
    pub vni: Vni,
    /// The address of this host; the daemon chooses it where it is not given.
    pub local: Option<IpAddr>,
    /// The other hosts.
    #[serde(default)]
    pub remotes: Vec<IpAddr>,
}

/// Who gives the addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ipam {
    /// Nobody: the interface has none.
    Nobody,
    /// The daemon.
    Daemon(Subnets),
    /// Another plugin, of this name. The rest is its own to read.
    Plugin(String),
}

/// The subnets of a network.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Subnets {
    /// Each with what is given out of it. The daemon chooses one if there are none.
    pub ranges: Vec<Range>,
    /// Routes of the containers.
    pub routes: Vec<Route>,
}

/// A subnet, and what is given out of it: the range of `host-local`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Range {
    /// The subnet.
    pub subnet: Prefix,
    /// The first address that is given; the subnet's first if not given.
    pub range_start: Option<IpAddr>,
    /// The last one; the subnet's last if not given.
    pub range_end: Option<IpAddr>,
    /// The gateway's address; the subnet's first if not given.
    pub gateway: Option<IpAddr>,
}

/// An attachment that GC leaves alone. Its values are compared, and not judged.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
pub struct Valid {
    /// The container.
    #[serde(rename = "containerID")]
    pub container: String,
    /// The interface in it.
    pub ifname: String,
}

fn default_socket() -> PathBuf {
    DEFAULT_SOCKET.into()
}

/// Reads what is on standard input, whatever the command.
///
/// # Errors
/// [`CniError::Decode`] for what is no JSON object.
pub fn decode(input: &[u8]) -> Result<Map<String, Value>, CniError> {
    serde_json::from_slice(input).map_err(|error| CniError::Decode(error.to_string()))
}

impl NetConf {
    /// Reads a configuration that was decoded.
    ///
    /// # Errors
    /// [`CniError`] with code 1, 2, 6 or 7.
    pub fn read(mut object: Map<String, Value>) -> Result<Self, CniError> {
        // The version first: fields of a later one are not errors of this one.
        let version = SpecVersion::of(&object)?;
        only_known(&object, "", &KEYS)?;
        let ipam = Ipam::read(object.remove("ipam").unwrap_or_default())?;
        let runtime = RuntimeConfig::read(object.remove("runtimeConfig").unwrap_or_default())?;
        let previous = previous(object.remove("prevResult").unwrap_or_default())?;
        let valid = VALID_ATTACHMENTS.iter().find_map(|key| object.remove(*key));
        let valid = valid.map(|list| part("cni.dev/valid-attachments", list)).transpose()?;
        object.retain(|_, value| !value.is_null());
        let keys: Keys = part("the configuration", Value::Object(object))?;
        keys.check()?;
        Ok(Self {
            version,
            keys,
            ipam,
            runtime,
            previous,
            valid: valid.map(Option::unwrap_or_default),
        })
    }

    /// The switch's network.
    ///
    /// # Errors
    /// [`CniError::Invalid`], when the name is none for it and there is no other.
    pub fn network(&self) -> Result<BridgeName, CniError> {
        let keys = &self.keys;
        let given = keys.network.as_ref().or(keys.bridge.as_ref()).cloned();
        let named = || {
            let short = "and `network` gives no shorter one";
            keys.name.parse().map_err(|error| CniError::invalid(format!("name ({short})"), error))
        };
        given.map_or_else(named, Ok)
    }

    /// The MAC address that the interface is to have. What is said about one container comes before what is
    /// said about the network.
    pub fn mac(&self, args: &crate::Args) -> Option<MacAddr> {
        self.runtime.mac.or(self.keys.args.cni.mac).or(args.mac).or(self.keys.mac)
    }

    /// The addresses that the interface is to have, if any were asked for.
    pub fn requested_ips(&self, args: &crate::Args) -> Vec<IpAddr> {
        let mut ips = Vec::new();
        for ip in self
            .runtime
            .ips
            .iter()
            .chain(&self.keys.args.cni.ips)
            .map(|ip| ip.0)
            .chain(args.ips.iter().copied())
        {
            if !ips.contains(&ip) {
                ips.push(ip);
            }
        }
        ips
    }

    /// How names are resolved: as the runtime says, or the configuration.
    pub fn dns(&self) -> Dns {
        self.runtime.dns.clone().map_or_else(|| self.keys.dns.clone(), Dns::from)
    }
}

impl Keys {
    fn check(&self) -> Result<(), CniError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        let starts = self.name.starts_with(|c: char| c.is_ascii_alphanumeric());
        if !starts || !self.name.chars().all(plain) {
            let rule = "use letters, digits, '_', '.' and '-', beginning with a letter or digit";
            return Err(CniError::invalid(format!("name {:?}", self.name), rule));
        }
        if !self.socket.is_absolute() {
            return Err(CniError::invalid("socket", "give an absolute path"));
        }
        if self.network.is_some() && self.bridge.is_some() && self.network != self.bridge {
            let why = "they name the same thing; give one of them";
            return Err(CniError::invalid("network and bridge", why));
        }
        Ok(())
    }
}

impl Ipam {
    fn read(value: Value) -> Result<Self, CniError> {
        let Value::Object(mut object) = value else {
            let empty = value.is_null();
            return if empty {
                Ok(Self::Nobody)
            } else {
                Err(CniError::invalid("ipam", "it is no object"))
            };
        };
        match object.remove("type") {
            None if object.is_empty() => Ok(Self::Nobody),
            Some(Value::String(name)) if name == "vswitch" => {
                Subnets::read(object).map(Self::Daemon)
            }
            // The name of a program and not a path to one: only CNI_PATH says where programs are.
            Some(Value::String(name)) if is_file_name(&name) => Ok(Self::Plugin(name)),
            Some(Value::String(name)) => {
                Err(CniError::invalid("ipam.type", format!("{name:?} is no name of a plugin")))
            }
            _ => Err(CniError::invalid("ipam.type", "it is missing, or no text")),
        }
    }

    /// Whether whoever gives the addresses is asked through the container's interface, which has to be there then, and as long
    /// as they are to be given back.
    pub fn asks_through_interface(&self) -> bool {
        matches!(self, Self::Plugin(name) if name == "dhcp")
    }
}

fn is_file_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains(['/', '\\', '\0'])
}

impl Subnets {
    fn read(mut object: Map<String, Value>) -> Result<Self, CniError> {
        const KEYS: [&str; 6] = ["gateway", "rangeEnd", "rangeStart", "ranges", "routes", "subnet"];
        only_known(&object, "ipam.", &KEYS)?;
        let mut take = |key: &str| object.remove(key).filter(|value| !value.is_null());
        let routes = take("routes").map(|routes| part("ipam.routes", routes)).transpose()?;
        let sets = take("ranges").map(|ranges| part("ipam.ranges", ranges)).transpose()?;
        let mut ranges: Vec<Range> = sets.map(flat).unwrap_or_default();
        if !object.is_empty() {
            ranges.insert(0, part("ipam", Value::Object(object))?);
        }
        ranges.iter().try_for_each(Range::check)?;
        Ok(Self { ranges, routes: routes.unwrap_or_default() })
    }

    /// The subnets, those that the runtime gives instead of the configuration's if it gives any.
    pub fn ranges<'a>(&'a self, runtime: &'a RuntimeConfig) -> &'a [Range] {
        if runtime.ip_ranges.is_empty() { &self.ranges } else { &runtime.ip_ranges }
    }
}

/// The sets of ranges in order. Each subnet is a set of its own here: a container has an address of each.
pub(crate) fn flat(sets: Vec<Vec<Range>>) -> Vec<Range> {
    sets.into_iter().flatten().collect()
}

impl Range {
    pub(crate) fn check(&self) -> Result<(), CniError> {
        let ends = [("rangeStart", self.range_start), ("rangeEnd", self.range_end)];
        for (key, addr) in ends.into_iter().chain([("gateway", self.gateway)]) {
            if let Some(addr) = addr.filter(|addr| !self.subnet.contains(*addr)) {
                let why = format!("{addr} is not in {}", self.subnet);
                return Err(CniError::invalid(format!("ipam.{key}"), why));
            }
        }
        match self.range_start.zip(self.range_end) {
            Some((start, end)) if start > end => {
                Err(CniError::invalid("ipam.rangeStart", format!("{start} is after {end}")))
            }
            _ => Ok(()),
        }
    }
}

fn previous(value: Value) -> Result<Option<Map<String, Value>>, CniError> {
    match value {
        Value::Null => Ok(None),
        Value::Object(object) => Ok(Some(object)),
        _ => Err(CniError::invalid("prevResult", "it is no object")),
    }
}

/// Reads a part of the configuration.
pub(crate) fn part<'de, T: Deserialize<'de>>(what: &str, value: Value) -> Result<T, CniError> {
    T::deserialize(value).map_err(|error| CniError::invalid(what, error))
}

/// Refuses keys that mean nothing here.
pub(crate) fn only_known(
    object: &Map<String, Value>,
    within: &str,
    known: &[&str],
) -> Result<(), CniError> {
    let unknown =
        object.iter().find(|(key, _)| !known.contains(&key.as_str()) && !key.contains('/'));
    let Some((key, value)) = unknown else { return Ok(()) };
    Err(CniError::Unsupported { key: format!("{within}{key}"), value: value.to_string() })
}
