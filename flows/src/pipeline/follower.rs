//! [`Follower`]: why real packets go where they go.
//!
//! While somebody follows packets of a port, its bursts are decided about frame by frame; for one that is meant, a
//! worker's knowledge is lent to a [`Spectator`], who hears what is decided. What is decided happens, by the very
//! code and tables that decide about all others: only the flow cache, which knows no reasons, is passed over.
//! Following allocates, a little for each packet that is meant; the number of these is limited from the start.

use std::sync::Arc;

use pktio::Burst;

use super::bridge::Ingress;
use super::desk::Desk;
use super::inspect::Memory;
use super::rehearsal::acquaintance;
use super::transform::Flows;
use super::witness::{Nobody, Witness};
use crate::finding::{Finding, Trace};
use crate::nat::{self, Claim, Mappings, Published, Unclaimed};
use crate::router::{Neighbors, NextHop, Resolution, Resolver};
use crate::rules::{RuleId, Tally};
use crate::session::{Found, InsertError, Inserted, NewSession, Session, TcpPolicy};
use crate::{
    DropSide, Endpoint, Nanos, Outboxes, PortIndex, Seconds, Selection, Snapshot, Tables, Zone,
};

/// The way of a real packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Followed {
    /// The frame as it came in.
    pub frame: Vec<u8>,
    /// What became of it.
    pub trace: Trace,
}

/// Follows a number of packets, see [`Pipeline::follow`](super::Pipeline::follow). Made on the control thread, used
/// by one worker.
#[derive(Debug)]
pub struct Follower {
    selection: Selection,
    left: u32,
    followed: Vec<Followed>,
    /// Knows nothing but while a packet is followed: then what the worker knows.
    memory: Memory<Spectator>,
    /// One frame.
    single: Burst,
    /// Where it goes.
    outboxes: Outboxes,
}

impl Follower {
    /// Who follows the next `count` packets that are meant.
    pub fn new(selection: Selection, count: u32, tables: Arc<Tables>) -> Self {
        Self {
            selection,
            left: count,
            followed: Vec::new(),
            memory: Memory::new(tables, Spectator::default()),
            single: Burst::new(),
            outboxes: Outboxes::new(),
        }
    }

    /// What was followed since the last call, in order.
    pub fn take_followed(&mut self) -> impl Iterator<Item = Followed> + '_ {
        self.followed.drain(..)
    }

    /// A port's number will be used for another.
    pub fn forget(&mut self, port: PortIndex) {
        self.selection.forget(port);
    }

    /// Whether packets that come in by a port are to be looked at.
    #[inline]
    pub(super) fn follows(&self, ingress: PortIndex) -> bool {
        self.left > 0 && self.selection.includes(ingress)
    }

    /// Decides about every frame of a burst, by what a worker knows.
    pub(super) fn run(
        &mut self,
        known: &mut Memory<Nobody>,
        flows: &mut Flows,
        desk: &mut Desk,
        burst: &mut Burst,
    ) {
        let ingress = desk.ingress;
        for frame in burst.drain(..) {
            let at = (ingress, DropSide::Ingress);
            let is_meant = self.left > 0 && self.selection.takes(at, frame.data(), desk.snapshot);
            self.single.push(frame);
            if is_meant {
                self.left -= 1;
                self.follow(known, flows, desk);
            } else {
                known.go_over(desk, flows, &mut self.single);
            }
            desk.close();
            known.resume(desk, flows);
            // What waited may have come in by another port.
            desk.begin(ingress);
        }
    }

    /// Decides about the frame at hand, and notes why.
    fn follow(&mut self, known: &mut Memory<Nobody>, flows: &mut Flows, desk: &mut Desk) {
        let frame = self.single.iter().next().map(|frame| frame.data().to_vec());
        let snapshot: &Snapshot = desk.snapshot;
        let (pool, ledger) = (&mut *desk.pool, &mut *desk.ledger);
        let mut apart =
            Desk::new(desk.now, desk.ingress, snapshot, pool, &mut self.outboxes, ledger);
        let from = Ingress::of(snapshot, apart.ingress);
        let vid = self.single.iter().next().zip(from).and_then(|(frame, from)| from.vid_of(frame));
        if let Some(vid) = vid {
            self.memory.witness.note(|| Finding::Vlan(vid));
        }
        self.memory.witness.tally = Some(known.witness.tally.clone());
        known.exchange(&mut self.memory);
        self.memory.go_over(&mut apart, flows, &mut self.single);
        known.exchange(&mut self.memory);
        apart.close();
        let fate = apart.fate;
        let sent = self.pass_on(desk.outboxes);
        let findings = std::mem::take(&mut self.memory.witness.findings);
        let trace = Trace { findings, fate, sent };
        self.followed.push(Followed { frame: frame.unwrap_or_default(), trace });
    }

    /// Puts what was to be transmitted where everything else is, and notes what it was.
    fn pass_on(&mut self, outboxes: &mut Outboxes) -> Vec<(PortIndex, Vec<u8>)> {
        let mut sent = Vec::new();
        while let Some(port) = self.outboxes.next_dirty() {
            for frame in self.outboxes.of(port).drain(..) {
                sent.push((port, frame.data().to_vec()));
                outboxes.push(port, frame);
            }
        }
        sent.sort_by_key(|(port, _)| *port);
        sent
    }
}

/// Hears what is decided.
#[derive(Debug, Default)]
struct Spectator {
    findings: Vec<Finding>,
    /// Where the worker counts, in whose name packets are decided about.
    tally: Option<Tally>,
}

impl Witness for Spectator {
    const IS_DRY: bool = false;
    const ASKS_WHY: bool = true;

    fn note(&mut self, finding: impl FnOnce() -> Finding) {
        self.findings.push(finding());
    }

    fn count(&self, rule: RuleId, bytes: u64, now: Nanos) {
        if let Some(tally) = &self.tally {
            tally.count(rule, bytes, now);
        }
    }

    fn session(&mut self, tables: &Tables, found: Found, now: Seconds) -> Option<Session> {
        let session = tables.sessions.get(found.session, now)?;
        self.note(|| Finding::Session { session, direction: found.direction });
        Some(session)
    }

    fn insert(
        &mut self,
        tables: &Tables,
        new: &NewSession,
        now: Seconds,
        policy: TcpPolicy,
        evicted: impl FnMut(&Session),
    ) -> Result<Inserted, InsertError> {
        let inserted = tables.sessions.insert(new, now, policy, evicted);
        // If another worker was faster, the session that is there already is heard of next.
        if !matches!(inserted, Ok(Inserted::Existing(_))) {
            let refused = inserted.as_ref().err().copied();
            self.note(|| Finding::Begins { new: *new, refused });
        }
        inserted
    }

    fn claim(
        &mut self,
        mappings: &Mappings,
        (zone, protocol, internal): (Zone, u8, Endpoint),
        offer: (&nat::Pool, &Published),
        now: Nanos,
    ) -> Result<Claim, Unclaimed> {
        let claim = mappings.claim(zone, protocol, internal, offer, now);
        let external = claim.as_ref().map(|claim| claim.external).map_err(|why| *why);
        self.note(|| Finding::Masquerade { internal, external });
        claim
    }

    fn resolve(
        &mut self,
        resolver: &mut Resolver,
        neighbors: &Neighbors,
        next: NextHop,
        now: Nanos,
    ) -> Resolution {
        let known = acquaintance(neighbors, next, None, now);
        self.note(|| Finding::Neighbor { next, known });
        resolver.resolve(neighbors, next.bridge, next.ip, now)
    }
}
