//! Addresses and routes, by netlink.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol, RouteScope,
    RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use ctl::{IpCidr, Prefix, TapRoute};

use crate::{HostError, Netlink};

/// `IN6_ADDR_GEN_MODE_NONE` (linux/if_link.h).
const NO_ADDRESS: &str = "1";
/// `IP6_RT_PRIO_USER` (linux/ipv6_route.h): the metric of routes of IPv6 that are given none.
const IPV6_METRIC: u32 = 1024;

pub(crate) fn family(addr: IpAddr) -> AddressFamily {
    if addr.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

impl Netlink {
    /// Gives an interface an address. An IPv6 address is usable at once: nobody is asked whether he has it
    /// already.
    ///
    /// # Errors
    /// [`HostError::Netlink`], when the interface has the address.
    pub fn add_address(&self, index: u32, cidr: IpCidr) -> Result<(), HostError> {
        let mut message = address_message(index, cidr);
        match cidr.addr {
            IpAddr::V4(addr) => message.attributes.extend(broadcast(addr, cidr.prefix_len)),
            IpAddr::V6(_) => message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad)),
        }
        let request = RouteNetlinkMessage::NewAddress(message);
        self.request(request, NLM_F_CREATE | NLM_F_EXCL, ("add address", &cidr.to_string()))
    }

    /// Takes an address from an interface, if it has it.
    ///
    /// # Errors
    /// [`HostError::Netlink`].
    pub fn remove_address(&self, index: u32, cidr: IpCidr) -> Result<(), HostError> {
        let request = RouteNetlinkMessage::DelAddress(address_message(index, cidr));
        let removed = self.request(request, 0, ("remove address", &cidr.to_string()));
        unless(removed, libc::EADDRNOTAVAIL)
    }

    /// The addresses of an interface.
    ///
    /// # Errors
    /// [`HostError`].
    pub fn addresses(&self, index: u32) -> Result<Vec<IpCidr>, HostError> {
        Ok(self.flagged_addresses(index)?.into_iter().map(|(cidr, _)| cidr).collect())
    }

    /// The addresses of an interface, and what the kernel says about each.
    pub(crate) fn flagged_addresses(
        &self,
        index: u32,
    ) -> Result<Vec<(IpCidr, AddressHeaderFlags)>, HostError> {
        let request = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        let answers = self.dump(request, ("list", "addresses"))?;
        let cidrs = answers.iter().filter_map(|answer| match answer {
            RouteNetlinkMessage::NewAddress(message) if message.header.index == index => {
                Some((cidr_of(message)?, message.header.flags))
            }
            _ => None,
        });
        Ok(cidrs.collect())
    }

    /// Adds a route: to `destination` by a gateway that is reached through the interface, even when no subnet of it
    /// has the gateway. It takes the place of one that leads there through the same interface, and never of
    /// another interface's.
    ///
    /// # Errors
    /// [`HostError::RouteTaken`], when another interface has it; [`HostError::Netlink`].
    pub fn add_route(
        &self,
        destination: IpCidr,
        gateway: IpAddr,
        interface: u32,
    ) -> Result<(), HostError> {
        let message = route_message(destination, gateway, interface);
        let route = format!("{destination} by {gateway}");
        let add = |flag| {
            let request = RouteNetlinkMessage::NewRoute(message.clone());
            self.request(request, NLM_F_CREATE | flag, ("add route", &route))
        };
        match add(NLM_F_EXCL) {
            Err(error) if !is(&error, libc::EEXIST) => Err(error),
            Err(_) if self.is_taken(destination.subnet(), interface)? => {
                Err(HostError::RouteTaken { route })
            }
            Err(_) => add(NLM_F_REPLACE),
            Ok(()) => Ok(()),
        }
    }

    /// Whether another interface has the route to `to` that `interface` is to have.
    fn is_taken(&self, to: Prefix, interface: u32) -> Result<bool, HostError> {
        let ours = if to.is_ipv4() { 0 } else { IPV6_METRIC };
        Ok(self.all_routes()?.iter().any(|(route, any)| {
            is_main(route)
                && destination(route, *any) == Some(to)
                && metric(route) == ours
                && !leads_through(route, interface)
        }))
    }

    /// The networks to which the namespace has routes in the main table, whatever their metric, that do not lead through
    /// the interface called `name`, if there is one. What is on the other interfaces is among them, and default routes are.
    ///
    /// # Errors
    /// [`HostError`].
    pub fn routes_elsewhere(&self, name: &str) -> Result<Vec<Prefix>, HostError> {
        let own = match self.link(name) {
            Err(HostError::NoSuchLink { .. }) => None,
            link => Some(link?.index),
        };
        let all = self.all_routes()?;
        let is_other = |route| is_main(route) && own.is_none_or(|own| !leads_through(route, own));
        let others = all.iter().filter(|(route, _)| is_other(route));
        Ok(others.filter_map(|(route, any)| destination(route, *any)).collect())
    }

    /// The networks that the namespace has routes to, but for the default routes, in all tables. What is on its own
    /// interfaces is among them.
    ///
    /// # Errors
    /// [`HostError`].
    pub fn routes(&self) -> Result<Vec<Prefix>, HostError> {
        let all = self.all_routes()?;
        let mut networks: Vec<_> =
            all.iter().filter_map(|(route, any)| destination(route, *any)).collect();
        networks.retain(|network| network.prefix_len() > 0);
        Ok(networks)
    }

    /// The routes by routers that lead through an interface, in the main table; default routes are among them.
    ///
    /// # Errors
    /// [`HostError`].
    pub fn routes_by(&self, interface: u32) -> Result<Vec<TapRoute>, HostError> {
        let all = self.all_routes()?;
        let is_through = |route| is_main(route) && leads_through(route, interface);
        let through = all.iter().filter(|(route, _)| is_through(route));
        let routes = through.filter_map(|(route, any)| {
            Some(TapRoute { to: destination(route, *any)?, via: next_hop(route)? })
        });
        Ok(routes.collect())
    }

    /// All routes of all tables, each with the address that stands for any of its IP version.
    fn all_routes(&self) -> Result<Vec<(RouteMessage, IpAddr)>, HostError> {
        let mut routes = Vec::new();
        for (version, any) in [
            (AddressFamily::Inet, IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            (AddressFamily::Inet6, IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
        ] {
            let mut message = RouteMessage::default();
            message.header.address_family = version;
            let answers = self.dump(RouteNetlinkMessage::GetRoute(message), ("list", "routes"))?;
            routes.extend(answers.into_iter().filter_map(|answer| match answer {
                RouteNetlinkMessage::NewRoute(route) => Some((route, any)),
                _ => None,
            }));
        }
        Ok(routes)
    }

    /// Adds the default route by a gateway, like [`Netlink::add_route`].
    ///
    /// # Errors
    /// As of [`Netlink::add_route`].
    pub fn add_default_route(&self, gateway: IpAddr, interface: u32) -> Result<(), HostError> {
        self.add_route(anywhere(gateway), gateway, interface)
    }

    /// Removes the default route by a gateway, if there is one.
    ///
    /// # Errors
    /// [`HostError::Netlink`].
    pub fn remove_default_route(&self, gateway: IpAddr, interface: u32) -> Result<(), HostError> {
        let message = route_message(anywhere(gateway), gateway, interface);
        let request = RouteNetlinkMessage::DelRoute(message);
        let removed = self.request(request, 0, ("remove the default route", &gateway.to_string()));
        unless(removed, libc::ESRCH)
    }
}

/// What the kernel says of something that is not there is no error.
fn unless(result: Result<(), HostError>, absent: i32) -> Result<(), HostError> {
    match result {
        Err(error) if is(&error, absent) => Ok(()),
        other => other,
    }
}

fn is(error: &HostError, code: i32) -> bool {
    error.io().and_then(io::Error::raw_os_error) == Some(code)
}

/// Every address of a version.
fn anywhere(version: IpAddr) -> IpCidr {
    let addr = match version {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    IpCidr { addr, prefix_len: 0 }
}

fn address_message(index: u32, cidr: IpCidr) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = family(cidr.addr);
    message.header.prefix_len = cidr.prefix_len;
    message.header.scope = AddressScope::Universe;
    message.header.index = index;
    message.attributes.push(AddressAttribute::Local(cidr.addr));
    message.attributes.push(AddressAttribute::Address(cidr.addr));
    message
}

fn route_message(destination: IpCidr, gateway: IpAddr, interface: u32) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family(gateway);
    message.header.destination_prefix_length = destination.prefix_len;
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Static;
    message.header.scope = RouteScope::Universe;
    message.header.kind = RouteType::Unicast;
    message.header.flags = RouteFlags::Onlink;
    if destination.prefix_len > 0 {
        message.attributes.push(RouteAttribute::Destination(route_address(destination.addr)));
    }
    message.attributes.push(RouteAttribute::Gateway(route_address(gateway)));
    message.attributes.push(RouteAttribute::Oif(interface));
    message
}

/// Makes IPv6 on an interface of the calling thread's namespace usable at once: its link-local address
/// too is not checked for duplicates. An interface without IPv6 stays as it is.
///
/// # Errors
/// [`HostError::File`].
pub(crate) fn skip_duplicate_detection(interface: &str) -> Result<(), HostError> {
    set_ipv6(interface, "accept_dad", "0")
}

/// Switches IPv6 on for an interface of the calling thread's namespace, where others are made without
/// (`net.ipv6.conf.default.disable_ipv6`). An interface without IPv6 stays as it is.
///
/// # Errors
/// [`HostError::File`].
pub(crate) fn allow_ipv6(interface: &str) -> Result<(), HostError> {
    set_ipv6(interface, "disable_ipv6", "0")
}

/// Keeps an interface of the calling thread's namespace from making itself a link-local address, by which it
/// would report multicast groups and look for routers. IPv6 is not off: other addresses can be added. An interface
/// without IPv6 stays as it is.
///
/// # Errors
/// [`HostError::File`].
pub(crate) fn withhold_link_local(interface: &str) -> Result<(), HostError> {
    set_ipv6(interface, "addr_gen_mode", NO_ADDRESS)
}

/// Lets an interface of the calling thread's namespace make itself a link-local address after all, as others of the namespace
/// do. One that has it keeps it.
///
/// # Errors
/// [`HostError::File`].
pub(crate) fn allow_link_local(interface: &str) -> Result<(), HostError> {
    let path = ipv6_setting("default", "addr_gen_mode");
    match std::fs::read_to_string(&path) {
        Ok(mode) => set_ipv6(interface, "addr_gen_mode", mode.trim()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(HostError::File { path, source }),
    }
}

/// Writes a setting of IPv6 (`Documentation/networking/ip-sysctl.rst`), if the interface has IPv6.
fn set_ipv6(interface: &str, setting: &str, value: &str) -> Result<(), HostError> {
    let path = ipv6_setting(interface, setting);
    match std::fs::write(&path, value) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(HostError::File { path, source }),
        Ok(()) => Ok(()),
    }
}

fn ipv6_setting(interface: &str, setting: &str) -> PathBuf {
    PathBuf::from(format!("/proc/sys/net/ipv6/conf/{interface}/{setting}"))
}

fn broadcast(addr: Ipv4Addr, prefix_len: u8) -> Option<AddressAttribute> {
    let host_bits = 32u32.checked_sub(u32::from(prefix_len)).filter(|bits| *bits > 1)?;
    let mask = u32::MAX.checked_shr(32 - host_bits).unwrap_or(0);
    Some(AddressAttribute::Broadcast(Ipv4Addr::from(u32::from(addr) | mask)))
}

pub(crate) fn is_main(route: &RouteMessage) -> bool {
    route.header.table == RouteHeader::RT_TABLE_MAIN
}

pub(crate) fn leads_through(route: &RouteMessage, interface: u32) -> bool {
    route.attributes.contains(&RouteAttribute::Oif(interface))
}

pub(crate) fn metric(route: &RouteMessage) -> u32 {
    let metric = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Priority(metric) => Some(*metric),
        _ => None,
    });
    metric.unwrap_or(0)
}

/// Where a route leads to; `any` is its address if it says none.
pub(crate) fn destination(route: &RouteMessage, any: IpAddr) -> Option<Prefix> {
    let addr = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(addr) => address_of(addr),
        _ => None,
    });
    Prefix::of(addr.unwrap_or(any), route.header.destination_prefix_length)
}

/// The router that a route leads by, if it is one of the same IP version.
pub(crate) fn next_hop(route: &RouteMessage) -> Option<IpAddr> {
    gateway_in(&route.attributes)
}

/// The router among the attributes of a route, or of one of its ways.
pub(crate) fn gateway_in(attributes: &[RouteAttribute]) -> Option<IpAddr> {
    attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(addr) => address_of(addr),
        _ => None,
    })
}

/// An address as routes have it, if it is one of IP.
pub(crate) fn address_of(addr: &RouteAddress) -> Option<IpAddr> {
    match addr {
        RouteAddress::Inet(addr) => Some(IpAddr::V4(*addr)),
        RouteAddress::Inet6(addr) => Some(IpAddr::V6(*addr)),
        _ => None,
    }
}

pub(crate) fn route_address(addr: IpAddr) -> RouteAddress {
    match addr {
        IpAddr::V4(addr) => RouteAddress::Inet(addr),
        IpAddr::V6(addr) => RouteAddress::Inet6(addr),
    }
}

fn cidr_of(message: &AddressMessage) -> Option<IpCidr> {
    let prefix_len = message.header.prefix_len;
    let find = |local: bool| {
        message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Local(addr) if local => Some(*addr),
            AddressAttribute::Address(addr) if !local => Some(*addr),
            _ => None,
        })
    };
    Some(IpCidr { addr: find(true).or_else(|| find(false))?, prefix_len })
}
