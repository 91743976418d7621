//! From a configuration to the next: what can fail is done first and undone if it does, then the change is kept, and
//! then the workers hear of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use ctl::{
    Action, Bridge, BridgeName, Config, CtlError, DiffItem, ErrorCode, Port, PortKind, PortName,
    plan,
};
use flows::{Generation, PortIndex, Seconds};
use pktio::tap::Handle;
use pktio::underlay::Underlay;

use super::Switch;
use super::loopback::Listening;
use crate::control::announce;
use crate::control::compile::{self, BridgeSlot, Numbering, TunnelEndpoint};
use crate::control::device::{self, Home, OpenDevice, Queues, Terms};
use crate::control::place;
use crate::control::store::StoreError;
use crate::fleet::FleetError;
use crate::worker::{Dataplane, QueueId, WorkerId};

/// A port whose device was opened, and which no worker serves yet.
struct Fresh {
    name: PortName,
    index: PortIndex,
    queues: Queues,
    home: Option<WorkerId>,
}

/// What a change opened and changed on the host before it was committed.
#[derive(Default)]
pub(super) struct Prepared {
    pub(super) opened: BTreeMap<PortName, OpenDevice>,
    resized: Vec<Resized>,
    readdressed: Vec<Readdressed>,
    /// Endpoints of tunnels, each with its queues.
    pub(super) endpoints: BTreeMap<TunnelEndpoint, Vec<Underlay>>,
    /// Ports of the host's loopback.
    listening: Option<Listening>,
}

/// An interface whose MTU was changed.
struct Resized {
    name: PortName,
    port: Port,
    handle: Option<Arc<Handle>>,
    from: u32,
    to: u32,
}

/// An interface that was given other addresses.
struct Readdressed {
    name: PortName,
    from: Port,
    to: Port,
}

impl Prepared {
    /// Leaves the host as it was: interfaces get their MTU and addresses back, and devices close with their handles.
    fn undo(self) {
        for Resized { port, handle, from, .. } in self.resized.iter().rev() {
            // It had this MTU a moment ago.
            let _ = device::set_mtu(port, handle.as_deref(), *from);
        }
        for Readdressed { from, to, .. } in self.readdressed.iter().rev() {
            // And these addresses.
            let _ = device::readdress(to, from);
        }
    }
}

fn unkept(error: StoreError) -> CtlError {
    CtlError::new(ErrorCode::Host, error.to_string())
}

pub(in crate::control) fn stuck(error: FleetError) -> CtlError {
    CtlError::new(ErrorCode::Internal, error.to_string())
}

pub(super) fn full(what: &str) -> CtlError {
    CtlError::invalid(format!("the switch cannot number any more {what}"))
}

impl Switch {
    /// Goes on to the next configuration, through all steps. False when it is the present one.
    pub(in crate::control) fn advance(&mut self, mut next: Config) -> Result<bool, CtlError> {
        place::note(&self.config, &mut next);
        let steps = plan(&self.config, &next);
        if steps.is_empty() {
            return Ok(false);
        }
        let next = Config { revision: self.config.revision + 1, ..next };
        let mut prepared = Prepared::default();
        let done = self.prepare(&next, &steps, &mut prepared);
        let done = done.and_then(|()| {
            self.loopback.prepare(&self.config, &next).map(|new| prepared.listening = new)
        });
        match done.and_then(|()| self.keep(&next, &steps)) {
            Ok(()) => self.commit(next, prepared).map(|()| true),
            Err(error) => {
                prepared.undo();
                Err(error)
            }
        }
    }

    /// Does what can fail.
    fn prepare(
        &self,
        next: &Config,
        steps: &[Action],
        prepared: &mut Prepared,
    ) -> Result<(), CtlError> {
        for step in steps {
            match step {
                Action::AddPort(name, port) => {
                    let device =
                        device::open(port, Terms::of(next, port), self.home(), &self.questions)
                            .map_err(|error| error.for_port(name))?;
                    prepared.opened.insert(name.clone(), device);
                }
                Action::ChangePort(name, port) => self.readdress(name, port, prepared)?,
                Action::AddVxlan(name, vxlan) => self
                    .open_endpoint(vxlan, prepared)
                    .map_err(|error| Self::tunnel_error(name, &error))?,
                _ => {}
            }
        }
        for (name, facts) in &self.facts {
            let Some(port) = next.ports.get(name) else { continue };
            let ours = port.mtu.is_some() || matches!(port.kind, PortKind::Tap(_));
            let to = next.mtu_of(port).bytes();
            if ours && to != facts.mtu && !prepared.opened.contains_key(name) {
                let handle = facts.handed_over.clone();
                device::set_mtu(port, handle.as_deref(), to)
                    .map_err(|error| error.for_port(name))?;
                let (name, port, from) = (name.clone(), port.clone(), facts.mtu);
                prepared.resized.push(Resized { name, port, handle, from, to });
            }
        }
        Ok(())
    }

    /// Gives the interface of a port that stays open the addresses that it is to have.
    fn readdress(
        &self,
        name: &PortName,
        to: &Port,
        prepared: &mut Prepared,
    ) -> Result<(), CtlError> {
        let open = self.config.ports.get(name).filter(|_| self.facts.contains_key(name));
        let Some(from) = open.filter(|from| from.kind != to.kind) else { return Ok(()) };
        // Before it is tried: some of them may be changed when it fails.
        let (name, from) = (name.clone(), from.clone());
        let change = Readdressed { name, from, to: to.clone() };
        let done =
            device::readdress(&change.from, to).map_err(|error| error.for_port(&change.name));
        prepared.readdressed.push(change);
        done
    }

    /// The worker for a device that must know it before it is opened.
    pub(super) fn home(&self) -> Home {
        let worker = self.fleet.least_loaded();
        let (memory, shortcuts) = (self.fleet.memory(worker), self.shortcuts());
        Home { worker, memory, shortcuts, station: Arc::clone(self.loopback.station()) }
    }

    fn keep(&mut self, next: &Config, steps: &[Action]) -> Result<(), CtlError> {
        let Some(store) = &mut self.store else { return Ok(()) };
        store.keep(next, steps).map_err(unkept)
    }

    /// Writes a configuration down whole.
    pub(super) fn write(&mut self, config: &Config) -> Result<(), CtlError> {
        let Some(store) = &mut self.store else { return Ok(()) };
        store.write(config).map_err(unkept)
    }

    /// Tells the workers. Nothing here fails unless a worker is stuck.
    pub(super) fn commit(&mut self, next: Config, prepared: Prepared) -> Result<(), CtlError> {
        self.narrow_claims(&next);
        self.loopback.withdraw(prepared.listening.as_ref());
        self.drop_shortcuts();
        let now = self.now();
        let Prepared { opened, resized, readdressed, endpoints, listening } = prepared;
        for Resized { name, to, .. } in resized {
            if let Some(facts) = self.facts.get_mut(&name) {
                facts.mtu = to;
            }
        }
        let closed =
            |name: &&PortName| !next.ports.contains_key(*name) || opened.contains_key(*name);
        let closed: Vec<_> = self.numbering.ports.keys().filter(closed).cloned().collect();
        self.discard_devices(&next);
        closed.iter().try_for_each(|name| self.close(name)).map_err(stuck)?;
        readdressed.iter().for_each(|change| self.note_readdressing(&change.from, &change.to));
        self.close_tunnels(&next).map_err(stuck)?;
        self.waiting.retain(|name, _| next.has_port(name) && !opened.contains_key(name));
        self.number_bridges(&next, now)?;
        self.numbering.number_rules(&self.config, &next);
        let Numbering { bridges, services, .. } = &mut self.numbering;
        services.follow(&self.config, &next, bridges);
        self.numbering.meter_ports(&self.config, &next);
        self.say_farewells(&next).map_err(stuck)?;
        self.ending.disturb(&self.config, &next);
        let before = std::mem::replace(&mut self.config, next);
        // In this order no frame meets a worker that does not know its port, or who transmits for it: queues are
        // handed out, all workers hear of them, and only then is anything received from them.
        let fresh = self.number_ports(opened)?;
        let names: Vec<_> = fresh
            .iter()
            .map(|port| port.name.clone())
            .chain(readdressed.into_iter().map(|change| change.name))
            .collect();
        let mut begun = Vec::new();
        for port in fresh {
            begun.push(port.index);
            self.start(port).map_err(stuck)?;
        }
        for (port, queues) in self.number_tunnels(endpoints)? {
            self.start_endpoint(port, queues).map_err(stuck)?;
            begun.push(port);
        }
        self.publish()?;
        self.put_statics(&before);
        begun.iter().try_for_each(|port| self.fleet.open(*port)).map_err(stuck)?;
        self.widen_claims();
        self.serve_loopback(listening);
        self.settle_problems();
        names.iter().try_for_each(|name| self.announce(name)).map_err(stuck)
    }

    /// Compiles the configuration and gives it to the workers; then what depended on the one before ends.
    pub(super) fn publish(&mut self) -> Result<(), CtlError> {
        self.drop_shortcuts();
        self.generation = Generation(self.generation.0 + 1);
        let now = self.fleet.clock().now();
        for new in self.rules.update(&self.config, &self.numbering) {
            self.fleet.tables().rules.begin(new, now);
        }
        let (generation, rules) = (self.generation, &self.rules);
        let mappings = &self.snapshot.translation().mappings;
        let snapshot =
            compile::snapshot(&self.config, &self.numbering, generation, mappings, rules, |name| {
                self.facts.get(name).is_some_and(|facts| facts.gate.is_ok())
            })
            .map_err(|error| CtlError::new(ErrorCode::Internal, error.to_string()))?;
        let mut owners = vec![None; snapshot.port_slots()];
        for (queue, worker) in self.fleet.placement() {
            if let Some(owner) = owners.get_mut(queue.port.slot()) {
                owner.get_or_insert(*worker);
            }
        }
        for (port, vtep) in snapshot.tunnels().vteps() {
            owners[port.slot()] = owners[vtep.endpoint.slot()];
        }
        let snapshot = Arc::new(snapshot);
        let old = std::mem::replace(&mut self.snapshot, Arc::clone(&snapshot));
        let shapes = compile::shapes(&self.config, &self.numbering);
        let plane = Dataplane { snapshot, owners, shapes };
        self.fleet.adopt(&Arc::new(plane)).map_err(stuck)?;
        self.numbering.left.clear();
        self.end_dependents(&old);
        self.announce_gateways(&old).map_err(stuck)
    }

    /// Enters what was entered by hand. Where nothing was and is, the tables are not searched.
    fn put_statics(&self, before: &Config) {
        let now = self.fleet.clock().now();
        let has = |bridge: &Bridge| !bridge.statics.is_empty();
        let differing = || before.bridges.diff(&self.config.bridges);
        let cleared = differing().filter_map(|item| match item {
            DiffItem::Update { old: (_, old), new } if has(old) && !has(new.1) => Some(new),
            _ => None,
        });
        let present = self.config.bridges.iter().filter(|(_, bridge)| has(bridge));
        for (name, bridge) in present.chain(cleared).filter(|(_, it)| it.vlan_of.is_none()) {
            if let Some(slot) = self.numbering.bridges.get(name) {
                compile::put_statics(bridge, &slot.fdb, &self.numbering, now.seconds());
            }
        }
        let has_other_neighbors = |item: DiffItem<'_, '_, BridgeName, Bridge>| match item {
            DiffItem::Add(_, bridge) => !bridge.neighbors.is_empty(),
            DiffItem::Remove(..) => true,
            DiffItem::Update { old: (_, old), new: (_, new) } => old.neighbors != new.neighbors,
        };
        let of_parted =
            |config: &Config| config.networks.values().any(|of| of.settings.shape.parts());
        if differing().any(has_other_neighbors) || of_parted(before) || of_parted(&self.config) {
            let neighbors = &self.fleet.tables().neighbors;
            compile::put_neighbors(&self.config, &self.numbering, neighbors, now);
        }
    }

    /// Takes a port away from the workers, and forgets its stations.
    pub(super) fn close(&mut self, name: &PortName) -> Result<(), FleetError> {
        let Some((index, _)) = self.numbering.ports.remove(name) else { return Ok(()) };
        self.note_departure(name, index);
        self.facts.remove(name);
        self.vacate(index)
    }

    /// Makes a number free for another port.
    pub(super) fn vacate(&mut self, index: PortIndex) -> Result<(), FleetError> {
        self.drop_shortcuts();
        self.forget_carried(index);
        self.missed.remove(&index);
        self.fleet.detach(index)?;
        self.numbering.left.insert(index);
        let now = self.now();
        for slot in self.numbering.bridges.values() {
            slot.fdb.flush(now, |entry| entry.port == index);
        }
        Ok(())
    }

    /// Numbers the bridges that are new, forgets those that are no more, and gives those that changed their databases. The others
    /// are as they were.
    fn number_bridges(&mut self, next: &Config, now: Seconds) -> Result<(), CtlError> {
        let mut changed = Vec::new();
        for item in self.config.bridges.diff(&next.bridges) {
            match item {
                DiffItem::Remove(name, _) => _ = self.numbering.bridges.remove(name),
                DiffItem::Add(name, bridge) | DiffItem::Update { new: (name, bridge), .. } => {
                    changed.push((name, bridge));
                }
            }
        }
        let mut free = None;
        let is_whole = |(_, bridge): &(&BridgeName, &Bridge)| bridge.vlan_of.is_none();
        // A VLAN's database is another one when its bridge's is.
        let vlans = next.bridges.iter().filter(|one| !is_whole(one));
        for (name, bridge) in changed.into_iter().filter(is_whole).chain(vlans) {
            let slot = self.numbering.bridges.get(name);
            let shared =
                bridge.vlan_of.as_ref().and_then(|own| self.numbering.bridges.get(&own.bridge));
            let before = self.config.bridges.get(name).zip(slot.map(|slot| &slot.fdb));
            let fdb = match shared {
                Some(whole) => Arc::clone(&whole.fdb),
                None => compile::fdb_for(bridge, before, now, self.seed),
            };
            let free = free.get_or_insert_with(|| self.numbering.free_bridges());
            let index = match slot {
                Some(slot) => slot.index,
                None => free.next().ok_or_else(|| full("bridges"))?,
            };
            self.numbering.bridges.insert(name.clone(), BridgeSlot { index, fdb });
        }
        Ok(())
    }

    /// Numbers the ports that were opened, and notes the MTU of all.
    fn number_ports(
        &mut self,
        opened: BTreeMap<PortName, OpenDevice>,
    ) -> Result<Vec<Fresh>, CtlError> {
        let mut fresh = Vec::new();
        let mut free = self.numbering.free_ports();
        for (name, OpenDevice { queues, facts, home }) in opened {
            let index = free.next().ok_or_else(|| full("ports"))?;
            self.numbering.ports.insert(name.clone(), (index, facts.mtu));
            if let Some(handle) = &facts.handed_over
                && let Err(error) = handle.set_persistent(true)
            {
                self.note_problem(format!("port {name}: {error}; it does not outlive the daemon"));
            }
            self.has_new_host |= facts.sharing.is_some();
            self.facts.insert(name.clone(), facts);
            fresh.push(Fresh { name, index, queues, home });
        }
        for (name, (_, mtu)) in &mut self.numbering.ports {
            if let Some(facts) = self.facts.get(name) {
                *mtu = facts.mtu;
            }
        }
        Ok(fresh)
    }

    /// Gives a port's queues to workers.
    fn start(&mut self, fresh: Fresh) -> Result<(), FleetError> {
        let Fresh { index: port, queues, home, .. } = fresh;
        for (queue, device) in (0u16..).zip(queues) {
            let worker = home.unwrap_or_else(|| self.fleet.least_loaded());
            self.fleet.attach(worker, QueueId { port, queue }, device)?;
        }
        Ok(())
    }

    /// Tells the network where a container is.
    fn announce(&mut self, name: &PortName) -> Result<(), FleetError> {
        let Some((port, _)) = self.numbering.ports.get(name).copied() else { return Ok(()) };
        let Some(PortKind::Tap(tap)) = self.config.ports.get(name).map(|port| &port.kind) else {
            return Ok(());
        };
        match tap.mac {
            Some(mac) => self.fleet.inject(port, announce::frames(mac, &tap.ips)),
            None => Ok(()),
        }
    }
}
