//! The concurrent table beneath [`Fdb`](super::Fdb): slots, the writer's side, counters. The memory
//! order argument is in the parent module.

#[cfg(loom)]
use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use pktio::hint::prefetch;

use super::{Events, Value};
use crate::PortIndex;
use crate::lines::zeroed;
use crate::turn::{Taken, Turn};

/// Slots per bucket: two cache lines.
const BUCKET: usize = 8;
/// Ports whose stations are counted, for the per-port limit.
const PORTS: usize = if cfg!(loom) { 4 } else { 16384 };

/// Added to a counter, this takes one away.
const LESS: u32 = u32::MAX;

/// A slot's position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot(usize);

#[derive(Debug)]
pub(super) struct Table {
    /// Key and value of each slot.
    slots: Box<[[AtomicU64; 2]]>,
    seed: u64,
    writer: Turn,
    stations: AtomicU32,
    revision: AtomicU32,
    on_port: Box<[AtomicU32]>,
    learned: AtomicU64,
    moved: AtomicU64,
    expired: AtomicU64,
    refused: AtomicU64,
}

impl Table {
    pub(super) fn new(stations: u32, seed: u64) -> Self {
        let least = if cfg!(loom) { 1 } else { 8 };
        let buckets = (stations as usize * 2 / BUCKET).next_power_of_two().max(least);
        Self {
            slots: zeroed(buckets * BUCKET),
            seed,
            writer: Turn::new(),
            stations: AtomicU32::new(0),
            revision: AtomicU32::new(0),
            on_port: zeroed(PORTS),
            learned: AtomicU64::new(0),
            moved: AtomicU64::new(0),
            expired: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    pub(super) fn buckets(&self) -> usize {
        self.slots.len() / BUCKET
    }

    #[inline]
    fn hash(&self, key: u64) -> u64 {
        // Multiply and fold: every bit of key and seed reaches the hash through both halves.
        let product = u128::from(key ^ self.seed) * 0x9e37_79b9_7f4a_7c15;
        upper(product) ^ upper(product << 64)
    }

    #[inline]
    fn home(&self, hash: u64) -> Slot {
        Slot(position(hash) & (self.slots.len() - 1))
    }

    /// The two buckets in which a key may be; its home is in the first.
    fn buckets_of(&self, hash: u64) -> [usize; 2] {
        [self.home(hash).0 / BUCKET, position(hash >> 32) & (self.buckets() - 1)]
    }

    /// The slot and value of a key that is present.
    #[inline]
    pub(super) fn find(&self, key: u64) -> Option<(Slot, Value)> {
        let home = self.home(self.hash(key));
        match self.read(home, key) {
            Some(value) => Some((home, value)),
            None => self.search(key),
        }
    }

    /// Asks for the home of a key.
    #[inline]
    pub(super) fn warm(&self, key: u64) {
        prefetch(&self.slots[self.home(self.hash(key)).0]);
    }

    /// Finds a key that may be away from its home.
    #[inline(never)]
    fn search(&self, key: u64) -> Option<(Slot, Value)> {
        let mut slots = self.buckets_of(self.hash(key)).into_iter().flat_map(slots_of);
        slots.find_map(|slot| Some((slot, self.read(slot, key)?)))
    }

    /// The value of a slot, if it holds this key and an entry: the value is read before and after the
    /// key, so that both are of one incarnation of the slot.
    #[inline]
    fn read(&self, slot: Slot, key: u64) -> Option<Value> {
        let [key_cell, value_cell] = &self.slots[slot.0];
        let load = || Value(value_cell.load(Ordering::Acquire));
        loop {
            let before = load();
            if key_cell.load(Ordering::Acquire) != key {
                return None;
            }
            let value = load();
            if value.version() == before.version() {
                return (!value.is_vacant()).then_some(value);
            }
        }
    }

    fn value(&self, slot: Slot) -> Value {
        Value(self.slots[slot.0][1].load(Ordering::Relaxed))
    }

    /// Replaces a value unless it changed meanwhile.
    pub(super) fn replace(&self, slot: Slot, old: Value, new: Value) -> bool {
        self.slots[slot.0][1]
            .compare_exchange(old.0, new.0, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }

    /// The right to insert and remove, if nobody has it.
    pub(super) fn try_write(&self) -> Option<Writer<'_>> {
        Some(Writer { table: self, _turn: self.writer.try_take()? })
    }

    /// The right to insert and remove, waited for. Not for workers.
    pub(super) fn write(&self) -> Writer<'_> {
        Writer { table: self, _turn: self.writer.take() }
    }

    /// Every entry, as it was when the iterator passed it.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, Value)> + '_ {
        self.iter_buckets(0, self.buckets())
    }

    /// Every entry of some buckets.
    pub(super) fn iter_buckets(
        &self,
        from: usize,
        count: usize,
    ) -> impl Iterator<Item = (u64, Value)> + '_ {
        let end = from.saturating_add(count).min(self.buckets());
        (from..end).flat_map(slots_of).filter_map(|slot| {
            let key = self.slots[slot.0][0].load(Ordering::Relaxed);
            Some(key).filter(|key| *key != 0).zip(self.read(slot, key))
        })
    }

    /// Learned stations, aged ones that were not swept yet included.
    pub(super) fn stations(&self) -> u32 {
        self.stations.load(Ordering::Relaxed)
    }

    pub(super) fn learned_on(&self, port: PortIndex) -> u32 {
        self.on_port.get(port.slot()).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// Another one whenever an entry has moved to another port, or gone.
    #[inline]
    pub(super) fn revision(&self) -> u32 {
        self.revision.load(Ordering::Acquire)
    }

    fn revise(&self) {
        self.revision.fetch_add(1, Ordering::Release);
    }

    /// Takes note that an entry moved.
    pub(super) fn note_move(&self, from: PortIndex, to: PortIndex) {
        self.revise();
        self.count_on(from, LESS);
        self.count_on(to, 1);
        self.moved.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_expired(&self) {
        self.expired.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an entry that came, or went ([`LESS`]). Limits are about learned ones only.
    fn count_entry(&self, value: Value, by: u32) {
        if !value.is_static() {
            self.stations.fetch_add(by, Ordering::Relaxed);
            self.count_on(value.port(), by);
        }
    }

    fn count_on(&self, port: PortIndex, by: u32) {
        if let Some(count) = self.on_port.get(port.slot()) {
            count.fetch_add(by, Ordering::Relaxed);
        }
    }

    pub(super) fn events(&self) -> Events {
        Events {
            learned: self.learned.load(Ordering::Relaxed),
            moved: self.moved.load(Ordering::Relaxed),
            expired: self.expired.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
        }
    }
}

/// The right to insert and remove; given back on drop.
pub(super) struct Writer<'a> {
    table: &'a Table,
    _turn: Taken<'a>,
}

impl Writer<'_> {
    /// Enters a key, or gives a key that is there the value. False when its buckets are full.
    pub(super) fn insert(&mut self, key: u64, value: Value) -> bool {
        if let Some((slot, _)) = self.table.find(key) {
            self.free(slot);
        }
        let Some(slot) = self.vacancy(key) else { return false };
        let vacant = self.table.value(slot).vacated();
        let [key_cell, value_cell] = &self.table.slots[slot.0];
        value_cell.store(vacant.0, Ordering::Relaxed);
        key_cell.store(key, Ordering::Release);
        value_cell.store(value.with_version_after(vacant).0, Ordering::Release);
        self.table.count_entry(value, 1);
        self.table.learned.fetch_add(u64::from(!value.is_static()), Ordering::Relaxed);
        true
    }

    /// The home of a key, or else the first empty slot of the less crowded one of its buckets.
    fn vacancy(&self, key: u64) -> Option<Slot> {
        let is_empty = |slot: &Slot| self.table.slots[slot.0][0].load(Ordering::Relaxed) == 0;
        let vacancies = |bucket: usize| slots_of(bucket).filter(is_empty);
        let hash = self.table.hash(key);
        let [first, second] = self.table.buckets_of(hash);
        let roomier =
            if vacancies(second).count() > vacancies(first).count() { second } else { first };
        Some(self.table.home(hash)).filter(is_empty).or_else(|| vacancies(roomier).next())
    }

    /// Removes a key if it is there and its value is `doomed`.
    pub(super) fn remove_if(&mut self, key: u64, doomed: impl FnOnce(Value) -> bool) -> bool {
        let found = self.table.find(key).filter(|(_, value)| doomed(*value));
        found.inspect(|(slot, _)| self.free(*slot)).is_some()
    }

    /// Frees a slot that holds an entry. A refresh or a move that comes between loses.
    fn free(&mut self, slot: Slot) {
        let mut value = self.table.value(slot);
        while !self.table.replace(slot, value, value.vacated()) {
            value = self.table.value(slot);
        }
        self.table.slots[slot.0][0].store(0, Ordering::Relaxed);
        self.table.revise();
        self.table.count_entry(value, LESS);
    }
}

/// The upper half of a 128-bit product.
#[inline]
#[allow(clippy::cast_possible_truncation, reason = "the upper half fits")]
fn upper(product: u128) -> u64 {
    (product >> 64) as u64
}

#[inline]
#[allow(clippy::cast_possible_truncation, reason = "only the lower bits are used")]
fn position(hash: u64) -> usize {
    hash as usize
}

fn slots_of(bucket: usize) -> impl Iterator<Item = Slot> {
    (bucket * BUCKET..(bucket + 1) * BUCKET).map(Slot)
}
