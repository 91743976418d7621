//! Which of its addresses the host sends from.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::{RouteAttribute, RouteMessage, RouteType};

use ctl::Prefix;

use crate::route::{address_of, family, route_address};
use crate::uplink::usable;
use crate::{HostError, Netlink};

/// Somebody beyond the default route: nobody has these addresses, nor a narrower route to them (240.0.0.0/4 is reserved, RFC 1112,
/// section 4; 3fff::/20 is for documentation, RFC 9637).
const BEYOND: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(240, 0, 0, 1)),
    IpAddr::V6(Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 1)),
];

impl Netlink {
    /// The address that packets of this namespace to `peer` are from, as the kernel's routes say; without a peer, packets
    /// that leave by the default route, of IPv4 if there is one. Where no route leads there, it is the only address of
    /// the IP version that others can send to, on all interfaces that are on. `None` if there is none, or several.
    ///
    /// # Errors
    /// [`HostError`].
    pub fn source_address(&self, peer: Option<IpAddr>) -> Result<Option<IpAddr>, HostError> {
        let targets = peer.map_or_else(|| BEYOND.to_vec(), |peer| vec![peer]);
        for target in &targets {
            if let Some(source) = self.source_towards(*target)? {
                return Ok(Some(source));
            }
        }
        let all = self.reachable_addresses()?;
        Ok(targets.into_iter().find_map(|target| only_one(&all, target.is_ipv4())))
    }

    /// What the kernel would send from, if a route leads there and out of the host.
    fn source_towards(&self, target: IpAddr) -> Result<Option<IpAddr>, HostError> {
        let mut request = RouteMessage::default();
        request.header.address_family = family(target);
        request.header.destination_prefix_length = Prefix::host(target).prefix_len();
        request.attributes.push(RouteAttribute::Destination(route_address(target)));
        let request = RouteNetlinkMessage::GetRoute(request);
        let route = match self.query(request, ("look up the route to", &target.to_string())) {
            Ok(Some(RouteNetlinkMessage::NewRoute(route))) => route,
            Err(error) if !is_no_route(&error) => return Err(error),
            _ => return Ok(None),
        };
        let source = route.attributes.iter().find_map(|attribute| match attribute {
            RouteAttribute::PrefSource(addr) => address_of(addr),
            _ => None,
        });
        Ok(source.filter(|source| route.header.kind == RouteType::Unicast && !is_on_link(*source)))
    }

    /// The addresses that others can send to, of all interfaces that are on.
    fn reachable_addresses(&self) -> Result<Vec<IpAddr>, HostError> {
        let mut all = Vec::new();
        for link in self.links()?.into_iter().filter(|link| link.up) {
            let own = usable(self.flagged_addresses(link.index)?).into_iter();
            all.extend(own.map(|cidr| cidr.addr).filter(|addr| !addr.is_loopback()));
        }
        Ok(all)
    }
}

fn only_one(all: &[IpAddr], ipv4: bool) -> Option<IpAddr> {
    let mut of_version = all.iter().filter(|addr| addr.is_ipv4() == ipv4);
    of_version.next().filter(|_| of_version.next().is_none()).copied()
}

fn is_on_link(addr: IpAddr) -> bool {
    matches!(addr, IpAddr::V6(addr) if addr.is_unicast_link_local())
}

/// What the kernel says where no route leads, or one that says so (`fib_props` in net/ipv4/fib_semantics.c).
fn is_no_route(error: &HostError) -> bool {
    let code = error.io().and_then(io::Error::raw_os_error);
    matches!(code, Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EACCES | libc::EINVAL))
}
