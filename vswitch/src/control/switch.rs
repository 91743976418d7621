//! [`Switch`]: the configuration in force, and how it changes.
//!
//! A change goes through fixed steps: the next configuration is computed (pure), the devices that it
//! needs are opened, the state is saved, and only then do the workers hear of it. A failure in any of
//! these drops what was opened, and everything is as it was. Used by the control thread only.

mod endings;
mod gateways;
mod lookout;
mod overlay;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use ctl::response::Changed;
use ctl::{
    Action, Config, CtlError, ErrorCode, FdbFilter, FdbKey, Mutation, Port, PortKind, PortMove,
    PortName, apply, plan,
};
use flows::fdb::Entry;
use flows::nat::Mappings;
use flows::{Generation, PortIndex, Seconds, Snapshot, Translation, Vid};
use pktio::underlay::Underlay;

use super::compile::rules::Rules;
use super::compile::{self, BridgeSlot, Numbering};
use super::device::{self, Facts, Home, OpenDevice, Queues};
use super::{announce, choices, store::Store, subject};
use crate::fleet::{Fleet, FleetError};
use crate::random::random;
use crate::worker::{Dataplane, QueueId, WorkerId};
use endings::Ending;
use gateways::Schedules;
use lookout::{Swept, is_bound_to_container};

/// Internal addresses that masquerading has room for.
const MASQUERADED: u32 = 65_536;
/// Problems that are remembered for `status`.
const PROBLEMS: usize = 100;

/// The configuration in force, and everything that carries it out.
pub struct Switch {
    fleet: Fleet,
    store: Option<Store>,
    config: Config,
    numbering: Numbering,
    facts: BTreeMap<PortName, Facts>,
    /// Ports whose device is not there, and why.
    waiting: BTreeMap<PortName, String>,
    generation: Generation,
    /// Frames that the kernel lost before the ports saw them.
    missed: BTreeMap<PortIndex, u64>,
    problems: Vec<String>,
    seed: u64,
    rules: Rules,
    /// What the workers decide by.
    snapshot: Arc<Snapshot>,
    /// What ends when the workers know the configuration.
    ending: Ending,
    schedules: Schedules,
    swept: Swept,
}

impl Switch {
    /// A switch without bridges and ports, whose state is kept in `store`.
    pub fn new(fleet: Fleet, store: Option<Store>) -> Self {
        Self {
            fleet,
            store,
            config: Config::default(),
            numbering: Numbering::default(),
            facts: BTreeMap::new(),
            waiting: BTreeMap::new(),
            generation: Generation::default(),
            missed: BTreeMap::new(),
            problems: Vec::new(),
            seed: u64::from_ne_bytes(random()),
            rules: Rules::default(),
            snapshot: Arc::new(nothing()),
            ending: Ending::default(),
            schedules: Schedules::default(),
            swept: Swept::default(),
        }
    }

    /// Takes up a kept configuration: re-attaches what still exists, and says what does not. A container
    /// that is gone is forgotten with its ports; a device of the host's own is waited for.
    ///
    /// # Errors
    /// [`CtlError`], when the workers or the store fail.
    pub fn restore(&mut self, kept: &Config) -> Result<(), CtlError> {
        let (ports, vxlans) = (BTreeMap::new(), BTreeMap::new());
        let bridges = Config { ports, vxlans, ..kept.clone() };
        self.commit(bridges, Prepared::default())?;
        let mut next = self.config.clone();
        let mut prepared = Prepared::default();
        for (name, port) in &kept.ports {
            match device::open(port, kept.mtu_of(port).bytes(), self.home()) {
                Ok(device) => _ = prepared.opened.insert(name.clone(), device),
                Err(error) if error.is_absence() && is_bound_to_container(port) => {
                    self.note_problem(format!("port {name}: {error}; the port is removed"));
                    next.forget_endpoint(&port.bridge, name);
                    continue;
                }
                Err(error) => {
                    self.note_problem(format!("port {name}: {error}; it is tried again"));
                    self.waiting.insert(name.clone(), error.to_string());
                }
            }
            next.ports.insert(name.clone(), port.clone());
        }
        for (name, vxlan) in &kept.vxlans {
            if let Err(error) = self.open_endpoint(vxlan, &mut prepared) {
                self.note_problem(format!("vxlan {name}: {error}; it is tried again"));
                self.waiting.insert(name.clone(), error.to_string());
            }
        }
        next.vxlans.clone_from(&kept.vxlans);
        let has_port =
            |name: &PortName| next.ports.contains_key(name) || next.vxlans.contains_key(name);
        for bridge in next.bridges.values_mut() {
            bridge.statics.retain(|station| has_port(&station.port));
        }
        self.save(&next)?;
        self.commit(next, prepared)
    }

    /// Carries out a change.
    ///
    /// # Errors
    /// [`CtlError`]; nothing has changed then.
    pub fn mutate(&mut self, mutation: Mutation) -> Result<Changed, CtlError> {
        let mutation = choices::complete(mutation, &self.config);
        let next = apply(&self.config, &mutation)?;
        let subject = subject::of(&mutation, &self.config, &next)?;
        let differs = next != self.config;
        if differs {
            self.advance(next)?;
        }
        let removed = match &mutation {
            Mutation::FdbDel(key) => Some(usize::from(self.forget_station(key))),
            Mutation::FdbFlush(filter) => Some(self.flush_stations(filter)),
            Mutation::NeighborDel(key) => Some(usize::from(self.forget_neighbor(key) || differs)),
            Mutation::NeighborFlush(filter) => Some(self.flush_neighbors(filter)),
            Mutation::ConnFlush(filter) => Some(self.flush_sessions(filter)),
            _ => subject.removed,
        };
        let moved = match &mutation {
            Mutation::PortMove(to) => self.relocate(to)?,
            _ => false,
        };
        let changed = differs || moved || removed.is_some_and(|count| count > 0);
        let unknown = |what, show| {
            let message = format!("that {what} is not known; `{show}` shows those that are");
            Err(CtlError::not_found(message))
        };
        match mutation {
            Mutation::FdbDel(_) if !changed => return unknown("station", "fdb show"),
            Mutation::NeighborDel(_) if !changed => return unknown("neighbour", "neighbor show"),
            _ => {}
        }
        Ok(Changed { changed, removed, ..subject })
    }

    /// Lets another worker serve a port. False when it does so already.
    fn relocate(&mut self, PortMove { name, worker }: &PortMove) -> Result<bool, CtlError> {
        let refused = |why: String| Err(CtlError::invalid(format!("port {name}: {why}")));
        let workers = self.fleet.workers().count();
        if usize::from(*worker) >= workers {
            return refused(format!("there is no worker {worker}, but 0 to {}", workers - 1));
        }
        let (Some((port, _)), Some(facts)) = (self.numbering.ports.get(name), self.facts.get(name))
        else {
            return refused("it waits for its device, and has no worker yet".to_owned());
        };
        let (port, to) = (*port, WorkerId(*worker));
        if self.fleet.placement().iter().all(|(queue, at)| queue.port != port || *at == to) {
            return Ok(false);
        }
        if facts.is_bound {
            return refused("by AF_XDP it is bound to its worker's packet memory".to_owned());
        }
        self.fleet.relocate(port, to).map_err(stuck)?;
        self.publish()?;
        Ok(true)
    }

    /// A change to the next configuration, through all steps.
    pub(super) fn advance(&mut self, next: Config) -> Result<(), CtlError> {
        let mut prepared = Prepared::default();
        let done = self.prepare(&next, &mut prepared).and_then(|()| self.save(&next));
        match done {
            Ok(()) => self.commit(next, prepared),
            Err(error) => {
                prepared.undo();
                Err(error)
            }
        }
    }

    /// Does what can fail.
    fn prepare(&self, next: &Config, prepared: &mut Prepared) -> Result<(), CtlError> {
        for action in plan(&self.config, next) {
            match action {
                Action::AddPort(name, port) => {
                    let device = device::open(&port, next.mtu_of(&port).bytes(), self.home())
                        .map_err(|error| error.for_port(&name))?;
                    prepared.opened.insert(name, device);
                }
                Action::AddVxlan(name, vxlan) => self
                    .open_endpoint(&vxlan, prepared)
                    .map_err(|error| Self::tunnel_error(&name, &error))?,
                _ => {}
            }
        }
        for (name, facts) in &self.facts {
            let Some(port) = next.ports.get(name) else { continue };
            let ours = port.mtu.is_some() || matches!(port.kind, PortKind::Tap(_));
            let to = next.mtu_of(port).bytes();
            if ours && to != facts.mtu && !prepared.opened.contains_key(name) {
                device::set_mtu(port, to).map_err(|error| error.for_port(name))?;
                let (name, port, from) = (name.clone(), port.clone(), facts.mtu);
                prepared.resized.push(Resized { name, port, from, to });
            }
        }
        Ok(())
    }

    /// The worker for a device that must know it before it is opened.
    fn home(&self) -> Home {
        let worker = self.fleet.least_loaded();
        Home { worker, memory: self.fleet.memory(worker) }
    }

    fn save(&self, next: &Config) -> Result<(), CtlError> {
        let Some(store) = &self.store else { return Ok(()) };
        store.save(next).map_err(|error| CtlError::new(ErrorCode::Host, error.to_string()))
    }

    /// Tells the workers. Nothing here fails unless a worker is stuck.
    fn commit(&mut self, next: Config, prepared: Prepared) -> Result<(), CtlError> {
        let now = self.now();
        let Prepared { opened, resized, endpoints } = prepared;
        for Resized { name, to, .. } in resized {
            if let Some(facts) = self.facts.get_mut(&name) {
                facts.mtu = to;
            }
        }
        let closed =
            |name: &&PortName| !next.ports.contains_key(*name) || opened.contains_key(*name);
        let closed: Vec<_> = self.numbering.ports.keys().filter(closed).cloned().collect();
        closed.iter().try_for_each(|name| self.close(name)).map_err(stuck)?;
        self.close_tunnels(&next).map_err(stuck)?;
        self.waiting.retain(|name, _| next.has_port(name) && !opened.contains_key(name));
        self.number_bridges(&next, now)?;
        self.numbering.number_rules(&self.config, &next);
        self.say_farewells(&next).map_err(stuck)?;
        self.ending.disturb(&self.config, &next);
        self.config = next;
        let fresh = self.number_ports(opened)?;
        let endpoints = self.number_tunnels(endpoints)?;
        self.publish()?;
        self.put_statics();
        if fresh.is_empty() && endpoints.is_empty() {
            return Ok(());
        }
        let names: Vec<_> = fresh.iter().map(|port| port.name.clone()).collect();
        for port in fresh {
            self.start(port).map_err(stuck)?;
        }
        for (port, queues) in endpoints {
            self.start_endpoint(port, queues).map_err(stuck)?;
        }
        // Once more, now that it is known which worker transmits for the new ports. Only then can all of
        // them hear what is announced.
        self.publish()?;
        names.iter().try_for_each(|name| self.announce(name)).map_err(stuck)
    }

    /// Compiles the configuration and gives it to the workers; then what depended on the one before ends.
    fn publish(&mut self) -> Result<(), CtlError> {
        self.generation = Generation(self.generation.0 + 1);
        let now = self.fleet.clock().now();
        for new in self.rules.update(&self.config, &self.numbering) {
            self.fleet.tables().rules.begin(new, now);
        }
        let (generation, rules) = (self.generation, &self.rules);
        let mappings = &self.snapshot.translation().mappings;
        let snapshot =
            compile::snapshot(&self.config, &self.numbering, generation, mappings, rules)
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
        self.end_dependents(&old);
        self.announce_gateways(&old).map_err(stuck)
    }

    /// Enters what was entered by hand.
    fn put_statics(&self) {
        let now = self.fleet.clock().now();
        for (name, bridge) in &self.config.bridges {
            if let Some(slot) = self.numbering.bridges.get(name) {
                compile::put_statics(bridge, &slot.fdb, &self.numbering, now.seconds());
            }
        }
        let neighbors = &self.fleet.tables().neighbors;
        compile::put_neighbors(&self.config, &self.numbering, neighbors, now);
    }

    /// Takes a port away from the workers, and forgets its stations.
    fn close(&mut self, name: &PortName) -> Result<(), FleetError> {
        let Some((index, _)) = self.numbering.ports.remove(name) else { return Ok(()) };
        self.note_departure(name, index);
        self.facts.remove(name);
        self.vacate(index)
    }

    /// Makes a number free for another port.
    fn vacate(&mut self, index: PortIndex) -> Result<(), FleetError> {
        self.missed.remove(&index);
        self.fleet.detach(index)?;
        let now = self.now();
        for slot in self.numbering.bridges.values() {
            slot.fdb.flush(now, |entry| entry.port == index);
        }
        Ok(())
    }

    fn number_bridges(&mut self, next: &Config, now: Seconds) -> Result<(), CtlError> {
        self.numbering.bridges.retain(|name, _| next.bridges.contains_key(name));
        for (name, bridge) in &next.bridges {
            let slot = self.numbering.bridges.get(name);
            let before = self.config.bridges.get(name).zip(slot.map(|slot| &slot.fdb));
            let fdb = compile::fdb_for(bridge, before, now, self.seed);
            let index = match slot {
                Some(slot) => slot.index,
                None => self.numbering.free_bridge().ok_or_else(|| full("bridges"))?,
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
        for (name, OpenDevice { queues, facts, home }) in opened {
            let index = self.numbering.free_port().ok_or_else(|| full("ports"))?;
            self.numbering.ports.insert(name.clone(), (index, facts.mtu));
            self.facts.insert(name.clone(), facts);
            fresh.push(Fresh { name, queues, home });
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
        let Fresh { name, queues, home } = fresh;
        let Some((port, _)) = self.numbering.ports.get(&name).copied() else { return Ok(()) };
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

    fn forget_station(&self, key: &FdbKey) -> bool {
        let vid = key.vlan.map_or(Vid::NONE, |vlan| Vid(vlan.number()));
        let slot = self.numbering.bridges.get(&key.bridge);
        slot.is_some_and(|slot| slot.fdb.remove(pktio::wire::MacAddr(key.mac.0), vid))
    }

    fn flush_stations(&self, filter: &FdbFilter) -> usize {
        let now = self.now();
        self.matching_bridges(filter)
            .map(|slot| {
                slot.fdb.flush(now, |entry| !entry.is_static && self.matches(filter, entry))
            })
            .sum()
    }

    /// The bridges that a filter means.
    pub(super) fn matching_bridges<'a>(
        &'a self,
        filter: &'a FdbFilter,
    ) -> impl Iterator<Item = &'a BridgeSlot> + 'a {
        let wanted = |name: &ctl::BridgeName| filter.bridge.as_ref().is_none_or(|own| own == name);
        self.numbering.bridges.iter().filter(move |(name, _)| wanted(name)).map(|(_, slot)| slot)
    }

    /// Whether a filter means a station.
    pub(super) fn matches(&self, filter: &FdbFilter, entry: &Entry) -> bool {
        let is_behind = |name| self.numbering.port_name(entry.port) == Some(name);
        filter.port.as_ref().is_none_or(is_behind)
            && filter.vlan.is_none_or(|vlan| vlan.number() == entry.vid.0)
    }

    /// Remembers something that the operator should know.
    pub(super) fn note_problem(&mut self, problem: String) {
        tracing::warn!("{problem}");
        if self.problems.len() >= PROBLEMS {
            self.problems.remove(0);
        }
        self.problems.push(problem);
    }

    /// The time on the switch's clock.
    pub(super) fn now(&self) -> Seconds {
        self.fleet.clock().now().seconds()
    }

    /// The workers.
    pub fn fleet(&mut self) -> &mut Fleet {
        &mut self.fleet
    }

    /// The workers, to look at.
    pub(super) fn fleet_ref(&self) -> &Fleet {
        &self.fleet
    }

    /// The configuration in force.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Where its parts are.
    pub(super) fn numbering(&self) -> &Numbering {
        &self.numbering
    }

    /// What there is to know of an open port's device.
    pub(super) fn facts(&self, port: &PortName) -> Option<&Facts> {
        self.facts.get(port)
    }

    /// Why a port is not open.
    pub(super) fn why_waiting(&self, port: &PortName) -> Option<&str> {
        self.waiting.get(port).map(String::as_str)
    }

    /// Frames that the kernel lost before the ports saw them.
    pub(super) fn missed(&self) -> &BTreeMap<PortIndex, u64> {
        &self.missed
    }

    /// Adds to these.
    pub(super) fn add_missed(&mut self, port: PortIndex, frames: u64) {
        *self.missed.entry(port).or_default() += frames;
    }

    /// What the workers decide by.
    pub(super) fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// What went wrong since the start.
    pub(super) fn problems(&self) -> &[String] {
        &self.problems
    }
}

/// What is decided by before there is a configuration, with room for what masquerading maps later.
fn nothing() -> Snapshot {
    let mappings = Mappings::new(MASQUERADED, u64::from_ne_bytes(random()));
    let translation = Translation { mappings, ..Translation::default() };
    Snapshot::default().with_translation(Arc::new(translation))
}

/// A port whose device was opened, and which no worker serves yet.
struct Fresh {
    name: PortName,
    queues: Queues,
    home: Option<WorkerId>,
}

/// What a change opened and changed on the host before it was committed.
#[derive(Default)]
struct Prepared {
    opened: BTreeMap<PortName, OpenDevice>,
    resized: Vec<Resized>,
    /// Endpoints of tunnels, each with its queues.
    endpoints: BTreeMap<SocketAddr, Vec<Underlay>>,
}

/// An interface whose MTU was changed.
struct Resized {
    name: PortName,
    port: Port,
    from: u32,
    to: u32,
}

impl Prepared {
    /// Leaves the host as it was: interfaces get their MTU back, and devices close with their handles.
    fn undo(self) {
        for Resized { port, from, .. } in self.resized.iter().rev() {
            // It had this MTU a moment ago.
            let _ = device::set_mtu(port, *from);
        }
    }
}

fn stuck(error: FleetError) -> CtlError {
    CtlError::new(ErrorCode::Internal, error.to_string())
}

fn full(what: &str) -> CtlError {
    CtlError::invalid(format!("the switch cannot number any more {what}"))
}
