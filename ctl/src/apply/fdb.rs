//! Changes of stations.

use crate::check::{no_bridge, no_port};
use crate::{BridgeName, Config, CtlError, FdbFilter, FdbKey, FdbStatic, PortName};

pub(super) fn add(config: &mut Config, add: &FdbStatic) -> Result<(), CtlError> {
    let station = add.station.clone();
    let Some(bridge) = config.bridges.get_mut(&add.bridge) else {
        return Err(no_bridge(config, &add.bridge));
    };
    bridge.statics.retain(|old| (old.mac, old.vlan) != (station.mac, station.vlan));
    bridge.statics.push(station);
    Ok(())
}

/// The daemon removes a learned station; the configuration only knows those entered by hand.
pub(super) fn del(config: &mut Config, key: &FdbKey) -> Result<(), CtlError> {
    let Some(bridge) = config.bridges.get_mut(&key.bridge) else {
        return Err(no_bridge(config, &key.bridge));
    };
    bridge.statics.retain(|old| (old.mac, old.vlan) != (key.mac, key.vlan));
    Ok(())
}

/// Forgets what was entered by hand about stations behind a port that is no more.
pub(super) fn forget_behind(config: &mut Config, bridge: &BridgeName, port: &PortName) {
    if let Some(bridge) = config.bridges.get_mut(bridge) {
        bridge.statics.retain(|station| station.port != *port);
    }
}

pub(super) fn flush(config: &Config, filter: &FdbFilter) -> Result<(), CtlError> {
    match (&filter.bridge, &filter.port) {
        (Some(bridge), _) if !config.bridges.contains_key(bridge) => Err(no_bridge(config, bridge)),
        (_, Some(port)) if !config.has_port(port) => Err(no_port(config, port)),
        _ => Ok(()),
    }
}
