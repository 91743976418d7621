//! What a change is about, as its answer names it.

use ctl::flow::diff;
use ctl::response::{Changed, FlowChanges};
use ctl::{Config, CtlError, DiffItem, Mutation};

/// The answer to a change, as far as the configurations before and after it tell: the names and numbers that were
/// chosen, and what was removed.
///
/// # Errors
/// [`CtlError`], when no valid name comes of what was asked for.
pub fn of(mutation: &Mutation, old: &Config, next: &Config) -> Result<Changed, CtlError> {
    let none = Changed::default();
    Ok(match mutation {
        Mutation::PortAdd(add) => Changed { port: Some(add.name.clone()), ..none },
        Mutation::Attach(attach) => Changed { port: Some(attach.port_name()?), ..none },
        Mutation::VxlanAdd(add) => Changed { port: Some(add.name.clone()), ..none },
        Mutation::NatAdd(add) => {
            let name = add.rule_name().map_err(|error| CtlError::invalid(error.to_string()))?;
            Changed { rule: Some(name), ..none }
        }
        Mutation::FlowAdd(rule) => {
            // Found by what differs, unless nothing does: there may be many rules.
            let put = old.flows.diff(&next.flows).find_map(|item| match item {
                DiffItem::Add(id, _) | DiffItem::Update { new: (id, _), .. } => Some(*id),
                DiffItem::Remove(..) => None,
            });
            Changed { flow: put.or_else(|| next.flow_like(rule)), ..none }
        }
        Mutation::FlowDel(_) => {
            Changed { removed: Some(old.flows.len() - next.flows.len()), ..none }
        }
        Mutation::FlowReplace(replace) => {
            let changes = FlowChanges::from(&diff(&old.flows, &replace.rules));
            Changed { flows: Some(changes), ..none }
        }
        _ => none,
    })
}
