//! What the host knows of one of its own interfaces: addresses, routes and neighbours, and when they change.
//!
//! For an interface that the switch shares with the host, whose addresses, routes and neighbours are the host's.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE, NetlinkPayload};
use netlink_packet_route::address::AddressHeaderFlags;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAttribute, RouteFlags, RouteMessage, RouteNextHopFlags, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use ctl::{IpCidr, Prefix};

use crate::netlink::parse;
use crate::route::{destination, family, gateway_in, is_main, leads_through, metric};
use crate::{HostError, Link, MacBytes, Netlink};

/// `RTNLGRP_NEIGH`, `RTNLGRP_IPV4_IFADDR`, `RTNLGRP_IPV4_ROUTE`, `RTNLGRP_IPV6_IFADDR`, `RTNLGRP_IPV6_ROUTE`
/// (linux/rtnetlink.h).
const GROUPS: [u32; 5] = [3, 5, 7, 9, 11];

/// An interface of the host, as it was when it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uplink {
    /// The interface.
    pub link: Link,
    /// Its addresses, without link-local ones of IPv6, which nobody beyond the link can send to, and without those that may be
    /// somebody else's. Those that last come first: after them temporary ones of IPv6 (RFC 8981), and last those that the
    /// kernel begins nothing new with any more (RFC 4862, section 5.5.4).
    pub addresses: Vec<IpCidr>,
    /// Its unicast routes in the main table: by one of these routers, or, where there is none, to stations of the link. Of equal
    /// destinations the one with the lowest metric counts. Link-local destinations are left out.
    pub routes: BTreeMap<Prefix, Vec<IpAddr>>,
}

/// Something that happened to what the host knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UplinkEvent {
    /// A neighbour has answered the kernel, or is known to it to have this MAC address.
    Neighbor {
        /// The interface's number.
        interface: u32,
        /// The neighbour.
        ip: IpAddr,
        /// Where it is.
        mac: MacBytes,
        /// Whether it has just answered.
        is_confirmed: bool,
    },
    /// Addresses or routes changed, or events were lost: ask for the present state.
    Changed,
}

impl Netlink {
    /// What the host knows of an interface, by its name.
    ///
    /// # Errors
    /// [`HostError::NoSuchLink`] when there is none.
    pub fn uplink(&self, name: &str) -> Result<Uplink, HostError> {
        let link = self.link(name)?;
        let addresses = usable(self.flagged_addresses(link.index)?);
        let mut routes = BTreeMap::new();
        for any in [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)] {
            let mut message = RouteMessage::default();
            message.header.address_family = family(any);
            let answers = self.dump(RouteNetlinkMessage::GetRoute(message), ("list", "routes"))?;
            routes.append(&mut routes_by(&answers, link.index, any));
        }
        Ok(Uplink { link, addresses, routes })
    }

    /// The MAC address of a neighbour if the kernel is sure of it. Otherwise the kernel asks for it, or after it, and an
    /// [`UplinkMonitor`] tells of the answer.
    ///
    /// # Errors
    /// [`HostError`].
    pub fn resolve(&self, interface: u32, ip: IpAddr) -> Result<Option<MacBytes>, HostError> {
        let known = self.neighbor(interface, ip)?;
        let mut request = neighbor_message(interface, ip);
        match known {
            Some((
                NeighbourState::Reachable | NeighbourState::Permanent | NeighbourState::Noarp,
                mac,
            )) => {
                return Ok(mac);
            }
            // A stale one would be asked after only some seconds from now (delay_first_probe_time).
            Some((NeighbourState::Stale | NeighbourState::Delay, Some(mac))) => {
                request.header.state = NeighbourState::Probe;
                request.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.to_vec()));
            }
            Some((NeighbourState::Probe | NeighbourState::Incomplete, _)) => return Ok(None),
            _ => request.header.flags = NeighbourFlags::Use,
        }
        let request = RouteNetlinkMessage::NewNeighbour(request);
        self.request(request, NLM_F_CREATE | NLM_F_REPLACE, ("ask for", &ip.to_string()))?;
        Ok(None)
    }

    fn neighbor(
        &self,
        interface: u32,
        ip: IpAddr,
    ) -> Result<Option<(NeighbourState, Option<MacBytes>)>, HostError> {
        let request = RouteNetlinkMessage::GetNeighbour(neighbor_message(interface, ip));
        match self.query(request, ("look up neighbour", &ip.to_string())) {
            Ok(Some(RouteNetlinkMessage::NewNeighbour(message))) => {
                Ok(Some((message.header.state, mac_of(&message))))
            }
            Ok(_) => Ok(None),
            Err(error) if error.io().and_then(io::Error::raw_os_error) == Some(libc::ENOENT) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// The addresses that others can send to, those that last first.
pub(crate) fn usable(mut all: Vec<(IpCidr, AddressHeaderFlags)>) -> Vec<IpCidr> {
    let doubtful = AddressHeaderFlags::Tentative | AddressHeaderFlags::Dadfailed;
    all.retain(|(cidr, flags)| {
        let is_on_link = matches!(cidr.addr, IpAddr::V6(ip) if ip.is_unicast_link_local());
        !is_on_link && !flags.intersects(doubtful)
    });
    // What is called secondary is temporary in IPv6, and in IPv4 the second of its subnet.
    let transience = |(_, flags): &(IpCidr, AddressHeaderFlags)| {
        let has = |flag| flags.contains(flag);
        (has(AddressHeaderFlags::Deprecated), has(AddressHeaderFlags::Secondary))
    };
    all.sort_by_key(transience);
    all.into_iter().map(|(cidr, _)| cidr).collect()
}

fn neighbor_message(interface: u32, ip: IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family(ip);
    message.header.ifindex = interface;
    message.attributes.push(NeighbourAttribute::Destination(ip.into()));
    message
}

fn mac_of(message: &NeighbourMessage) -> Option<MacBytes> {
    message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(mac) => mac.as_slice().try_into().ok(),
        _ => None,
    })
}

/// The routes of one IP version that lead by an interface.
fn routes_by(
    listed: &[RouteNetlinkMessage],
    interface: u32,
    any: IpAddr,
) -> BTreeMap<Prefix, Vec<IpAddr>> {
    let mut best: BTreeMap<Prefix, (u32, Vec<IpAddr>)> = BTreeMap::new();
    let mut declared = BTreeMap::new();
    for message in listed {
        let RouteNetlinkMessage::NewRoute(route) = message else { continue };
        let Some(hops) = hops_by(route, interface) else { continue };
        let Some(to) = destination(route, any).filter(|to| !is_of_every_link(to)) else { continue };
        // `onlink` says that a router is a station of the link, where no other route does.
        let stations = hops.iter().filter(|hop| hop.is_on_link);
        declared.extend(stations.filter_map(|hop| Some((Prefix::host(hop.via?), Vec::new()))));
        let metric = metric(route);
        if best.get(&to).is_none_or(|(lowest, _)| metric < *lowest) {
            best.insert(to, (metric, hops.iter().filter_map(|hop| hop.via).collect()));
        }
    }
    declared.extend(best.into_iter().map(|(to, (_, via))| (to, via)));
    declared
}

/// One way of a route.
struct Hop {
    /// The router; none where the destination is a station of the link.
    via: Option<IpAddr>,
    /// Whoever made the route says that the router is a station of the link.
    is_on_link: bool,
}

/// The ways of a unicast route of the main table that lead by an interface; nothing, if none does.
fn hops_by(route: &RouteMessage, interface: u32) -> Option<Vec<Hop>> {
    if !is_main(route) || route.header.kind != RouteType::Unicast {
        return None;
    }
    if is_by_other_version(&route.attributes) {
        return None;
    }
    if leads_through(route, interface) {
        let is_on_link = route.header.flags.contains(RouteFlags::Onlink);
        return Some(vec![Hop { via: gateway_in(&route.attributes), is_on_link }]);
    }
    let many = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::MultiPath(hops) => Some(hops),
        _ => None,
    })?;
    let ours = many
        .iter()
        .filter(|hop| hop.interface_index == interface && !is_by_other_version(&hop.attributes));
    let hops: Vec<_> = ours
        .map(|hop| Hop {
            via: gateway_in(&hop.attributes),
            is_on_link: hop.flags.contains(RouteNextHopFlags::Onlink),
        })
        .collect();
    (!hops.is_empty()).then_some(hops)
}

/// Whether a way leads to a router by an address of the other IP version, as no router of this switch's has ways.
fn is_by_other_version(attributes: &[RouteAttribute]) -> bool {
    attributes.iter().any(|attribute| matches!(attribute, RouteAttribute::Via(_)))
}

/// Whether every link has it: link-local addresses of IPv6, and multicast.
fn is_of_every_link(to: &Prefix) -> bool {
    match to.addr() {
        IpAddr::V4(ip) => ip.is_multicast(),
        IpAddr::V6(ip) => ip.is_unicast_link_local() || ip.is_multicast(),
    }
}

/// Tells of what the host knows, in the namespace in which it was opened.
#[derive(Debug)]
pub struct UplinkMonitor {
    socket: Socket,
}

impl UplinkMonitor {
    /// Watches the calling thread's namespace.
    ///
    /// # Errors
    /// [`HostError::Netlink`].
    pub fn open() -> Result<Self, HostError> {
        let open = || -> io::Result<Socket> {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind(&SocketAddr::new(0, 0))?;
            GROUPS.iter().try_for_each(|group| socket.add_membership(*group))?;
            socket.set_non_blocking(true)?;
            Ok(socket)
        };
        let socket = open().map_err(|source| HostError::Netlink {
            operation: "watch",
            subject: "addresses, routes and neighbours".to_owned(),
            source,
            remark: None,
        })?;
        Ok(Self { socket })
    }

    /// What happened since the last call. Never blocks.
    pub fn events(&self) -> Vec<UplinkEvent> {
        let mut events = Vec::new();
        loop {
            match self.socket.recv_from_full() {
                Ok((datagram, _)) => match parse(&datagram, "watch addresses") {
                    Ok(messages) => {
                        events
                            .extend(messages.iter().filter_map(|message| event(&message.payload)));
                    }
                    Err(_) => events.push(UplinkEvent::Changed),
                },
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    events.push(UplinkEvent::Changed);
                }
                Err(_) => return events,
            }
        }
    }
}

fn event(payload: &NetlinkPayload<RouteNetlinkMessage>) -> Option<UplinkEvent> {
    let NetlinkPayload::InnerMessage(message) = payload else { return None };
    match message {
        RouteNetlinkMessage::NewNeighbour(message) => neighbor_event(message),
        RouteNetlinkMessage::NewAddress(_)
        | RouteNetlinkMessage::DelAddress(_)
        | RouteNetlinkMessage::NewRoute(_)
        | RouteNetlinkMessage::DelRoute(_) => Some(UplinkEvent::Changed),
        _ => None,
    }
}

fn neighbor_event(message: &NeighbourMessage) -> Option<UplinkEvent> {
    let ip = message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)) => Some(IpAddr::V4(*ip)),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(ip)) => Some(IpAddr::V6(*ip)),
        _ => None,
    })?;
    let is_confirmed = match message.header.state {
        NeighbourState::Reachable | NeighbourState::Permanent | NeighbourState::Noarp => true,
        NeighbourState::Stale | NeighbourState::Delay | NeighbourState::Probe => false,
        _ => return None,
    };
    let known = matches!(message.header.family, AddressFamily::Inet | AddressFamily::Inet6);
    let (interface, mac) = (message.header.ifindex, mac_of(message).filter(|_| known)?);
    Some(UplinkEvent::Neighbor { interface, ip, mac, is_confirmed })
}

impl AsFd for UplinkMonitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        crate::sys::borrow(self.socket.as_raw_fd(), self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_addresses_that_last_come_first_and_doubtful_ones_not_at_all() {
        use AddressHeaderFlags as Flags;
        // As the kernel lists them: of IPv6 the newest first.
        let listed = [
            ("192.0.2.2/24", Flags::Permanent),
            ("192.0.2.3/24", Flags::Permanent | Flags::Secondary),
            ("2001:db8::7/64", Flags::Permanent | Flags::Tentative),
            ("2001:db8::6/64", Flags::Permanent | Flags::Dadfailed),
            ("2001:db8::5/64", Flags::Secondary),
            ("2001:db8::4/64", Flags::Secondary | Flags::Deprecated),
            ("2001:db8:1::3/64", Flags::Deprecated),
            ("2001:db8::2/64", Flags::empty()),
            ("fe80::1/64", Flags::Permanent),
        ];
        let listed = listed.map(|(cidr, flags)| (cidr.parse().unwrap(), flags));
        let usable: Vec<_> = usable(listed.to_vec()).iter().map(ToString::to_string).collect();
        let expected = [
            "192.0.2.2/24",
            "2001:db8::2/64",
            "192.0.2.3/24",
            "2001:db8::5/64",
            "2001:db8:1::3/64",
            "2001:db8::4/64",
        ];
        assert_eq!(usable, expected);
    }
}
