//! [`Tracer`]: what would become of a packet.
//!
//! A tracer has a memory of its own, as a worker has, and decides by the same code with the same tables; but its
//! witness, the [`Rehearsal`], only reads these, and keeps to itself what they would have been told; and what a bridge
//! learns, a copy of its forwarding database learns. So packets that are traced one after another are of one
//! conversation: the answer finds the session that the first packet would have begun.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use pktio::wire::{EthernetHeader, MacAddr};
use pktio::{Burst, PktBuf, Pool, PoolConfig, PoolError};

use super::bridge::Ingress;
use super::desk::Desk;
use super::inspect::Memory;
use super::transform::Flows;
use super::witness::Witness;
use crate::finding::{Acquaintance, Finding, Trace};
use crate::nat::{self, Claim, MappingId, Mappings, Published, Unclaimed};
use crate::router::{Lookup, Neighbor, Neighbors, NextHop, Resolution, Resolver, Timers};
use crate::rules::RuleId;
use crate::session::{
    Direction, Found, InsertError, Inserted, Key, NewSession, Packet, Session, SessionRef,
    TcpPolicy, Verdict,
};
use crate::{
    BridgeIndex, Endpoint, Ledger, Nanos, Outboxes, PortIndex, Seconds, Snapshot, Tables, Vid, Zone,
};

/// Buffers beyond one for each port.
const SPARE: u32 = 64;
/// Neighbours that a rehearsal learns by itself, to no end.
const LEARNED: u32 = 8;

/// Follows packets through the pipeline without consequences. Made for one question and then dropped; any thread,
/// and no worker notices.
#[derive(Debug)]
pub struct Tracer {
    snapshot: Arc<Snapshot>,
    memory: Memory<Rehearsal>,
    flows: Flows,
    pool: Pool,
}

impl Tracer {
    /// A tracer by a configuration and the live tables. `presumed` are stations that are known by other means: a packet
    /// to one of which nobody has asked yet goes on as if it had answered.
    ///
    /// # Errors
    /// [`PoolError`], when there is no packet memory.
    pub fn new(
        snapshot: Arc<Snapshot>,
        tables: Arc<Tables>,
        presumed: HashMap<(BridgeIndex, IpAddr), MacAddr>,
    ) -> Result<Self, PoolError> {
        let ports = u32::try_from(snapshot.port_slots()).unwrap_or(u32::MAX / 2);
        let pool = Pool::new(PoolConfig { small: ports + SPARE, slabs: SPARE })?;
        let rehearsal = Rehearsal {
            findings: Vec::new(),
            presumed,
            begun: None,
            learned: Neighbors::new(LEARNED, Timers::default(), 0),
        };
        Ok(Self { snapshot, memory: Memory::new(tables, rehearsal), flows: Flows::new(1, 0), pool })
    }

    /// What would become of a frame that comes in by a port now. `None` when it is longer than any frame.
    pub fn trace(&mut self, now: Nanos, ingress: PortIndex, frame: &[u8]) -> Option<Trace> {
        let frame = self.pool.frame_from(frame)?;
        if let Some(port) = self.snapshot.port(ingress) {
            let private = self.snapshot.with_private_fdb(port.bridge, now.seconds());
            self.snapshot = Arc::new(private);
        }
        let (mut outboxes, mut ledger) = (Outboxes::new(), Ledger::new());
        let (snapshot, pool) = (&*self.snapshot, &mut self.pool);
        if let Some(vid) = Ingress::of(snapshot, ingress).and_then(|from| from.vid_of(&frame)) {
            self.memory.witness.note(|| Finding::Vlan(vid));
        }
        let mut burst = Burst::new();
        burst.push(frame);
        let (outboxes, ledger) = (&mut outboxes, &mut ledger);
        let mut desk = Desk::new(now, ingress, snapshot, pool, outboxes, ledger);
        self.memory.go_over(&mut desk, &mut self.flows, &mut burst);
        let fate = desk.fate;
        self.memory.resume(&mut desk, &mut self.flows);
        let findings = std::mem::take(&mut self.memory.witness.findings);
        Some(Trace { findings, fate, sent: self.collect(outboxes) })
    }

    /// What was to be transmitted.
    fn collect(&mut self, outboxes: &mut Outboxes) -> Vec<(PortIndex, Vec<u8>)> {
        let mut sent = Vec::new();
        while let Some(port) = outboxes.next_dirty() {
            for frame in outboxes.of(port).drain(..) {
                sent.push((port, frame.data().to_vec()));
                self.pool.recycle(frame);
            }
        }
        sent.sort_by_key(|(port, _)| *port);
        sent
    }
}

/// Watches, and lets nothing come of it.
#[derive(Debug)]
pub(super) struct Rehearsal {
    findings: Vec<Finding>,
    presumed: HashMap<(BridgeIndex, IpAddr), MacAddr>,
    /// The session that would have begun.
    begun: Option<Session>,
    learned: Neighbors,
}

impl Witness for Rehearsal {
    const IS_DRY: bool = true;
    const ASKS_WHY: bool = true;

    fn note(&mut self, finding: impl FnOnce() -> Finding) {
        self.findings.push(finding());
    }

    fn find(&mut self, tables: &Tables, key: &Key) -> Option<Found> {
        let begun = || {
            let session = self.begun.as_ref()?;
            let direction = match key {
                key if *key == session.initiator => Direction::Original,
                key if *key == session.responder => Direction::Reply,
                _ => return None,
            };
            let Session { reference, state, is_replied, .. } = *session;
            Some(Found { session: reference, direction, state, is_replied })
        };
        tables.sessions.lookup(key).or_else(begun)
    }

    fn session(&mut self, tables: &Tables, found: Found, now: Seconds) -> Option<Session> {
        let session = match found.session {
            SessionRef::IMAGINED => self.begun,
            session => tables.sessions.get(session, now),
        }?;
        self.note(|| Finding::Session { session, direction: found.direction });
        Some(session)
    }

    fn insert(
        &mut self,
        tables: &Tables,
        new: &NewSession,
        _: Seconds,
        policy: TcpPolicy,
        _: impl FnMut(&Session),
    ) -> Result<Inserted, InsertError> {
        let foreseen = tables.sessions.foresee(new, policy);
        self.note(|| Finding::Begins { new: *new, refused: foreseen.err() });
        let session = foreseen?;
        self.begun = Some(session);
        Ok(Inserted::New(session.reference))
    }

    fn track(
        &self,
        tables: &Tables,
        (session, from): (SessionRef, Direction),
        packet: &Packet,
        _: Seconds,
        policy: TcpPolicy,
    ) -> Verdict {
        match session {
            // It has just begun, and whatever answers it is an answer.
            SessionRef::IMAGINED => Verdict::Valid,
            session => tables.sessions.judge(session, from, packet, policy),
        }
    }

    fn end(&self, _: &Tables, _: SessionRef, _: Seconds) -> Option<Session> {
        None
    }

    fn claim(
        &mut self,
        mappings: &Mappings,
        (zone, protocol, internal): (Zone, u8, Endpoint),
        offer: (&nat::Pool, &Published),
        now: Nanos,
    ) -> Result<Claim, Unclaimed> {
        let external = mappings.foresee((zone, protocol, internal), offer, now.seconds());
        self.note(|| Finding::Masquerade { internal, external });
        Ok(Claim { external: external?, mapping: MappingId::IMAGINED })
    }

    fn count(&self, _: RuleId, _: u64, _: Nanos) {}

    fn resolve(
        &mut self,
        _: &mut Resolver,
        neighbors: &Neighbors,
        next: NextHop,
        now: Nanos,
    ) -> Resolution {
        let presumed = self.presumed.get(&(next.bridge, next.ip)).copied();
        let known = acquaintance(neighbors, next, presumed, now);
        self.note(|| Finding::Neighbor { next, known });
        match (known, neighbors.lookup(next.bridge, next.ip, now)) {
            (_, Lookup::Known(neighbor)) => Resolution::Known(neighbor),
            (Acquaintance::Presumed(mac), _) => Resolution::Known(Neighbor::imagined(mac)),
            (Acquaintance::Silent, _) => Resolution::Unreachable,
            _ => Resolution::Pending,
        }
    }

    fn acquaintances<'a>(&'a self, _: &'a Neighbors) -> &'a Neighbors {
        &self.learned
    }
}

/// What is known of a next hop, which has `presumed` if nobody has asked for it yet.
pub(super) fn acquaintance(
    neighbors: &Neighbors,
    next: NextHop,
    presumed: Option<MacAddr>,
    now: Nanos,
) -> Acquaintance {
    match neighbors.lookup(next.bridge, next.ip, now) {
        Lookup::Failed => Acquaintance::Silent,
        Lookup::Known(_) => neighbors
            .find(next.bridge, next.ip, now)
            .map_or(Acquaintance::Asked, Acquaintance::Known),
        Lookup::Resolving | Lookup::Unknown => {
            presumed.map_or(Acquaintance::Asked, Acquaintance::Presumed)
        }
    }
}

impl Desk<'_> {
    /// Where a frame in a bridge will find whom it is addressed to.
    pub(super) fn link(&self, bridge: BridgeIndex, frame: &PktBuf, vid: Vid) -> Finding {
        let header = EthernetHeader::read(frame.data());
        let mac = header.map_or(MacAddr::default(), |header| header.dst);
        let fdb = self.snapshot.bridge(bridge).map(|bridge| &bridge.fdb);
        let station = fdb.and_then(|fdb| fdb.find(mac, vid, self.now.seconds()));
        Finding::Link { bridge, mac, station }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
