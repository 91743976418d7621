//! Changes of routes.

use super::otherwise;
use crate::check::no_bridge;
use crate::{Allowance, BridgeName, Config, CtlError, Prefix, Route, RouteAdd, RouteDel};

pub(super) fn add(config: &mut Config, add: &RouteAdd) -> Result<(), CtlError> {
    known(config, &add.on).and_then(|()| config.check_own(&add.on))?;
    let Some(first) = add.via.first() else {
        return Err(CtlError::invalid("a route needs a next hop: say --via"));
    };
    let to = add.to.network(first.is_ipv4());
    let wanted = Route { via: add.via.clone() };
    let routes = config.routes.entry(add.on.clone()).or_default();
    match routes.get(&to) {
        Some(present) if *present != wanted => {
            Err(otherwise("route", format!("{to} on {}", add.on), "`route del` it first"))
        }
        _ => {
            routes.insert(to, wanted);
            Ok(())
        }
    }
}

pub(super) fn del(config: &mut Config, del: &RouteDel) -> Result<(), CtlError> {
    known(config, &del.on).and_then(|()| config.check_own(&del.on))?;
    let versions: [Prefix; 2] = [true, false].map(|ipv4| del.to.network(ipv4));
    let mut removed = false;
    if let Some(routes) = config.routes.get_mut(&del.on) {
        removed = versions.iter().filter(|to| routes.remove(to).is_some()).count() > 0;
        if routes.is_empty() {
            config.routes.remove(&del.on);
        }
    }
    if removed || del.if_exists {
        return Ok(());
    }
    let message =
        format!("route {} on {} does not exist; `route list` shows those that do", del.to, del.on);
    Err(CtlError::not_found(message))
}

pub(super) fn allow(config: &mut Config, allowance: &Allowance) -> Result<(), CtlError> {
    let Allowance { from, to } = allowance;
    known(config, from).and_then(|()| known(config, to))?;
    config.allowed.entry(from.clone()).or_default().insert(to.clone());
    Ok(())
}

pub(super) fn deny(config: &mut Config, allowance: &Allowance) -> Result<(), CtlError> {
    let Allowance { from, to } = allowance;
    known(config, from).and_then(|()| known(config, to))?;
    if let Some(reached) = config.allowed.get_mut(from) {
        reached.remove(to);
        if reached.is_empty() {
            config.allowed.remove(from);
        }
    }
    Ok(())
}

fn known(config: &Config, bridge: &BridgeName) -> Result<(), CtlError> {
    if config.bridges.contains_key(bridge) { Ok(()) } else { Err(no_bridge(config, bridge)) }
}
