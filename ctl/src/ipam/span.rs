//! [`Span`]: addresses one after another, of any number.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::Prefix;
use crate::names::{BadName, as_string, bad};

/// Addresses one after another: `10.0.0.10-10.0.0.20`, a network `10.0.0.128/25`, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    first: IpAddr,
    last: IpAddr,
}

impl Span {
    /// One address.
    pub fn one(addr: IpAddr) -> Self {
        Self { first: addr, last: addr }
    }

    /// The addresses from one to another of the same IP version, if it is not before it.
    pub fn between(first: IpAddr, last: IpAddr) -> Option<Self> {
        (first.is_ipv4() == last.is_ipv4() && first <= last).then_some(Self { first, last })
    }

    /// All addresses of a network.
    pub fn of(network: &Prefix) -> Self {
        Self { first: network.addr(), last: last(network) }
    }

    /// The addresses of a network that are hosts': all but the first, which stands for the network (IPv4, RFC 1122)
    /// or for any of its routers (IPv6, RFC 4291, section 2.6.1), and the last of IPv4, its broadcast address. In a
    /// network of one or two addresses both are hosts' (RFC 3021, RFC 6164).
    pub fn hosts(network: &Prefix) -> Self {
        let all = Self::of(network);
        let host_bits = if network.is_ipv4() { 32 } else { 128 } - network.prefix_len();
        let first = next(all.first).filter(|_| host_bits > 1).unwrap_or(all.first);
        let broadcast = network.is_ipv4() && host_bits > 1;
        let last = if broadcast { previous(all.last).unwrap_or(all.last) } else { all.last };
        Self { first, last }
    }

    /// The first address.
    pub fn first(&self) -> IpAddr {
        self.first
    }

    /// The last address.
    pub fn last(&self) -> IpAddr {
        self.last
    }

    /// Whether an address is among them.
    pub fn contains(&self, addr: IpAddr) -> bool {
        addr.is_ipv4() == self.first.is_ipv4() && (self.first..=self.last).contains(&addr)
    }

    /// What both have in common.
    pub fn within(&self, other: &Self) -> Option<Self> {
        Self::between(self.first.max(other.first), self.last.min(other.last))
    }

    /// How many they are; as many as can be counted if there are more.
    pub fn count(&self) -> u64 {
        let count = number(self.last).saturating_sub(number(self.first)).saturating_add(1);
        u64::try_from(count).unwrap_or(u64::MAX)
    }
}

/// The address after this one; none after the last of its IP version.
pub(super) fn next(addr: IpAddr) -> Option<IpAddr> {
    match addr {
        IpAddr::V4(addr) => addr.to_bits().checked_add(1).map(|bits| Ipv4Addr::from(bits).into()),
        IpAddr::V6(addr) => addr.to_bits().checked_add(1).map(|bits| Ipv6Addr::from(bits).into()),
    }
}

fn previous(addr: IpAddr) -> Option<IpAddr> {
    match addr {
        IpAddr::V4(addr) => addr.to_bits().checked_sub(1).map(|bits| Ipv4Addr::from(bits).into()),
        IpAddr::V6(addr) => addr.to_bits().checked_sub(1).map(|bits| Ipv6Addr::from(bits).into()),
    }
}

fn number(addr: IpAddr) -> u128 {
    match addr {
        IpAddr::V4(addr) => addr.to_bits().into(),
        IpAddr::V6(addr) => addr.to_bits(),
    }
}

fn last(network: &Prefix) -> IpAddr {
    let len = u32::from(network.prefix_len());
    match network.addr() {
        IpAddr::V4(addr) => {
            let host = u32::MAX.checked_shr(len).unwrap_or(0);
            Ipv4Addr::from(addr.to_bits() | host).into()
        }
        IpAddr::V6(addr) => {
            let host = u128::MAX.checked_shr(len).unwrap_or(0);
            Ipv6Addr::from(addr.to_bits() | host).into()
        }
    }
}

impl FromStr for Span {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        const RULE: &str = "write an address, two with the lower first, or a network, such as \
                            10.0.0.10-10.0.0.20 or 10.0.0.128/25";
        let Some((first, last)) = text.split_once('-') else {
            let network: Prefix = text.parse().map_err(|_| bad("range", text, RULE))?;
            return Ok(Self::of(&network));
        };
        let ends = first.trim().parse::<IpAddr>().ok().zip(last.trim().parse().ok());
        ends.and_then(|(first, last)| Self::between(first, last))
            .ok_or_else(|| bad("range", text, RULE))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            return self.first.fmt(f);
        }
        f.pad(&format!("{}-{}", self.first, self.last))
    }
}

as_string!(Span);
