//! Ending sessions: by request, by age, or to make room.

#[cfg(loom)]
use loom::sync::atomic::Ordering;
#[cfg(not(loom))]
use std::sync::atomic::Ordering;

use super::control::Control;
use super::index::Entry;
use super::record::Record;
use super::table::{Sessions, count};
use super::{Direction, Session, SessionRef, Timeouts};
use crate::Seconds;

/// Records that are looked at for a session that can make room.
const SEARCH: u32 = 64;

impl Sessions {
    /// Ends a session. Returns it, unless it has ended before or is just being inserted; then its
    /// insertion fails.
    pub fn end(&self, session: SessionRef, now: Seconds) -> Option<Session> {
        let record = self.record(session.slot)?;
        loop {
            let control = record.control();
            if !control.is(session.version) {
                return None;
            }
            if control.is_complete() {
                if let Some(ended) = self.retire(session.slot, control, now) {
                    self.clear(session.slot, record);
                    count(&self.counters.ended);
                    return Some(ended);
                }
            } else if record.replace(control, control.vacated()) {
                return None;
            }
        }
    }

    /// Ends the sessions that `doomed` chooses, and returns how many. `ended` gets each. Sessions
    /// that begin meanwhile may escape: whoever removes a rule first makes sure that no worker
    /// knows it any more.
    pub fn flush(
        &self,
        now: Seconds,
        mut doomed: impl FnMut(&Session) -> bool,
        mut ended: impl FnMut(&Session),
    ) -> usize {
        self.iter(now)
            .filter(|session| doomed(session))
            .filter_map(|session| self.end(session.reference, now))
            .inspect(|session| ended(session))
            .count()
    }

    /// Ends the sessions that timed out among `count` records from record `from` on, and returns
    /// where to go on. `ended` gets each. One turn after another, from 0, goes through the table
    /// and begins anew.
    pub fn expire(
        &self,
        now: Seconds,
        from: u32,
        records: u32,
        timeouts: &Timeouts,
        mut ended: impl FnMut(&Session),
    ) -> u32 {
        let all = self.free.used_ever();
        let next = from.saturating_add(records).min(all);
        for slot in from..next {
            let Some(record) = self.record(slot) else { break };
            let control = record.control();
            let is_session = control.is_live() && control.is_complete();
            if is_session
                && control.idle(now) > timeouts.of(record.protocol(), control)
                && let Some(session) = self.retire(slot, control, now)
            {
                self.clear(slot, record);
                count(&self.counters.expired);
                ended(&session);
            }
        }
        if next == all { 0 } else { next }
    }

    /// Ends a session among some that may make room, and returns its record: one that was never
    /// established before one that is over, and then the one that is idle longest.
    pub(super) fn evict(&self, now: Seconds, mut evicted: impl FnMut(&Session)) -> Option<u32> {
        let all = self.free.used_ever();
        let from = self.hand.fetch_add(SEARCH, Ordering::Relaxed);
        let candidates = (0..SEARCH.min(all)).filter_map(|step| {
            let slot = from.wrapping_add(step) % all;
            let control = self.record(slot)?.control();
            let may = control.is_complete() && (!control.is_assured() || control.is_over());
            (control.is_live() && may).then_some((slot, control))
        });
        let rank = |control: Control| (!control.is_assured(), control.idle(now));
        let (slot, control) = candidates.max_by_key(|(_, control)| rank(*control))?;
        let session = self.retire(slot, control, now)?;
        self.take_out(slot, self.record(slot)?);
        count(&self.counters.evicted);
        evicted(&session);
        Some(slot)
    }

    /// Ends the session of a record, if its control word is still that, and returns it. Its entries
    /// in the index remain to be taken out.
    fn retire(&self, slot: u32, control: Control, now: Seconds) -> Option<Session> {
        let session = self.read(slot, now)?;
        let is_same = session.reference.version == control.version();
        let record = self.record(slot)?;
        if !is_same || !record.replace(control, control.vacated()) {
            return None;
        }
        Some(session)
    }

    /// Takes an ended session out of the index, and from whoever it is lent to.
    fn take_out(&self, slot: u32, record: Record<'_>) {
        self.empty_trails(slot);
        for direction in Direction::BOTH {
            let hash = self.index.hash(&record.key(direction));
            self.index.remove(hash, Entry { slot, direction });
        }
        self.counters.used.fetch_sub(1, Ordering::Relaxed);
    }

    /// Takes an ended session out of the index, and frees its record.
    pub(super) fn clear(&self, slot: u32, record: Record<'_>) {
        self.take_out(slot, record);
        self.free.push(slot, record);
    }
}
