//! [`apply`]: the next configuration. Pure: what can be checked without the host is checked here.

use crate::attach::{attach, attached};
use crate::check::{check, no_bridge, no_port};
use crate::{
    Bridge, BridgeAdd, BridgeName, BridgeSet, Config, CtlError, Detach, ErrorCode, FdbFilter,
    FdbKey, FdbStatic, Mutation, Named, PortAdd, PortName, PortSet,
};

/// The configuration after a change.
///
/// # Errors
/// [`CtlError`], when the change cannot be made; `config` is untouched in any case.
pub fn apply(config: &Config, mutation: &Mutation) -> Result<Config, CtlError> {
    let mut next = config.clone();
    match mutation {
        Mutation::BridgeAdd(add) => add_bridge(&mut next, add)?,
        Mutation::BridgeDel(named) => del_bridge(&mut next, named)?,
        Mutation::BridgeSet(set) => set_bridge(&mut next, set)?,
        Mutation::PortAdd(add) => add_port(&mut next, add)?,
        Mutation::PortDel(named) => del_port(&mut next, named)?,
        Mutation::PortSet(set) => set_port(&mut next, set)?,
        Mutation::PortMove(to) if next.ports.contains_key(&to.name) => {}
        Mutation::PortMove(to) => return Err(no_port(&to.name)),
        Mutation::Attach(request) => attach(&mut next, request)?,
        Mutation::Detach(request) => detach(&mut next, request),
        Mutation::FdbAdd(add) => add_static(&mut next, add)?,
        Mutation::FdbDel(key) => del_static(&mut next, key)?,
        Mutation::FdbFlush(filter) => check_filter(&next, filter)?,
    }
    check(&next)?;
    Ok(next)
}

fn add_bridge(config: &mut Config, add: &BridgeAdd) -> Result<(), CtlError> {
    if config.bridges.contains_key(&add.name) {
        if add.may_exist {
            return Ok(());
        }
        let message = format!("bridge {} exists already; change it with `bridge set`", add.name);
        return Err(CtlError::new(ErrorCode::Exists, message));
    }
    let default = Bridge::default();
    let bridge = Bridge {
        ageing_seconds: add.ageing_seconds.unwrap_or(default.ageing_seconds),
        mac_limit: add.mac_limit.unwrap_or(default.mac_limit),
        mtu: add.mtu.unwrap_or(default.mtu),
        statics: Vec::new(),
    };
    config.bridges.insert(add.name.clone(), bridge);
    Ok(())
}

fn del_bridge(config: &mut Config, named: &Named<BridgeName>) -> Result<(), CtlError> {
    let ports: Vec<_> = config.ports_of(&named.name).map(|(name, _)| name.as_str()).collect();
    if !ports.is_empty() {
        let message = format!(
            "bridge {} has ports: {}; remove them first with `port del`",
            named.name,
            ports.join(", ")
        );
        return Err(CtlError::new(ErrorCode::InUse, message));
    }
    match config.bridges.remove(&named.name) {
        None if !named.if_exists => Err(no_bridge(config, &named.name)),
        _ => Ok(()),
    }
}

fn set_bridge(config: &mut Config, set: &BridgeSet) -> Result<(), CtlError> {
    let Some(bridge) = config.bridges.get_mut(&set.name) else {
        return Err(no_bridge(config, &set.name));
    };
    bridge.ageing_seconds = set.ageing_seconds.unwrap_or(bridge.ageing_seconds);
    bridge.mac_limit = set.mac_limit.unwrap_or(bridge.mac_limit);
    bridge.mtu = set.mtu.unwrap_or(bridge.mtu);
    Ok(())
}

fn add_port(config: &mut Config, add: &PortAdd) -> Result<(), CtlError> {
    if config.ports.contains_key(&add.name) {
        let message = format!("port {} exists already; change it with `port set`", add.name);
        return Err(CtlError::new(ErrorCode::Exists, message));
    }
    config.ports.insert(add.name.clone(), add.port.clone());
    Ok(())
}

fn del_port(config: &mut Config, named: &Named<PortName>) -> Result<(), CtlError> {
    if !config.ports.contains_key(&named.name) && !named.if_exists {
        return Err(no_port(&named.name));
    }
    remove_port(config, &named.name);
    Ok(())
}

/// Removes a port, and what was entered by hand about stations behind it.
fn remove_port(config: &mut Config, name: &PortName) {
    let Some(port) = config.ports.remove(name) else { return };
    if let Some(bridge) = config.bridges.get_mut(&port.bridge) {
        bridge.statics.retain(|station| station.port != *name);
    }
}

fn set_port(config: &mut Config, set: &PortSet) -> Result<(), CtlError> {
    let Some(port) = config.ports.get_mut(&set.name) else { return Err(no_port(&set.name)) };
    if let Some(vlan) = &set.vlan {
        port.vlan = vlan.clone();
    }
    port.isolated = set.isolated.unwrap_or(port.isolated);
    port.hairpin = set.hairpin.unwrap_or(port.hairpin);
    port.mac_limit = set.mac_limit.unwrap_or(port.mac_limit);
    port.mtu = set.mtu.unwrap_or(port.mtu);
    Ok(())
}

fn detach(config: &mut Config, request: &Detach) {
    if let Some(name) = attached(config, request) {
        remove_port(config, &name);
    }
}

fn add_static(config: &mut Config, add: &FdbStatic) -> Result<(), CtlError> {
    let station = add.station.clone();
    let Some(bridge) = config.bridges.get_mut(&add.bridge) else {
        return Err(no_bridge(config, &add.bridge));
    };
    bridge.statics.retain(|old| (old.mac, old.vlan) != (station.mac, station.vlan));
    bridge.statics.push(station);
    Ok(())
}

/// The daemon removes a learned station; the configuration only knows those entered by hand.
fn del_static(config: &mut Config, key: &FdbKey) -> Result<(), CtlError> {
    let Some(bridge) = config.bridges.get_mut(&key.bridge) else {
        return Err(no_bridge(config, &key.bridge));
    };
    bridge.statics.retain(|old| (old.mac, old.vlan) != (key.mac, key.vlan));
    Ok(())
}

fn check_filter(config: &Config, filter: &FdbFilter) -> Result<(), CtlError> {
    match (&filter.bridge, &filter.port) {
        (Some(bridge), _) if !config.bridges.contains_key(bridge) => Err(no_bridge(config, bridge)),
        (_, Some(port)) if !config.ports.contains_key(port) => Err(no_port(port)),
        _ => Ok(()),
    }
}
