//! [`Outcome`]: what ADD reports, in the form that each version of the specification wants, and as IPAM
//! plugins and `prevResult` tell it.

use std::net::IpAddr;

use ctl::{IpCidr, MacAddr, Prefix};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{CniError, SpecVersion};

/// Interfaces, addresses, routes and name servers. Fields that are not known are skipped: what is passed
/// through is passed through as it came, by [`Outcome::after`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Outcome {
    /// The interfaces.
    pub interfaces: Vec<Interface>,
    /// The addresses.
    pub ips: Vec<Address>,
    /// The routes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
    /// How names are resolved.
    #[serde(skip_serializing_if = "Dns::is_empty")]
    pub dns: Dns,
}

/// An interface.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its MAC address, as text: other plugins' are not ours to judge.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mac: String,
    /// Its MTU in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// The path of the namespace that it is in; the host's if empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sandbox: String,
}

/// An address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// With the length of its subnet's prefix.
    pub address: IpCidr,
    /// The subnet's gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    /// Whose it is, as an index into the interfaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<usize>,
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Where to.
    pub dst: Prefix,
    /// By whom; by the gateway of the address' subnet if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gw: Option<IpAddr>,
}

/// How names are resolved.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Dns {
    /// Servers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nameservers: Vec<String>,
    /// The local domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Domains to search.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub search: Vec<String>,
    /// Options of the resolver.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
}

impl Dns {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Interface {
    /// An interface in a container.
    pub fn new(name: String, mac: MacAddr, mtu: u32, sandbox: String) -> Self {
        Self { name, mac: mac.to_string(), mtu: Some(mtu), sandbox }
    }
}

impl Outcome {
    /// Reads what another plugin said, or we did before.
    ///
    /// # Errors
    /// [`CniError::Decode`].
    pub fn read(mut said: Map<String, Value>) -> Result<Self, CniError> {
        // A list that Go never made is written as null.
        said.retain(|_, value| !value.is_null());
        Self::deserialize(said).map_err(|error| CniError::Decode(error.to_string()))
    }

    /// The result as this version wants it, behind that of the plugins before us, which stays as it is.
    pub fn after(&self, previous: Option<&Map<String, Value>>, version: SpecVersion) -> Value {
        let mut result = previous.cloned().unwrap_or_default();
        let before = list(&result, "interfaces").len();
        let ours = self.in_version(version);
        for key in ["interfaces", "ips", "routes"] {
            let mut all = list(&result, key);
            all.extend(list(&ours, key).into_iter().map(|item| shifted(item, before)));
            if !all.is_empty() || key != "routes" {
                result.insert(key.to_owned(), Value::Array(all));
            }
        }
        if let Some(dns) = ours.get("dns") {
            result.insert("dns".to_owned(), dns.clone());
        }
        result.insert("cniVersion".to_owned(), version.to_string().into());
        Value::Object(result)
    }

    /// The parts of the result with the fields that this version has.
    fn in_version(&self, version: SpecVersion) -> Map<String, Value> {
        let mut ours = self.clone();
        if version < SpecVersion::V1_1_0 {
            ours.interfaces.iter_mut().for_each(|interface| interface.mtu = None);
        }
        // Serialising plain data with string keys into memory cannot fail.
        let Ok(Value::Object(mut result)) = serde_json::to_value(&ours) else { return Map::new() };
        if version < SpecVersion::V1_0_0
            && let Some(Value::Array(ips)) = result.get_mut("ips")
        {
            for (ip, address) in ips.iter_mut().zip(&self.ips) {
                let family = if address.address.addr.is_ipv4() { "4" } else { "6" };
                ip["version"] = family.into();
            }
        }
        result
    }

    /// The interface of this name in this namespace, and its index.
    pub fn interface(&self, name: &str, sandbox: &str) -> Option<(usize, &Interface)> {
        let is_it = |i: &Interface| i.name == name && i.sandbox == sandbox;
        self.interfaces.iter().enumerate().find(|(_, interface)| is_it(interface))
    }
}

fn list(result: &Map<String, Value>, key: &str) -> Vec<Value> {
    result.get(key).and_then(Value::as_array).cloned().unwrap_or_default()
}

/// An address whose interface is behind so many others.
fn shifted(mut item: Value, before: usize) -> Value {
    if let Some(index) = item.get("interface").and_then(Value::as_u64) {
        item["interface"] = index.saturating_add(u64::try_from(before).unwrap_or(0)).into();
    }
    item
}
