//! [`Tuple`]: who talks to whom.

use std::net::IpAddr;

use pktio::wire::field::{be16, icmp, protocol};
use pktio::wire::{Fragment, Layers};

/// An address and a port; 0 for protocols without any. For those of ICMP see [`Tuple`].
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

/// The five-tuple of a packet. Of an ICMP query, the port of who asks is the identifier, and that of who is
/// asked is the query's type. So the reply's tuple is the reverse of the query's, as with every other
/// protocol, and a query of the other end is something else, unless its identifier happens to be its type:
/// [`Packet`](crate::session::Packet) knows that.
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
            protocol::ICMP | protocol::ICMPV6 => icmp_ports(frame, layers)?,
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

/// What stands for the ports of an ICMP query or its reply (RFC 792, RFC 4443 section 4).
fn icmp_ports(frame: &[u8], layers: &Layers) -> Option<(u16, u16)> {
    let (kind, id) = icmp_query(frame, layers)?;
    let pairs = match layers.protocol {
        protocol::ICMP => &icmp::QUERY_TYPES[..],
        _ => &icmp::V6_QUERY_TYPES[..],
    };
    pairs.iter().find_map(|(query, reply)| match kind {
        _ if kind == *query => Some((id, u16::from(*query))),
        _ if kind == *reply => Some((u16::from(*query), id)),
        _ => None,
    })
}

/// Type and identifier of a message that may be an ICMP query or its reply.
fn icmp_query(frame: &[u8], layers: &Layers) -> Option<(u8, u16)> {
    let at = usize::from(layers.l4);
    Some((*frame.get(at)?, be16(frame, at + icmp::ID)?))
}

/// Whether a packet of ICMP is a query whose identifier is its type, so that its tuple is its own reverse but for the
/// addresses, and that of an answer as well. (No type of a reply is one of a query.)
#[cold]
pub(crate) fn is_equivocal(frame: &[u8], layers: &Layers) -> bool {
    layers.fragment != Fragment::Later
        && icmp_query(frame, layers).is_some_and(|(kind, id)| u16::from(kind) == id)
        && icmp_ports(frame, layers).is_some_and(|(from, to)| from == to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{Icmpv4Type, Icmpv6Type, PacketBuilder};

    fn tuple(frame: &[u8]) -> Tuple {
        Tuple::of(frame, &Layers::parse(frame).unwrap().unwrap()).unwrap()
    }

    #[test]
    fn a_reply_is_the_reverse_of_its_query_and_a_query_of_the_other_end_is_not() {
        let v4 = |from, to, kind: Icmpv4Type| {
            let mut frame = Vec::new();
            let builder =
                PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([10, 0, 0, from], [10, 0, 0, to], 9);
            builder.icmpv4(kind).write(&mut frame, &[]).unwrap();
            tuple(&frame)
        };
        let v6 = |from, to, kind: Icmpv6Type| {
            let mut frame = Vec::new();
            let builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv6([from; 16], [to; 16], 9);
            builder.icmpv6(kind).write(&mut frame, &[]).unwrap();
            tuple(&frame)
        };
        let echo = etherparse::IcmpEchoHeader { id: 77, seq: 1 };
        let asked = v4(1, 2, Icmpv4Type::EchoRequest(echo));
        assert_eq!(asked.reversed(), v4(2, 1, Icmpv4Type::EchoReply(echo)));
        assert_ne!(asked.reversed(), v4(2, 1, Icmpv4Type::EchoRequest(echo)));
        let asked = v6(1, 2, Icmpv6Type::EchoRequest(echo));
        assert_eq!(asked.reversed(), v6(2, 1, Icmpv6Type::EchoReply(echo)));
        assert_ne!(asked.reversed(), v6(2, 1, Icmpv6Type::EchoRequest(echo)));
    }
}
