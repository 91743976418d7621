//! What rules keep to. The ports that they name may be there or not: containers come and go.

use super::bridge_for_ports;
use crate::flow::FlowRule;
use crate::{Config, CtlError};

pub(super) fn check(config: &Config, rule: &FlowRule) -> Result<(), CtlError> {
    if let Some(bridge) = &rule.matches.criteria().bridge {
        bridge_for_ports(config, bridge)?;
    }
    if [rule.idle_timeout, rule.hard_timeout].contains(&Some(0)) {
        return Err(CtlError::invalid("a timeout of 0 is none; leave it out"));
    }
    Ok(())
}
