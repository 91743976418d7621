//! Services: one address for many backends.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::nat::{bracketed, leading_address};
use crate::names::{BadName, as_string, bad, digits};
use crate::{BridgeName, HealthCheck, PortRange, Protocol};

/// An address and port of its own, behind which backends are: the one address that their clients need to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Where it is found. The address belongs to no bridge.
    pub listen: Listen,
    /// Who serves, in the order of their turns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backends: Vec<Backend>,
    /// How sessions are divided among them.
    #[serde(default, skip_serializing_if = "Balance::is_default")]
    pub balance: Balance,
    /// A client keeps its backend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// A port of the gateways' own addresses that leads to it as well, on each bridge that finds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_port: Option<u16>,
    /// The bridges whose stations find it; if none is given, all with a gateway but those of internal networks.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub on: BTreeSet<BridgeName>,
    /// The backends' bridge; for each the one in whose subnet its address is if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<BridgeName>,
    /// Sessions in a row that a backend does not take until it is passed over; 0 for any number.
    #[serde(default = "max_fails")]
    pub max_fails: u32,
    /// Seconds for which it is then passed over.
    #[serde(default = "fail_timeout")]
    pub fail_timeout: u32,
    /// Its backends are checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthCheck>,
}

fn max_fails() -> u32 {
    Service::MAX_FAILS
}

fn fail_timeout() -> u32 {
    Service::FAIL_TIMEOUT
}

impl Service {
    /// Sessions that a backend may fail to take unless told otherwise.
    pub const MAX_FAILS: u32 = 3;
    /// Seconds that it is passed over unless told otherwise.
    pub const FAIL_TIMEOUT: u32 = 10;

    /// A service without backends and with nothing particular about it.
    pub fn new(listen: Listen) -> Self {
        Self {
            listen,
            backends: Vec::new(),
            balance: Balance::default(),
            affinity: None,
            node_port: None,
            on: BTreeSet::new(),
            to: None,
            max_fails: Self::MAX_FAILS,
            fail_timeout: Self::FAIL_TIMEOUT,
            health: None,
        }
    }

    /// Where a backend is: at the service's port if at no other.
    pub fn address_of(&self, target: Target) -> SocketAddr {
        SocketAddr::new(target.ip, target.port.unwrap_or(self.listen.address.port()))
    }

    /// Whether it is found where another one is.
    pub(crate) fn is_found_as(&self, other: &Self) -> bool {
        (self.listen, self.node_port, &self.on) == (other.listen, other.node_port, &other.on)
    }

    /// The backend at an address.
    pub fn backend_mut(&mut self, at: SocketAddr) -> Option<&mut Backend> {
        self.backends.iter_mut().find(|backend| backend.at == at)
    }

    /// The bridges that it is about by their names.
    pub fn bridges(&self) -> impl Iterator<Item = &BridgeName> {
        self.on.iter().chain(&self.to)
    }
}

/// Who serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backend {
    /// Its address and port.
    pub at: SocketAddr,
    /// It keeps the sessions that it has, and gets no more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub draining: bool,
}

/// Where a service is found, `IP:PORT/tcp|udp|sctp`, with an IPv6 address in brackets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Listen {
    /// Address and port.
    pub address: SocketAddr,
    /// TCP, UDP or SCTP.
    pub protocol: Protocol,
}

impl FromStr for Listen {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        const RULE: &str =
            "write IP:PORT/tcp, /udp or /sctp, such as 10.96.0.10:80/tcp or [fd00:96::10]:53/udp";
        let wrong = || bad("service address", text, RULE);
        let (address, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let address: SocketAddr = address.parse().map_err(|_| wrong())?;
        let protocol: Protocol = protocol.parse().map_err(|_| wrong())?;
        if address.port() == 0 || !protocol.has_ports() {
            return Err(wrong());
        }
        Ok(Self { address: SocketAddr::new(address.ip(), address.port()), protocol })
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/{}", self.address, self.protocol))
    }
}

as_string!(Listen);

/// Where a backend is, `IP[:PORT]`, with an IPv6 address in brackets if a port follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Target {
    /// Its address.
    pub ip: IpAddr,
    /// Its port; the service's if not given.
    pub port: Option<u16>,
}

impl FromStr for Target {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        const RULE: &str = "write IP or IP:PORT, such as 10.0.0.2:8080 or [fd00::2]:8080";
        if let Ok(ip) = bracketed(text) {
            return Ok(Self { ip, port: None });
        }
        let port = |text| PortRange::one(digits(text)?).map(|port| port.first());
        let target = leading_address(text).and_then(|(ip, rest)| Some((ip, port(rest)?)));
        let (ip, port) = target.ok_or_else(|| bad("backend", text, RULE))?;
        Ok(Self { ip, port: Some(port) })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => f.pad(&SocketAddr::new(self.ip, port).to_string()),
            None => f.pad(&self.ip.to_string()),
        }
    }
}

as_string!(Target);

/// How sessions are divided among backends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Balance {
    /// Each has its turn.
    #[default]
    RoundRobin,
    /// By consistent hashing: every switch with the same backends chooses the same.
    Maglev,
}

impl Balance {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl FromStr for Balance {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        match text {
            "round-robin" => Ok(Self::RoundRobin),
            "maglev" => Ok(Self::Maglev),
            _ => Err(bad("balance", text, "use round-robin or maglev")),
        }
    }
}

impl fmt::Display for Balance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::RoundRobin => "round-robin",
            Self::Maglev => "maglev",
        })
    }
}

/// A client keeps its backend, `client-ip[:SECONDS]`: for so long after its last session began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Affinity {
    /// The seconds.
    pub seconds: u32,
}

impl Affinity {
    /// The seconds unless told otherwise: those of Kubernetes.
    const SECONDS: u32 = 10_800;
    /// The most: a day, as with Kubernetes.
    const MOST: u32 = 86_400;
}

impl FromStr for Affinity {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        const RULE: &str = "use client-ip or client-ip:SECONDS, with 1 to 86400 seconds";
        let wrong = || bad("affinity", text, RULE);
        let seconds = match text.strip_prefix("client-ip") {
            Some("") => Self::SECONDS,
            Some(rest) => rest.strip_prefix(':').and_then(digits).ok_or_else(wrong)?,
            None => return Err(wrong()),
        };
        Some(Self { seconds }).filter(|_| (1..=Self::MOST).contains(&seconds)).ok_or_else(wrong)
    }
}

impl fmt::Display for Affinity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("client-ip:{}", self.seconds))
    }
}

as_string!(Affinity);
