//! [`Witness`]: who watches decisions being made, and whether they have consequences.
//!
//! Everything by which deciding changes what is shared (sessions, mappings, neighbours) goes through this trait.
//! Real traffic has nobody watching: [`Nobody`] only counts, and compiles to the calls themselves. A
//! [follower](super::follower) listens to them, and what is decided happens. A [rehearsal](super::rehearsal) overrides
//! them, so that a packet can be followed through the very code that decides about real ones, on the live tables, and
//! nothing comes of it.

use crate::nat::{Claim, Mappings, Pool, Published, Unclaimed};
use crate::router::{Neighbors, NextHop, Resolution, Resolver};
use crate::rules::{RuleId, Tally};
use crate::service::Choice;
use crate::session::{
    Direction, Found, InsertError, Inserted, Key, NewSession, Packet, Session, SessionRef,
    TcpPolicy, Verdict,
};
use crate::{Endpoint, Finding, Inward, Nanos, Seconds, Tables, Translation, Undelivered, Zone};

/// Who watches, and what deciding does to the tables. What is not overridden is done.
pub(super) trait Witness {
    /// Nothing that is shared may change.
    const IS_DRY: bool;
    /// A packet whose flow is known is decided about anew, so that it is heard why.
    const ASKS_WHY: bool;

    /// Hears what was decided, and by what.
    fn note(&mut self, finding: impl FnOnce() -> Finding);

    /// The session that packets of a key belong to.
    #[inline]
    fn find(&mut self, tables: &Tables, key: &Key) -> Option<Found> {
        tables.sessions.lookup(key)
    }

    /// That session, unless it has ended.
    #[inline]
    fn session(&mut self, tables: &Tables, found: Found, now: Seconds) -> Option<Session> {
        tables.sessions.get(found.session, now)
    }

    /// Enters a session.
    #[inline]
    fn insert(
        &mut self,
        tables: &Tables,
        new: &NewSession,
        now: Seconds,
        policy: TcpPolicy,
        evicted: impl FnMut(&Session),
    ) -> Result<Inserted, InsertError> {
        tables.sessions.insert(new, now, policy, evicted)
    }

    /// Tells a session of a packet.
    #[inline(always)]
    fn track(
        &self,
        tables: &Tables,
        (session, from): (SessionRef, Direction),
        packet: &Packet,
        now: Seconds,
        policy: TcpPolicy,
    ) -> Verdict {
        tables.sessions.track(session, from, packet, now, policy)
    }

    /// Ends a session.
    #[inline]
    fn end(&self, tables: &Tables, session: SessionRef, now: Seconds) -> Option<Session> {
        tables.sessions.end(session, now)
    }

    /// Whom a packet to the switch is really for.
    #[inline]
    fn inward<'t>(
        &mut self,
        tables: &Tables,
        translation: &'t Translation,
        key: &Key,
        now: Seconds,
    ) -> Result<Option<Inward<'t>>, Undelivered<'t>> {
        let choice = if Self::IS_DRY { Choice::Foreseen } else { Choice::Made };
        let inward = translation.inward(key, choice(&tables.affinities, now));
        if let Some(finding) = whom(key, inward) {
            self.note(|| finding);
        }
        inward
    }

    /// Claims what the world sees of an endpoint.
    #[inline]
    fn claim(
        &mut self,
        mappings: &Mappings,
        (zone, protocol, internal): (Zone, u8, Endpoint),
        offer: (&Pool, &Published),
        now: Nanos,
    ) -> Result<Claim, Unclaimed> {
        mappings.claim(zone, protocol, internal, offer, now)
    }

    /// Counts a packet for a rule.
    fn count(&self, rule: RuleId, bytes: u64, now: Nanos);

    /// Finds a neighbour, or sees to it that it is asked for.
    #[inline]
    fn resolve(
        &mut self,
        resolver: &mut Resolver,
        neighbors: &Neighbors,
        next: NextHop,
        now: Nanos,
    ) -> Resolution {
        resolver.resolve(neighbors, next.bridge, next.ip, now)
    }

    /// Where neighbours are learned.
    #[inline]
    fn acquaintances<'a>(&'a self, neighbors: &'a Neighbors) -> &'a Neighbors {
        neighbors
    }
}

/// Nobody watches: what is decided happens, and is counted.
#[derive(Debug)]
pub(super) struct Nobody {
    pub(super) tally: Tally,
}

impl Witness for Nobody {
    const IS_DRY: bool = false;
    const ASKS_WHY: bool = false;

    #[inline]
    fn note(&mut self, _: impl FnOnce() -> Finding) {}

    #[inline]
    fn count(&self, rule: RuleId, bytes: u64, now: Nanos) {
        self.tally.count(rule, bytes, now);
    }
}

/// Whom the first packet of a session turned out to be for, if that is not whom it is addressed to.
fn whom(key: &Key, found: Result<Option<Inward<'_>>, Undelivered<'_>>) -> Option<Finding> {
    let external = key.tuple.destination;
    match found {
        Ok(None) | Err(Undelivered::Closed) => None,
        Ok(Some(Inward { service: Some((service, backend)), .. })) => {
            Some(Finding::Service { service: service.vip, backend: Some(backend.endpoint) })
        }
        Ok(Some(Inward { internal, bridge, .. })) => {
            Some(Finding::Inward { external, internal, bridge })
        }
        Err(Undelivered::NoBackend(service)) => {
            Some(Finding::Service { service: service.vip, backend: None })
        }
    }
}
