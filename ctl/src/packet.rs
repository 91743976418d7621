//! Who talks to whom, and packets as people sketch them: `tcp 10.0.0.2:4000 > 10.1.0.3:80 len=1400`. The one
//! parser of that notation, in which sessions are shown as well, so that one can be copied into the other.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::VlanId;
use crate::names::{BadName, as_string, bad, digits};

/// A protocol above IP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// ICMP, or ICMPv6 among IPv6 addresses.
    Icmp,
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
    /// Any other, by its number: `proto-47`.
    Other(u8),
}

impl Protocol {
    /// Its number (IANA, "Assigned Internet Protocol Numbers").
    pub fn number(self, ipv4: bool) -> u8 {
        match self {
            Self::Icmp if ipv4 => 1,
            Self::Icmp => 58,
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
            Self::Other(number) => number,
        }
    }

    /// The protocol of a number.
    pub fn of(number: u8) -> Self {
        match number {
            1 | 58 => Self::Icmp,
            6 => Self::Tcp,
            17 => Self::Udp,
            132 => Self::Sctp,
            other => Self::Other(other),
        }
    }

    /// Whether its packets are from a port to a port.
    pub fn has_ports(self) -> bool {
        matches!(self, Self::Tcp | Self::Udp | Self::Sctp)
    }
}

impl FromStr for Protocol {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        const RULE: &str = "use tcp, udp, sctp, icmp or a number, such as proto-47";
        match text.to_ascii_lowercase().as_str() {
            "icmp" | "icmp6" | "icmpv6" => Ok(Self::Icmp),
            "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            "sctp" => Ok(Self::Sctp),
            other => other
                .strip_prefix("proto-")
                .and_then(digits)
                .map(Self::of)
                .ok_or_else(|| bad("protocol", text, RULE)),
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Icmp => f.pad("icmp"),
            Self::Tcp => f.pad("tcp"),
            Self::Udp => f.pad("udp"),
            Self::Sctp => f.pad("sctp"),
            Self::Other(number) => f.pad(&format!("proto-{number}")),
        }
    }
}

as_string!(Protocol);

/// Who talks to whom: `tcp 10.0.0.2:4000 > 10.1.0.3:80`. The port of an ICMP query is its identifier, on both
/// sides; that of protocols without ports is 0. Those may be left out when it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FiveTuple {
    /// The protocol.
    pub protocol: Protocol,
    /// Who sends.
    pub source: SocketAddr,
    /// To whom.
    pub destination: SocketAddr,
}

const TUPLE: &str = "five-tuple";
const TUPLE_RULE: &str =
    "write PROTOCOL SOURCE[:PORT] > DESTINATION[:PORT], such as tcp 10.0.0.2:4000 > 10.1.0.3:80";

impl FiveTuple {
    /// Reads the words of one, and leaves those that follow.
    fn from_words<'a>(
        words: &mut impl Iterator<Item = &'a str>,
        text: &str,
    ) -> Result<Self, BadName> {
        let wrong = || bad(TUPLE, text, TUPLE_RULE);
        let protocol: Protocol = words.next().ok_or_else(wrong)?.parse()?;
        let source = words.next().and_then(|word| endpoint(word, protocol)).ok_or_else(wrong)?;
        words.next().filter(|word| *word == ">").ok_or_else(wrong)?;
        let destination =
            words.next().and_then(|word| endpoint(word, protocol)).ok_or_else(wrong)?;
        if source.is_ipv4() != destination.is_ipv4() {
            return Err(bad(TUPLE, text, "both addresses are of one IP version"));
        }
        Ok(Self { protocol, source, destination })
    }
}

/// An address, with a port where the protocol has ports.
fn endpoint(word: &str, protocol: Protocol) -> Option<SocketAddr> {
    let address = || word.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
    let portless = || (!protocol.has_ports()).then(address).flatten();
    word.parse().ok().or_else(|| portless().map(|addr| SocketAddr::new(addr, 0)))
}

impl FromStr for FiveTuple {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let mut words = text.split_whitespace();
        let tuple = Self::from_words(&mut words, text)?;
        match words.next() {
            None => Ok(tuple),
            Some(_) => Err(bad(TUPLE, text, TUPLE_RULE)),
        }
    }
}

impl fmt::Display for FiveTuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{} {} > {}", self.protocol, self.source, self.destination))
    }
}

as_string!(FiveTuple);

/// A packet as sketched: a [`FiveTuple`], and what else matters of `flags=syn+ack`, `len=1400` (bytes of payload),
/// `ttl=3`, `tos=184`, `vlan=10`, `df`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sketch {
    /// Who talks to whom.
    pub tuple: FiveTuple,
    /// TCP flags; SYN if not given.
    pub flags: TcpFlags,
    /// Bytes of payload.
    pub payload_bytes: u16,
    /// Hops that are left.
    pub ttl: u8,
    /// The TOS byte, or traffic class.
    pub tos: u8,
    /// The VLAN tag, if it has one.
    pub vlan: Option<VlanId>,
    /// It must not be fragmented. IPv6 packets never are on the way.
    pub dont_fragment: bool,
}

impl Sketch {
    /// A packet that begins a conversation.
    pub fn first_of(tuple: FiveTuple) -> Self {
        Self {
            tuple,
            flags: TcpFlags::SYN,
            payload_bytes: 0,
            ttl: 64,
            tos: 0,
            vlan: None,
            dont_fragment: false,
        }
    }

    fn set(&mut self, word: &str) -> Option<()> {
        match word.split_once('=') {
            None if word == "df" => self.dont_fragment = true,
            Some(("flags", flags)) => self.flags = flags.parse().ok()?,
            Some(("len", bytes)) => self.payload_bytes = digits(bytes)?,
            Some(("ttl", hops)) => self.ttl = digits(hops)?,
            Some(("tos", tos)) => self.tos = digits(tos)?,
            Some(("vlan", vlan)) => self.vlan = Some(vlan.parse().ok()?),
            _ => return None,
        }
        Some(())
    }
}

impl FromStr for Sketch {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        const RULE: &str =
            "after the five-tuple, use flags=syn+ack, len=1400, ttl=64, tos=0, vlan=10 and df";
        let mut words = text.split_whitespace();
        let mut sketch = Self::first_of(FiveTuple::from_words(&mut words, text)?);
        for word in words {
            sketch.set(word).ok_or_else(|| bad("packet", text, RULE))?;
        }
        Ok(sketch)
    }
}

impl fmt::Display for Sketch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = Self::first_of(self.tuple);
        write!(f, "{}", self.tuple)?;
        if self.flags != plain.flags {
            write!(f, " flags={}", self.flags)?;
        }
        let numbers = [
            ("len", self.payload_bytes, plain.payload_bytes),
            ("ttl", self.ttl.into(), plain.ttl.into()),
            ("tos", self.tos.into(), plain.tos.into()),
        ];
        for (name, value, _) in numbers.iter().filter(|(_, value, plain)| value != plain) {
            write!(f, " {name}={value}")?;
        }
        if let Some(vlan) = self.vlan {
            write!(f, " vlan={vlan}")?;
        }
        if self.dont_fragment { f.write_str(" df") } else { Ok(()) }
    }
}

as_string!(Sketch);

/// TCP flags (RFC 9293, section 3.1), `syn+ack`; `none` for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TcpFlags(u8);

/// The names of TCP flags, by bit.
pub(crate) const FLAGS: [&str; 8] = ["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr"];

impl TcpFlags {
    /// The first segment of a connection.
    pub const SYN: Self = Self(0x02);

    /// The flags as in the header.
    pub fn bits(self) -> u8 {
        self.0
    }
}

impl FromStr for TcpFlags {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        const RULE: &str = "join fin, syn, rst, psh, ack, urg, ece and cwr by +, or write none";
        if text == "none" {
            return Ok(Self(0));
        }
        let bit = |name: &str| FLAGS.iter().position(|flag| *flag == name).map(|at| 1u8 << at);
        let bits = text.split('+').map(bit).try_fold(0, |bits, bit| Some(bits | bit?));
        bits.map(Self).ok_or_else(|| bad("TCP flags", text, RULE))
    }
}

impl fmt::Display for TcpFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = FLAGS.iter().enumerate().filter(|(at, _)| self.0 & (1 << at) != 0);
        let names: Vec<_> = set.map(|(_, name)| *name).collect();
        f.pad(&if names.is_empty() { "none".to_owned() } else { names.join("+") })
    }
}
