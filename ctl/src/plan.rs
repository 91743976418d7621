//! [`plan`]: what has to be done to get from one configuration to another, in order.

use crate::{Bridge, BridgeName, Config, Port, PortName};

/// One step. Carrying out all steps in order on the old configuration gives the new one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Close a port.
    RemovePort(PortName),
    /// Drop a bridge, which has no ports any more.
    RemoveBridge(BridgeName),
    /// Make a bridge, or make one what it should be.
    PutBridge(BridgeName, Bridge),
    /// Open a port.
    AddPort(PortName, Box<Port>),
    /// Change a port that stays open.
    ChangePort(PortName, Box<Port>),
}

/// The steps from `old` to `new`. A port whose device changes is closed and opened again.
pub fn plan(old: &Config, new: &Config) -> Vec<Action> {
    let mut actions = Vec::new();
    let reopened = |name: &PortName, port: &Port| {
        new.ports.get(name).is_none_or(|next| next.kind != port.kind || next.bridge != port.bridge)
    };
    let closed = old.ports.iter().filter(|(name, port)| reopened(name, port));
    actions.extend(closed.map(|(name, _)| Action::RemovePort(name.clone())));
    let gone = old.bridges.keys().filter(|name| !new.bridges.contains_key(*name));
    actions.extend(gone.map(|name| Action::RemoveBridge(name.clone())));
    let put = new.bridges.iter().filter(|(name, bridge)| old.bridges.get(*name) != Some(*bridge));
    actions.extend(put.map(|(name, bridge)| Action::PutBridge(name.clone(), bridge.clone())));
    for (name, port) in &new.ports {
        match old.ports.get(name) {
            Some(before) if !reopened(name, before) => {
                if before != port {
                    actions.push(Action::ChangePort(name.clone(), Box::new(port.clone())));
                }
            }
            _ => actions.push(Action::AddPort(name.clone(), Box::new(port.clone()))),
        }
    }
    actions
}
