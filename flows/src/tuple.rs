//! [`Tuple`]: who talks to whom.

use std::net::IpAddr;

use pktio::wire::field::{be16, icmp, protocol};
use pktio::wire::{Fragment, Layers};

/// An address and a port; the port is the identifier of an ICMP query, and 0 for protocols without any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    /// The address.
    pub ip: IpAddr,
    /// The port, in host order.
    pub port: u16,
}

impl Endpoint {
    /// An endpoint.
    pub fn new(ip: impl Into<IpAddr>, port: u16) -> Self {
        Self { ip: ip.into(), port }
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::net::SocketAddr::new(self.ip, self.port).fmt(f)
    }
}

/// The five-tuple of a packet. An ICMP query has its identifier as the port of both ends, so that the
/// reply's tuple is the reverse of the query's, as with every other protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tuple {
    /// The IP protocol.
    pub protocol: u8,
    /// Who sends.
    pub source: Endpoint,
    /// To whom.
    pub destination: Endpoint,
}

impl Tuple {
    /// The tuple of a packet. `None` for later fragments, which have no ports, and for ICMP other than
    /// queries, which belongs to somebody else's tuple.
    pub fn of(frame: &[u8], layers: &Layers) -> Option<Self> {
        if layers.fragment == Fragment::Later {
            return None;
        }
        let (source, destination) = layers.addresses(frame)?;
        let (from, to) = match layers.protocol {
            protocol::TCP | protocol::UDP | protocol::SCTP => {
                let at = usize::from(layers.l4);
                (be16(frame, at)?, be16(frame, at + 2)?)
            }
            protocol::ICMP | protocol::ICMPV6 => {
                let id = query_id(frame, layers)?;
                (id, id)
            }
            _ => (0, 0),
        };
        Some(Self {
            protocol: layers.protocol,
            source: Endpoint::new(source, from),
            destination: Endpoint::new(destination, to),
        })
    }

    /// A number that spreads flows over several ways: the same for all packets of a flow.
    pub fn spread(&self) -> u64 {
        use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
        BuildHasherDefault::<DefaultHasher>::default().hash_one(self)
    }

    /// The tuple of what comes back.
    #[must_use]
    pub fn reversed(self) -> Self {
        Self { protocol: self.protocol, source: self.destination, destination: self.source }
    }
}

impl std::fmt::Display for Tuple {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.protocol {
            protocol::TCP => write!(f, "tcp ")?,
            protocol::UDP => write!(f, "udp ")?,
            protocol::SCTP => write!(f, "sctp ")?,
            protocol::ICMP | protocol::ICMPV6 => write!(f, "icmp ")?,
            other => write!(f, "proto-{other} ")?,
        }
        write!(f, "{} > {}", self.source, self.destination)
    }
}

/// The identifier of an ICMP query or its reply (RFC 792, RFC 4443 section 4).
fn query_id(frame: &[u8], layers: &Layers) -> Option<u16> {
    let at = usize::from(layers.l4);
    let kind = *frame.get(at)?;
    let is_query = match layers.protocol {
        protocol::ICMP => icmp::QUERIES.contains(&kind),
        _ => icmp::V6_QUERIES.contains(&kind),
    };
    if is_query { be16(frame, at + icmp::ID) } else { None }
}
