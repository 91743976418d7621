//! Changes of ports.

use super::{fdb, host};
use crate::attach::{attached, differences};
use crate::check::no_port;
use crate::{
    Bridge, Config, CtlError, Detach, ErrorCode, Named, Port, PortAdd, PortKind, PortName, PortSet,
};

pub(super) fn add(config: &mut Config, add: &PortAdd) -> Result<(), CtlError> {
    if let Some(present) = config.ports.get(&add.name) {
        return check_same(config, present, add);
    }
    // Nobody else is on its bridge, which is what the host is: nothing could be said of it before.
    if add.port.shared && !config.bridges.contains_key(&add.port.bridge) {
        config.bridges.insert(add.port.bridge.clone(), Bridge::default());
    }
    let port = host::enter(config, &add.name, add.port.clone())?;
    config.ports.insert(add.name.clone(), port);
    Ok(())
}

/// That a port which is there is the one that is asked for.
fn check_same(config: &Config, present: &Port, add: &PortAdd) -> Result<(), CtlError> {
    let asked = host::enter(&mut config.clone(), &add.name, add.port.clone())?;
    let found = differences(present, &asked);
    if found.is_empty() {
        return Ok(());
    }
    let message = format!(
        "port {} exists already, otherwise: {}; change it with `port set`, or `port del` it first",
        add.name,
        found.join("; ")
    );
    Err(CtlError::new(ErrorCode::Exists, message))
}

pub(super) fn del(config: &mut Config, named: &Named<PortName>) -> Result<(), CtlError> {
    if !config.ports.contains_key(&named.name) && !named.if_exists {
        return Err(no_port(config, &named.name));
    }
    remove_port(config, &named.name);
    Ok(())
}

/// Removes a port, its addresses on a network, and what was entered by hand about stations behind it.
pub(super) fn remove_port(config: &mut Config, name: &PortName) {
    if let Some(port) = config.ports.remove(name) {
        if port.shared {
            config.unfollow(&port.bridge);
        }
        fdb::forget_behind(config, &port.bridge, name);
        config.forget_endpoint(&port.bridge, name);
    }
}

pub(super) fn set(config: &mut Config, set: &PortSet) -> Result<(), CtlError> {
    let Some(port) = config.ports.get_mut(&set.name) else {
        return Err(no_port(config, &set.name));
    };
    if let Some(vlan) = &set.vlan {
        port.vlan = vlan.clone();
    }
    port.isolated = set.isolated.unwrap_or(port.isolated);
    port.hairpin = set.hairpin.unwrap_or(port.hairpin);
    port.mac_limit = set.mac_limit.unwrap_or(port.mac_limit);
    port.mtu = set.mtu.unwrap_or(port.mtu);
    port.guard = set.guard.unwrap_or(port.guard);
    port.egress = set.egress.unwrap_or(port.egress);
    port.ingress = set.ingress.unwrap_or(port.ingress);
    place(port, set)?;
    readdress(port, set)
}

/// Notes where an engine took an interface to.
fn place(port: &mut Port, set: &PortSet) -> Result<(), CtlError> {
    match (&set.netns, &mut port.kind) {
        (None, _) => Ok(()),
        (netns @ Some(_), PortKind::Tap(tap)) if tap.handover => {
            tap.netns.clone_from(netns);
            Ok(())
        }
        _ => Err(CtlError::invalid(format!(
            "port {} is no interface that is handed over to an engine (--handover), which alone is taken elsewhere; remove \
             it, and make it anew with --netns",
            set.name
        ))),
    }
}

fn readdress(port: &mut Port, set: &PortSet) -> Result<(), CtlError> {
    if set.ips.is_none() && set.gateways.is_none() {
        return Ok(());
    }
    let PortKind::Tap(tap) = &mut port.kind else {
        return Err(CtlError::invalid(format!(
            "port {} is an interface that exists without the switch, which gives it no addresses; use `ip address` where it is",
            set.name
        )));
    };
    if tap.handover {
        return Err(CtlError::invalid(format!(
            "port {} is handed over to an engine, which gives it its addresses",
            set.name
        )));
    }
    if let Some(ips) = &set.ips {
        tap.ips.clone_from(ips);
    }
    if let Some(gateways) = &set.gateways {
        tap.gateways.clone_from(gateways);
    }
    Ok(())
}

pub(super) fn detach(config: &mut Config, request: &Detach) {
    if let Some(name) = attached(config, request) {
        remove_port(config, &name);
    }
}
