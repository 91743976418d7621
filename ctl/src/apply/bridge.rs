//! Changes of bridges.

use crate::check::{no_bridge, references, shown};
use crate::{Bridge, BridgeAdd, BridgeName, BridgeSet, Config, CtlError, ErrorCode, Named};

pub(super) fn add(config: &mut Config, add: &BridgeAdd) -> Result<(), CtlError> {
    if config.bridges.contains_key(&add.name) {
        if add.may_exist {
            return Ok(());
        }
        let message = format!("bridge {} exists already; change it with `bridge set`", add.name);
        return Err(CtlError::new(ErrorCode::Exists, message));
    }
    let default = Bridge::default();
    let bridge = Bridge {
        vlan_of: add.vlan_of.clone(),
        ageing_seconds: add.ageing_seconds.unwrap_or(default.ageing_seconds),
        mac_limit: add.mac_limit.unwrap_or(default.mac_limit),
        mtu: add.mtu.unwrap_or(default.mtu),
        gateways: add.gateways.clone(),
        gateway_mac: add.gateway_mac,
        advertise: add.advertise.clone(),
        proxy: add.proxy.clone(),
        ..default
    };
    config.bridges.insert(add.name.clone(), bridge);
    Ok(())
}

pub(super) fn del(config: &mut Config, named: &Named<BridgeName>) -> Result<(), CtlError> {
    let references = references(config, &named.name);
    if !references.is_empty() {
        let shown = shown(&references);
        let message = format!("bridge {} is in use by {shown}; remove these first", named.name);
        return Err(CtlError::new(ErrorCode::InUse, message));
    }
    match config.bridges.remove(&named.name) {
        None if !named.if_exists => Err(no_bridge(config, &named.name)),
        _ => Ok(()),
    }
}

pub(super) fn set(config: &mut Config, set: &BridgeSet) -> Result<(), CtlError> {
    if set.gateways.is_some() || set.gateway_mac.is_some() {
        config.check_own(&set.name)?;
    }
    let Some(bridge) = config.bridges.get_mut(&set.name) else {
        return Err(no_bridge(config, &set.name));
    };
    bridge.ageing_seconds = set.ageing_seconds.unwrap_or(bridge.ageing_seconds);
    bridge.mac_limit = set.mac_limit.unwrap_or(bridge.mac_limit);
    bridge.mtu = set.mtu.unwrap_or(bridge.mtu);
    bridge.gateway_mac = set.gateway_mac.unwrap_or(bridge.gateway_mac);
    if let Some(gateways) = &set.gateways {
        bridge.gateways.clone_from(gateways);
    }
    if let Some(advertise) = &set.advertise {
        bridge.advertise.clone_from(advertise);
    }
    if let Some(proxy) = &set.proxy {
        bridge.proxy.clone_from(proxy);
    }
    Ok(())
}
