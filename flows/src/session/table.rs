//! [`Sessions`]: looking up, tracking and listing.

#[cfg(loom)]
use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::control::Control;
use super::free::FreeList;
use super::index::{Entry, Hash, Index, MAX_SLOTS};
use super::key::Packed;
use super::lending::Place;
use super::record::{Record, WORDS};
use super::tcp::{Connection, Refusal};
use super::traffic::{Tag, Traffic};
use super::{
    Direction, Gauges, Invalid, Key, Packet, Segment, Session, SessionRef, State, TcpPolicy,
    TcpState,
};
use crate::lines::Lines;
use crate::{PortIndex, Seconds};

/// Sessions that a table has room for unless told otherwise.
pub const DEFAULT_CAPACITY: u32 = 1 << 20;

/// The session that a packet belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Which.
    pub session: SessionRef,
    /// The packet's direction in it.
    pub direction: Direction,
    /// How far the session had come before this packet.
    pub state: State,
    /// Whether an answer was seen before.
    pub is_replied: bool,
}

/// What is to be done with a packet of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It belongs there, and is counted.
    Valid,
    /// It does not fit, and changed nothing: drop it.
    Invalid(Invalid),
    /// The session is over, and this packet begins another from its other end: end the session, and
    /// decide about the packet as about any new one.
    Superseding,
    /// The session has ended; look again.
    Ended,
}

/// Counters of what happened.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Counters {
    pub(super) used: AtomicU32,
    pub(super) inserted: AtomicU64,
    pub(super) expired: AtomicU64,
    pub(super) evicted: AtomicU64,
    pub(super) ended: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) clashed: AtomicU64,
    pub(super) lost_races: AtomicU64,
}

/// Counts one more.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// The sessions of the switch, shared by all workers. See the module's documentation.
#[derive(Debug)]
pub struct Sessions {
    pub(super) index: Index,
    records: Lines<AtomicU64, WORDS>,
    pub(super) free: FreeList,
    /// Where to look next for a session that can make room.
    pub(super) hand: AtomicU32,
    pub(super) counters: Counters,
    pub(super) capacity: u32,
    pub(super) trails: Place,
}

impl Sessions {
    /// An empty table with room for `capacity` sessions, 2^24 at most. `seed` keys the hash, so
    /// that nobody outside can choose addresses that collide.
    pub fn new(capacity: u32, seed: u64) -> Self {
        let capacity = capacity.clamp(1, MAX_SLOTS);
        let zero = || AtomicU64::new(0);
        Self {
            index: Index::new(capacity, seed),
            records: Lines::zeroed(capacity as usize),
            free: FreeList::new(),
            hand: AtomicU32::new(0),
            counters: Counters {
                used: AtomicU32::new(0),
                inserted: zero(),
                expired: zero(),
                evicted: zero(),
                ended: zero(),
                refused: zero(),
                clashed: zero(),
                lost_races: zero(),
            },
            capacity,
            trails: Place::new(),
        }
    }

    /// The session that packets of this key belong to. A session that timed out is found until it
    /// is [expired](Self::expire).
    #[inline]
    pub fn lookup(&self, key: &Key) -> Option<Found> {
        let key = Packed::from(*key);
        self.find(&key, self.index.hash(&key))
    }

    #[inline]
    pub(super) fn find(&self, key: &Packed, hash: Hash) -> Option<Found> {
        self.index.find(hash, |entry| self.check(entry, key))
    }

    /// The session of an entry, if it lives and has the key.
    #[inline]
    pub(super) fn check(&self, Entry { slot, direction }: Entry, key: &Packed) -> Option<Found> {
        let record = self.record(slot)?;
        let before = record.control();
        let is_it = before.is_findable(direction) && record.has_key(direction, key);
        let control = if is_it { record.control() } else { return None };
        let is_current = control.version() == before.version();
        Some(Found {
            session: SessionRef { slot, version: control.version() },
            direction,
            state: control.state().filter(|_| is_current)?,
            is_replied: control.is_replied(),
        })
    }

    /// Whether the session has not ended.
    #[inline]
    pub fn is_alive(&self, session: SessionRef) -> bool {
        self.record(session.slot).is_some_and(|record| record.control().is(session.version))
    }

    /// Takes note of a packet of a session: that it lives, how far it has come, what it weighs.
    #[inline(always)]
    pub fn track(
        &self,
        session: SessionRef,
        from: Direction,
        packet: &Packet,
        now: Seconds,
        policy: TcpPolicy,
    ) -> Verdict {
        let Some(record) = self.record(session.slot) else { return Verdict::Ended };
        let control = record.control();
        if !control.is(session.version) {
            return Verdict::Ended;
        }
        if let Some(segment) = &packet.segment
            && let Some(State::Tcp(_)) = control.state()
        {
            return self.track_tcp(record, session, from, (packet.bytes, segment), now, policy);
        }
        if packet.is_query_for_answer(from) {
            return Verdict::Invalid(Invalid::Query);
        }
        record.count(from, control.tag(), packet.bytes);
        if Self::note_heard(record, control, from, now) { Verdict::Valid } else { Verdict::Ended }
    }

    /// Takes note that packets passed which nobody tracked, the last of them then, in a session without states or an established
    /// connection. False when it has ended; of a connection that is not established any more, its own segments say how it is doing.
    pub fn hear(&self, session: SessionRef, from: Direction, then: Seconds) -> bool {
        let Some(record) = self.record(session.slot) else { return false };
        let control = record.control();
        match control.state() {
            _ if !control.is(session.version) => false,
            Some(State::Open | State::Tcp(TcpState::Established)) => {
                Self::note_heard(record, control, from, then)
            }
            _ => true,
        }
    }

    /// Writes down that a packet was seen by which no state changes. False when it has ended.
    #[inline(always)]
    fn note_heard(record: Record<'_>, control: Control, from: Direction, now: Seconds) -> bool {
        let seen = |control: Control| match from {
            Direction::Original => control.heard(from, now),
            Direction::Reply => control.heard(from, now).assured(),
        };
        seen(control) == control || record.update(control.version(), seen)
    }

    #[inline(never)]
    fn track_tcp(
        &self,
        record: Record<'_>,
        session: SessionRef,
        from: Direction,
        (bytes, segment): (u32, &Segment),
        now: Seconds,
        policy: TcpPolicy,
    ) -> Verdict {
        loop {
            let control = record.control();
            let Some(State::Tcp(state)) = control.state().filter(|_| control.is(session.version))
            else {
                return Verdict::Ended;
            };
            let before = self.connection(session, record, control, state);
            let after = match before.after(from, segment, policy) {
                Ok(after) => after,
                Err(Refusal::Invalid(reason)) => return Verdict::Invalid(reason),
                Err(Refusal::Superseding) => return Verdict::Superseding,
            };
            let next = control.with_connection(&after);
            let next = if before.is_reset_again(segment) { next } else { next.heard(from, now) };
            if next != control && !record.replace(control, next) {
                continue;
            }
            self.note_tcp(record, session, from, (&before, &after), bytes);
            return Verdict::Valid;
        }
    }

    /// The connection of a session that has this control word.
    #[inline]
    pub(super) fn connection(
        &self,
        session: SessionRef,
        record: Record<'_>,
        control: Control,
        state: TcpState,
    ) -> Connection {
        let side = |direction| self.side(session, record, control, direction);
        Connection { state, is_assured: control.is_assured(), sides: Direction::BOTH.map(side) }
    }

    /// Writes down what a segment changed of its connection's sides, and its volume.
    #[inline]
    fn note_tcp(
        &self,
        record: Record<'_>,
        session: SessionRef,
        from: Direction,
        (before, after): (&Connection, &Connection),
        bytes: u32,
    ) {
        let SessionRef { version, .. } = session;
        let tag = Tag::of(version);
        if self.note_trail(session, from, (before, after)) {
            return record.count(from, tag, bytes);
        }
        let traffic = record.traffic(from, tag).with_packet(bytes);
        let end = after.sides[from.index()].end;
        record.set_traffic(from, Traffic { end, ..traffic }, tag);
        let other = from.reversed();
        if after.sides[other.index()].end != before.sides[other.index()].end {
            // It begins anew: what its other end had sent is of the connection before.
            let end = after.sides[other.index()].end;
            record.set_traffic(other, Traffic { end, ..record.traffic(other, tag) }, tag);
        }
        for direction in Direction::BOTH {
            let side = after.sides[direction.index()];
            if side.pack() != before.sides[direction.index()].pack() {
                record.set_window(version, direction, side);
            }
        }
    }

    /// Takes note of the port by which a session's packets of a direction come in.
    pub fn note_entrance(&self, session: SessionRef, from: Direction, port: PortIndex) {
        if let Some(record) = self.record(session.slot) {
            record.note_entrance(session.version, from, port);
        }
    }

    /// Asks for the memory that [`Self::track`] will need of a session for a packet of this direction. Whoever tracks
    /// many packets warms all their sessions first, so as to wait for them at once.
    #[inline]
    pub fn warm(&self, session: SessionRef, from: Direction) {
        if let Some(record) = self.record(session.slot) {
            record.warm(from);
        }
    }

    /// The session, unless it has ended.
    pub fn get(&self, session: SessionRef, now: Seconds) -> Option<Session> {
        self.read(session.slot, now).filter(|found| found.reference == session)
    }

    /// Whether so many packets of a direction were counted.
    pub fn has_counted(&self, session: SessionRef, from: Direction, packets: u64) -> bool {
        let Some(record) = self.record(session.slot) else { return false };
        let control = record.control();
        let volume = record.traffic(from, control.tag()).volume;
        control.is(session.version) && volume.packets >= packets
    }

    /// Whether the sender of a direction of a TCP connection may wait for the acknowledgment of a segment of that number.
    pub fn may_await(&self, session: SessionRef, from: Direction, sequence: u32) -> bool {
        let Some(record) = self.record(session.slot) else { return false };
        let control = record.control();
        control.is(session.version) && self.side(session, record, control, from).may_await(sequence)
    }

    /// The sessions, each as it was when the iterator passed it.
    pub fn iter(&self, now: Seconds) -> impl Iterator<Item = Session> + '_ {
        self.iter_from(0, now)
    }

    /// The sessions from a [position](SessionRef::position) on, each as it was when the iterator passed it.
    pub fn iter_from(&self, from: u32, now: Seconds) -> impl Iterator<Item = Session> + '_ {
        (from..self.free.used_ever()).filter_map(move |slot| self.read(slot, now))
    }

    /// The session in a record.
    pub(super) fn read(&self, slot: u32, now: Seconds) -> Option<Session> {
        let record = self.record(slot)?;
        let before = record.control();
        let volume = |direction| record.traffic(direction, before.tag()).volume;
        let [original, reply] = Direction::BOTH.map(volume);
        let [initiator, responder] = Direction::BOTH.map(|way| Key::from(record.key(way)));
        let (entrances, created) = record.origin();
        let control = record.control();
        let is_whole = control.is(before.version()) && before.is_live() && control.is_complete();
        Some(Session {
            reference: SessionRef { slot, version: control.version() },
            initiator,
            responder,
            entrances,
            state: control.state().filter(|_| is_whole)?,
            is_replied: control.is_replied(),
            is_assured: control.is_assured(),
            age_seconds: now.since(created),
            idle_seconds: control.idle(now),
            original,
            reply,
        })
    }

    /// How the table is doing.
    pub fn gauges(&self) -> Gauges {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.counters;
        Gauges {
            used: counters.used.load(Ordering::Relaxed),
            capacity: self.capacity,
            inserted: load(&counters.inserted),
            expired: load(&counters.expired),
            evicted: load(&counters.evicted),
            ended: load(&counters.ended),
            refused: load(&counters.refused),
            clashed: load(&counters.clashed),
            lost_races: load(&counters.lost_races),
        }
    }

    #[inline]
    pub(super) fn record(&self, slot: u32) -> Option<Record<'_>> {
        self.records.get(slot as usize).map(Record)
    }
}
