//! [`plan`]: what has to be done to get from one configuration to another, in order. It costs what differs, and
//! not what there is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use imbl::ordmap::DiffItem;
use serde::{Deserialize, Serialize};

use crate::flow::{FlowId, FlowRule};
use crate::ipam::{Pool, PoolChange};
use crate::{
    Bridge, BridgeName, Config, NatRule, Network, NetworkChange, Port, PortName, Prefix, Route,
    RuleName, Service, ServiceName, Table, Tracking, Vxlan,
};

/// One step. Carrying out all steps in order on the old configuration gives the new one, and what a step
/// refers to is there. A step says what shall be, so that carrying it out a second time changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Drop a rule.
    RemoveFlow(FlowId),
    /// Drop a network, whose bridge, ports and rules are dropped by themselves.
    RemoveNetwork(BridgeName),
    /// Give a subnet up that was kept.
    RemovePool(Prefix),
    /// Drop a rule of address translation, and the sessions that depend on it.
    RemoveNat(RuleName),
    /// Drop a service, and its sessions.
    RemoveService(ServiceName),
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
    /// Change who is on a network, and the leases of its subnets: of the many that there may be, those that differ.
    ChangeNetwork(BridgeName, Box<NetworkChange>),
    /// Make a subnet that is kept what it should be.
    PutPool(Prefix, Box<Pool>),
    /// Change what is given out of a subnet that is kept.
    ChangePool(Prefix, Box<PoolChange>),
    /// Make a rule of address translation, or make one what it should be.
    PutNat(RuleName, Box<NatRule>),
    /// Make a service, or make one what it should be.
    PutService(ServiceName, Box<Service>),
    /// Make a rule, or make one what it should be; it keeps its counters.
    PutFlow(FlowId, Box<FlowRule>),
    /// Make what sessions are kept by what it should be.
    PutTracking(Tracking),
}

impl Config {
    /// Carries out a step.
    pub fn carry_out(&mut self, action: Action) {
        match action {
            Action::RemoveFlow(id) => drop(self.flows.remove(&id)),
            Action::RemoveNetwork(name) => drop(self.networks.remove(&name)),
            Action::RemovePool(subnet) => drop(self.pools.remove(&subnet)),
            Action::RemoveNat(name) => drop(self.nat.remove(&name)),
            Action::RemoveService(name) => drop(self.services.remove(&name)),
            Action::RemoveRoutes(bridge) => drop(self.routes.remove(&bridge)),
            Action::RemoveAllowed(bridge) => drop(self.allowed.remove(&bridge)),
            Action::RemoveVxlan(name) => drop(self.vxlans.remove(&name)),
            Action::RemovePort(name) => drop(self.ports.remove(&name)),
            Action::RemoveBridge(name) => drop(self.bridges.remove(&name)),
            Action::PutBridge(name, bridge) => drop(self.bridges.insert(name, *bridge)),
            Action::AddPort(name, port) | Action::ChangePort(name, port) => {
                self.ports.insert(name, *port);
            }
            Action::AddVxlan(name, vxlan) | Action::ChangeVxlan(name, vxlan) => {
                self.vxlans.insert(name, *vxlan);
            }
            Action::PutRoutes(bridge, routes) => drop(self.routes.insert(bridge, routes)),
            Action::PutAllowed(bridge, reached) => drop(self.allowed.insert(bridge, reached)),
            Action::PutNetwork(name, network) => drop(self.networks.insert(name, network)),
            Action::ChangeNetwork(name, change) => {
                if let Some(network) = self.networks.get_mut(&name) {
                    change.carry_out(Arc::make_mut(network));
                }
            }
            Action::PutPool(subnet, pool) => drop(self.pools.insert(subnet, *pool)),
            Action::ChangePool(subnet, change) => {
                if let Some(pool) = self.pools.get_mut(&subnet) {
                    change.carry_out(pool);
                }
            }
            Action::PutNat(name, rule) => drop(self.nat.insert(name, *rule)),
            Action::PutService(name, service) => drop(self.services.insert(name, *service)),
            Action::PutFlow(id, rule) => drop(self.flows.insert(id, *rule)),
            Action::PutTracking(tracking) => self.tracking = tracking,
        }
    }
}

/// The steps from `old` to `new`. A port or tunnel whose device changes is closed and opened again.
pub fn plan(old: &Config, new: &Config) -> Vec<Action> {
    let mut actions = Vec::new();
    actions.extend(gone(&old.flows, &new.flows).map(Action::RemoveFlow));
    actions.extend(gone(&old.networks, &new.networks).map(Action::RemoveNetwork));
    actions.extend(gone(&old.pools, &new.pools).map(Action::RemovePool));
    actions.extend(gone(&old.nat, &new.nat).map(Action::RemoveNat));
    actions.extend(gone(&old.services, &new.services).map(Action::RemoveService));
    actions.extend(gone(&old.routes, &new.routes).map(Action::RemoveRoutes));
    actions.extend(gone(&old.allowed, &new.allowed).map(Action::RemoveAllowed));
    actions
        .extend(closed(&old.vxlans, &new.vxlans, Vxlan::is_same_tunnel).map(Action::RemoveVxlan));
    actions.extend(closed(&old.ports, &new.ports, stays_open).map(Action::RemovePort));
    // VLANs go before the bridges that they are of, and come after them.
    let is_vlan = |name: &BridgeName| old.bridges.get(name).is_some_and(|it| it.vlan_of.is_some());
    let (vlans, whole): (Vec<_>, Vec<_>) = gone(&old.bridges, &new.bridges).partition(is_vlan);
    actions.extend(vlans.into_iter().chain(whole).map(Action::RemoveBridge));
    let put = differing(&old.bridges, &new.bridges);
    let (vlans, whole): (Vec<_>, Vec<_>) = put.partition(|(_, bridge)| bridge.vlan_of.is_some());
    actions.extend(
        whole
            .into_iter()
            .chain(vlans)
            .map(|(name, bridge)| Action::PutBridge(name.clone(), Box::new(bridge.clone()))),
    );
    for (name, port) in differing(&old.ports, &new.ports) {
        let stays = old.ports.get(name).is_some_and(|before| stays_open(before, port));
        let action = if stays { Action::ChangePort } else { Action::AddPort };
        actions.push(action(name.clone(), Box::new(port.clone())));
    }
    for (name, vxlan) in differing(&old.vxlans, &new.vxlans) {
        let stays = old.vxlans.get(name).is_some_and(|before| before.is_same_tunnel(vxlan));
        let action = if stays { Action::ChangeVxlan } else { Action::AddVxlan };
        actions.push(action(name.clone(), Box::new(vxlan.clone())));
    }
    for (bridge, routes) in differing(&old.routes, &new.routes) {
        actions.push(Action::PutRoutes(bridge.clone(), routes.clone()));
    }
    for (bridge, reached) in differing(&old.allowed, &new.allowed) {
        actions.push(Action::PutAllowed(bridge.clone(), reached.clone()));
    }
    for (name, network) in differing(&old.networks, &new.networks) {
        actions.push(to_network(old.networks.get(name), name, network));
    }
    for (subnet, pool) in differing(&old.pools, &new.pools) {
        actions.push(to_pool(old.pools.get(subnet), *subnet, pool));
    }
    for (name, rule) in differing(&old.nat, &new.nat) {
        actions.push(Action::PutNat(name.clone(), Box::new(rule.clone())));
    }
    for (name, service) in differing(&old.services, &new.services) {
        actions.push(Action::PutService(name.clone(), Box::new(service.clone())));
    }
    for (id, rule) in differing(&old.flows, &new.flows) {
        actions.push(Action::PutFlow(*id, Box::new(rule.clone())));
    }
    let tracking = (old.tracking != new.tracking).then_some(Action::PutTracking(new.tracking));
    actions.extend(tracking);
    actions
}

/// The step to a network, by what changes if that is who is on it and the leases.
fn to_network(before: Option<&Arc<Network>>, name: &BridgeName, network: &Arc<Network>) -> Action {
    match before.and_then(|before| NetworkChange::between(before, network)) {
        Some(change) => Action::ChangeNetwork(name.clone(), Box::new(change)),
        None => Action::PutNetwork(name.clone(), Arc::clone(network)),
    }
}

/// The step to a subnet that is kept, by what changes if that is the leases.
fn to_pool(before: Option<&Pool>, subnet: Prefix, pool: &Pool) -> Action {
    match before.and_then(|before| PoolChange::between(before, pool)) {
        Some(change) => Action::ChangePool(subnet, Box::new(change)),
        None => Action::PutPool(subnet, Box::new(pool.clone())),
    }
}

fn stays_open(before: &Port, after: &Port) -> bool {
    before.kind.is_same_device(&after.kind)
        && before.bridge == after.bridge
        && before.place == after.place
}

/// What is another one than it was, comes or goes: its key, what it was and what it is.
pub(crate) fn touched<'a, K: Ord, V: PartialEq>(
    old: &'a Table<K, V>,
    new: &'a Table<K, V>,
) -> impl Iterator<Item = (&'a K, [Option<&'a V>; 2])> {
    old.diff(new).map(|item| match item {
        DiffItem::Add(key, value) => (key, [None, Some(value)]),
        DiffItem::Remove(key, value) => (key, [Some(value), None]),
        DiffItem::Update { old: (_, old), new: (key, new) } => (key, [Some(old), Some(new)]),
    })
}

/// What is no more.
fn gone<'a, K: Ord + Clone, V: PartialEq>(
    old: &'a Table<K, V>,
    new: &'a Table<K, V>,
) -> impl Iterator<Item = K> + 'a {
    closed(old, new, |_, _| true)
}

/// What is no more, or not the same thing any more.
fn closed<'a, K: Ord + Clone, V: PartialEq>(
    old: &'a Table<K, V>,
    new: &'a Table<K, V>,
    stays: fn(&V, &V) -> bool,
) -> impl Iterator<Item = K> + 'a {
    old.diff(new).filter_map(move |item| match item {
        DiffItem::Remove(key, _) => Some(key.clone()),
        DiffItem::Update { old: (key, before), new: (_, after) } if !stays(before, after) => {
            Some(key.clone())
        }
        _ => None,
    })
}

/// What is new, or not what it was.
pub(crate) fn differing<'a, K: Ord, V: PartialEq>(
    old: &'a Table<K, V>,
    new: &'a Table<K, V>,
) -> impl Iterator<Item = (&'a K, &'a V)> {
    touched(old, new).filter_map(|(key, [_, value])| Some((key, value?)))
}
