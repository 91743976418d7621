//! [`Fdb`]: the forwarding database of one bridge: which station (MAC, VLAN) is behind which port.
//!
//! # Structure
//! Slots of a key and a value, eight to a bucket. A keyed hash gives each station a home slot, and a
//! second bucket. It is in its home if that was empty when it came, and else anywhere in the emptier of
//! the home's bucket and the second one: a lookup mostly reads a single cache line. There are no
//! tombstones: a freed slot is simply empty. The table is sized to be at most half full at the bridge's
//! MAC limit, which leaves a bucket pair full with negligible probability. Untouched memory is never
//! resident, so a thousand quiet bridges cost little.
//!
//! ```text
//!   key    mac 48 | vid 15 | 1                                0 = empty
//!   value  port 16 | flags 8 | version 8 | last seen, seconds 32
//! ```
//!
//! # Ageing
//! A lookup treats an entry that was last seen too long ago as absent, so ageing is exact without
//! anybody sweeping; [`Fdb::sweep`] only frees the slots, a bounded number per call. A frame refreshes
//! its station's entry once a second at most.
//!
//! # Threads and memory order
//! Any number of workers look up, refresh and move stations without waiting. Inserting and removing is
//! for whoever has the `Turn`: a worker that finds it taken does not wait but leaves learning to the
//! station's next frame; control calls wait for it, and hold it for one entry at a time.
//!
//! * A slot lives through incarnations, each with its version: vacant, then filled, perhaps moved to
//!   another port, then vacant again. Its key only changes while it is vacant. A writer frees it by
//!   exchanging the value for "vacant" and then storing the key 0; it fills it by storing the
//!   key and then the value, each as a release.
//! * A reader loads value, key and value again, all acquire. If the key it saw had been stored after the
//!   incarnation of the first value, the second load would come after the vacating exchange, and would
//!   show another version. So equal versions mean that key and value belong together (short of 256
//!   incarnations within one lookup); unequal ones mean that another thread made progress, and the
//!   reader looks again.
//! * Refreshing and moving replace a value by compare-exchange against the value that was read. Its
//!   version makes the exchange fail if the slot was freed or reused meanwhile. It may be relaxed: whoever sees its outcome
//!   sees what the store released that filled the slot.
//! * Whoever remembers what it looked up ([`Fdb::locate`]) reads the revision first. It moves on, by a release,
//!   after every change that takes a station from its port. So what was found before such a change is
//!   remembered with an earlier revision, and who sees the later one looks again.
//! * Counters are relaxed: they are limits and statistics, and order nothing.
//!
//! After MAC tables of Snabb (`mac_table.lua`) and VPP (`l2_fib.h`); the two-choice buckets are those of
//! A. Broder and M. Mitzenmacher, "Using Multiple Hash Functions to Improve IP Lookups", 2001.

mod table;
mod value;

#[cfg(all(test, loom))]
mod loom_tests;
#[cfg(all(test, not(loom)))]
mod tests;

use pktio::wire::MacAddr;

use crate::{Nanos, PortIndex, Seconds, Vid};
use table::{Slot, Table};
use value::Value;

/// The entries of so many stations, a cache line each, are in the second cache or nearer.
const NEAR_STATIONS: u32 = 4096;

/// What became of an attempt to learn a station.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Learned {
    /// It was known, at this port.
    Known,
    /// It is new.
    New,
    /// It was at another port.
    Moved,
    /// It is a static entry of another port, and stays there.
    Static,
    /// A limit or the table is full, or another worker was writing: not learned this time.
    Refused,
}

/// The most stations that may be learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// On the bridge.
    pub bridge: u32,
    /// On the port that the station is on.
    pub port: u32,
}

/// Where a station is, to be remembered: it holds while the [revision](Fdb::revision) is the same, up to a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Location {
    /// The port that it is behind.
    pub port: PortIndex,
    /// The revision of the database that says so.
    pub revision: u32,
    /// When it will have aged out, if nothing is heard of it: it holds up to and including this second.
    pub until: Seconds,
}

/// One station, as shown to people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// The station's VLAN.
    pub vid: Vid,
    /// The station's address.
    pub mac: MacAddr,
    /// The port that it is behind.
    pub port: PortIndex,
    /// Seconds since it was last heard.
    pub age_seconds: u32,
    /// Entered by hand: does not age or move.
    pub is_static: bool,
}

/// What happened to a forwarding database since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Events {
    /// Stations learned.
    pub learned: u64,
    /// Stations that came to another port.
    pub moved: u64,
    /// Stations that aged out and were swept.
    pub expired: u64,
    /// Stations not learned because of a limit or a full table.
    pub refused: u64,
}

/// The forwarding database of one bridge. See the module's documentation.
#[derive(Debug)]
pub struct Fdb {
    table: Table,
    ageing_seconds: u32,
}

impl Fdb {
    /// An empty database for up to `stations` stations that age after `ageing_seconds`. `seed` keys
    /// the hash, so that nobody outside can choose addresses that collide.
    pub fn new(stations: u32, ageing_seconds: u32, seed: u64) -> Self {
        Self { table: Table::new(stations, seed), ageing_seconds }
    }

    /// The port of a station, unless it aged out.
    #[inline(always)]
    pub fn lookup(&self, mac: MacAddr, vid: Vid, now: Seconds) -> Option<PortIndex> {
        let (_, value) = self.table.find(key(mac, vid))?;
        (!self.is_aged(value, now)).then(|| value.port())
    }

    /// The port of a station, unless it aged out, and how long that may be remembered.
    pub fn locate(&self, mac: MacAddr, vid: Vid, now: Seconds) -> Option<Location> {
        let revision = self.revision();
        let (_, value) = self.table.find(key(mac, vid))?;
        let last = Seconds(value.seen().0.saturating_add(self.ageing_seconds));
        let until = if value.is_static() { Seconds(u32::MAX) } else { last };
        (!self.is_aged(value, now)).then(|| Location { port: value.port(), revision, until })
    }

    /// Another one whenever a station has moved or gone.
    #[inline]
    pub fn revision(&self) -> u32 {
        self.table.revision()
    }

    /// All that is known of a station, unless it aged out.
    pub fn find(&self, mac: MacAddr, vid: Vid, now: Seconds) -> Option<Entry> {
        let key = key(mac, vid);
        let (_, value) = self.table.find(key)?;
        (!self.is_aged(value, now)).then(|| self.entry(key, value, now))
    }

    /// Whether so many stations are known that their entries are in no near cache.
    #[inline]
    pub fn is_large(&self) -> bool {
        self.table.stations() > NEAR_STATIONS
    }

    /// From when on a station is unknown, unless it is heard again before.
    pub fn end_of(&self, station: &Entry, now: Seconds) -> Nanos {
        if station.is_static {
            return Nanos::from_nanos(u64::MAX);
        }
        let seen = u64::from(now.0.saturating_sub(station.age_seconds));
        Nanos::from_secs(seen + u64::from(self.ageing_seconds) + 1)
    }

    /// Asks for the memory that [`Self::lookup`] and [`Self::learn`] will need.
    #[inline]
    pub fn warm(&self, mac: MacAddr, vid: Vid) {
        self.table.warm(key(mac, vid));
    }

    /// Notes that a station sent a frame from `port`.
    #[inline]
    pub fn learn(
        &self,
        mac: MacAddr,
        vid: Vid,
        port: PortIndex,
        now: Seconds,
        limits: Limits,
    ) -> Learned {
        let key = key(mac, vid);
        match self.table.find(key) {
            Some((_, value)) if value.is_at(port, now) => Learned::Known,
            Some((slot, value)) => self.renew(slot, value, port, now, limits),
            None => self.insert(key, port, now, limits),
        }
    }

    /// Notes when a station that is known at `port` was last heard there, where no worker heard it. It is not learned by
    /// this, and does not move.
    pub fn refresh(&self, mac: MacAddr, vid: Vid, port: PortIndex, seen: Seconds) {
        match self.table.find(key(mac, vid)) {
            Some((slot, value)) if value.port() == port && !value.is_at(port, seen) => {
                self.table.replace(slot, value, value.seen_at(seen));
            }
            _ => {}
        }
    }

    /// Refreshes or moves an entry that was found.
    #[cold]
    fn renew(
        &self,
        slot: Slot,
        value: Value,
        port: PortIndex,
        now: Seconds,
        limits: Limits,
    ) -> Learned {
        if value.is_static() {
            return if value.port() == port { Learned::Known } else { Learned::Static };
        }
        if value.port() == port {
            self.table.replace(slot, value, value.seen_at(now));
            return Learned::Known;
        }
        if self.table.learned_on(port) >= limits.port {
            self.table.count_refused();
            return Learned::Refused;
        }
        if !self.table.replace(slot, value, value.moved_to(port, now)) {
            return Learned::Refused;
        }
        self.table.note_move(value.port(), port);
        Learned::Moved
    }

    #[cold]
    fn insert(&self, key: u64, port: PortIndex, now: Seconds, limits: Limits) -> Learned {
        let Some(mut writer) = self.table.try_write() else { return Learned::Refused };
        let full =
            self.table.stations() >= limits.bridge || self.table.learned_on(port) >= limits.port;
        if full || !writer.insert(key, Value::learned(port, now)) {
            self.table.count_refused();
            return Learned::Refused;
        }
        Learned::New
    }

    /// Enters a station by hand, in place of what was known of it. False when its buckets are full.
    #[must_use]
    pub fn add_static(&self, mac: MacAddr, vid: Vid, port: PortIndex) -> bool {
        self.table.write().insert(key(mac, vid), Value::fixed(port))
    }

    /// Removes a station. False when it was not there.
    pub fn remove(&self, mac: MacAddr, vid: Vid) -> bool {
        self.table.write().remove_if(key(mac, vid), |_| true)
    }

    /// Removes the stations that `doomed` chooses, and returns how many.
    pub fn flush(&self, now: Seconds, mut doomed: impl FnMut(&Entry) -> bool) -> usize {
        let doomed = |(key, value): &(u64, Value)| {
            doomed(&self.entry(*key, *value, now)) && self.table.write().remove_if(*key, |_| true)
        };
        self.table.iter().filter(doomed).count()
    }

    /// Frees the slots of aged stations among `count` buckets from bucket `from` on, and returns where
    /// to go on. Control thread.
    pub fn sweep(&self, now: Seconds, from: usize, count: usize) -> usize {
        let is_aged = |value| self.is_aged(value, now);
        for (key, value) in self.table.iter_buckets(from, count) {
            if is_aged(value) && self.table.write().remove_if(key, is_aged) {
                self.table.count_expired();
            }
        }
        let next = from + count;
        if next >= self.table.buckets() { 0 } else { next }
    }

    /// The stations that are known, in no particular order.
    pub fn entries(&self, now: Seconds) -> Vec<Entry> {
        self.table
            .iter()
            .filter(|(_, value)| !self.is_aged(*value, now))
            .map(|(key, value)| self.entry(key, value, now))
            .collect()
    }

    /// Number of learned stations, aged ones that were not swept yet included.
    pub fn len(&self) -> u32 {
        self.table.stations()
    }

    /// Whether no station is learned.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What happened so far.
    pub fn events(&self) -> Events {
        self.table.events()
    }

    /// Takes over the entries of another database, e.g. one of another size.
    pub fn take_over(&self, other: &Self, now: Seconds) {
        let mut writer = self.table.write();
        for (key, value) in other.table.iter() {
            if !other.is_aged(value, now) {
                writer.insert(key, value);
            }
        }
    }

    /// A database for up to `stations` stations that knows what this one knows now.
    pub(crate) fn copied(&self, stations: u32, now: Seconds) -> Self {
        let copy = Self::new(stations, self.ageing_seconds, 0);
        copy.take_over(self, now);
        copy
    }

    #[inline]
    fn is_aged(&self, value: Value, now: Seconds) -> bool {
        !value.is_static() && now.since(value.seen()) > self.ageing_seconds
    }

    fn entry(&self, key: u64, value: Value, now: Seconds) -> Entry {
        Entry {
            vid: Vid(u16::try_from((key >> 1) & 0x7fff).unwrap_or(0)),
            mac: MacAddr::from_bits(key >> 16),
            port: value.port(),
            age_seconds: if value.is_static() { 0 } else { now.since(value.seen()) },
            is_static: value.is_static(),
        }
    }
}

/// The key of a station; never 0, which marks an empty slot.
#[inline]
pub(crate) fn key(mac: MacAddr, vid: Vid) -> u64 {
    mac.to_bits() << 16 | u64::from(vid.0) << 1 | 1
}
