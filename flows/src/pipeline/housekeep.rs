//! What a worker does beside packets: it asks for neighbours, and sees to the packets that wait for them.

use super::desk::Desk;
use super::inspect::Memory;
use crate::Vid;
use crate::router::{Lookup, Solicitation};

/// Questions sent in one turn.
const QUESTIONS: usize = 16;

impl Memory {
    /// Whether there is anything to do.
    #[inline]
    pub(super) fn is_idle(&self) -> bool {
        self.resolver.is_idle() && self.hold.is_empty()
    }

    /// Asks for neighbours that are wanted, and collects the packets that need not wait any longer: whose next
    /// hop is known or failed, to be decided about anew, and those that waited too long.
    pub(super) fn housekeep(&mut self, desk: &mut Desk) {
        let mut questions: [Option<Solicitation>; QUESTIONS] = [None; QUESTIONS];
        let mut free = questions.iter_mut();
        self.resolver.due(&self.tables.neighbors, desk.now, QUESTIONS, |question| {
            if let Some(place) = free.next() {
                *place = Some(question);
            }
        });
        questions.into_iter().flatten().for_each(|question| ask(desk, &question));
        let (neighbors, now) = (&self.tables.neighbors, desk.now);
        let is_settled =
            |bridge, ip| !matches!(neighbors.lookup(bridge, ip, now), Lookup::Resolving);
        self.hold.release(is_settled, |held| self.settled.push(held));
        self.hold.expire(now, |held| self.settled.push(held));
    }
}

/// Sends a question by the gateway of its bridge.
fn ask(desk: &mut Desk, question: &Solicitation) {
    let snapshot = desk.snapshot;
    let Some(bridge) = snapshot.bridge(question.bridge) else { return };
    let Some(router) = bridge.router.as_deref() else { return };
    if let Some(frame) = router.gateway.solicit(question, desk.pool) {
        desk.originate(bridge, frame, Vid::NONE);
    }
}
