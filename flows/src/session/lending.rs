//! Lending: TCP connections of which somebody else carries segments ([`pktio::shortcut`]).
//!
//! What is known of the ends of a connection that is lent is not in its record any more but in its [trails](Trail), a word for
//! each end, which the borrower reads and moves as the workers do. It stays there until the session ends or begins anew, also when
//! the connection is not lent any more, so that nothing ever has to be brought back.
//!
//! # Threads and memory order
//! * **Trails** change by compare-exchange only, whoever changes them, and each says by itself what is known of an end. So no segment
//!   that was let go is forgotten, and an end is never taken for less far than it has come.
//! * **Into the trails.** Whoever lends copies what the record says. A worker that has a segment of one of the ends in hand
//!   meanwhile may write that into the record and not into the trail: the trail is behind by that one segment, whose
//!   successor lies no further ahead than 64 KiB, the least of windows.
//! * **Back out.** Only a connection that is established is lent. Whoever changes its state or ends it first exchanges the
//!   control word and then closes the trails; who lends opens the trails and then looks at the control word once more, and closes
//!   them if it is not as it was. Between the two steps of both is a fence of sequential consistency, so that one of them sees what
//!   the other did: a connection that is not established does not stay lent. A worker closes the trails before it passes
//!   the segment on that changed the state, so whatever answers that segment finds them closed.
//! * **Whose they are** they say themselves: the lower bits of the session's version. They are emptied when the session ends, and once
//!   more before the record is filled anew, of what somebody left there who lent a session that was about to end: so these
//!   bits never come around.

#[cfg(loom)]
use loom::sync::atomic::{AtomicU64, Ordering, fence};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::sync::{Arc, OnceLock};

use pktio::shortcut::Trail;

use super::control::Control;
use super::record::Record;
use super::table::Sessions;
use super::tcp::{Connection, Side, distance};
use super::{Direction, SessionRef, State, TcpState};

#[cfg(not(loom))]
pub use pktio::shortcut::Trails;

/// Trails that `loom` watches.
#[cfg(loom)]
#[derive(Debug)]
pub struct Trails(pub(super) Box<[AtomicU64]>);

#[cfg(loom)]
impl Trails {
    pub(crate) fn own(connections: u32) -> std::io::Result<Self> {
        Ok(Self((0..2 * connections).map(|_| AtomicU64::new(0)).collect()))
    }

    fn word(&self, position: u32, is_second: bool) -> Option<&AtomicU64> {
        self.0.get(position as usize * 2 + usize::from(is_second))
    }
}

/// Where the trails are, if there are any.
pub(super) type Place = OnceLock<Arc<Trails>>;

/// Changes a word until somebody did what is wanted.
fn change(word: &AtomicU64, mut to: impl FnMut(u64) -> Option<u64>) {
    let mut old = word.load(Ordering::Acquire);
    while let Some(new) = to(old).filter(|new| *new != old) {
        match word.compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return,
            Err(other) => old = other,
        }
    }
}

impl Sessions {
    /// Says where the trails of connections are, by the positions of their sessions. Only the first call does. Where there is no
    /// word for a session, it is not lent.
    pub fn set_trails(&self, trails: Arc<Trails>) {
        let _ = self.trails.set(trails);
    }

    /// Lends an established connection: its trails are open until it is not established any more, and whoever has them may carry its
    /// data and acknowledgments. False when it is not, or when its numbers are not known from both ends.
    pub fn lend(&self, session: SessionRef) -> bool {
        let Some(record) = self.record(session.slot) else { return false };
        let is_established = |control: Control| {
            control.is(session.version)
                && control.state() == Some(State::Tcp(TcpState::Established))
                && control.is_assured()
        };
        let control = record.control();
        if !is_established(control) {
            return false;
        }
        let is_open = self.open(session, record, control);
        fence(Ordering::SeqCst);
        let is_lent = is_open && is_established(record.control());
        if !is_lent {
            self.close(session);
        }
        is_lent
    }

    /// Opens both trails of a session, and makes those that are not there. False when that cannot be.
    fn open(&self, session: SessionRef, record: Record<'_>, control: Control) -> bool {
        Direction::BOTH.into_iter().all(|direction| {
            let Some(word) = self.word(session.slot, direction) else { return false };
            let known = record.side(direction, control.tag());
            let made = known.end.map(|end| Trail::of(session.version, end, known.pack()));
            let trail = |word| Trail::in_word(word, session.version).or(made);
            change(word, |word| Some(trail(word)?.opened().word()));
            self.trail(session, direction).is_some()
        })
    }

    /// Closes both trails of a session, after what says why.
    fn close(&self, session: SessionRef) {
        fence(Ordering::SeqCst);
        for word in self.words(session.slot) {
            change(word, |word| Some(Trail::in_word(word, session.version)?.closed().word()));
        }
    }

    /// Empties both trails of a record's sessions, after what says why.
    pub(super) fn empty_trails(&self, slot: u32) {
        if self.trails.get().is_none() {
            return;
        }
        fence(Ordering::SeqCst);
        self.words(slot).for_each(|word| change(word, |_| Some(0)));
    }

    /// Empties the trails of a session that begins anew, if they are its own.
    fn take_trails(&self, session: SessionRef) {
        for word in self.words(session.slot) {
            change(word, |word| Trail::in_word(word, session.version).map(|_| 0));
        }
    }

    fn word(&self, slot: u32, direction: Direction) -> Option<&AtomicU64> {
        self.trails.get()?.word(slot, direction == Direction::Reply)
    }

    fn words(&self, slot: u32) -> impl Iterator<Item = &AtomicU64> {
        Direction::BOTH.into_iter().filter_map(move |direction| self.word(slot, direction))
    }

    /// The trail of an end, if that is where it is known from.
    fn trail(&self, session: SessionRef, direction: Direction) -> Option<Trail> {
        let word = self.word(session.slot, direction)?.load(Ordering::Acquire);
        Trail::in_word(word, session.version)
    }

    /// What is known of an end.
    #[inline]
    pub(super) fn side(
        &self,
        session: SessionRef,
        record: Record<'_>,
        control: Control,
        direction: Direction,
    ) -> Side {
        match self.trail(session, direction) {
            Some(trail) => Side::unpack(Some(trail.end()), trail.window()),
            None => record.side(direction, control.tag()),
        }
    }

    /// Writes down in the trails what a segment changed of its connection. False when it has none, and the record is to have it.
    #[inline]
    pub(super) fn note_trail(
        &self,
        session: SessionRef,
        from: Direction,
        (before, after): (&Connection, &Connection),
    ) -> bool {
        if self.trails.get().is_none() {
            return false;
        }
        match (before.state, after.state) {
            (_, TcpState::SynSent) => self.take_trails(session),
            (TcpState::Established, TcpState::Established) => {}
            (TcpState::Established, _) => self.close(session),
            _ => {}
        }
        let side = after.sides[from.index()];
        let (Some(word), Some(end)) = (self.word(session.slot, from), side.end) else {
            return false;
        };
        let mut is_there = false;
        change(word, |word| {
            let trail = Trail::in_word(word, session.version);
            is_there = trail.is_some();
            let trail = trail?;
            // The borrower may have let go more of this end since.
            let end = if distance(trail.end(), end) > 0 { trail.end() } else { end };
            Some(trail.at(end, side.pack().max(trail.window())).word())
        });
        is_there
    }
}
