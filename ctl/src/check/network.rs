//! What networks keep to: who has which address is said at one place only, and agreed upon everywhere.

use std::net::IpAddr;

use super::check_number;
use crate::ipam::{Pool, Span};
use crate::{BridgeName, Config, CtlError, ErrorCode, IpCidr, Network, PortKind, PortName, Prefix};

/// The most subnets of one network: its bridge has a gateway in each.
const MAX_SUBNETS: usize = 32;
/// The most ranges, of each kind, of one subnet.
const MAX_RANGES: usize = 256;
/// The most labels of one network.
const MAX_LABELS: usize = 256;

pub(super) fn check(config: &Config) -> Result<(), CtlError> {
    for (name, network) in &config.networks {
        check_network(config, name, network).map_err(|error| error.within("network", name))?;
    }
    let mut kept = config.pools.iter();
    kept.try_for_each(|(subnet, pool)| check_pool(subnet, pool))
}

fn check_network(config: &Config, name: &BridgeName, network: &Network) -> Result<(), CtlError> {
    check_number("subnets in one network", network.pools.len(), MAX_SUBNETS)?;
    check_number("labels on one network", network.settings.labels.len(), MAX_LABELS)?;
    network.pools.iter().try_for_each(|(subnet, pool)| check_pool(subnet, pool))?;
    for port in network.endpoints.keys() {
        check_endpoint(config, name, network, port)?;
    }
    let leases = network.pools.values().flat_map(|pool| pool.leases());
    for (addr, lease) in leases {
        if let Some(port) = lease.port.as_ref().filter(|port| !network.endpoints.contains_key(port))
        {
            let message = format!("address {addr} is port {port}'s, which is not on the network");
            return Err(CtlError::invalid(message));
        }
    }
    Ok(())
}

/// A container has just the addresses that it was given.
fn check_endpoint(
    config: &Config,
    name: &BridgeName,
    network: &Network,
    port: &PortName,
) -> Result<(), CtlError> {
    let wrong = |why: &str| Err(CtlError::invalid(format!("endpoint {port}: {why}")));
    let Some(settings) = config.ports.get(port) else { return wrong("it has no port") };
    let PortKind::Tap(tap) = &settings.kind else { return wrong("its port is no --tap") };
    if settings.bridge != *name {
        return wrong("its port is on another bridge");
    }
    let mut has = tap.ips.clone();
    let mut given: Vec<IpCidr> = network.addresses_of(port).map(|(cidr, _)| cidr).collect();
    has.sort_unstable_by_key(|cidr| cidr.addr);
    given.sort_unstable_by_key(|cidr| cidr.addr);
    if has != given {
        return Err(CtlError::new(
            ErrorCode::InUse,
            format!(
                "endpoint {port}: its addresses are the network's to give; \
                 `network disconnect` it, and connect it again with --ip"
            ),
        ));
    }
    Ok(())
}

fn check_pool(subnet: &Prefix, pool: &Pool) -> Result<(), CtlError> {
    check_own(subnet, pool).map_err(|error| error.within("subnet", subnet))
}

fn check_own(subnet: &Prefix, pool: &Pool) -> Result<(), CtlError> {
    let addr = subnet.addr();
    if pool.subnet != *subnet {
        return Err(CtlError::invalid(format!("it is kept as {subnet}, and is {}", pool.subnet)));
    }
    if addr.is_loopback() || addr.is_multicast() || addr.is_unspecified() {
        return Err(CtlError::invalid("containers cannot have addresses of it"));
    }
    if Span::hosts(subnet).count() < 2 {
        return Err(CtlError::invalid("it has no room for a gateway and a container"));
    }
    check_number("ranges in one subnet", pool.ranges.len().max(pool.reserved.len()), MAX_RANGES)?;
    let all = Span::of(subnet);
    let within = |span: &Span| all.contains(span.first()) && all.contains(span.last());
    if let Some(span) = pool.ranges.iter().chain(&pool.reserved).find(|span| !within(span)) {
        return Err(CtlError::invalid(format!("range {span} is not in it")));
    }
    pool.gateway.map_or(Ok(()), |gateway| check_gateway(pool, gateway))?;
    let mut leases = pool.leases().keys();
    match leases.find(|addr| pool.check_host(**addr).is_err() || pool.gateway == Some(**addr)) {
        Some(addr) => Err(CtlError::new(
            ErrorCode::InUse,
            format!("address {addr} is given out already, and cannot be reserved or the gateway's"),
        )),
        None => Ok(()),
    }
}

/// The gateway may be among what is reserved.
fn check_gateway(pool: &Pool, gateway: IpAddr) -> Result<(), CtlError> {
    if Span::hosts(&pool.subnet).contains(gateway) {
        return Ok(());
    }
    Err(CtlError::invalid(format!(
        "gateway {gateway} is not in it, or its own or broadcast address"
    )))
}
