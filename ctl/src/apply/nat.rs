//! Changes of address translation, and of what sessions are kept by.

use super::otherwise;
use crate::attach::list;
use crate::check::{address_nowhere, check_addressed, no_bridge, published_already, shown};
use crate::{
    Config, ConnFilter, CtlError, IpCidr, Named, NatAdd, NatRule, NatSet, Publish, RuleName,
};

pub(super) fn add(config: &mut Config, add: &NatAdd) -> Result<(), CtlError> {
    let name = add.rule_name().map_err(|error| CtlError::invalid(error.to_string()))?;
    match config.nat.get(&name) {
        Some(NatRule::Publish(present)) if clashes(present, &add.rule) => {
            Err(published_already((&name, present)))
        }
        Some(present) if *present != add.rule => {
            Err(otherwise("nat rule", &name, "`nat del` it first, or give this one another name"))
        }
        Some(_) => Ok(()),
        None => {
            check_addressed(config, &add.rule)
                .and_then(|()| check_own_address(config, &add.rule))
                .and_then(|()| check_container(config, &add.rule))
                .map_err(|error| error.within("nat rule", &name))?;
            config.nat.insert(name, add.rule.clone());
            Ok(())
        }
    }
}

/// Whether another rule is for the same ports, so that no other name would help.
fn clashes(present: &Publish, rule: &NatRule) -> bool {
    match rule {
        NatRule::Publish(rule) => {
            rule != present && rule.on == present.on && rule.forward.overlaps(&present.forward)
        }
        NatRule::Masquerade(_) | NatRule::Prefix(_) => false,
    }
}

/// That the address at which a port is to be published leads to the switch. Later it need not: the addresses of an uplink
/// that follows the host's come and go, and its rules wait for them.
fn check_own_address(config: &Config, rule: &NatRule) -> Result<(), CtlError> {
    let NatRule::Publish(publish) = rule else { return Ok(()) };
    let Some((address, bridge)) = address_nowhere(config, publish) else { return Ok(()) };
    let own: Vec<_> = bridge.gateways.iter().map(|gateway| gateway.addr).collect();
    Err(CtlError::invalid(format!(
        "{address} is no address of bridge {} ({}); publish at one that is, or at all of them by naming none",
        publish.on,
        list(&own)
    )))
}

/// That the port with which a rule goes has the address that the rule leads to, and not another one. An address that nobody was given may be
/// the container's all the same.
fn check_container(config: &Config, rule: &NatRule) -> Result<(), CtlError> {
    let NatRule::Publish(Publish { port: Some(name), on, forward, .. }) = rule else {
        return Ok(());
    };
    let container = forward.container;
    let known = config.ports.get(name).map_or(&[][..], |port| port.kind.addresses());
    let has_it = |ips: &[IpCidr]| ips.iter().any(|cidr| cidr.addr == container);
    if known.is_empty() || has_it(known) {
        return Ok(());
    }
    let others = config.ports.iter().filter(|(_, port)| has_it(port.kind.addresses()));
    let others: Vec<_> = others.map(|(other, _)| format!("port {other}'s")).collect();
    if others.is_empty() {
        return Ok(());
    }
    let own: Vec<_> = known.iter().map(|cidr| cidr.addr).collect();
    Err(CtlError::invalid(format!(
        "{container} is {}, and not of port {name} ({}), with which the rule on {on} would go; name the port that has it with --port",
        shown(&others),
        list(&own)
    )))
}

pub(super) fn del(config: &mut Config, named: &Named<RuleName>) -> Result<(), CtlError> {
    match config.nat.remove(&named.name) {
        None if !named.if_exists => Err(CtlError::not_found(format!(
            "nat rule {} does not exist; {}",
            named.name,
            of_port(config, &named.name)
        ))),
        _ => Ok(()),
    }
}

/// Which rules publish the port that somebody took for a rule's name, or where names are.
fn of_port(config: &Config, name: &RuleName) -> String {
    let port = name.as_str().parse().ok();
    let publishes = |rule: &NatRule| match rule {
        NatRule::Publish(rule) => port.is_some_and(|port| rule.forward.ports.contains(port)),
        NatRule::Masquerade(_) | NatRule::Prefix(_) => false,
    };
    let rules = config.nat.iter().filter(|(_, rule)| publishes(rule));
    match rules.map(|(name, _)| name).collect::<Vec<_>>().as_slice() {
        [] => "`nat list` shows those that do".to_owned(),
        rules => format!("port {name} is published by {}", shown(rules)),
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
