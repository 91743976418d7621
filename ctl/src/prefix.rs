//! [`Prefix`] and the ranges of addresses and ports that rules are written with.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::names::{BadName, as_string, bad, digits};

/// A network: all addresses that begin with the same bits, `10.0.0.0/8`. The other bits are zero, so that
/// one network has one name. An address alone is the network of just that address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Prefix {
    addr: IpAddr,
    len: u8,
}

impl Prefix {
    /// The network of an address, by the length of its prefix; `None` when the address has fewer bits.
    pub fn of(addr: IpAddr, len: u8) -> Option<Self> {
        if len > longest(addr) {
            return None;
        }
        let bits = bits(addr) & mask(len);
        Some(Self { addr: address(bits, addr.is_ipv4()), len })
    }

    /// The network of one address.
    pub fn host(addr: IpAddr) -> Self {
        Self { addr, len: longest(addr) }
    }

    /// Every address of one IP version.
    pub fn everything(ipv4: bool) -> Self {
        Self { addr: address(0, ipv4), len: 0 }
    }

    /// The first address.
    pub fn addr(&self) -> IpAddr {
        self.addr
    }

    /// How many bits its addresses share.
    pub fn prefix_len(&self) -> u8 {
        self.len
    }

    /// Whether it is of IPv4.
    pub fn is_ipv4(&self) -> bool {
        self.addr.is_ipv4()
    }

    /// Whether an address is in it.
    pub fn contains(&self, addr: IpAddr) -> bool {
        self.is_ipv4() == addr.is_ipv4() && (bits(self.addr) ^ bits(addr)) & mask(self.len) == 0
    }

    /// Whether an address is in both: then one is a part of the other.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.contains(other.addr) || other.contains(self.addr)
    }
}

/// The bits of an address, from the highest.
fn bits(addr: IpAddr) -> u128 {
    match addr {
        IpAddr::V4(addr) => u128::from(addr.to_bits()) << 96,
        IpAddr::V6(addr) => addr.to_bits(),
    }
}

/// The address of these bits.
fn address(bits: u128, ipv4: bool) -> IpAddr {
    let [a, b, c, d, ..] = bits.to_be_bytes();
    if ipv4 { IpAddr::from([a, b, c, d]) } else { IpAddr::from(bits.to_be_bytes()) }
}

fn mask(len: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0)
}

fn longest(addr: IpAddr) -> u8 {
    if addr.is_ipv4() { 32 } else { 128 }
}

impl FromStr for Prefix {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        const RULE: &str =
            "write a network with its prefix length, such as 10.0.0.0/8 or fd00::/64";
        const BITS: &str = "a prefix length is at most 32 in IPv4, and 128 in IPv6";
        let no_prefix = || bad("network", text, RULE);
        let (addr, len) = match text.split_once('/') {
            Some((addr, len)) => (addr, Some(digits(len).ok_or_else(no_prefix)?)),
            None => (text, None),
        };
        let addr: IpAddr = addr.parse().map_err(|_| no_prefix())?;
        let network = Self::of(addr, len.unwrap_or(longest(addr)));
        let network = network.ok_or_else(|| bad("network", text, BITS))?;
        if network.addr != addr {
            let rule = "the bits after the prefix must be zero, as in 10.0.0.0/8 and fd00::/64";
            return Err(bad("network", text, rule));
        }
        Ok(network)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/{}", self.addr, self.len))
    }
}

as_string!(Prefix);

/// Where a route leads to: a network, or everything that no other route is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Destination {
    /// `default`, of the IP version that the next hops have.
    Default,
    /// A network.
    Network(Prefix),
}

impl Destination {
    /// The network that it is, of that IP version.
    pub fn network(self, ipv4: bool) -> Prefix {
        match self {
            Self::Default => Prefix::everything(ipv4),
            Self::Network(network) => network,
        }
    }
}

impl FromStr for Destination {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        if text == "default" { Ok(Self::Default) } else { text.parse().map(Self::Network) }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.pad("default"),
            Self::Network(network) => network.fmt(f),
        }
    }
}

as_string!(Destination);

/// Addresses one after another, `192.0.2.10-192.0.2.20`, at most 65536; one alone is its own range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AddressRange {
    first: IpAddr,
    last: IpAddr,
}

impl AddressRange {
    /// The most addresses of a range.
    pub const MOST: u128 = 65_536;

    /// The first address.
    pub fn first(&self) -> IpAddr {
        self.first
    }

    /// The last address.
    pub fn last(&self) -> IpAddr {
        self.last
    }

    /// Whether it is of IPv4.
    pub fn is_ipv4(&self) -> bool {
        self.first.is_ipv4()
    }

    /// Whether an address is in it.
    pub fn contains(&self, addr: IpAddr) -> bool {
        addr.is_ipv4() == self.is_ipv4() && (self.first..=self.last).contains(&addr)
    }

    /// How many addresses there are.
    pub fn count(&self) -> u128 {
        let steps = if self.is_ipv4() { 96 } else { 0 };
        // All of IPv6 are one more than can be counted, and more than a range may have.
        ((bits(self.last) - bits(self.first)) >> steps).saturating_add(1)
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.contains(other.first) || other.contains(self.first)
    }
}

impl FromStr for AddressRange {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        const WHAT: &str = "range of addresses";
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let parse = |addr: &str| addr.trim().parse::<IpAddr>();
        let (Ok(first), Ok(last)) = (parse(first), parse(last)) else {
            return Err(bad(WHAT, text, "write one address or two, such as 192.0.2.10-192.0.2.20"));
        };
        if first.is_ipv4() != last.is_ipv4() || first > last {
            return Err(bad(WHAT, text, "write two addresses of one IP version, the lower first"));
        }
        let range = Self { first, last };
        if range.count() > Self::MOST {
            return Err(bad(WHAT, text, "a range has at most 65536 addresses"));
        }
        if [first, last].iter().any(|addr| addr.is_unspecified() || addr.is_multicast()) {
            return Err(bad(WHAT, text, "multicast and unspecified addresses are no host's"));
        }
        Ok(range)
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            return self.first.fmt(f);
        }
        f.pad(&format!("{}-{}", self.first, self.last))
    }
}

as_string!(AddressRange);

/// Ranges of addresses, `192.0.2.10-192.0.2.20,192.0.2.99`: of one IP version, apart from each other, and in order.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AddressRanges(Vec<AddressRange>);

impl AddressRanges {
    /// The ranges, of which there is at least one.
    pub fn ranges(&self) -> &[AddressRange] {
        &self.0
    }

    /// Whether they are of IPv4.
    pub fn is_ipv4(&self) -> bool {
        self.0.iter().all(AddressRange::is_ipv4)
    }

    /// Whether an address is in one of them.
    pub fn contains(&self, addr: IpAddr) -> bool {
        self.0.iter().any(|range| range.contains(addr))
    }

    /// How many addresses there are altogether.
    pub fn count(&self) -> u128 {
        self.0.iter().map(AddressRange::count).sum()
    }
}

impl FromStr for AddressRanges {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        const WHAT: &str = "list of addresses";
        let mut ranges =
            text.split(',').map(str::parse).collect::<Result<Vec<AddressRange>, _>>()?;
        ranges.sort_unstable();
        let fit = |pair: &[AddressRange]| {
            pair[0].is_ipv4() == pair[1].is_ipv4() && !pair[0].overlaps(&pair[1])
        };
        if !ranges.windows(2).all(fit) {
            return Err(bad(
                WHAT,
                text,
                "ranges are of one IP version, and have no address in common",
            ));
        }
        Ok(Self(ranges))
    }
}

impl fmt::Display for AddressRanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ranges: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        f.pad(&ranges.join(","))
    }
}

as_string!(AddressRanges);

/// Ports one after another, `8080-8090`; one alone is its own range. None is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// The ports that are for nobody in particular (RFC 6056, section 2.1, with the registered ones).
    pub const UNPRIVILEGED: Self = Self { first: 1024, last: u16::MAX };
    /// The ports above those that Linux chooses for its own connections (`net.ipv4.ip_local_port_range`, by default).
    pub const ABOVE_EPHEMERAL: Self = Self { first: 61000, last: u16::MAX };

    /// The ports of which one is chosen for who publishes and does not say at which: dynamic ones (RFC 6335, section 6), and
    /// none of those that masquerading uses on an interface that the host keeps.
    pub const CHOSEN: Self = Self { first: 49152, last: Self::ABOVE_EPHEMERAL.first - 1 };

    /// One port.
    pub fn one(port: u16) -> Option<Self> {
        (port > 0).then_some(Self { first: port, last: port })
    }

    /// The same ports, in as few ranges as can be, in order.
    pub fn joined(mut ranges: Vec<Self>) -> Vec<Self> {
        ranges.sort_unstable();
        let mut joined: Vec<Self> = Vec::new();
        for range in ranges {
            match joined.last_mut() {
                Some(last) if range.first <= last.last.saturating_add(1) => {
                    last.last = last.last.max(range.last);
                }
                _ => joined.push(range),
            }
        }
        joined
    }

    /// The ports of some ranges that are in none of others, in as few ranges as can be, in order.
    pub fn without(ranges: &[Self], others: &[Self]) -> Vec<Self> {
        let cut = |left: Vec<Self>, other: &Self| {
            let parts = left.into_iter().flat_map(|range| {
                let below =
                    other.first.checked_sub(1).map(|last| (range.first, last.min(range.last)));
                let above =
                    other.last.checked_add(1).map(|first| (first.max(range.first), range.last));
                let parts = [below, above].into_iter().flatten();
                parts.filter(|(first, last)| first <= last).collect::<Vec<_>>()
            });
            parts.map(|(first, last)| Self { first, last }).collect()
        };
        Self::joined(others.iter().fold(ranges.to_vec(), cut))
    }

    /// The first port.
    pub fn first(&self) -> u16 {
        self.first
    }

    /// The last port.
    pub fn last(&self) -> u16 {
        self.last
    }

    /// Whether a port is in it.
    pub fn contains(&self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }

    /// Whether a port is in both.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

impl FromStr for PortRange {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        const RULE: &str =
            "use 1 to 65535, one or two with the lower first, such as 80 or 8080-8090";
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let ports = digits::<u16>(first).zip(digits::<u16>(last));
        ports
            .filter(|(first, last)| *first > 0 && first <= last)
            .map(|(first, last)| Self { first, last })
            .ok_or_else(|| bad("range of ports", text, RULE))
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            return self.first.fmt(f);
        }
        f.pad(&format!("{}-{}", self.first, self.last))
    }
}

as_string!(PortRange);
