//! What rules keep to. The ports that they name may be there or not: containers come and go.

use super::bridge_of;
use crate::flow::FlowRule;
use crate::{Config, CtlError};

pub(super) fn check(config: &Config) -> Result<(), CtlError> {
    config.flows.iter().try_for_each(|(id, rule)| {
        check_rule(config, rule).map_err(|error| error.within("rule", id))
    })
}

fn check_rule(config: &Config, rule: &FlowRule) -> Result<(), CtlError> {
    if let Some(bridge) = &rule.matches.criteria().bridge {
        bridge_of(config, bridge)?;
    }
    if [rule.idle_timeout, rule.hard_timeout].contains(&Some(0)) {
        return Err(CtlError::invalid("a timeout of 0 is none; leave it out"));
    }
    Ok(())
}
