//! Address translation: masquerade, published ports, prefixes; and what sessions are kept by.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::indexed::{Indexed, Marked};
use crate::names::{BadName, as_string, bad, digits};
use crate::{AddressRanges, Bridge, BridgeName, PortName, PortRange, Prefix, Protocol, RuleName};

/// The rules, by their names and by their ends.
pub type NatRules = Indexed<RuleName, NatRule>;

/// An end of a rule: the bridge that packets come from, or the one that they go to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// Packets that come from this bridge are translated, or those that come to it, where a port is published.
    From(BridgeName),
    /// They go to this one then.
    To(BridgeName),
    /// They go wherever the container's address is: the rule does not name a bridge.
    Unnamed,
}

/// A rule of address translation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum NatRule {
    /// Many inside share few addresses outside.
    Masquerade(Masquerade),
    /// A port outside leads to a container.
    Publish(Publish),
    /// A prefix inside is another one outside, address by address.
    Prefix(PrefixTranslation),
}

impl Marked for NatRule {
    type Mark = End;

    fn marks(&self) -> impl Iterator<Item = End> {
        let to = self.to().cloned().map_or(End::Unnamed, End::To);
        [End::From(self.from().clone()), to].into_iter()
    }
}

impl NatRule {
    /// The bridge that packets come from which it is for; of a published port that is the outside.
    pub fn from(&self) -> &BridgeName {
        match self {
            Self::Masquerade(rule) => &rule.from,
            Self::Publish(rule) => &rule.on,
            Self::Prefix(rule) => &rule.from,
        }
    }

    /// The bridge that they go to, if it names one.
    pub fn to(&self) -> Option<&BridgeName> {
        match self {
            Self::Masquerade(rule) => Some(&rule.to),
            Self::Publish(rule) => rule.to.as_ref(),
            Self::Prefix(rule) => Some(&rule.to),
        }
    }

    /// The bridges that it names.
    pub fn bridges(&self) -> impl Iterator<Item = &BridgeName> {
        std::iter::once(self.from()).chain(self.to())
    }

    /// The container's port with which it goes.
    pub fn port(&self) -> Option<&PortName> {
        match self {
            Self::Publish(rule) => rule.port.as_ref(),
            Self::Masquerade(_) | Self::Prefix(_) => None,
        }
    }

    /// The name that it gets when none is given: made of what it does, so that the same rule always has the
    /// same name. One port leads to containers of both IP versions by two rules.
    pub fn default_name(&self) -> Result<RuleName, BadName> {
        let text = match self {
            Self::Masquerade(rule) => format!("{}-to-{}", rule.from, rule.to),
            Self::Publish(Publish { on, forward, .. }) => match forward.address {
                Some(addr) => format!("{on}-{addr}-{}-{}", forward.ports, forward.protocol),
                None if forward.container.is_ipv6() => {
                    format!("{on}-{}-{}-ipv6", forward.ports, forward.protocol)
                }
                None => format!("{on}-{}-{}", forward.ports, forward.protocol),
            },
            Self::Prefix(rule) => format!("{}-{}", rule.from, rule.inside),
        };
        text.replace([':', '/'], "-").parse()
    }
}

impl Bridge {
    /// Whether an address leads to the switch on this bridge, which has this name: as its own, as one that it answers for, or as
    /// one that these rules masquerade by.
    pub fn leads_from<'a>(
        &self,
        address: IpAddr,
        name: &BridgeName,
        rules: impl IntoIterator<Item = &'a NatRule>,
    ) -> bool {
        let lends = |rule: &NatRule| match rule {
            NatRule::Masquerade(Masquerade { to, addresses: Some(lent), .. }) => {
                to == name && lent.contains(address)
            }
            _ => false,
        };
        self.gateways.iter().any(|gateway| gateway.addr == address)
            || self.proxy.iter().any(|proxied| proxied.contains(address))
            || rules.into_iter().any(lends)
    }
}

/// Packets from one bridge to another get an address of ours and a port of ours. The mapping is
/// endpoint-independent (RFC 4787, REQ-1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Masquerade {
    /// The inside.
    pub from: BridgeName,
    /// The outside.
    pub to: BridgeName,
    /// The addresses outside; those of the outside's gateway if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addresses: Option<AddressRanges>,
    /// The ports outside.
    #[serde(default = "unprivileged")]
    pub ports: PortRange,
    /// Who outside may answer.
    #[serde(default, skip_serializing_if = "Filtering::is_default")]
    pub filtering: Filtering,
    /// The most ports of one address inside; as many as there are if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port_quota: Option<u32>,
    /// The most sessions of one address inside; as many as there are if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_quota: Option<u32>,
    /// IPv6 is masqueraded too. Otherwise it is routed where that is allowed, with its own addresses.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ipv6: bool,
    /// Destinations to which packets go as they are (RFC 6888, REQ-6).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<Prefix>,
}

fn unprivileged() -> PortRange {
    PortRange::UNPRIVILEGED
}

impl Masquerade {
    /// The most addresses outside: each has a table of its ports.
    pub const MOST_ADDRESSES: usize = 1024;

    /// A masquerade with nothing particular about it.
    pub fn new(from: BridgeName, to: BridgeName) -> Self {
        Self {
            from,
            to,
            addresses: None,
            ports: PortRange::UNPRIVILEGED,
            filtering: Filtering::default(),
            port_quota: None,
            session_quota: None,
            ipv6: false,
            except: Vec::new(),
        }
    }

    /// The ports outside, if somebody chose them.
    pub fn chosen_ports(&self) -> Option<PortRange> {
        Some(self.ports).filter(|ports| *ports != PortRange::UNPRIVILEGED)
    }

    /// The ports outside where the interface is shared with the host: those that nobody chose are ports that the host gives
    /// to nobody by itself.
    pub fn ports_of_the_host(&self) -> PortRange {
        self.chosen_ports().unwrap_or(PortRange::ABOVE_EPHEMERAL)
    }

    /// The ports outside, where the interface is shared with the host or not.
    pub fn ports_outside(&self, is_shared: bool) -> PortRange {
        if is_shared { self.ports_of_the_host() } else { self.ports }
    }

    /// Whether packets of an IP version are masqueraded.
    pub fn covers(&self, ipv4: bool) -> bool {
        match &self.addresses {
            Some(addresses) => addresses.is_ipv4() == ipv4,
            None => ipv4 || self.ipv6,
        }
    }
}

/// Who outside may send to a mapping (RFC 4787, section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Filtering {
    /// The addresses that the container sent to.
    #[default]
    Address,
    /// Everybody.
    EndpointIndependent,
}

impl Filtering {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl FromStr for Filtering {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        match text {
            "address" => Ok(Self::Address),
            "endpoint-independent" => Ok(Self::EndpointIndependent),
            _ => Err(bad("filtering", text, "use address or endpoint-independent")),
        }
    }
}

impl fmt::Display for Filtering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Address => "address",
            Self::EndpointIndependent => "endpoint-independent",
        })
    }
}

/// Packets to a port outside go to a container. Its answers come from where the question went to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Publish {
    /// The outside.
    pub on: BridgeName,
    /// From where to where.
    pub forward: Forward,
    /// The container's bridge; the one in whose subnet the container's address is if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<BridgeName>,
    /// The container's port, if the rule is to go when that goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<PortName>,
}

/// Ports outside and where they lead to, `[IP:]PORT[-END]:CONTAINER-IP[:PORT][/tcp|udp|sctp]`. The ports of a
/// range lead to as many ports of the container, beginning with the one that is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Forward {
    /// The address outside; every gateway address of the outside's bridge if not given.
    pub address: Option<IpAddr>,
    /// The ports outside.
    pub ports: PortRange,
    /// The container.
    pub container: IpAddr,
    /// The container's first port.
    pub container_port: u16,
    /// TCP, UDP or SCTP.
    pub protocol: Protocol,
}

impl Publish {
    /// Where it leads, for people.
    pub(crate) fn target(&self) -> String {
        let end = SocketAddr::new(self.forward.container, self.forward.container_port);
        match &self.port {
            Some(port) => format!("{end} of port {port}"),
            None => end.to_string(),
        }
    }
}

impl Forward {
    /// Whether some packet is for both.
    pub fn overlaps(&self, other: &Self) -> bool {
        let same_address = match (self.address, other.address) {
            (Some(own), Some(others)) => own == others,
            _ => true,
        };
        self.protocol == other.protocol
            && self.container.is_ipv4() == other.container.is_ipv4()
            && same_address
            && self.ports.overlaps(&other.ports)
    }

    /// The parts of a text. Which of them is wrong is told, or by `whole` that it has not got them.
    fn parse(text: &str, whole: impl Fn() -> BadName) -> Result<Self, BadName> {
        let (ends, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let known = protocol.parse().ok().filter(|p: &Protocol| p.has_ports());
        let protocol =
            known.ok_or_else(|| bad("protocol with ports", protocol, "use tcp, udp or sctp"))?;
        let (address, rest) = match leading_address(ends) {
            Some((addr, rest)) => (Some(addr), rest),
            None => (None, ends),
        };
        let (ports, rest) = rest.split_once(':').ok_or_else(&whole)?;
        let ports: PortRange = ports.parse()?;
        let (container, container_port) = match rest.parse().or_else(|_| bracketed(rest)) {
            Ok(addr) => (addr, ports.first()),
            Err(_) => {
                let (addr, port) = leading_address(rest).ok_or_else(|| no_address(rest))?;
                (addr, one_port(port)?)
            }
        };
        Ok(Self { address, ports, container, container_port, protocol })
    }
}

/// That there is something else than a container's address before its port.
fn no_address(end: &str) -> BadName {
    let text = end.rsplit_once(':').map_or(end, |(container, _)| container);
    bad(
        "address of a container",
        text,
        "write its address, not its name, such as 10.0.0.2 or [fd00::2]",
    )
}

fn one_port(text: &str) -> Result<u16, BadName> {
    let port =
        digits(text).and_then(PortRange::one).ok_or_else(|| bad("port", text, "use 1 to 65535"));
    port.map(|port| port.first())
}

/// `[fd00::2]`.
pub(super) fn bracketed(text: &str) -> Result<IpAddr, std::net::AddrParseError> {
    let inside = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    inside.unwrap_or(text).parse()
}

/// An address before a colon, in brackets if it is of IPv6, and what is after.
pub(super) fn leading_address(text: &str) -> Option<(IpAddr, &str)> {
    let end = if text.starts_with('[') { text.find("]:")? + 1 } else { text.find(':')? };
    let addr = bracketed(&text[..end]).ok()?;
    Some((addr, &text[end + 1..]))
}

impl FromStr for Forward {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        const WHAT: &str = "published port";
        const RULE: &str =
            "write [IP:]PORT[-END]:CONTAINER-IP[:PORT]/tcp|udp|sctp, such as 8080:10.0.0.2:80/tcp";
        let whole = || bad(WHAT, text, RULE);
        let forward = Self::parse(text, whole)?;
        let Self { address, ports, container, container_port, .. } = forward;
        if container_port.checked_add(ports.last() - ports.first()).is_none() {
            return Err(bad(WHAT, text, "the container has no ports beyond 65535"));
        }
        if address.is_some_and(|address| address.is_ipv4() != container.is_ipv4()) {
            return Err(bad(WHAT, text, "both addresses are of one IP version"));
        }
        let is_host = |addr: &IpAddr| !addr.is_unspecified() && !addr.is_multicast();
        if !address.iter().chain([&container]).all(is_host) {
            return Err(bad(WHAT, text, "multicast and unspecified addresses are no host's"));
        }
        Ok(forward)
    }
}

impl fmt::Display for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let in_brackets =
            |addr: &IpAddr| if addr.is_ipv4() { addr.to_string() } else { format!("[{addr}]") };
        let outside = self.address.map_or(String::new(), |addr| in_brackets(&addr) + ":");
        let Self { ports, container, container_port, protocol, .. } = self;
        f.pad(&format!("{outside}{ports}:{}:{container_port}/{protocol}", in_brackets(container)))
    }
}

as_string!(Forward);

/// IPv6 prefix translation without state (NPTv6, RFC 6296): one to one, and checksums stay right. Addresses of other
/// prefixes go the same way only where a route is allowed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrefixTranslation {
    /// The inside.
    pub from: BridgeName,
    /// The outside.
    pub to: BridgeName,
    /// The prefix inside.
    pub inside: Prefix,
    /// The prefix outside, of the same length.
    pub outside: Prefix,
}

/// What sessions are kept by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tracking {
    /// Seconds after which silent sessions end.
    pub timeouts: Timeouts,
    /// TCP segments outside of the window are invalid (RFC 9293, section 3.4).
    pub window_checks: bool,
}

impl Default for Tracking {
    fn default() -> Self {
        Self { timeouts: Timeouts::default(), window_checks: true }
    }
}

impl Tracking {
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Seconds after which a session in which nothing is said ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Timeouts {
    /// UDP (RFC 4787, REQ-5: 120 at least, 300 recommended).
    pub udp: u32,
    /// UDP of which no answer came yet (RFC 4787, REQ-5 makes no difference).
    pub udp_unreplied: u32,
    /// Established TCP connections (RFC 5382, REQ-5: 7440 at least).
    pub tcp_established: u32,
    /// TCP connections that begin (RFC 5382, REQ-5: 240 at least; RFC 7857, section 2.1: less where that is too long).
    pub tcp_opening: u32,
    /// TCP connections that end (RFC 5382, REQ-5: 240 at least).
    pub tcp_closing: u32,
    /// ICMP queries (RFC 5508, REQ-2: 60 at least).
    pub icmp: u32,
    /// Everything else.
    pub other: u32,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            udp: 300,
            udp_unreplied: 300,
            tcp_established: 7440,
            tcp_opening: 240,
            tcp_closing: 240,
            icmp: 60,
            other: 600,
        }
    }
}

impl Timeouts {
    /// All, by their names.
    pub fn named(&self) -> [(&'static str, u32); 7] {
        [
            ("udp", self.udp),
            ("udp-unreplied", self.udp_unreplied),
            ("tcp-established", self.tcp_established),
            ("tcp-opening", self.tcp_opening),
            ("tcp-closing", self.tcp_closing),
            ("icmp", self.icmp),
            ("other", self.other),
        ]
    }
}
