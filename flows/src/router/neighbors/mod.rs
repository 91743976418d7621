//! [`Neighbors`]: which MAC address is behind an IP address of a bridge (ARP, RFC 826; Neighbor
//! Discovery, RFC 4861).
//!
//! # States
//! Those of RFC 4861 section 7.3.2, for ARP too (RFC 1122 section 2.3.2.1):
//!
//! ```text
//!   (none) ──asked for──► incomplete ──answer──► reachable ──30 s──► stale ──used──► probe
//!      │                      └── 3 s ──► failed ◄───── 3 s, no answer ──────────────┘
//!      │                         asked for ▼ ▲ 3 s                answer: reachable again
//!      └──heard of──► stale              retry
//! ```
//!
//! A stale entry is still used, and asked after when it is. There is no "delay" state, which waits for
//! hints of upper layers: a router gets none. Reachable turns to stale by the clock, without anybody
//! writing. The third question after an entry in use goes to everybody: its MAC may have changed. That a neighbour did not
//! answer is remembered for a minute, and while it is asked for again ("retry"): where a route has other next hops, these stand
//! in for it ([`Neighbors::is_silent`]).
//! [`Resolver`] says who asks.
//!
//! # Structure
//! Slots of five words, eight to a bucket; an entry is in one of two buckets by a keyed hash. The table
//! is at most half full at its capacity; beyond that, the buckets of a new entry give up one that failed
//! or the oldest stale one.
//!
//! ```text
//!   binding  mac 48 | state 3 | version 13        state 0 = empty
//!   times    milliseconds 56 | tries 8            of the last change, confirmation or question
//!   key      bridge and family, address in two words
//! ```
//!
//! # Threads and memory order
//! Any number of workers look up, confirm and change entries without waiting. Inserting and removing is
//! for whoever has the `Turn`: a worker that finds it taken does not wait but leaves the entry to the
//! next packet; control calls wait for it.
//!
//! * The binding is all that forwarding needs, and one word: whoever reads it sees a MAC, its state and
//!   its version that belong together. Changes replace it by compare-exchange against what was read, which may be relaxed:
//!   whoever sees its outcome sees what the store released that filled the slot.
//! * A slot's key changes only while the slot is empty, and a slot that is emptied gets another version.
//!   A writer empties it by exchanging the binding and fills it by storing key, times and then the
//!   binding; the stores of key and binding are releases. A reader loads binding, key and binding again, all
//!   acquire. If a word of the key it saw had been stored after the incarnation of the first binding,
//!   the second load would come after the emptying exchange and show another version. So equal versions
//!   mean that key and binding belong together (short of 8192 incarnations within one lookup).
//! * The times are relaxed, and may lag behind the binding or be those of an entry that has just gone. At
//!   worst a question is asked a second early or late.
//! * Whoever remembers how long an entry [lasts](Neighbors::lasts) reads the revision first. It moves on, by a release, after
//!   every exchange that ends what was said. So what was found before such a change is remembered with an earlier revision,
//!   and who sees the later one looks again.
//! * The losses are relaxed: they only say that looking again may be worth it.

mod binding;
mod resolver;
mod table;

#[cfg(all(test, loom))]
mod loom_tests;
#[cfg(all(test, not(loom)))]
mod tests;

use std::net::IpAddr;
use std::time::Duration;

use pktio::wire::MacAddr;

use super::routes::NextHop;
use crate::{BridgeIndex, Nanos};
use binding::{Binding, Times};
use table::{Key, Slot, Table};

pub use resolver::{Resolution, Resolver, Solicitation};

/// How long the states of a neighbour last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timers {
    /// From a confirmation to stale (RFC 4861: REACHABLE_TIME).
    pub reachable_ms: u64,
    /// From one question to the next (RETRANS_TIMER).
    pub retransmit_ms: u64,
    /// Questions before giving up (MAX_MULTICAST_SOLICIT).
    pub tries: u8,
    /// How long packets to a neighbour that failed are refused at once.
    pub refuse_ms: u64,
    /// How long it is remembered that a neighbour failed.
    pub forget_failed_ms: u64,
    /// From the last use or sign of life of a stale entry to its removal.
    pub forget_ms: u64,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            reachable_ms: 30_000,
            retransmit_ms: 1000,
            tries: 3,
            refuse_ms: 1000,
            forget_failed_ms: 60_000,
            forget_ms: 3_600_000,
        }
    }
}

/// What is known of a neighbour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum NeighborState {
    /// It is being asked for; its MAC is not known.
    Incomplete = 1,
    /// It answered lately.
    Reachable = 2,
    /// It has not answered lately; still used.
    Stale = 3,
    /// It is being asked after; still used.
    Probe = 4,
    /// It did not answer.
    Failed = 5,
    /// Entered by hand: does not age or change.
    Permanent = 6,
    /// It did not answer, and is being asked for again.
    Retry = 7,
}

/// What a neighbour says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// Its MAC. A neighbour advertisement may leave it out.
    pub mac: Option<MacAddr>,
    /// Whether it was asked: only an answer shows that packets reach it.
    pub solicited: bool,
    /// Whether the MAC replaces another one.
    pub overrides: bool,
    /// Whether a neighbour that is not known is worth remembering.
    pub creates: bool,
}

impl Claim {
    /// It wants something of us, and says who it is: an ARP request for our address, a neighbour or
    /// router solicitation. It will want an answer.
    pub const fn asking(mac: MacAddr) -> Self {
        Self { mac: Some(mac), solicited: false, overrides: true, creates: true }
    }

    /// It tells everybody: gratuitous ARP, and ARP requests for others.
    pub const fn announcing(mac: MacAddr) -> Self {
        Self { mac: Some(mac), solicited: false, overrides: true, creates: false }
    }

    /// It answers our ARP request.
    pub const fn answering(mac: MacAddr) -> Self {
        Self { mac: Some(mac), solicited: true, overrides: true, creates: false }
    }
}

/// What became of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// It changed or confirmed what is known.
    Learned,
    /// Nothing.
    Ignored,
    /// There is no room, or another worker was writing: not learned this time.
    Refused,
}

/// A neighbour's entry and its version, to be kept with what was decided by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct NeighborVersion {
    slot: Slot,
    version: u16,
}

/// A neighbour that frames can be sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Neighbor {
    /// Its MAC.
    pub mac: MacAddr,
    /// Moves on when the MAC changes.
    pub version: NeighborVersion,
    /// Whether it should be asked after, now that it is used.
    wants_probe: bool,
}

impl Neighbor {
    /// One that has no entry.
    pub(crate) fn imagined(mac: MacAddr) -> Self {
        Self { mac, version: NeighborVersion::default(), wants_probe: false }
    }
}

/// What a lookup finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookup {
    /// A neighbour that frames can be sent to.
    Known(Neighbor),
    /// It is being asked for.
    Resolving,
    /// It did not answer lately.
    Failed,
    /// Nobody has asked for it yet, or lately.
    Unknown,
}

/// One neighbour, as shown to people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct NeighborEntry {
    /// The bridge it is on.
    pub bridge: BridgeIndex,
    /// Its address.
    pub ip: IpAddr,
    /// Its MAC, if that is known.
    pub mac: Option<MacAddr>,
    /// What is known of it.
    pub state: NeighborState,
    /// Time since its last change, confirmation or question.
    pub age: Duration,
}

/// The neighbours of all bridges. See the module's documentation.
#[derive(Debug)]
pub struct Neighbors {
    table: Table,
    capacity: u32,
    timers: Timers,
}

impl Neighbors {
    /// Room for `capacity` neighbours. `seed` keys the hash, so that nobody outside can choose addresses
    /// that collide.
    pub fn new(capacity: u32, timers: Timers, seed: u64) -> Self {
        Self { table: Table::new(capacity, seed), capacity, timers }
    }

    /// What is known of a neighbour. Workers ask by [`Resolver::resolve`], which also sees to what is
    /// not known; this only looks.
    #[inline]
    pub fn lookup(&self, bridge: BridgeIndex, ip: IpAddr, now: Nanos) -> Lookup {
        let Some((slot, binding)) = self.table.find(&Key::new(bridge, ip)) else {
            return Lookup::Unknown;
        };
        let version = NeighborVersion { slot, version: binding.version() };
        let known =
            |wants_probe| Lookup::Known(Neighbor { mac: binding.mac(), version, wants_probe });
        let age_ms = self.table.times(slot).age_ms(millis(now));
        match binding.state() {
            None => Lookup::Unknown,
            Some(NeighborState::Permanent) => known(false),
            Some(NeighborState::Stale) => known(true),
            Some(NeighborState::Reachable) => known(age_ms > self.timers.reachable_ms),
            Some(NeighborState::Probe) => known(self.is_orphaned(age_ms)),
            Some(NeighborState::Incomplete | NeighborState::Retry) if self.is_orphaned(age_ms) => {
                Lookup::Unknown
            }
            Some(NeighborState::Incomplete | NeighborState::Retry) => Lookup::Resolving,
            Some(NeighborState::Failed) if age_ms < self.timers.refuse_ms => Lookup::Failed,
            Some(NeighborState::Failed) => Lookup::Unknown,
        }
    }

    /// Whether a neighbour did not answer when it was last asked for, and has said nothing since.
    pub fn is_silent(&self, bridge: BridgeIndex, ip: IpAddr) -> bool {
        let found = self.table.find(&Key::new(bridge, ip));
        let state = found.and_then(|(_, binding)| binding.state());
        matches!(state, Some(NeighborState::Failed | NeighborState::Retry))
    }

    /// Whose entry this is, and until when what was decided by it holds, and nothing has to be done about it, if nothing more is
    /// heard of the neighbour: the [revision](Self::revision) says so. `None` when it does not hold now: look up again.
    pub fn lasts(&self, version: NeighborVersion, now: Nanos) -> Option<(NextHop, Nanos)> {
        let key = self.table.key(version.slot);
        let (binding, times) = (self.table.binding(version.slot), self.table.times(version.slot));
        let state = binding.state().filter(|_| binding.version() == version.version)?;
        let lasts_ms = match state {
            NeighborState::Permanent => u64::MAX,
            NeighborState::Reachable => self.timers.reachable_ms,
            NeighborState::Probe => self.orphaned_after_ms(),
            _ => return None,
        };
        let now_ms = millis(now);
        let age_ms = times.age_ms(now_ms);
        let end_ms = (now_ms - age_ms.min(now_ms)).saturating_add(lasts_ms).saturating_add(1);
        let next = NextHop { bridge: key.bridge(), ip: key.ip() };
        let end = Nanos::from_nanos(end_ms.saturating_mul(1_000_000));
        (age_ms <= lasts_ms).then_some((next, end))
    }

    /// Hears what a neighbour says of itself.
    pub fn learn(&self, bridge: BridgeIndex, ip: IpAddr, claim: &Claim, now: Nanos) -> Heard {
        let key = Key::new(bridge, ip);
        let times = Times::at(millis(now), 0);
        // Each failed exchange means that another thread made progress.
        while let Some((slot, binding)) = self.table.find(&key) {
            let Some(new) = binding.after(claim) else { return Heard::Ignored };
            self.table.stamp(slot, times);
            if self.table.replace(slot, binding, new) {
                if binding.version() != new.version() {
                    self.note_loss(binding);
                }
                return Heard::Learned;
            }
        }
        match claim.mac {
            Some(mac) if claim.creates => self.try_insert(&key, mac, NeighborState::Stale, times),
            _ => Heard::Ignored,
        }
    }

    fn try_insert(&self, key: &Key, mac: MacAddr, state: NeighborState, times: Times) -> Heard {
        let Some(mut writer) = self.table.try_write() else { return Heard::Refused };
        // Another worker may have been faster.
        if self.table.find(key).is_some() {
            return Heard::Ignored;
        }
        if writer.insert(key, mac, state, times, self.capacity).is_none() {
            return Heard::Refused;
        }
        Heard::Learned
    }

    /// Counts that a binding is no more, if frames could be sent by it.
    fn note_loss(&self, binding: Binding) {
        if binding.mac() != MacAddr::default() {
            self.table.count_loss();
        }
    }

    /// Whether an entry that is being asked for has been left alone for so long that whoever asked must
    /// be gone.
    fn is_orphaned(&self, age_ms: u64) -> bool {
        age_ms > self.orphaned_after_ms()
    }

    fn orphaned_after_ms(&self) -> u64 {
        4 * self.timers.retransmit_ms
    }

    /// Enters a neighbour by hand, in place of what was known of it. False when there is no room.
    #[must_use]
    pub fn add_static(&self, bridge: BridgeIndex, ip: IpAddr, mac: MacAddr) -> bool {
        let key = Key::new(bridge, ip);
        let mut writer = self.table.write();
        writer.remove_if(&key, |_| true);
        let state = NeighborState::Permanent;
        writer.insert(&key, mac, state, Times::at(0, 0), u32::MAX).is_some()
    }

    /// Removes a neighbour. False when it was not there.
    pub fn remove(&self, bridge: BridgeIndex, ip: IpAddr) -> bool {
        self.table.write().remove_if(&Key::new(bridge, ip), |_| true)
    }

    /// Removes the neighbours that `doomed` chooses, and returns how many.
    pub fn flush(&self, now: Nanos, mut doomed: impl FnMut(&NeighborEntry) -> bool) -> usize {
        let is_doomed = |(key, binding, times): &(Key, Binding, Times)| {
            self.entry(*key, *binding, *times, now).is_some_and(|entry| doomed(&entry))
                && self.table.write().remove_if(key, |_| true)
        };
        self.table.iter(0, self.table.buckets()).filter(is_doomed).count()
    }

    /// Removes neighbours that failed, or were not heard of for long, among `count` buckets from bucket
    /// `from` on, and returns where to go on. Control thread.
    pub fn sweep(&self, now: Nanos, from: usize, count: usize) -> usize {
        for (key, binding, times) in self.table.iter(from, count) {
            let age_ms = times.age_ms(millis(now));
            let is_over = match binding.state() {
                Some(NeighborState::Failed) => age_ms >= self.timers.forget_failed_ms,
                Some(NeighborState::Stale | NeighborState::Reachable) => {
                    age_ms > self.timers.forget_ms
                }
                Some(NeighborState::Incomplete | NeighborState::Retry) => self.is_orphaned(age_ms),
                _ => false,
            };
            if is_over {
                self.table.write().remove_if(&key, |now_bound| now_bound == binding);
            }
        }
        let next = from + count;
        if next >= self.table.buckets() { 0 } else { next }
    }

    /// All that is known of a neighbour.
    pub fn find(&self, bridge: BridgeIndex, ip: IpAddr, now: Nanos) -> Option<NeighborEntry> {
        let key = Key::new(bridge, ip);
        let (slot, binding) = self.table.find(&key)?;
        self.entry(key, binding, self.table.times(slot), now)
    }

    /// All neighbours, in no particular order.
    pub fn entries(&self, now: Nanos) -> Vec<NeighborEntry> {
        self.table
            .iter(0, self.table.buckets())
            .filter_map(|(key, binding, times)| self.entry(key, binding, times, now))
            .collect()
    }

    /// Number of entries.
    pub fn len(&self) -> u32 {
        self.table.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Another one whenever an entry that frames could be sent by has changed or gone: what was decided by one holds
    /// [as long](Self::lasts) as this is the same.
    #[inline]
    pub fn revision(&self) -> u32 {
        self.table.revision()
    }

    /// Moves on whenever a neighbour that frames could be sent to failed or came to have another MAC, though not when it is
    /// removed: time to look after what was decided by its entry.
    pub fn losses(&self) -> u64 {
        self.table.losses()
    }

    fn entry(&self, key: Key, binding: Binding, times: Times, now: Nanos) -> Option<NeighborEntry> {
        let age_ms = times.age_ms(millis(now));
        let state = match binding.state()? {
            NeighborState::Reachable if age_ms > self.timers.reachable_ms => NeighborState::Stale,
            state => state,
        };
        let is_bound = binding.mac() != MacAddr::default();
        Some(NeighborEntry {
            bridge: key.bridge(),
            ip: key.ip(),
            mac: is_bound.then(|| binding.mac()),
            state,
            age: if state == NeighborState::Permanent {
                Duration::ZERO
            } else {
                Duration::from_millis(age_ms)
            },
        })
    }
}

fn millis(now: Nanos) -> u64 {
    now.as_nanos() / 1_000_000
}
