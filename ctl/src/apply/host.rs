//! The host itself on a network: an interface with addresses of the network's, which is an endpoint like a container's but
//! keeps nobody from removing the network.

use std::sync::Arc;

use super::network::{lease, to_others};
use super::otherwise;
use super::port::remove_port;
use crate::check::no_network;
use crate::{
    BridgeName, Config, CtlError, Endpoint, ErrorCode, HostPort, IfName, Network, Port, PortKind,
    PortName, Tap,
};

/// Gives the host an interface on a network, unless it has just this one.
pub(super) fn put(
    config: &mut Config,
    name: &BridgeName,
    wanted: &HostPort,
) -> Result<(), CtlError> {
    let ifname = ifname(name, wanted)?;
    let port = HostPort::port_name(name).map_err(|error| CtlError::invalid(error.to_string()))?;
    let Some(network) = config.networks.get(name) else { return Err(no_network(config, name)) };
    if let Some((_, tap)) = config.host_ports(network).find(|(own, _)| **own == port) {
        let has_it = tap.ifname == ifname && wanted.mac.is_none_or(|mac| tap.mac == Some(mac));
        return if has_it { Ok(()) } else { Err(is_there_otherwise(name, &port, tap)) };
    }
    if config.has_port(&port) {
        return Err(otherwise("port", &port, "`port del` it first"));
    }
    let kind = PortKind::Tap(Tap { mac: wanted.mac, ..Tap::new(ifname) });
    let made = enter(config, &port, Port::new(name.clone(), kind))?;
    config.ports.insert(port, made);
    Ok(())
}

/// That the host is on a network by another interface than the one that is asked for.
fn is_there_otherwise(network: &BridgeName, port: &PortName, tap: &Tap) -> CtlError {
    let mac = tap.mac.map_or(String::new(), |mac| format!(" with MAC address {mac}"));
    let message = format!(
        "the host is on network {network} already, by interface {}{mac}; to have another, run first: vswitchctl port del {port}",
        tap.ifname
    );
    CtlError::new(ErrorCode::Exists, message)
}

/// What the interface is called: like the network, if nobody said otherwise.
fn ifname(network: &BridgeName, wanted: &HostPort) -> Result<IfName, CtlError> {
    let like_network = || {
        network.as_str().parse().map_err(|error| {
            let message = format!("the host's interface cannot be called like the network: {error}; name it, with --host-port NAME");
            CtlError::invalid(message)
        })
    };
    wanted.ifname.clone().map_or_else(like_network, Ok)
}

/// Takes the host's interfaces on a network away.
pub(super) fn remove(config: &mut Config, name: &BridgeName) {
    let Some(network) = config.networks.get(name) else { return };
    let ports: Vec<_> = config.host_ports(network).map(|(port, _)| port.clone()).collect();
    ports.iter().for_each(|port| remove_port(config, port));
}

/// A port that is about to be made, as its network wants it if it is the host's own on one: with addresses of the
/// network's, those that it asks for or the next. Who asks for others has them, and is no endpoint.
pub(super) fn enter(config: &mut Config, name: &PortName, port: Port) -> Result<Port, CtlError> {
    let Some(network) = config.networks.get(&port.bridge) else { return Ok(port) };
    let PortKind::Tap(tap) = &port.kind else { return Ok(port) };
    let is_given = tap.ips.iter().all(|cidr| network.pool_of(cidr.addr).is_some());
    if !tap.is_hosts() || !is_given {
        return Ok(port);
    }
    let mut network = Network::clone(network);
    let asked: Vec<_> = tap.ips.iter().map(|cidr| cidr.addr).collect();
    lease(&mut network, &name.clone().into(), name, &asked)
        .map_err(|error| error.within("network", &port.bridge))?;
    let endpoint = Endpoint { owner: name.clone().into(), aliases: Vec::new() };
    network.endpoints.insert(name.clone(), endpoint);
    let tap = Tap {
        ips: network.addresses_of(name).map(|(cidr, _)| cidr).collect(),
        routes: to_others(&network).collect(),
        ..tap.clone()
    };
    // Where containers do not reach each other, each reaches the host, unless none has a link with another.
    let isolated = port.isolated || network.settings.shape.parts();
    config.networks.insert(port.bridge.clone(), Arc::new(network));
    Ok(Port { kind: PortKind::Tap(tap), isolated, ..port })
}
