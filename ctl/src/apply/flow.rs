//! Changes of rules.

use std::collections::HashSet;

use crate::check::{no_port, shown};
use crate::flow::{FlowId, FlowRule, diff};
use crate::{Config, CtlError, ErrorCode, FlowKey, FlowReplace};

pub(super) fn add(config: &mut Config, rule: &FlowRule) -> Result<(), CtlError> {
    check_ports(config, rule)?;
    let id = config.flows.like(rule).or_else(|| FlowId::next(&config.flows)).ok_or_else(full)?;
    config.flows.insert(id, rule.clone());
    Ok(())
}

/// A rule that is new names ports that there are: any other is a mistake in writing. When a port goes, its
/// rules stay, and are for it again when it comes back.
fn check_ports(config: &Config, rule: &FlowRule) -> Result<(), CtlError> {
    let mut ports = rule.matches.criteria().in_port.iter().chain(rule.actions.ports());
    match ports.find(|port| !config.has_port(port)) {
        Some(port) => Err(no_port(config, port).within("rule", rule)),
        None => Ok(()),
    }
}

fn full() -> CtlError {
    let most = FlowId::LIMIT;
    CtlError::invalid(format!(
        "one switch has at most {most} rules; match sets of addresses and ports"
    ))
}

pub(super) fn del(config: &mut Config, key: &FlowKey) -> Result<(), CtlError> {
    let before = config.flows.len();
    match key {
        FlowKey::Id(id) => drop(config.flows.remove(id)),
        FlowKey::Match(matches) => {
            let meant: Vec<_> = config.flows.of_match(matches).collect();
            meant.iter().for_each(|id| drop(config.flows.remove(id)));
        }
    }
    if config.flows.len() < before {
        return Ok(());
    }
    let what = match key {
        FlowKey::Id(id) => format!("rule {id} does not exist{}", of_priority(config, *id)),
        FlowKey::Match(matches) => format!("no rule has just the match {matches}"),
    };
    Err(CtlError::not_found(format!("{what}; `flow list` shows those that there are")))
}

/// The rules whose priority was taken for the number of one.
fn of_priority(config: &Config, id: FlowId) -> String {
    let has_it = |(_, rule): &(&FlowId, &FlowRule)| rule.priority == id.number();
    let meant: Vec<_> = config.flows.iter().filter(has_it).map(|(id, _)| id).collect();
    match meant.as_slice() {
        [] => String::new(),
        meant => {
            format!(" (a rule is known by its number; priority {id} is that of {})", shown(meant))
        }
    }
}

pub(super) fn replace(config: &mut Config, replace: &FlowReplace) -> Result<(), CtlError> {
    let mut seen = HashSet::new();
    let known_by = |rule: &&FlowRule| !seen.insert((rule.priority, rule.matches.clone()));
    if let Some(twice) = replace.rules.iter().find(known_by) {
        let (priority, matches) = (twice.priority, &twice.matches);
        let message = format!("two rules of priority {priority} match {matches}; leave one out");
        return Err(CtlError::new(ErrorCode::Invalid, message));
    }
    let diff = diff(&config.flows, &replace.rules);
    let changed = diff.changed.iter().map(|(_, rule)| rule);
    diff.added.iter().chain(changed).try_for_each(|rule| check_ports(config, rule))?;
    config.flows = diff.apply(&config.flows).ok_or_else(full)?.into();
    Ok(())
}
