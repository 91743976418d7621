//! The concurrent table beneath [`Fdb`](super::Fdb): slots, the writer's side, counters. The memory
//! order argument is in the parent module.

#[cfg(loom)]
use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use super::{Events, Value};
use crate::PortIndex;

/// Keys per bucket: one cache line.
const BUCKET: usize = 8;
/// Ports whose stations are counted, for the per-port limit.
const PORTS: usize = if cfg!(loom) { 4 } else { 16384 };

/// A slot's position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot(usize);

#[derive(Debug)]
pub(super) struct Table {
    keys: Box<[AtomicU64]>,
    values: Box<[AtomicU64]>,
    mask: u64,
    seed: u64,
    writer: AtomicBool,
    entries: AtomicU32,
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
            keys: zeroed_u64(buckets * BUCKET),
            values: zeroed_u64(buckets * BUCKET),
            mask: buckets as u64 - 1,
            seed,
            writer: AtomicBool::new(false),
            entries: AtomicU32::new(0),
            on_port: zeroed_u32(PORTS),
            learned: AtomicU64::new(0),
            moved: AtomicU64::new(0),
            expired: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    pub(super) fn buckets(&self) -> usize {
        self.keys.len() / BUCKET
    }

    /// The two buckets in which a key may be.
    #[inline]
    fn buckets_of(&self, key: u64) -> [usize; 2] {
        // Multiply and fold: every bit of key and seed reaches the hash through both halves.
        let product = u128::from(key ^ self.seed) * 0x9e37_79b9_7f4a_7c15;
        let hash = upper(product) ^ upper(product << 64);
        let first = hash & self.mask;
        let second = (hash >> 32) & self.mask;
        [position(first), position(second)]
    }

    /// The slot and value of a key that is present.
    #[inline]
    pub(super) fn find(&self, key: u64) -> Option<(Slot, Value)> {
        for bucket in self.buckets_of(key) {
            let start = bucket * BUCKET;
            let keys = &self.keys[start..start + BUCKET];
            for (at, candidate) in keys.iter().enumerate() {
                if candidate.load(Ordering::Acquire) == key {
                    let slot = Slot(start + at);
                    let value = self.value(slot);
                    // Once more: the slot may have changed hands before the value was read.
                    let is_its = candidate.load(Ordering::Relaxed) == key && !value.is_vacant();
                    return is_its.then_some((slot, value));
                }
            }
        }
        None
    }

    #[inline]
    fn value(&self, slot: Slot) -> Value {
        Value(self.values[slot.0].load(Ordering::Acquire))
    }

    /// Replaces a value unless it changed meanwhile.
    pub(super) fn replace(&self, slot: Slot, old: Value, new: Value) -> bool {
        self.values[slot.0]
            .compare_exchange(old.0, new.0, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    /// The right to insert and remove, if nobody has it.
    pub(super) fn try_write(&self) -> Option<Writer<'_>> {
        let taken = self.writer.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed);
        taken.is_ok().then_some(Writer { table: self })
    }

    /// The right to insert and remove, waited for. Not for workers.
    pub(super) fn write(&self) -> Writer<'_> {
        loop {
            match self.try_write() {
                Some(writer) => return writer,
                #[cfg(loom)]
                None => loom::thread::yield_now(),
                #[cfg(not(loom))]
                None => std::thread::yield_now(),
            }
        }
    }

    /// Every entry, as it was when the iterator passed it.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Slot, u64, Value)> + '_ {
        self.iter_buckets(0, self.buckets())
    }

    /// Every entry of some buckets.
    pub(super) fn iter_buckets(
        &self,
        from: usize,
        count: usize,
    ) -> impl Iterator<Item = (Slot, u64, Value)> + '_ {
        let end = from.saturating_add(count).min(self.buckets());
        (from * BUCKET..end * BUCKET).filter_map(|at| {
            let key = self.keys[at].load(Ordering::Acquire);
            let value = self.value(Slot(at));
            (key != 0 && !value.is_vacant()).then_some((Slot(at), key, value))
        })
    }

    pub(super) fn learned(&self) -> u32 {
        self.entries.load(Ordering::Relaxed)
    }

    pub(super) fn learned_on(&self, port: PortIndex) -> u32 {
        self.on_port.get(port.slot()).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    pub(super) fn count_move(&self, from: PortIndex, to: PortIndex) {
        self.count_on(from, u32::MAX);
        self.count_on(to, 1);
        self.moved.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_expired(&self) {
        self.expired.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Adds to a port's count; `u32::MAX` takes one away.
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
}

impl Writer<'_> {
    /// Enters a key, or gives a key that is there the value. False when its buckets are full.
    pub(super) fn insert(&mut self, key: u64, value: Value) -> bool {
        if let Some((slot, _)) = self.table.find(key) {
            self.free(slot);
        }
        let Some(slot) = self.vacancy(key) else { return false };
        let left_over = self.table.value(slot);
        let vacant = left_over.vacated();
        self.table.values[slot.0].store(vacant.0, Ordering::Release);
        self.table.keys[slot.0].store(key, Ordering::Release);
        self.table.values[slot.0].store(value.with_version_after(vacant).0, Ordering::Release);
        self.table.entries.fetch_add(1, Ordering::Relaxed);
        self.table.count_on(value.port(), 1);
        self.table.learned.fetch_add(u64::from(!value.is_static()), Ordering::Relaxed);
        true
    }

    /// The first empty slot of the less crowded bucket of a key.
    fn vacancy(&self, key: u64) -> Option<Slot> {
        let vacancies = |bucket: &usize| {
            let start = bucket * BUCKET;
            (start..start + BUCKET).filter(|at| self.table.keys[*at].load(Ordering::Relaxed) == 0)
        };
        let buckets = self.table.buckets_of(key);
        let roomier = buckets.iter().max_by_key(|bucket| vacancies(bucket).count())?;
        vacancies(roomier).next().map(Slot)
    }

    /// Removes a key. False when it is not there.
    pub(super) fn remove(&mut self, key: u64) -> bool {
        match self.table.find(key) {
            Some((slot, _)) => {
                self.free(slot);
                true
            }
            None => false,
        }
    }

    /// Frees a slot that holds an entry. A refresh or a move that comes between loses.
    pub(super) fn free(&mut self, slot: Slot) {
        let mut value = self.table.value(slot);
        while !self.table.replace(slot, value, value.vacated()) {
            value = self.table.value(slot);
        }
        self.table.keys[slot.0].store(0, Ordering::Release);
        self.table.entries.fetch_sub(1, Ordering::Relaxed);
        self.table.count_on(value.port(), u32::MAX);
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        self.table.writer.store(false, Ordering::Release);
    }
}

/// The upper half of a 128-bit product.
#[inline]
#[allow(clippy::cast_possible_truncation, reason = "the upper half fits")]
fn upper(product: u128) -> u64 {
    (product >> 64) as u64
}

#[inline]
#[allow(clippy::cast_possible_truncation, reason = "a masked bucket number")]
fn position(bucket: u64) -> usize {
    bucket as usize
}

#[cfg(loom)]
fn zeroed_u64(count: usize) -> Box<[AtomicU64]> {
    (0..count).map(|_| AtomicU64::new(0)).collect()
}

#[cfg(loom)]
fn zeroed_u32(count: usize) -> Box<[AtomicU32]> {
    (0..count).map(|_| AtomicU32::new(0)).collect()
}

/// Zeroed memory that is not resident until it is touched. An allocation this small cannot fail short
/// of the process being out of memory, which aborts it anyway.
#[cfg(not(loom))]
fn zeroed_u64(count: usize) -> Box<[AtomicU64]> {
    match <AtomicU64 as zerocopy::FromZeros>::new_vec_zeroed(count) {
        Ok(vec) => Vec::into_boxed_slice(vec),
        Err(_) => (0..count).map(|_| AtomicU64::new(0)).collect(),
    }
}

#[cfg(not(loom))]
fn zeroed_u32(count: usize) -> Box<[AtomicU32]> {
    match <AtomicU32 as zerocopy::FromZeros>::new_vec_zeroed(count) {
        Ok(vec) => Vec::into_boxed_slice(vec),
        Err(_) => (0..count).map(|_| AtomicU32::new(0)).collect(),
    }
}
