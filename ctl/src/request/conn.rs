//! Requests about sessions.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::names::{BadName, as_string, bad, digits};
use crate::{BridgeName, FiveTuple, Prefix, Protocol};

/// Which sessions are meant; what is not given matches all.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConnFilter {
    /// Begun by an address of this network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Prefix>,
    /// To an address of this network, as the one who began knows it or as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Prefix>,
    /// To this port, as the one who began knows it or as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Of this protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// From or to this bridge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bridge: Option<BridgeName>,
    /// In this state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<ConnState>,
}

/// How far a session has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConnState {
    /// No answer came yet.
    Unreplied,
    /// Both sides have spoken; with TCP, the connection is there.
    Established,
    /// A TCP connection that ends.
    Closing,
}

impl FromStr for ConnState {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        match text {
            "unreplied" => Ok(Self::Unreplied),
            "established" => Ok(Self::Established),
            "closing" => Ok(Self::Closing),
            _ => Err(bad("state of a session", text, "use unreplied, established or closing")),
        }
    }
}

impl fmt::Display for ConnState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Unreplied => "unreplied",
            Self::Established => "established",
            Self::Closing => "closing",
        })
    }
}

as_string!(ConnState);

/// Sessions to list, some at a time.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConnList {
    /// Which.
    #[serde(default)]
    pub filter: ConnFilter,
    /// How many at most; a thousand if not given.
    #[serde(default)]
    pub limit: Limit,
    /// Where to go on: the `next` of the answer before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
}

/// How many things one answer has at most: 1 to 10 000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Limit(u32);

impl Limit {
    const RULE: &str = "use 1 to 10000";

    /// The number.
    pub fn number(self) -> u32 {
        self.0
    }

    fn ten() -> Self {
        Self(10)
    }
}

impl Default for Limit {
    fn default() -> Self {
        Self(1000)
    }
}

impl TryFrom<u32> for Limit {
    type Error = BadName;

    fn try_from(number: u32) -> Result<Self, BadName> {
        if (1..=10_000).contains(&number) {
            Ok(Self(number))
        } else {
            Err(bad("limit", &number.to_string(), Self::RULE))
        }
    }
}

impl FromStr for Limit {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        Self::try_from(digits::<u32>(text).ok_or_else(|| bad("limit", text, Self::RULE))?)
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::try_from(u32::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// A session to show, by either direction of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConnShow {
    /// Who talks to whom.
    pub tuple: FiveTuple,
    /// On this bridge; on any if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bridge: Option<BridgeName>,
}

/// Addresses that begin sessions, those with the most first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConnTop {
    /// Which sessions count.
    #[serde(default)]
    pub filter: ConnFilter,
    /// The most of what.
    #[serde(default)]
    pub by: TopBy,
    /// How many addresses at most; ten if not given.
    #[serde(default = "Limit::ten")]
    pub limit: Limit,
}

/// By what addresses are put in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum TopBy {
    /// Sessions.
    #[default]
    Sessions,
    /// Bytes, both ways.
    Bytes,
    /// Packets, both ways.
    Packets,
}

impl FromStr for TopBy {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        match text {
            "sessions" => Ok(Self::Sessions),
            "bytes" => Ok(Self::Bytes),
            "packets" => Ok(Self::Packets),
            _ => Err(bad("order", text, "use sessions, bytes or packets")),
        }
    }
}

impl fmt::Display for TopBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Sessions => "sessions",
            Self::Bytes => "bytes",
            Self::Packets => "packets",
        })
    }
}

as_string!(TopBy);
