//! What a container is told by DHCP, as the configuration has it.

use std::net::{IpAddr, Ipv4Addr};

use ctl::{Config, IpCidr, PortKind, PortName};
use gateway::dhcp::Lease;

/// What the container behind a port is told: its address in the subnet of the gateway that was asked, or its first one of
/// IPv4. `None` for a port that is not served.
pub fn of(config: &Config, name: &PortName, asked: IpAddr) -> Option<Lease> {
    let port = config.ports.get(name).filter(|port| port.dhcp)?;
    let network_name = config.network_of(name)?;
    let network = config.networks.get(network_name)?;
    let PortKind::Tap(tap) = &port.kind else { return None };
    let addresses: Vec<_> = network.addresses_of(name).filter_map(ipv4).collect();
    let nearest = addresses.iter().find(|(_, _, gateway)| IpAddr::V4(*gateway) == asked);
    let (address, prefix_len, server) = *nearest.or(addresses.first())?;
    let router = tap.gateways.iter().find(|gateway| gateway.is_ipv4());
    let routes = tap.routes.iter().filter_map(|route| Some((route.to, v4(route.via)?)));
    Some(Lease {
        mac: tap.mac?,
        address,
        prefix_len,
        server,
        router: router.and_then(|router| v4(*router)),
        resolver: network.settings.dns.then_some(server),
        domain: network_name.to_string(),
        mtu: u16::try_from(config.mtu_of(port).bytes()).unwrap_or(u16::MAX),
        routes: routes.collect(),
    })
}

fn ipv4((cidr, gateway): (IpCidr, Option<IpAddr>)) -> Option<(Ipv4Addr, u8, Ipv4Addr)> {
    Some((v4(cidr.addr)?, cidr.prefix_len, v4(gateway?)?))
}

fn v4(addr: IpAddr) -> Option<Ipv4Addr> {
    match addr {
        IpAddr::V4(addr) => Some(addr),
        IpAddr::V6(_) => None,
    }
}
