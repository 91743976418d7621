//! [`Guard`]: keeps a port from sending as somebody else.
//!
//! A guarded port sends by its own station address only, and by its own IP addresses: in IP packets, in ARP
//! (RFC 826) and in Neighbor Discovery (RFC 4861). It is no DHCP server, no router, and redirects nobody. What
//! a station needs before it has an address is allowed: probes for duplicates (RFC 5227, RFC 4862), asking
//! for routers, and asking a DHCP server.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use pktio::wire::field::{ethertype, protocol};
use pktio::wire::{EthernetHeader, Fragment, Layers, MacAddr, Network, after_tags};

const DHCP_SERVER: u16 = 67;
const DHCP_CLIENT: u16 = 68;
const DHCPV6_CLIENT: u16 = 546;
const DHCPV6_SERVER: u16 = 547;

const ROUTER_SOLICITATION: u8 = 133;
const ROUTER_ADVERTISEMENT: u8 = 134;
const NEIGHBOR_SOLICITATION: u8 = 135;
const NEIGHBOR_ADVERTISEMENT: u8 = 136;
const REDIRECT: u8 = 137;
/// Multicast listener reports may come from nobody (RFC 3590).
const LISTENER_REPORTS: [u8; 3] = [131, 132, 143];
/// The options of Neighbor Discovery that say what somebody's station address is.
const LINK_ADDRESSES: [u8; 2] = [1, 2];

/// Whom a port may send as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guard {
    /// Its station address.
    pub mac: MacAddr,
    /// Its IP addresses. The link-local one that is made of the station address (RFC 4291 appendix A)
    /// needs not be among them.
    pub addresses: Vec<IpAddr>,
}

impl Guard {
    /// Whether a frame is the port's own. `layers` are those of the frame.
    pub fn admits(&self, frame: &[u8], layers: Option<&Layers>) -> bool {
        let is_own = EthernetHeader::read(frame).is_some_and(|header| header.src == self.mac);
        is_own
            && match layers {
                Some(layers) => self.admits_packet(frame, layers).unwrap_or(false),
                None => match after_tags(frame) {
                    Ok((ethertype::ARP, at)) => self.admits_arp(&frame[at..]),
                    Ok(_) => true,
                    Err(_) => false,
                },
            }
    }

    /// Sender hardware and protocol address of ARP over Ethernet. What asks whether an address is free
    /// has none.
    fn admits_arp(&self, arp: &[u8]) -> bool {
        const ETHERNET_IPV4: [u8; 6] = [0, 1, 8, 0, 6, 4];
        let (kind, station) = (arp.get(..6), arp.get(8..14));
        let ip = arp.get(14..18).and_then(<[u8]>::first_chunk::<4>);
        let ip = ip.map(|ip| Ipv4Addr::from(*ip));
        kind == Some(&ETHERNET_IPV4)
            && station == Some(&self.mac.0)
            && ip.is_some_and(|ip| ip.is_unspecified() || self.is_own(ip.into()))
    }

    fn admits_packet(&self, frame: &[u8], layers: &Layers) -> Option<bool> {
        let (source, _) = layers.addresses(frame)?;
        let l4 = usize::from(layers.l4);
        if layers.fragment == Fragment::Later {
            return Some(self.is_own(source));
        }
        let is_v6 = layers.network == Network::V6;
        Some(match layers.protocol {
            protocol::UDP => {
                let (from, to) = layers.ports(frame)?;
                let (server, client) =
                    if is_v6 { (DHCPV6_SERVER, DHCPV6_CLIENT) } else { (DHCP_SERVER, DHCP_CLIENT) };
                let asks = source == IpAddr::V4(Ipv4Addr::UNSPECIFIED)
                    && (from, to) == (DHCP_CLIENT, DHCP_SERVER);
                // Clients take answers by whatever port they come from (RFC 7610 section 5).
                from != server && to != client && (asks || self.is_own(source))
            }
            protocol::ICMPV6 if is_v6 => {
                let message = frame.get(l4..usize::try_from(layers.end).ok()?)?;
                self.admits_icmpv6(source, message, layers)
            }
            _ => self.is_own(source),
        })
    }

    fn admits_icmpv6(&self, source: IpAddr, message: &[u8], layers: &Layers) -> bool {
        let is_nobody = source == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        let is_own = self.is_own(source);
        let Some(kind) = message.first() else { return false };
        // Discovery in fragments is never honest (RFC 6980).
        let is_whole = layers.fragment == Fragment::Whole;
        match *kind {
            ROUTER_ADVERTISEMENT | REDIRECT => false,
            ROUTER_SOLICITATION => is_whole && (is_own || is_nobody) && self.owns_links(message, 8),
            NEIGHBOR_SOLICITATION if is_nobody => is_whole && self.owns_target(message),
            NEIGHBOR_SOLICITATION => is_whole && is_own && self.owns_links(message, 24),
            NEIGHBOR_ADVERTISEMENT => {
                is_whole && is_own && self.owns_target(message) && self.owns_links(message, 24)
            }
            kind if LISTENER_REPORTS.contains(&kind) => is_own || is_nobody,
            _ => is_own,
        }
    }

    fn owns_target(&self, message: &[u8]) -> bool {
        let target = message.get(8..24).and_then(<[u8]>::first_chunk::<16>);
        target.is_some_and(|target| self.is_own(Ipv6Addr::from(*target).into()))
    }

    /// Whether every link-layer address in the options from `at` on is the port's own.
    fn owns_links(&self, message: &[u8], mut at: usize) -> bool {
        while let Some(option) = message.get(at..).filter(|rest| rest.len() >= 8) {
            let bytes = usize::from(option[1]) * 8;
            if bytes == 0 || LINK_ADDRESSES.contains(&option[0]) && option[2..8] != self.mac.0 {
                return false;
            }
            at += bytes;
        }
        true
    }

    fn is_own(&self, ip: IpAddr) -> bool {
        self.addresses.contains(&ip) || ip == IpAddr::V6(self.link_local())
    }

    fn link_local(&self) -> Ipv6Addr {
        let [a, b, c, d, e, f] = self.mac.0;
        let upper = [0xfe, 0x80, 0, 0, 0, 0, 0, 0];
        let lower = [a ^ 2, b, c, 0xff, 0xfe, d, e, f];
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&upper);
        bytes[8..].copy_from_slice(&lower);
        Ipv6Addr::from(bytes)
    }
}

#[cfg(test)]
mod tests;
