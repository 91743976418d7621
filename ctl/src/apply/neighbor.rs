//! Changes of the router's neighbours.

use crate::check::no_bridge;
use crate::{Config, CtlError, NeighborAdd, NeighborFilter, NeighborKey};

pub(super) fn add(config: &mut Config, add: &NeighborAdd) -> Result<(), CtlError> {
    let Some(bridge) = config.bridges.get_mut(&add.bridge) else {
        return Err(no_bridge(config, &add.bridge));
    };
    bridge.neighbors.retain(|old| old.ip != add.neighbor.ip);
    bridge.neighbors.push(add.neighbor);
    Ok(())
}

/// The daemon removes a resolved neighbour; the configuration only knows those entered by hand.
pub(super) fn del(config: &mut Config, key: &NeighborKey) -> Result<(), CtlError> {
    let Some(bridge) = config.bridges.get_mut(&key.bridge) else {
        return Err(no_bridge(config, &key.bridge));
    };
    bridge.neighbors.retain(|old| old.ip != key.ip);
    Ok(())
}

pub(super) fn flush(config: &Config, filter: &NeighborFilter) -> Result<(), CtlError> {
    match &filter.bridge {
        Some(bridge) if !config.bridges.contains_key(bridge) => Err(no_bridge(config, bridge)),
        _ => Ok(()),
    }
}
