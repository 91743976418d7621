//! [`plan`]: what has to be done to get from one configuration to another, in order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::flow::{FlowId, FlowRule};
use crate::ipam::Pool;
use crate::{
    Bridge, BridgeName, Config, NatRule, Network, Port, PortName, Prefix, Route, RuleName,
    Tracking, Vxlan,
};

/// One step. Carrying out all steps in order on the old configuration gives the new one, and what a step
/// refers to is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Drop a rule.
    RemoveFlow(FlowId),
    /// Drop a network, whose bridge, ports and rules are dropped by themselves.
    RemoveNetwork(BridgeName),
    /// Give a subnet up that was kept.
    RemovePool(Prefix),
    /// Drop a rule of address translation, and the sessions that depend on it.
    RemoveNat(RuleName),
    /// Drop all routes on a bridge.
    RemoveRoutes(BridgeName),
    /// Let a bridge reach no other any more.
    RemoveAllowed(BridgeName),
    /// Close a tunnel.
    RemoveVxlan(PortName),
    /// Close a port.
    RemovePort(PortName),
    /// Drop a bridge, which has no ports any more.
    RemoveBridge(BridgeName),
    /// Make a bridge, or make one what it should be.
    PutBridge(BridgeName, Box<Bridge>),
    /// Open a port.
    AddPort(PortName, Box<Port>),
    /// Change a port that stays open.
    ChangePort(PortName, Box<Port>),
    /// Open a tunnel.
    AddVxlan(PortName, Box<Vxlan>),
    /// Change a tunnel that stays open: its bridge, VNI and local end are as they were.
    ChangeVxlan(PortName, Box<Vxlan>),
    /// Make the routes on a bridge what they should be.
    PutRoutes(BridgeName, BTreeMap<Prefix, Route>),
    /// Make the bridges that a bridge reaches what they should be.
    PutAllowed(BridgeName, BTreeSet<BridgeName>),
    /// Make a network what it should be, but for its bridge, ports and rules.
    PutNetwork(BridgeName, Arc<Network>),
    /// Make a subnet that is kept what it should be.
    PutPool(Prefix, Box<Pool>),
    /// Make a rule of address translation, or make one what it should be.
    PutNat(RuleName, Box<NatRule>),
    /// Make a rule, or make one what it should be; it keeps its counters.
    PutFlow(FlowId, Box<FlowRule>),
    /// Make what sessions are kept by what it should be.
    PutTracking(Tracking),
}

/// The steps from `old` to `new`. A port or tunnel whose device changes is closed and opened again.
pub fn plan(old: &Config, new: &Config) -> Vec<Action> {
    let mut actions = Vec::new();
    // Rules that are shared are the same: there may be too many to compare.
    let same_flows = Arc::ptr_eq(&old.flows, &new.flows);
    if !same_flows {
        actions.extend(gone(&old.flows, &new.flows).map(Action::RemoveFlow));
    }
    actions.extend(gone(&old.networks, &new.networks).map(Action::RemoveNetwork));
    actions.extend(gone(&old.pools, &new.pools).map(Action::RemovePool));
    actions.extend(gone(&old.nat, &new.nat).map(Action::RemoveNat));
    actions.extend(gone(&old.routes, &new.routes).map(Action::RemoveRoutes));
    actions.extend(gone(&old.allowed, &new.allowed).map(Action::RemoveAllowed));
    actions
        .extend(closed(&old.vxlans, &new.vxlans, Vxlan::is_same_tunnel).map(Action::RemoveVxlan));
    actions.extend(closed(&old.ports, &new.ports, stays_open).map(Action::RemovePort));
    actions.extend(gone(&old.bridges, &new.bridges).map(Action::RemoveBridge));
    for (name, bridge) in differing(&old.bridges, &new.bridges) {
        actions.push(Action::PutBridge(name, Box::new(bridge)));
    }
    for (name, port) in differing(&old.ports, &new.ports) {
        let stays = old.ports.get(&name).is_some_and(|before| stays_open(before, &port));
        let action = if stays { Action::ChangePort } else { Action::AddPort };
        actions.push(action(name, Box::new(port)));
    }
    for (name, vxlan) in differing(&old.vxlans, &new.vxlans) {
        let stays = old.vxlans.get(&name).is_some_and(|before| before.is_same_tunnel(&vxlan));
        let action = if stays { Action::ChangeVxlan } else { Action::AddVxlan };
        actions.push(action(name, Box::new(vxlan)));
    }
    let routes = differing(&old.routes, &new.routes);
    actions.extend(routes.map(|(bridge, routes)| Action::PutRoutes(bridge, routes)));
    let allowed = differing(&old.allowed, &new.allowed);
    actions.extend(allowed.map(|(bridge, reached)| Action::PutAllowed(bridge, reached)));
    let networks = differing(&old.networks, &new.networks);
    actions.extend(networks.map(|(name, network)| Action::PutNetwork(name, network)));
    let pools = differing(&old.pools, &new.pools);
    actions.extend(pools.map(|(subnet, pool)| Action::PutPool(subnet, Box::new(pool))));
    for (name, rule) in differing(&old.nat, &new.nat) {
        actions.push(Action::PutNat(name, Box::new(rule)));
    }
    if !same_flows {
        let flows = differing(&old.flows, &new.flows);
        actions.extend(flows.map(|(id, rule)| Action::PutFlow(id, Box::new(rule))));
    }
    let tracking = (old.tracking != new.tracking).then_some(Action::PutTracking(new.tracking));
    actions.extend(tracking);
    actions
}

fn stays_open(before: &Port, after: &Port) -> bool {
    (&before.kind, &before.bridge) == (&after.kind, &after.bridge)
}

/// What is no more.
fn gone<'a, K: Ord + Clone, V>(
    old: &'a BTreeMap<K, V>,
    new: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = K> + 'a {
    old.keys().filter(|key| !new.contains_key(key)).cloned()
}

/// What is no more, or not the same thing any more.
fn closed<'a, K: Ord + Clone, V>(
    old: &'a BTreeMap<K, V>,
    new: &'a BTreeMap<K, V>,
    stays: fn(&V, &V) -> bool,
) -> impl Iterator<Item = K> + 'a {
    let is_closed =
        move |(key, before): &(&K, &V)| new.get(key).is_none_or(|after| !stays(before, after));
    old.iter().filter(is_closed).map(|(key, _)| key.clone())
}

/// What is new, or not what it was.
fn differing<'a, K: Ord + Clone, V: PartialEq + Clone>(
    old: &'a BTreeMap<K, V>,
    new: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = (K, V)> + 'a {
    let differs = |(key, after): &(&K, &V)| old.get(*key) != Some(*after);
    new.iter().filter(differs).map(|(key, after)| (key.clone(), after.clone()))
}
