//! Changes of who has which address.

use std::net::IpAddr;
use std::sync::Arc;

use crate::check::no_network;
use crate::ipam::{IpamError, Pool, Span, choose};
use crate::{
    BridgeName, Config, CtlError, ErrorCode, IpamFilter, IpamRelease, IpamRequest, Named, Network,
    Owner, PoolAdd, Prefix,
};

/// A private subnet that is nobody's: of no network, no bridge, and not among these.
pub(super) fn free_subnet(
    config: &Config,
    ipv4: bool,
    name: &str,
    avoid: &[Prefix],
) -> Result<Prefix, CtlError> {
    let used: Vec<_> =
        used(config).map(|(subnet, _)| subnet).chain(avoid.iter().copied()).collect();
    choose(ipv4, name, &used).ok_or_else(|| {
        CtlError::new(
            ErrorCode::Unavailable,
            "no private subnet is free that overlaps no network, bridge or route of the host; give one with --subnet",
        )
    })
}

/// The subnets out of which addresses are given.
fn given_out(config: &Config) -> impl Iterator<Item = (Prefix, String)> + '_ {
    let networks = config.networks.iter().flat_map(|(name, network)| {
        network.pools.keys().map(move |subnet| (*subnet, format!("network {name}'s {subnet}")))
    });
    networks.chain(config.pools.keys().map(|subnet| (*subnet, format!("pool {subnet}"))))
}

/// The subnets that are somebody's.
fn used(config: &Config) -> impl Iterator<Item = (Prefix, String)> + '_ {
    let bridges = config.bridges.iter().flat_map(|(name, bridge)| {
        let subnets = bridge.gateways.iter().map(|gateway| gateway.subnet());
        subnets.map(move |subnet| (subnet, format!("bridge {name}'s {subnet}")))
    });
    given_out(config).chain(bridges)
}

/// Settings that were given for a subnet; what was not given stays, and what was reserved is reserved still.
pub(super) fn new_pool(
    pool: &mut Pool,
    gateway: Option<IpAddr>,
    ranges: Vec<Span>,
    reserved: Vec<Span>,
) {
    pool.gateway = gateway.or(pool.gateway);
    if !ranges.is_empty() {
        pool.ranges = ranges;
    }
    for span in reserved {
        if !pool.reserved.contains(&span) {
            pool.reserved.push(span);
        }
    }
}

pub(super) fn pool_add(config: &mut Config, add: &PoolAdd) -> Result<(), CtlError> {
    let subnet = match add.subnet {
        Some(subnet) => subnet,
        None => free_subnet(config, !add.ipv6, &config.pools.len().to_string(), &add.avoid)?,
    };
    let mut pool = config.pools.get(&subnet).cloned().unwrap_or_else(|| Pool::new(subnet));
    let is_new = !config.pools.contains_key(&subnet);
    // A bridge's subnet may be given: a network that is routed, or on the wire, has a part of it.
    let other = given_out(config).find(|(other, _)| is_new && other.overlaps(&subnet));
    if let Some((_, other)) = other {
        let message = format!("subnet {subnet} overlaps {other}; choose another one");
        return Err(CtlError::new(ErrorCode::Exists, message));
    }
    new_pool(&mut pool, add.gateway, add.ranges.clone(), add.reserved.clone());
    config.pools.insert(subnet, pool);
    Ok(())
}

pub(super) fn pool_del(config: &mut Config, named: &Named<Prefix>) -> Result<(), CtlError> {
    match config.pools.remove(&named.name) {
        None if !named.if_exists => Err(CtlError::not_found(format!(
            "pool {} does not exist, or is a network's; `ipam audit` shows those that are kept",
            named.name
        ))),
        _ => Ok(()),
    }
}

/// Does something with each pool that is meant.
fn visit<T>(
    config: &mut Config,
    filter: &IpamFilter,
    mut visitor: impl FnMut(&mut Pool) -> Result<T, CtlError>,
) -> Result<Vec<T>, CtlError> {
    let mut results = Vec::new();
    if let Some(name) = filter.network.as_ref().filter(|name| !config.networks.contains_key(*name))
    {
        return Err(no_network(config, name));
    }
    let kept = config.pools.iter().filter(|(subnet, _)| filter.means(None, subnet));
    for (subnet, mut pool) in kept.map(|(subnet, pool)| (*subnet, pool.clone())).collect::<Vec<_>>()
    {
        results.push(visitor(&mut pool)?);
        config.pools.insert(subnet, pool);
    }
    let is_meant = |(name, network): &(&BridgeName, &Arc<Network>)| {
        network.pools.keys().any(|subnet| filter.means(Some(name), subnet))
    };
    let networks: Vec<_> =
        config.networks.iter().filter(is_meant).map(|(name, _)| name.clone()).collect();
    for name in networks {
        let Some(network) = config.networks.get_mut(&name) else { continue };
        let pools = Arc::make_mut(network).pools.iter_mut();
        for (_, pool) in pools.filter(|(subnet, _)| filter.means(Some(&name), subnet)) {
            results.push(visitor(pool)?);
        }
    }
    Ok(results)
}

pub(super) fn request(config: &mut Config, request: &IpamRequest) -> Result<(), CtlError> {
    let IpamRequest { owner, network, subnet, ip } = request;
    if network.is_none() && subnet.is_none() {
        return Err(CtlError::invalid("say of which network or subnet the address is to be"));
    }
    let filter = IpamFilter { network: network.clone(), subnet: *subnet };
    // Of each IP version one, from the first subnet that has one.
    let mut given: Vec<IpAddr> = Vec::new();
    let mut full = None;
    let visited = visit(config, &filter, |pool| {
        let is_its = |addr: IpAddr| pool.subnet.contains(addr);
        if ip.is_some_and(|addr| !is_its(addr)) {
            return Ok(());
        }
        if given.iter().any(|addr| addr.is_ipv4() == pool.subnet.is_ipv4()) {
            return Ok(());
        }
        match give(pool, owner, *ip) {
            Ok(addr) => given.push(addr),
            Err(error @ IpamError::Exhausted { .. }) => full = Some(error),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    })?;
    match (full, ip) {
        _ if visited.is_empty() => {
            Err(CtlError::not_found("there is no such subnet; see `ipam list`"))
        }
        (Some(error), _) if given.is_empty() => Err(error.into()),
        (None, Some(addr)) if given.is_empty() => {
            Err(CtlError::invalid(format!("address {addr} is in no such subnet; see `ipam list`")))
        }
        _ => Ok(()),
    }
}

fn give(pool: &mut Pool, owner: &Owner, ip: Option<IpAddr>) -> Result<IpAddr, IpamError> {
    let owned = pool.owned_by(owner).next();
    let addr = match (ip, owned) {
        (Some(addr), _) => pool.give(addr, owner).map(|()| addr),
        (None, Some(addr)) => Ok(addr),
        (None, None) => pool.give_next(owner),
    }?;
    pool.hold(addr);
    Ok(addr)
}

pub(super) fn release(config: &mut Config, release: &IpamRelease) -> Result<(), CtlError> {
    let IpamRelease { owner, network, subnet, ip } = release;
    if owner.is_none() && ip.is_none() {
        return Err(CtlError::invalid("say which address, or whose, is to be released"));
    }
    let filter = IpamFilter { network: network.clone(), subnet: *subnet };
    let meant = |addr: IpAddr, whose: &Owner| {
        ip.is_none_or(|wanted| wanted == addr) && owner.as_ref().is_none_or(|own| own == whose)
    };
    visit(config, &filter, |pool| {
        let leases = pool.leases().iter().filter(|(addr, lease)| meant(**addr, &lease.owner));
        let addrs: Vec<_> = leases.map(|(addr, _)| *addr).collect();
        addrs.into_iter().for_each(|addr| _ = pool.take_back(addr));
        Ok(())
    })?;
    Ok(())
}

/// Frees what no port has, and the subnets that no network has.
pub(super) fn free(config: &mut Config, filter: &IpamFilter) -> Result<(), CtlError> {
    let kept = config.pools.keys().filter(|subnet| filter.means(None, subnet));
    let kept: Vec<_> = kept.copied().collect();
    kept.iter().for_each(|subnet| _ = config.pools.remove(subnet));
    visit(config, filter, |pool| {
        let leases = pool.leases().iter().filter(|(_, lease)| lease.port.is_none());
        let addrs: Vec<_> = leases.map(|(addr, _)| *addr).collect();
        addrs.into_iter().for_each(|addr| _ = pool.take_back(addr));
        Ok(())
    })?;
    Ok(())
}
