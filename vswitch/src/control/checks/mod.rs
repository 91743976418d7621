//! [`Checks`]: backends of services are asked whether they serve, by the gateways of their bridges.
//!
//! ```text
//!   schedule ──► way known? ── no ──► a worker asks for the neighbour ──┐
//!                   │ yes       ◄───────────────────────────────────────┘
//!                   v
//!                 probe ──► frames, emitted by a worker ──► backend ──► worker ──► reception ──► probe
//!                   └──► what it found: the backend's health
//! ```
//!
//! The daemon has no socket in the networks, so a check is a conversation of the gateway's own ([`probe`]), from one of its
//! privileged ports ([`flows::service::CHECK_PORTS`]); workers know what answers it by that
//! ([`flows::Translation::is_unclaimed`]), whatever rules say of the backend. How many there are at once, and how many are begun,
//! is bounded ([`schedule`]). Used by the control thread only.

mod probe;
mod schedule;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use ctl::{DiffItem, Service, ServiceName, Table};
use flows::router::{Lookup, NextHop};
use flows::service::{CHECK_PORTS, Fault, Thresholds};
use flows::session::Key;
use flows::{BridgeIndex, Endpoint, Generation, PortIndex, Snapshot, Tuple, Vid};
use pktio::wire::MacAddr;
use pktio::wire::field::protocol;

use super::reception::datagram::{Packet, envelope};
use super::switch::Switch;
use crate::random::random;
use probe::Probe;
use schedule::{Schedule, Target};

/// Checks at the same time.
const MAX_CHECKS: usize = 1024;
/// Of these, those whose backend's address on the link is asked for: half of what one worker asks for at a time, so that
/// backends that are not there leave room for packets' next hops. The others wait so long.
const MAX_SEEKING: usize = 128;
const SEEK_LATER: Duration = Duration::from_secs(1);
/// How often it is looked whether a backend's address on the link is known by now.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Ports that are tried until a backend is checked another time.
const PORTS_TRIED: usize = 32;

/// Between whom a check is: the backend's bridge, the gateway's end, the backend's.
type Ends = (BridgeIndex, SocketAddr, SocketAddr);

/// The checks of all backends.
#[derive(Default)]
pub struct Checks {
    /// What is checked, as the configuration was when it was looked at.
    services: Table<ServiceName, Service>,
    generation: Option<Generation>,
    schedule: Schedule,
    running: BTreeMap<Ends, Check>,
}

/// A check that is on its way.
struct Check {
    target: Target,
    question: ctl::Probe,
    began: Instant,
    deadline: Instant,
    gateway: MacAddr,
    next_hop: NextHop,
    stage: Stage,
}

/// How far it is.
enum Stage {
    /// The backend's address on the link is asked for, and looked for at this time.
    Seeking(Instant),
    /// It is asked whether it serves. It is this station.
    Asking(Box<Probe>, MacAddr),
}

impl Checks {
    /// When to be called at the latest.
    pub fn timeout(&self) -> Option<Duration> {
        let next = self.running.values().map(Check::next).min();
        let begin = self.schedule.next_at().filter(|_| self.running.len() < MAX_CHECKS);
        let at = next.into_iter().chain(begin).min()?;
        Some(at.saturating_duration_since(Instant::now()))
    }

    /// Begins the checks that are due, and goes on with those that wait for time to pass.
    pub fn attend(&mut self, switch: &mut Switch) {
        let now = Instant::now();
        self.follow(switch, now);
        while self.running.len() < MAX_CHECKS
            && let Some(target) = self.schedule.next(now)
        {
            self.begin(switch, target, now);
        }
        let is_due = |check: &Check| check.next() <= now;
        let due = self.running.iter().filter(|(_, check)| is_due(check)).map(|(ends, _)| *ends);
        for ends in due.collect::<Vec<_>>() {
            self.go_on(switch, ends, now);
        }
    }

    /// Hears a packet that came in by a port, in a VLAN, for an address of the gateway there.
    pub fn hear(
        &mut self,
        switch: &mut Switch,
        place: (PortIndex, Vid),
        packet: Packet,
        now: Instant,
    ) {
        let Some(bridge) = domain(switch.snapshot(), place) else { return };
        let ends = (bridge, packet.to, packet.from);
        let check = self.running.get_mut(&ends);
        if let Some(Check { stage: Stage::Asking(probe, _), .. }) = check {
            probe.hear(packet.ip);
            self.go_on(switch, ends, now);
        }
    }

    /// Begins to check what is new, and to leave alone what is no more.
    fn follow(&mut self, switch: &Switch, now: Instant) {
        let generation = switch.snapshot().generation();
        if self.generation.replace(generation) == Some(generation) {
            return;
        }
        let next = switch.config().services.clone();
        let old = std::mem::replace(&mut self.services, next.clone());
        for item in old.diff(&next) {
            let (name, was, is) = match item {
                DiffItem::Add(name, is) => (name, None, Some(is)),
                DiffItem::Update { old: (name, was), new: (_, is) } => (name, Some(was), Some(is)),
                DiffItem::Remove(name, was) => (name, Some(was), None),
            };
            let is_same = was.map(|was| &was.health) == is.map(|is| &is.health);
            let (before, after) = (targets(name, was), targets(name, is));
            for target in before.iter().filter(|target| !is_same || !after.contains(target)) {
                self.leave(switch, target);
            }
            for target in after.iter().filter(|target| !is_same || !before.contains(target)) {
                self.schedule.put(target.clone(), now);
            }
        }
    }

    /// Checks a backend no more.
    fn leave(&mut self, switch: &Switch, target: &Target) {
        self.schedule.remove(target);
        self.running.retain(|_, check| check.target != *target);
        if let Some((_, backend)) = switch.backend(&target.service, target.at) {
            backend.health.leave_unchecked(true, switch.now());
        }
    }

    fn begin(&mut self, switch: &mut Switch, target: Target, now: Instant) {
        let Some((service, backend)) = switch.backend(&target.service, target.at) else { return };
        let Some(health) = service.health.as_ref() else { return };
        let port = health.port.unwrap_or(target.at.port());
        let at = SocketAddr::new(target.at.ip(), port);
        let interval = Duration::from_secs(health.interval.into());
        let deadline = now + Duration::from_secs(health.timeout.into());
        let Some((gateway, next_hop)) = switch.path_to(backend) else {
            return self.conclude(switch, &target, now, Err(Fault::Absent));
        };
        let is_known = !matches!(switch.neighbor(next_hop), Lookup::Unknown | Lookup::Resolving);
        if !is_known && self.seeking() >= MAX_SEEKING {
            return self.schedule.put(target, now + SEEK_LATER);
        }
        let Some(own) = self.free_end(switch, backend.bridge, (gateway.ip, at)) else {
            backend.health.leave_unchecked(false, switch.now());
            return self.schedule.put(target, now + interval);
        };
        let ends = (backend.bridge, own, at);
        let question = health.probe.clone();
        let stage = Stage::Seeking(now);
        let gateway = gateway.mac;
        let check = Check { target, question, began: now, deadline, gateway, next_hop, stage };
        self.running.insert(ends, check);
        if let Err(error) = switch.fleet().seek(next_hop) {
            switch.note_problem(format!("nobody asks for {}: {error}", next_hop.ip));
        }
        self.go_on(switch, ends, now);
    }

    /// Checks whose backends' addresses on the link are asked for.
    fn seeking(&self) -> usize {
        self.running.values().filter(|check| matches!(check.stage, Stage::Seeking(_))).count()
    }

    /// An end of the gateway's own for a check of a backend: what answers it comes to nobody else. `None` if there is none.
    fn free_end(
        &self,
        switch: &Switch,
        bridge: BridgeIndex,
        (own, at): (IpAddr, SocketAddr),
    ) -> Option<SocketAddr> {
        if switch.is_shared(bridge) {
            return None;
        }
        let translation = switch.snapshot().translation();
        let is_free = |own: &SocketAddr| {
            let [source, destination] = [at, *own].map(|end| Endpoint::new(end.ip(), end.port()));
            let answer = Tuple { protocol: protocol::TCP, source, destination };
            !self.running.contains_key(&(bridge, *own, at))
                && translation.is_unclaimed(&Key::new(bridge, answer))
        };
        let port = || {
            let count = CHECK_PORTS.end() - CHECK_PORTS.start() + 1;
            CHECK_PORTS.start() + u16::from_ne_bytes(random()) % count
        };
        (0..PORTS_TRIED).map(|_| SocketAddr::new(own, port())).find(is_free)
    }

    /// Goes on with a check.
    fn go_on(&mut self, switch: &mut Switch, ends: Ends, now: Instant) {
        let Some(check) = self.running.get_mut(&ends) else { return };
        let Some(found) = check.turn(switch, ends, now) else { return };
        if let Some(Check { target, began, .. }) = self.running.remove(&ends) {
            self.conclude(switch, &target, began, found);
        }
    }

    /// Enters what a check found, and when the next one is due.
    fn conclude(
        &mut self,
        switch: &Switch,
        target: &Target,
        began: Instant,
        found: Result<(), Fault>,
    ) {
        let Some((service, backend)) = switch.backend(&target.service, target.at) else { return };
        let Some(health) = service.health.as_ref() else { return };
        let thresholds = Thresholds { fall: health.fall, rise: health.rise };
        if backend.health.check(found, thresholds, switch.now()) {
            let Target { service, at } = target;
            match found {
                Ok(()) => tracing::info!(%service, backend = %at, "a backend passes its checks"),
                Err(fault) => {
                    tracing::info!(%service, backend = %at, ?fault, "a backend fails its checks");
                }
            }
        }
        let interval = Duration::from_secs(health.interval.into());
        self.schedule.put(target.clone(), began + interval);
    }
}

impl Check {
    /// When it is to have another turn.
    fn next(&self) -> Instant {
        let next = match &self.stage {
            Stage::Seeking(at) => Some(*at),
            Stage::Asking(probe, _) => probe.next(),
        };
        next.map_or(self.deadline, |next| next.min(self.deadline))
    }

    /// Goes on. Says what was found, if that is known.
    fn turn(
        &mut self,
        switch: &mut Switch,
        (bridge, own, at): Ends,
        now: Instant,
    ) -> Option<Result<(), Fault>> {
        if let Stage::Seeking(_) = self.stage {
            self.stage = match switch.neighbor(self.next_hop) {
                Lookup::Known(station) => {
                    let probe = Probe::new(&self.question, own, at, now);
                    Stage::Asking(Box::new(probe), station.mac)
                }
                Lookup::Failed => return Some(Err(Fault::Absent)),
                _ if now >= self.deadline => return Some(Err(Fault::Absent)),
                _ => Stage::Seeking(now + LOOK_EVERY),
            };
        }
        let Stage::Asking(probe, station) = &mut self.stage else { return None };
        let is_late = now >= self.deadline;
        let found = probe.turn(now).or_else(|| is_late.then(|| Err(probe.give_up(now))));
        let frames: Vec<_> =
            probe.said().map(|packet| envelope((self.gateway, *station), &packet)).collect();
        if !frames.is_empty()
            && let Err(error) = switch.fleet().emit(bridge, frames)
        {
            switch.note_problem(format!("a check of {at} was not sent: {error}"));
        }
        found
    }
}

/// The number of the bridge that a port is on, or of the VLAN if that is a domain of its own.
fn domain(snapshot: &Snapshot, (port, vid): (PortIndex, Vid)) -> Option<BridgeIndex> {
    let own = snapshot.port(port)?.bridge;
    snapshot.bridge(own)?.domain(own, vid)
}

/// The backends of a service that are checked.
fn targets(name: &ServiceName, service: Option<&Service>) -> BTreeSet<Target> {
    let checked = service.filter(|service| service.health.is_some());
    let backends = checked.into_iter().flat_map(|service| &service.backends);
    backends.map(|backend| Target { service: name.clone(), at: backend.at }).collect()
}
