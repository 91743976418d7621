//! [`Gateway`]: the switch as a station of a bridge: what it answers, and what it says by itself.
//!
//! A gateway is the router interface of one bridge: a MAC address, IP addresses, and addresses for which it
//! stands in ("proxy"). [`Gateway::attend`] is given the frames of the bridge that could concern it:
//! those to its MAC and those to groups. It learns neighbours from them and turns questions into answers
//! in their own buffer. What it answers nobody else needs to see; what it passes goes on as on any
//! bridge.
//!
//! Immutable, made by the control thread; any worker calls.

mod advertisement;
mod arp;
mod echo;
mod ndisc;
mod serve;

#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use pktio::wire::field::{ethertype, icmp, protocol};
use pktio::wire::{Layers, MacAddr, Network, after_tags};
use pktio::{Burst, PktBuf, Pool};

use super::icmp::{IcmpError, Station};
use super::neighbors::{Neighbors, Solicitation};
use super::prefix::{Prefix, PrefixSet};
use crate::{BridgeIndex, Nanos};

pub use advertisement::{AdvertisedPrefix, Advertising, AdvertisingSchedule};

/// An address of a gateway, and the subnet that it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GatewayAddress {
    ip: IpAddr,
    subnet: Prefix,
}

impl GatewayAddress {
    /// An address in a subnet of so many bits. `None` when the address has fewer bits, or is none that a
    /// station can have.
    pub fn new(ip: IpAddr, bits: u8) -> Option<Self> {
        let is_usable = !ip.is_unspecified() && !ip.is_multicast() && !ip.is_loopback();
        Some(Self { ip, subnet: Prefix::new(ip, bits)? }).filter(|_| is_usable)
    }

    /// The address.
    pub fn ip(self) -> IpAddr {
        self.ip
    }

    /// The subnet.
    pub fn subnet(self) -> Prefix {
        self.subnet
    }

    /// The address of all stations of the subnet, if it has one: IPv4 subnets of more than two addresses
    /// (RFC 3021).
    pub fn broadcast(self) -> Option<Ipv4Addr> {
        match self.subnet.last() {
            IpAddr::V4(last) if self.subnet.bits() < 31 => Some(last),
            _ => None,
        }
    }
}

/// The router interface of a bridge.
#[derive(Debug, Clone, Default)]
pub struct Gateway {
    /// Its MAC address.
    pub mac: MacAddr,
    /// Its addresses. With any of IPv6 it has a link-local one besides: [`Gateway::link_local`].
    pub addresses: Vec<GatewayAddress>,
    /// Addresses that it answers for as if they were its own: those of containers on other ports and
    /// bridges that somebody takes to be on his own link (RFC 1027, RFC 4861 section 7.2.8).
    pub proxy: PrefixSet,
    /// The router advertisements that it sends, if any.
    pub advertise: Option<Advertising>,
    /// What it serves the stations of its bridge with.
    pub serves: Services,
}

/// What somebody behind the gateway serves stations with, off the packet path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Services {
    /// Names: DNS, over UDP and TCP, at each of its addresses.
    pub names: bool,
    /// Addresses: DHCP of IPv4.
    pub addresses: bool,
}

/// Where and when a frame came in.
#[derive(Clone, Copy)]
pub struct Scene<'a> {
    /// The gateway's bridge.
    pub bridge: BridgeIndex,
    /// Where neighbours are learned.
    pub neighbors: &'a Neighbors,
    /// Now.
    pub now: Nanos,
    /// Whether an address is known to be behind the port that the frame came from. Then nobody stands in
    /// for it: it answers by itself (RFC 1027 section 2.3).
    pub is_on_askers_port: &'a dyn Fn(IpAddr) -> bool,
}

/// What became of a frame that could concern the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The frame has become the answer. Send it out of the port it came in by.
    Reply,
    /// It was for the gateway, which has nothing to say. Drop it.
    Done,
    /// It is for the gateway, but nobody is there: answer with this error ([`make`](super::icmp::make)).
    Refuse(IcmpError),
    /// It is a TCP segment for the gateway: answer with a reset ([`reset`](super::icmp::reset)).
    Reset,
    /// It is for one of the gateway's [`Services`]: hand it to whoever serves.
    Serve,
    /// It does not concern the gateway, or not only: bridge or route it.
    Pass,
}

impl Gateway {
    /// The link-local address that is derived from the MAC address (RFC 4291 appendix A).
    pub fn link_local(&self) -> Ipv6Addr {
        let [a, b, c, d, e, f] = self.mac.0;
        let identifier = u64::from_be_bytes([a ^ 2, b, c, 0xff, 0xfe, d, e, f]);
        Ipv6Addr::from_bits(0xfe80 << 112 | u128::from(identifier))
    }

    /// Whether an address is the gateway's own.
    pub fn is_own(&self, ip: IpAddr) -> bool {
        self.addresses.iter().any(|address| address.ip == ip)
            || (self.speaks_v6() && ip == IpAddr::V6(self.link_local()))
    }

    /// Whether an address is in one of the bridge's subnets.
    pub fn is_on_link(&self, ip: IpAddr) -> bool {
        let is_link_local = matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
        is_link_local || self.addresses.iter().any(|address| address.subnet.contains(ip))
    }

    /// Whether an address is the broadcast address of one of the bridge's subnets, or of all.
    pub fn is_broadcast(&self, ip: IpAddr) -> bool {
        let IpAddr::V4(ip) = ip else { return false };
        ip.is_broadcast() || self.addresses.iter().any(|address| address.broadcast() == Some(ip))
    }

    /// The gateway as the source of packets to a station: with its address in the station's subnet, or
    /// else the first of that family. `None` when it has none.
    pub fn station_for(&self, ip: IpAddr) -> Option<Station> {
        let of_family = || self.addresses.iter().filter(|own| own.ip.is_ipv4() == ip.is_ipv4());
        let nearest = of_family().find(|own| own.subnet.contains(ip));
        let is_link_local = matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
        let any = || of_family().next().filter(|_| !is_link_local).map(|own| own.ip);
        let own = nearest.map(|own| own.ip).or_else(any);
        let link_local = || (self.speaks_v6() && ip.is_ipv6()).then(|| self.link_local().into());
        Some(Station { mac: self.mac, ip: own.or_else(link_local)? })
    }

    /// Attends to a frame that is for the gateway's MAC or a group. `layers` are the frame's, if it
    /// carries IP. Whatever it is, the frame is unchanged unless it became the answer.
    pub fn attend(&self, frame: &mut PktBuf, layers: Option<&Layers>, scene: &Scene) -> Outcome {
        let Some(layers) = layers else {
            return match after_tags(frame.data()) {
                Ok((ethertype::ARP, l3)) => arp::attend(self, frame, l3, scene),
                _ => Outcome::Pass,
            };
        };
        if is_discovery(frame.data(), layers) {
            return ndisc::attend(self, frame, layers, scene);
        }
        if serve::is_for_service(self, frame, layers) {
            return Outcome::Serve;
        }
        match layers.addresses(frame.data()) {
            Some((_, destination)) if self.is_own(destination) => echo::attend(self, frame, layers),
            _ => Outcome::Pass,
        }
    }

    /// The frame that asks a question of the [`Resolver`](super::Resolver). `None` when the gateway has no
    /// address to ask from, or no buffer is free.
    pub fn solicit(&self, question: &Solicitation, pool: &mut Pool) -> Option<PktBuf> {
        match question.ip {
            IpAddr::V4(target) => arp::request(self, target, question.to, pool),
            IpAddr::V6(target) => ndisc::solicitation(self, target, question.to, pool),
        }
    }

    /// The frames that tell all stations of the bridge the gateway's MAC, appended to `out`: for when the
    /// gateway is new or its MAC changed (RFC 5227 section 2.3, RFC 4861 section 7.2.6).
    pub fn announce(&self, pool: &mut Pool, out: &mut Burst) {
        let frames = self.addresses.iter().filter_map(|address| match address.ip {
            IpAddr::V4(ip) => arp::announcement(self, ip, pool),
            IpAddr::V6(ip) => ndisc::announcement(self, ip, pool),
        });
        out.extend(frames);
    }

    /// A router advertisement to all stations of the bridge. `None` when none are to be sent, or no buffer
    /// is free.
    pub fn advertisement(&self, pool: &mut Pool) -> Option<PktBuf> {
        let config = self.advertise.as_ref()?;
        advertisement::to_all(self, config, config.lifetime_seconds, pool)
    }

    /// The last router advertisement, which says that this is no router any more (RFC 4861 section
    /// 6.2.5).
    pub fn farewell(&self, pool: &mut Pool) -> Option<PktBuf> {
        advertisement::to_all(self, self.advertise.as_ref()?, 0, pool)
    }

    fn speaks_v6(&self) -> bool {
        self.advertise.is_some() || self.addresses.iter().any(|address| address.ip.is_ipv6())
    }

    /// Whether the gateway stands in for an address.
    fn stands_in_for(&self, ip: IpAddr, scene: &Scene) -> bool {
        self.proxy.contains(ip) && !self.is_own(ip) && !(scene.is_on_askers_port)(ip)
    }
}

/// Whether a packet is one of the four messages by which IPv6 neighbours find each other.
fn is_discovery(frame: &[u8], layers: &Layers) -> bool {
    let kind = frame.get(usize::from(layers.l4));
    layers.network == Network::V6
        && layers.protocol == protocol::ICMPV6
        && kind.is_some_and(|kind| icmp::V6_DISCOVERY.contains(kind))
}

/// A MAC address that a station can have.
fn is_station(mac: MacAddr) -> bool {
    !mac.is_group() && mac != MacAddr::default()
}
