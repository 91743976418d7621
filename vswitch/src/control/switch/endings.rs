//! What ends with a change: sessions that would not begin any more, and what was known of who left.
//!
//! All of it comes after every worker has adopted the new configuration, so that nothing that ends begins again by
//! the old one.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ctl::{ConnFilter, Config, NeighborFilter, NeighborKey, PortKind, PortName};
use flows::router::{NeighborEntry, NeighborState};
use flows::session::Session;
use flows::{BridgeIndex, PortIndex, Snapshot};

use super::Switch;
use crate::control::answers::Sieve;

/// The addresses of stations that left.
#[derive(Debug, Default)]
pub(super) struct Departed(BTreeSet<(BridgeIndex, IpAddr)>);

impl Departed {
    /// Whether one of a session's ends left.
    fn was_in(&self, session: &Session) -> bool {
        let ends = [session.initiator, session.responder];
        ends.iter().any(|key| self.has(BridgeIndex(key.zone.0), key.tuple.source.ip))
    }

    fn has(&self, bridge: BridgeIndex, ip: IpAddr) -> bool {
        self.0.contains(&(bridge, ip))
    }
}

/// Whether sessions can depend on what differs between two configurations, besides their ports.
pub(super) fn may_disturb(old: &Config, next: &Config) -> bool {
    (&old.nat, &old.allowed, &old.routes) != (&next.nat, &next.allowed, &next.routes)
        || old.bridges.iter().any(|(name, bridge)| {
            next.bridges.get(name).is_none_or(|next| next.gateways != bridge.gateways)
        })
}

impl Switch {
    /// Remembers who leaves with a port: the addresses that its interface was given, and those by which the stations
    /// behind it are known.
    pub(super) fn note_departure(&mut self, name: &PortName, index: PortIndex) {
        let Some(port) = self.config.ports.get(name) else { return };
        let Some(slot) = self.numbering.bridges.get(&port.bridge) else { return };
        let now = self.fleet.clock().now();
        let stations = slot.fdb.entries(now.seconds());
        let is_behind = |entry: &NeighborEntry| {
            let mut behind = stations.iter().filter(|station| station.port == index);
            entry.bridge == slot.index && behind.any(|station| Some(station.mac) == entry.mac)
        };
        let known = self.fleet.tables().neighbors.entries(now).into_iter().filter(is_behind);
        self.departed.0.extend(known.map(|entry| (entry.bridge, entry.ip)));
        if let PortKind::Tap(tap) = &port.kind {
            self.departed.0.extend(tap.ips.iter().map(|cidr| (slot.index, cidr.addr)));
        }
    }

    /// Ends what depended on the configuration before, and on who left. What the sessions had is given back as it
    /// was found.
    pub(super) fn end_dependents(&mut self, old: &Snapshot, disturbs: bool) {
        let departed = std::mem::take(&mut self.departed);
        if departed.0.is_empty() && !disturbs {
            return;
        }
        let (now, tables) = (self.fleet.clock().now(), self.fleet.tables());
        tables.neighbors.flush(now, |entry| {
            entry.state != NeighborState::Permanent && departed.has(entry.bridge, entry.ip)
        });
        let is_over = |session: &Session| {
            departed.was_in(session) || (disturbs && !self.snapshot.still_makes(session))
        };
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
        let mut old = Config::default();
        old.bridges.entry("a".parse().unwrap()).or_default();
        let mut next = old.clone();
        next.bridges.get_mut("a").unwrap().ageing_seconds = 17;
        next.bridges.entry("b".parse().unwrap()).or_default();
        assert!(!may_disturb(&old, &next));
        assert!(may_disturb(&next, &old), "a bridge goes");
        next.bridges.get_mut("a").unwrap().gateways.push("10.0.0.1/24".parse().unwrap());
        assert!(may_disturb(&old, &next), "its gateways are others");
        let mut next = old.clone();
        next.allowed.entry("a".parse().unwrap()).or_default();
        assert!(may_disturb(&old, &next));
    }
}
