//! Requests by which the switch explains itself.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::names::{BadName, as_string, bad};
use crate::{Limit, PortName, Protocol, Sketch};

/// A packet to follow through the switch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trace {
    /// The port that it comes by.
    pub port: PortName,
    /// The packet.
    pub packet: Packet,
    /// Follow so many real packets like it instead of a made one. They come as events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live: Option<Limit>,
    /// How long to wait for each of these, in seconds; a minute if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patience: Option<Limit>,
}

/// A packet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Packet {
    /// One like this; Ethernet addresses are what the port's container would use.
    Like(Sketch),
    /// This frame.
    Bytes(Frame),
}

/// A frame, from its Ethernet header on, in hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame(Vec<u8>);

impl Frame {
    /// The longest, so that a request has room for it.
    pub const MOST_BYTES: usize = 16 * 1024;

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl FromStr for Frame {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        const RULE: &str =
            "write 14 to 16384 bytes as hexadecimal digits, such as ffffffffffff0200000000010806";
        let digits: Vec<_> = text.bytes().filter(|byte| !b" :\n".contains(byte)).collect();
        let pairs = digits.chunks(2).map(|pair| match pair {
            [high, low] => Some(hexadecimal(*high)? << 4 | hexadecimal(*low)?),
            _ => None,
        });
        let bytes: Option<Vec<u8>> = pairs.collect();
        bytes
            .filter(|bytes| (14..=Self::MOST_BYTES).contains(&bytes.len()))
            .map(Self)
            .ok_or_else(|| bad("frame", text, RULE))
    }
}

fn hexadecimal(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

as_string!(Frame);

/// Whether one container reaches another, and what decides it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Why {
    /// Who begins.
    pub from: Party,
    /// To whom.
    pub to: Party,
    /// By which protocol.
    #[serde(default = "icmp")]
    pub protocol: Protocol,
    /// To which port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

fn icmp() -> Protocol {
    Protocol::Icmp
}

/// One end of a conversation: a container, by its port's name, its own or another that it is called by, or an address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Party {
    /// The container behind the port of this name, or the attached one whose namespace has it, or the one on a network that is called
    /// so ([`Config::endpoints_called`](crate::Config::endpoints_called)).
    Name(PortName),
    /// Whoever has an address.
    Address(IpAddr),
}

impl FromStr for Party {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        // A name of a port can look like an IPv4 address; as one, it is more likely meant.
        if let Ok(addr) = text.parse() {
            return Ok(Self::Address(addr));
        }
        let neither = |_| {
            bad(
                "end of a conversation",
                text,
                "give the name of a port, of a container, or an IP address",
            )
        };
        text.parse().map(Self::Name).map_err(neither)
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Address(addr) => addr.fmt(f),
        }
    }
}

as_string!(Party);
