//! What ends with a change: sessions that would not begin any more, and what was known of who left.
//!
//! All of it comes after every worker has adopted the new configuration, so that nothing that ends begins again by
//! the old one.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ctl::{Config, ConnFilter, DiffItem, NeighborFilter, NeighborKey, Port, PortKind, PortName};
use flows::router::{NeighborEntry, NeighborState};
use flows::session::Session;
use flows::{BridgeIndex, PortIndex, Snapshot};

use super::Switch;
use crate::control::answers::Sieve;
use crate::control::device;

/// What changed since the workers last heard of a configuration that sessions can depend on.
#[derive(Debug, Default)]
pub(super) struct Ending {
    /// The addresses of stations that left.
    departed: BTreeSet<(BridgeIndex, IpAddr)>,
    /// The ports that went: one of the same number is another.
    gone: BTreeSet<PortIndex>,
    /// Packets may go other ways, or be translated otherwise.
    is_rerouted: bool,
}

impl Ending {
    /// Notes whether sessions can depend on what differs between two configurations, besides their ports.
    pub(super) fn disturb(&mut self, old: &Config, next: &Config) {
        self.is_rerouted |= (&old.nat, &old.services, &old.allowed, &old.routes)
            != (&next.nat, &next.services, &next.allowed, &next.routes)
            || old.bridges.diff(&next.bridges).any(|item| match item {
                DiffItem::Add(..) => false,
                DiffItem::Remove(..) => true,
                DiffItem::Update { old: (_, old), new: (_, new) } => old.gateways != new.gateways,
            });
    }

    fn is_nothing(&self) -> bool {
        self.departed.is_empty() && self.gone.is_empty() && !self.is_rerouted
    }

    fn has_departed(&self, bridge: BridgeIndex, ip: IpAddr) -> bool {
        self.departed.contains(&(bridge, ip))
    }

    /// Whether a session ends by this, now that a configuration is in force.
    fn concerns(&self, session: &Session, snapshot: &Snapshot) -> bool {
        let mut ends = [session.initiator, session.responder].into_iter();
        session.entrances.iter().flatten().any(|port| self.gone.contains(port))
            || ends.any(|key| self.has_departed(BridgeIndex(key.zone.0), key.tuple.source.ip))
            || (self.is_rerouted && !snapshot.still_makes(session))
    }
}

impl Switch {
    /// Remembers who leaves with a port: whoever was heard by it in a session, the addresses that its interface was given, and
    /// the stations behind it.
    pub(super) fn note_departure(&mut self, name: &PortName, index: PortIndex) {
        self.ending.gone.insert(index);
        self.note_stations_behind(&BTreeSet::from([index]));
        let Some(port) = self.config.ports.get(name) else { return };
        let Some(slot) = self.numbering.bridges.get(self.config.domain_of(port)) else { return };
        if let PortKind::Tap(tap) = &port.kind {
            self.ending.departed.extend(tap.ips.iter().map(|cidr| (slot.index, cidr.addr)));
        }
    }

    /// Lets the devices that outlive the daemon end with their ports, where these are no more.
    pub(super) fn discard_devices(&self, next: &Config) {
        for (name, port) in self.config.ports.iter().filter(|(name, _)| !next.has_port(name)) {
            let handle = self.facts.get(name).and_then(|facts| facts.handed_over.as_deref());
            match (&port.kind, handle) {
                // It fails if the device is gone already.
                (_, Some(handle)) => _ = handle.set_persistent(false),
                (PortKind::Tap(tap), None) if tap.handover => device::discard(tap),
                _ => {}
            }
        }
    }

    /// Remembers the addresses that a container has no more.
    pub(super) fn note_readdressing(&mut self, from: &Port, to: &Port) {
        let (PortKind::Tap(before), PortKind::Tap(after)) = (&from.kind, &to.kind) else { return };
        let Some(slot) = self.numbering.bridges.get(self.config.domain_of(from)) else { return };
        let has = |ip: IpAddr| after.ips.iter().any(|cidr| cidr.addr == ip);
        let gone = before.ips.iter().map(|cidr| cidr.addr).filter(|ip| !has(*ip));
        self.ending.departed.extend(gone.map(|ip| (slot.index, ip)));
    }

    /// Remembers the stations that leave with some ports, by the addresses by which they are known.
    pub(super) fn note_stations_behind(&mut self, ports: &BTreeSet<PortIndex>) {
        let now = self.fleet.clock().now();
        let mut stations = BTreeSet::new();
        let has_statics =
            |name| self.config.bridges.get(name).is_some_and(|bridge| !bridge.statics.is_empty());
        for (name, slot) in self.numbering.bridges.iter().filter(|_| !ports.is_empty()) {
            if slot.fdb.is_empty() && !has_statics(name) {
                continue;
            }
            let behind = slot.fdb.entries(now.seconds()).into_iter();
            let behind = behind.filter(|station| ports.contains(&station.port));
            stations.extend(behind.map(|station| (slot.index, station.mac)));
        }
        if stations.is_empty() {
            return;
        }
        let is_one = |entry: &NeighborEntry| {
            entry.mac.is_some_and(|mac| stations.contains(&(entry.bridge, mac)))
        };
        let known = self.fleet.tables().neighbors.entries(now).into_iter().filter(is_one);
        self.ending.departed.extend(known.map(|entry| (entry.bridge, entry.ip)));
    }

    /// Ends what depended on the configuration before, and on who left. What the sessions had is given back as it
    /// was found.
    pub(super) fn end_dependents(&mut self, old: &Snapshot) {
        let ending = std::mem::take(&mut self.ending);
        if ending.is_nothing() {
            return;
        }
        let (now, tables) = (self.fleet.clock().now(), self.fleet.tables());
        tables.neighbors.flush(now, |entry| {
            entry.state != NeighborState::Permanent && ending.has_departed(entry.bridge, entry.ip)
        });
        let is_over = |session: &Session| ending.concerns(session, &self.snapshot);
        let release = |ended: &Session| old.translation().release(ended, now);
        let ended = tables.sessions.flush(now.seconds(), is_over, release);
        if ended > 0 {
            tracing::info!(ended, "sessions ended with what they depended on");
        }
    }

    /// Ends the sessions that a filter means, and says how many.
    pub(super) fn flush_sessions(&self, filter: &ConnFilter) -> usize {
        let sieve = Sieve::new(filter, &self.numbering);
        let (now, tables) = (self.fleet.clock().now(), self.fleet.tables());
        let release = |ended: &Session| self.snapshot.translation().release(ended, now);
        tables.sessions.flush(now.seconds(), |session| sieve.passes(session), release)
    }

    /// Forgets a neighbour. False when it was not known.
    pub(super) fn forget_neighbor(&self, key: &NeighborKey) -> bool {
        let slot = self.numbering.bridges.get(&key.bridge);
        slot.is_some_and(|slot| self.fleet.tables().neighbors.remove(slot.index, key.ip))
    }

    /// Forgets the neighbours that a filter means, but for those entered by hand, and says how many.
    pub(super) fn flush_neighbors(&self, filter: &NeighborFilter) -> usize {
        let now = self.fleet.clock().now();
        self.fleet.tables().neighbors.flush(now, |entry| {
            entry.state != NeighborState::Permanent && self.is_meant(filter, entry)
        })
    }

    /// Whether a filter means a neighbour.
    pub(in crate::control) fn is_meant(
        &self,
        filter: &NeighborFilter,
        entry: &NeighborEntry,
    ) -> bool {
        let on = filter.bridge.as_ref().map(|name| self.numbering.bridges.get(name));
        on.is_none_or(|slot| slot.is_some_and(|slot| slot.index == entry.bridge))
            && filter.ip.is_none_or(|ip| ip == entry.ip)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_sessions_depend_on_disturbs_them() {
        let name: ctl::BridgeName = "a".parse().unwrap();
        let mut old = Config::default();
        old.bridges.entry(name.clone()).or_default();
        let mut next = old.clone();
        next.bridges.entry(name.clone()).or_default().ageing_seconds = 17;
        next.bridges.entry("b".parse().unwrap()).or_default();
        let disturbs = |old: &Config, next: &Config| {
            let mut ending = Ending::default();
            ending.disturb(old, next);
            ending.is_rerouted
        };
        assert!(!disturbs(&old, &next));
        assert!(disturbs(&next, &old), "a bridge goes");
        let changed = next.bridges.entry(name.clone()).or_default();
        changed.gateways.push("10.0.0.1/24".parse().unwrap());
        assert!(disturbs(&old, &next), "its gateways are others");
        let mut next = old.clone();
        next.allowed.entry(name).or_default();
        assert!(disturbs(&old, &next));
    }
}
