//! Inserting sessions. Why it goes as it goes is told in the parent module.

#[cfg(loom)]
use loom::sync::atomic::Ordering;
#[cfg(not(loom))]
use std::sync::atomic::Ordering;

use super::control::Control;
use super::index::{Entry, Hash, Last};
use super::key::Packed;
use super::record::Record;
use super::table::{Found, Sessions, count};
use super::tcp::{Connection, Side};
use super::traffic::Traffic;
use super::{Direction, Invalid, Key, Packet, Session, SessionRef, State, TcpPolicy};
use crate::{PortIndex, Seconds, Tuple};

/// A session to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewSession {
    /// What the packet that begins it, and those that follow it, are recognised by.
    pub initiator: Key,
    /// What their replies will be recognised by when they come in.
    pub responder: Key,
    /// The port that the packet came in by, if that has a number for as long as its stations are there.
    pub entrance: Option<PortIndex>,
    /// The packet that begins it.
    pub packet: Packet,
}

/// What became of an insertion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inserted {
    /// The session is new, and its first packet is counted.
    New(SessionRef),
    /// Somebody else inserted it first; the packet remains to be tracked.
    Existing(Found),
}

/// Why a session was not inserted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InsertError {
    /// There was no room, and no session that could make any.
    #[error(
        "the session table is full: all {capacity} sessions are established; end some, or start \
         the daemon with room for more"
    )]
    Full {
        /// Sessions that there can be.
        capacity: u32,
    },
    /// The replies are another session's, or the session's own packets.
    #[error(
        "replies to {responder} would belong to another session; choose another source port, or \
         end that session"
    )]
    Clash {
        /// What the replies would be recognised by.
        responder: Tuple,
        /// The session that has it.
        other: SessionRef,
    },
    /// The packet cannot begin a session.
    #[error("the packet cannot begin a session: {0}")]
    Invalid(#[from] Invalid),
    /// Somebody ended the session while it was inserted.
    #[error("the session was ended while it began; its next packet begins another")]
    Ended,
}

/// A session on its way into the index.
struct Newcomer<'a> {
    record: Record<'a>,
    session: SessionRef,
    keys: [(Packed, Hash); 2],
}

/// Why a key was not entered.
enum Obstacle {
    Taken(Found),
    Crowded,
}

impl Sessions {
    /// Inserts a session, unless there is one by its initiator's key. When the table is full,
    /// another one may have to make room: `evicted` gets it.
    ///
    /// A session is found by its first key before its second is entered: another worker may find
    /// one that is withdrawn because of a clash, and will find its reference stale at the next
    /// packet.
    ///
    /// # Errors
    /// [`InsertError`], which says what is in the way; the table is then as it was, but for an
    /// evicted session.
    pub fn insert(
        &self,
        new: &NewSession,
        now: Seconds,
        policy: TcpPolicy,
        mut evicted: impl FnMut(&Session),
    ) -> Result<Inserted, InsertError> {
        let connection =
            new.packet.segment.map(|segment| Connection::begun_by(&segment, policy)).transpose()?;
        let keys = [new.initiator, new.responder].map(|key| {
            let key = Packed::from(key);
            let hash = self.index.hash(&key);
            self.index.warm(hash);
            (key, hash)
        });
        loop {
            let slot = self.allocate(now, &mut evicted).ok_or_else(|| self.full())?;
            let record = self.record(slot).ok_or_else(|| self.full())?;
            self.empty_trails(slot);
            let version = Self::fill(record, new, &keys, connection, now);
            let newcomer = Newcomer { record, session: SessionRef { slot, version }, keys };
            let Err(obstacle) = self.enter_both(&newcomer) else { return self.welcome(&newcomer) };
            self.withdraw(&newcomer);
            match obstacle {
                Obstacle::Crowded => return Err(self.full()),
                Obstacle::Taken(by) => {
                    if let Some(settled) = self.settle(&newcomer, new, by) {
                        return settled;
                    }
                }
            }
        }
    }

    fn full(&self) -> InsertError {
        count(&self.counters.refused);
        InsertError::Full { capacity: self.capacity }
    }

    /// A record for a session.
    fn allocate(&self, now: Seconds, evicted: impl FnMut(&Session)) -> Option<u32> {
        let free = self.free.pop(self.capacity, |slot| self.record(slot));
        let slot = free.or_else(|| self.evict(now, evicted))?;
        self.counters.used.fetch_add(1, Ordering::Relaxed);
        Some(slot)
    }

    /// Writes a session into a record that nobody else writes to, makes it visible, and returns its
    /// version.
    fn fill(
        record: Record<'_>,
        new: &NewSession,
        keys: &[(Packed, Hash); 2],
        connection: Option<Connection>,
        now: Seconds,
    ) -> u32 {
        let state = connection.map_or(State::Open, |connection| State::Tcp(connection.state));
        let control = record.control().successor(state, now);
        let sides = connection.map_or([Side::default(); 2], |connection| connection.sides);
        for ((direction, (key, _)), side) in Direction::BOTH.into_iter().zip(keys).zip(sides) {
            record.set_key(direction, key, side);
        }
        let first = Traffic { end: sides[0].end, ..Traffic::default() };
        let first = first.with_packet(new.packet.bytes);
        record.set_traffic(Direction::Original, first, control.tag());
        record.set_traffic(Direction::Reply, Traffic::default(), control.tag());
        record.set_origin(new.entrance, now);
        record.publish(control);
        control.version()
    }

    /// Enters a session for both directions, the lesser key first.
    fn enter_both(&self, newcomer: &Newcomer<'_>) -> Result<(), Obstacle> {
        let [(initiator, _), (responder, _)] = &newcomer.keys;
        let order = if initiator <= responder {
            Direction::BOTH
        } else {
            [Direction::Reply, Direction::Original]
        };
        order.into_iter().try_for_each(|direction| self.enter(newcomer, direction))
    }

    /// Enters a session for one direction, unless another has the key.
    fn enter(&self, newcomer: &Newcomer<'_>, direction: Direction) -> Result<(), Obstacle> {
        let (key, hash) = newcomer.keys[direction.index()];
        let entry = Entry { slot: newcomer.session.slot, direction };
        if !self.index.place(hash, entry) {
            return Err(Obstacle::Crowded);
        }
        let name = Last::new(entry, newcomer.session.version);
        loop {
            let last = self.index.last(hash);
            self.finish(last);
            if let Some(found) = self.find(&key, hash) {
                return Err(Obstacle::Taken(found));
            }
            if self.index.follow(hash, last, name) {
                self.finish(name);
                return Ok(());
            }
        }
    }

    /// Makes the session findable that was entered last, if it lives.
    fn finish(&self, last: Last) {
        if let Some((Entry { slot, direction }, version)) = last.parts()
            && let Some(record) = self.record(slot)
        {
            record.update(version, |control| control.entered(direction));
        }
    }

    /// Counts a session that was entered, unless somebody ended it before it was.
    fn welcome(&self, newcomer: &Newcomer<'_>) -> Result<Inserted, InsertError> {
        let control = newcomer.record.control();
        let is_orphan = control.version() == newcomer.session.version && !control.is_complete();
        if is_orphan {
            self.clear(newcomer.session.slot, newcomer.record);
            return Err(InsertError::Ended);
        }
        count(&self.counters.inserted);
        Ok(Inserted::New(newcomer.session))
    }

    /// Takes back a session that could not be entered for both directions.
    fn withdraw(&self, newcomer: &Newcomer<'_>) {
        newcomer.record.update(newcomer.session.version, Control::vacated);
        self.clear(newcomer.session.slot, newcomer.record);
    }

    /// Says what it means that a key was taken. `None` when whoever had it ended since.
    fn settle(
        &self,
        newcomer: &Newcomer<'_>,
        new: &NewSession,
        by: Found,
    ) -> Option<Result<Inserted, InsertError>> {
        let [(initiator, hash), _] = &newcomer.keys;
        let turned = Found { direction: by.direction.reversed(), ..by };
        let existing = [by, turned].into_iter().find(|found| self.has_key(found, initiator));
        if let Some(found) = existing.or_else(|| self.find(initiator, *hash)) {
            count(&self.counters.lost_races);
            return Some(Ok(Inserted::Existing(found)));
        }
        let is_itself = by.session == newcomer.session;
        if is_itself || self.is_alive(by.session) {
            count(&self.counters.clashed);
            let responder = new.responder.tuple;
            return Some(Err(InsertError::Clash { responder, other: by.session }));
        }
        None
    }

    /// Whether a session's packets of that direction have this key.
    fn has_key(&self, found: &Found, key: &Packed) -> bool {
        self.record(found.session.slot).is_some_and(|record| {
            record.has_key(found.direction, key) && record.control().is(found.session.version)
        })
    }
}
