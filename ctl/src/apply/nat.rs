//! Changes of address translation, and of what sessions are kept by.

use super::otherwise;
use crate::check::{check_addressed, no_bridge};
use crate::{Config, ConnFilter, CtlError, Named, NatAdd, NatSet, RuleName};

pub(super) fn add(config: &mut Config, add: &NatAdd) -> Result<(), CtlError> {
    let name = add.rule_name().map_err(|error| CtlError::invalid(error.to_string()))?;
    match config.nat.get(&name) {
        Some(present) if *present != add.rule => {
            Err(otherwise("nat rule", &name, "`nat del` it first, or give this one another name"))
        }
        Some(_) => Ok(()),
        None => {
            check_addressed(config, &add.rule).map_err(|error| error.within("nat rule", &name))?;
            config.nat.insert(name, add.rule.clone());
            Ok(())
        }
    }
}

pub(super) fn del(config: &mut Config, named: &Named<RuleName>) -> Result<(), CtlError> {
    match config.nat.remove(&named.name) {
        None if !named.if_exists => Err(CtlError::not_found(format!(
            "nat rule {} does not exist; `nat list` shows those that do",
            named.name
        ))),
        _ => Ok(()),
    }
}

pub(super) fn set(config: &mut Config, set: &NatSet) {
    let tracking = &mut config.tracking;
    if let Some(timeouts) = &set.timeouts {
        tracking.timeouts = timeouts.over(tracking.timeouts);
    }
    tracking.window_checks = set.window_checks.unwrap_or(tracking.window_checks);
}

/// The daemon ends the sessions; the configuration has none.
pub(super) fn flush(config: &Config, filter: &ConnFilter) -> Result<(), CtlError> {
    match &filter.bridge {
        Some(bridge) if !config.bridges.contains_key(bridge) => Err(no_bridge(config, bridge)),
        _ => Ok(()),
    }
}
