//! Whether a session still stands when the configuration changes: would this one have begun it just so?
//!
//! The order of the questions is that of the pipeline's slow path: whom the first packet was truly for, which
//! way it went, and whom it seemed to come from. A session for which one of the answers is another now would
//! go on by a decision that nobody would make any more; it has to end. Pure; for the control thread.

use std::net::IpAddr;

use crate::service::Choice;
use crate::session::{Key, Session};
use crate::{BridgeIndex, Endpoint, Inward, Outward, Snapshot, Undelivered, Usage};

impl Snapshot {
    /// Whether this configuration would begin a session as an earlier one did. What the rules say is not asked:
    /// they are consulted again at each session's next packet.
    pub fn still_makes(&self, session: &Session) -> bool {
        let Session { initiator, responder, .. } = session;
        let (from, to) = (BridgeIndex(initiator.zone.0), BridgeIndex(responder.zone.0));
        if self.bridge(from).is_none() || self.bridge(to).is_none() {
            return false;
        }
        let outside = responder.tuple.reversed();
        if from == to && outside == initiator.tuple {
            return true;
        }
        let Ok(inward) = self.inward(session) else { return false };
        let truly = inward.map_or(initiator.tuple.destination, |inward| inward.internal);
        let by_routes_of = inward.map_or(from, |inward| inward.bridge);
        truly == outside.destination
            && self.leads_to(by_routes_of, truly, initiator.tuple.spread()) == Some(to)
            && self.leaves_as(initiator, (to, truly.ip), inward.as_ref(), outside.source)
    }

    /// The rule of address translation by which this configuration would begin a session; `None` when it would
    /// not translate it.
    pub fn translating(&self, session: &Session) -> Option<&Usage> {
        let Session { initiator, responder, .. } = session;
        if responder.tuple.reversed() == initiator.tuple {
            return None;
        }
        let inward = self.inward(session).ok().flatten();
        let to = BridgeIndex(responder.zone.0);
        inward
            .map(|inward| inward.usage)
            .or_else(|| self.hiding(initiator, (to, responder.tuple.source.ip)))
    }

    /// Whom a session would be for: the backend that it was given to, if its service still has that.
    fn inward(&self, session: &Session) -> Result<Option<Inward<'_>>, Undelivered<'_>> {
        let given_to = session.responder.tuple.source;
        self.translation().inward(&session.initiator, Choice::Known(given_to))
    }

    /// The rule by which the source of a session's packets is hidden on the way to a destination, which is on a bridge or
    /// behind it.
    fn hiding(&self, initiator: &Key, to: (BridgeIndex, IpAddr)) -> Option<&Usage> {
        match self.translation().outward(initiator, to, None) {
            Outward::As(_, usage) => usage,
            Outward::Claimed(rule) => Some(&rule.usage),
            Outward::Nothing => None,
        }
    }

    /// The bridge to which packets for an endpoint go by the routes of a bridge.
    fn leads_to(&self, from: BridgeIndex, endpoint: Endpoint, spread: u64) -> Option<BridgeIndex> {
        let router = self.bridge(from)?.router.as_deref()?;
        let route = router.routes.lookup(endpoint.ip)?;
        Some(route.next_hop(endpoint.ip, spread)?.bridge)
    }

    /// Whether the destination sees the source of a session as this endpoint.
    fn leaves_as(
        &self,
        key: &Key,
        to: (BridgeIndex, IpAddr),
        inward: Option<&Inward<'_>>,
        seen: Endpoint,
    ) -> bool {
        let translation = self.translation();
        match translation.outward(key, to, inward) {
            Outward::As(endpoint, _) => endpoint == seen,
            Outward::Claimed(rule) => {
                let protocol = key.tuple.protocol;
                let holder = translation.mappings.find(rule.pool.zone(), protocol, seen);
                let is_holder = holder.is_some_and(|holder| {
                    (holder.zone, holder.internal) == (key.zone, key.tuple.source)
                });
                rule.pool.contains(seen) && is_holder
            }
            Outward::Nothing => false,
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
