//! What services keep to.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use imbl::ordmap::DiffItem;

use super::{check_host, check_number, check_range, is_link_local, routed};
use crate::loopback::check_elsewhere;
use crate::plan::touched;
use crate::{
    Backend, BridgeName, Config, CtlError, ErrorCode, HealthCheck, Listen, NatRule, Network,
    Protocol, Service, ServiceName,
};

/// The most backends of one service.
const MAX_BACKENDS: usize = 256;
/// DNS (RFC 1035 section 4.2), which the gateways of networks serve.
const DNS: u16 = 53;
/// For a day at most.
const FAIL_TIMEOUT: RangeInclusive<u32> = 1..=86_400;

/// Seconds between two checks of a backend, and for one.
const INTERVAL: RangeInclusive<u32> = 1..=3600;
const TIMEOUT: RangeInclusive<u32> = 1..=60;
/// Checks in a row.
const ROW: RangeInclusive<u32> = 1..=100;

pub(super) fn check(config: &Config, service: &Service) -> Result<(), CtlError> {
    let vip = service.listen.address.ip();
    check_vip(vip)?;
    check_elsewhere(service.bridges())?;
    service.bridges().try_for_each(|name| routed(config, name).map(|_| ()))?;
    check_number("backends of one service", service.backends.len(), MAX_BACKENDS)?;
    check_range("fail timeout", service.fail_timeout, &FAIL_TIMEOUT)?;
    service.health.as_ref().map_or(Ok(()), check_health)?;
    if service.node_port == Some(0) {
        return Err(CtlError::invalid("a node port is one of 1 to 65535, not 0"));
    }
    for name in config.bridges_finding(service) {
        check_dns(config, service, name)?;
        let gateways = config.bridges.get(name).and_then(|bridge| bridge.gateway_for(vip));
        if let Some(gateway) = gateways {
            return Err(CtlError::invalid(format!(
                "{vip} is in subnet {} of bridge {name}, which finds the service; use an address of no bridge's",
                gateway.subnet()
            )));
        }
    }
    let mut addresses = BTreeSet::new();
    for backend in &service.backends {
        check_backend(config, service, backend)?;
        if !addresses.insert(backend.at) {
            return Err(CtlError::invalid(format!("backend {} is given twice", backend.at)));
        }
    }
    Ok(())
}

/// That a node port does not take a network's DNS away.
fn check_dns(config: &Config, service: &Service, name: &BridgeName) -> Result<(), CtlError> {
    let serves = |network: &Arc<Network>| network.settings.dns;
    let is_dns = service.node_port == Some(DNS)
        && matches!(service.listen.protocol, Protocol::Tcp | Protocol::Udp);
    if is_dns && config.networks.get(name).is_some_and(serves) {
        return Err(CtlError::invalid(format!(
            "at node port {DNS} the gateway of network {name} answers names; use another port, or other bridges, with --on"
        )));
    }
    Ok(())
}

fn check_health(health: &HealthCheck) -> Result<(), CtlError> {
    check_range("health check interval", health.interval, &INTERVAL)?;
    check_range("health check timeout", health.timeout, &TIMEOUT)?;
    check_range("health check fall", health.fall, &ROW)?;
    check_range("health check rise", health.rise, &ROW)?;
    match health.port {
        Some(0) => Err(CtlError::invalid("a health check's port is one of 1 to 65535, not 0")),
        _ => Ok(()),
    }
}

fn check_vip(vip: IpAddr) -> Result<(), CtlError> {
    check_host("service address", vip)?;
    if vip.is_loopback() || is_link_local(vip) {
        let message = format!("service address {vip} is not routed; use one that is");
        return Err(CtlError::invalid(message));
    }
    Ok(())
}

fn check_backend(config: &Config, service: &Service, backend: &Backend) -> Result<(), CtlError> {
    let at = backend.at;
    check_host("backend", at.ip())?;
    if at.port() == 0 {
        return Err(CtlError::invalid(format!("backend {at} needs a port of 1 to 65535")));
    }
    if at.is_ipv4() != service.listen.address.is_ipv4() {
        let message = format!("backend {at} is not of the service's IP version");
        return Err(CtlError::invalid(message));
    }
    let holders: Vec<_> = config.backend_bridges(service, at.ip()).collect();
    let [holder] = holders.as_slice() else { return Err(nowhere(at.ip(), &holders)) };
    let is_own = |gateway: &crate::IpCidr| gateway.addr == at.ip();
    if config.bridges.get(*holder).is_some_and(|bridge| bridge.gateways.iter().any(is_own)) {
        return Err(CtlError::invalid(format!("backend {at} is the router's own address")));
    }
    Ok(())
}

/// That a backend is on no bridge, or could be on several.
fn nowhere(ip: IpAddr, holders: &[&BridgeName]) -> CtlError {
    let names: Vec<_> = holders.iter().map(|name| name.as_str()).collect();
    CtlError::invalid(if names.is_empty() {
        format!(
            "backend {ip} is in the subnet of no bridge that it may be on; \
             give its bridge a gateway with `bridge set BR --gateway`"
        )
    } else {
        format!("backend {ip} can be on each of {}: say on which, with --to", names.join(", "))
    })
}

/// Whether services are found where they were, or are no more.
pub(super) fn are_placed_as(old: &Config, config: &Config) -> bool {
    let is_elsewhere = |item: DiffItem<'_, '_, ServiceName, Service>| match item {
        DiffItem::Add(..) => true,
        DiffItem::Remove(..) => false,
        DiffItem::Update { old: (_, old), new: (_, new) } => !new.is_found_as(old),
    };
    config.is_internal_as(old) && !old.services.diff(&config.services).any(is_elsewhere)
}

/// Whether the same networks are internal, and answer names, as before: services are found and may be found by them all the same.
pub(super) fn are_asked_as(old: &Config, config: &Config) -> bool {
    touched(&old.networks, &config.networks).all(|(_, both)| {
        let says = |network: &Arc<Network>| (network.settings.internal, network.settings.dns);
        let [old, new] = both.map(|network| network.map(says));
        old == new
    })
}

/// That no two services, and no service and published port, are for the same packets.
pub(super) fn check_apart(config: &Config) -> Result<(), CtlError> {
    let mut taken: BTreeMap<Listen, &ServiceName> = BTreeMap::new();
    for (name, service) in &config.services {
        if let Some(other) = taken.insert(service.listen, name) {
            return Err(clash(other, name, &service.listen.to_string()));
        }
    }
    let mut nodes: BTreeMap<(&BridgeName, Protocol, bool, u16), &ServiceName> = BTreeMap::new();
    for (name, service) in &config.services {
        let Some(port) = service.node_port else { continue };
        let Listen { address, protocol } = service.listen;
        for bridge in config.bridges_finding(service) {
            let place = (bridge, protocol, address.is_ipv4(), port);
            if let Some(other) = nodes.insert(place, name) {
                return Err(clash(other, name, &format!("{protocol} port {port} on {bridge}")));
            }
        }
    }
    for (rule, published) in config.nat.iter() {
        let NatRule::Publish(published) = published else { continue };
        let forward = published.forward;
        let ports = forward.ports;
        let place = |port| (&published.on, forward.protocol, forward.container.is_ipv4(), port);
        let found = nodes.range(place(ports.first())..=place(ports.last())).next();
        if let Some(((bridge, protocol, _, port), service)) = found {
            let message = format!(
                "nat rule {rule} and the node port of service {service} are both for {protocol} port {port} on {bridge}; \
                 take one of them away first"
            );
            return Err(CtlError::new(ErrorCode::Exists, message));
        }
    }
    Ok(())
}

fn clash(one: &ServiceName, other: &ServiceName, what: &str) -> CtlError {
    let message =
        format!("services {one} and {other} are both for {what}; change or delete one of them");
    CtlError::new(ErrorCode::Exists, message)
}
