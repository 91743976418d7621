//! Lending: TCP connections of which somebody else carries segments ([`pktio::shortcut`]).
//!
//! What is known of the ends of a connection that is lent is not in its record any more but in its [trails](Trail), a word for
//! each end, which the borrower reads and moves as the workers do. It stays there until the session ends or begins anew, also when
//! the connection is not lent any more, so that nothing ever has to be brought back.
//!
//! # Threads and memory order
//! * **Trails** change by compare-exchange only, whoever changes them, and each says by itself what is known of an end. So no segment
//!   that was let go is forgotten, and an end is never taken for less far than it has come.
//! * **Into the trails.** Whoever lends copies what the record says, into words that are empty. What a worker tracks meanwhile it may write into
//!   the record and not into the trail, which is behind by that then. Who lends has a segment in hand by which one end goes on: its
//!   own trail is behind by nothing but what it passed itself, and the other end, whose segments another worker may have, comes no
//!   further than the window that it was last offered until this worker lets the next acknowledgment go. So its trail is behind by a
//!   window at most, which is what a segment may be ahead.
//! * **Back out.** Only a connection that is established is lent. Whoever changes its state or ends it first exchanges the
//!   control word and then closes the trails; who lends opens the trails and then looks at the control word once more, and closes
//!   them if it is not as it was. Between the two steps of both is a fence of sequential consistency, so that one of them sees what
//!   the other did: a connection that is not established does not stay lent. A worker closes the trails before it passes
//!   the segment on that changed the state, so whatever answers that segment finds them closed.
//! * **Whose they are** they say themselves: the lower bits of the session's version. They are emptied when the session ends, and once
//!   more before the record is filled anew. Who lends a session that ends meanwhile may come later still. It makes a trail where there
//!   is none only, so it takes none from the next session; and after the fence it either sees that its session is over, and
//!   empties its words itself, or whoever ends it empties them after. So these bits never come around.

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
        let made = Direction::BOTH.map(|direction| {
            let known = record.side(direction, control.tag());
            known.end.map(|end| Trail::of(session.version, end, known.pack()).opened())
        });
        let is_open = self.open(session, made);
        fence(Ordering::SeqCst);
        let now = record.control();
        let is_lent = is_open && is_established(now);
        if !is_lent {
            self.take_back(session, made, now.is(session.version));
        }
        is_lent
    }

    /// Opens both trails of a session, and makes those where there are none. False when that cannot be.
    fn open(&self, session: SessionRef, made: [Option<Trail>; 2]) -> bool {
        Direction::BOTH.into_iter().zip(made).all(|(direction, made)| {
            let Some(word) = self.word(session.slot, direction) else { return false };
            let trail = |word| match word {
                0 => made,
                _ => Trail::in_word(word, session.version).map(Trail::opened),
            };
            change(word, |word| trail(word).map(Trail::word));
            self.trail(session, direction).is_some()
        })
    }

    /// Takes back what [`Self::open`] did: trails that nobody has moved since they were made go, and all of a session that
    /// is over; others are closed.
    fn take_back(&self, session: SessionRef, made: [Option<Trail>; 2], is_there: bool) {
        for (word, made) in self.words(session.slot).zip(made) {
            change(word, |word| {
                let trail = Trail::in_word(word, session.version)?;
                let goes = made == Some(trail) || !is_there;
                Some(if goes { 0 } else { trail.closed().word() })
            });
        }
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
