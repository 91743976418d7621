//! The concurrent table beneath [`Neighbors`](super::Neighbors): slots and the writer's side. The memory
//! order argument is in the parent module.

use std::net::IpAddr;

#[cfg(loom)]
use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use pktio::wire::MacAddr;

use super::super::hash;
use super::NeighborState;
use super::binding::{Binding, Times};
use crate::BridgeIndex;
use crate::lines::zeroed;
use crate::turn::{Taken, Turn};

/// Slots per bucket.
const BUCKET: usize = if cfg!(loom) { 2 } else { 8 };
/// Words of a slot: the binding, the times, the key.
const WORDS: usize = 5;
const BINDING: usize = 0;
const TIMES: usize = 1;
const KEY: usize = 2;

/// Added to a counter, this takes one away.
const LESS: u32 = u32::MAX;

/// Whose entry it is: bridge and family, and the address in two halves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key([u64; WORDS - KEY]);

impl Key {
    const V6: u64 = 1 << 16;

    #[inline]
    pub(super) fn new(bridge: BridgeIndex, ip: IpAddr) -> Self {
        let bridge = u64::from(bridge.0);
        let family = if ip.is_ipv6() { Self::V6 } else { 0 };
        let [high, low] = hash::words(ip);
        Self([bridge | family, high, low])
    }

    pub(super) fn bridge(self) -> BridgeIndex {
        BridgeIndex(u16::try_from(self.0[0] & 0xffff).unwrap_or(0))
    }

    pub(super) fn ip(self) -> IpAddr {
        let [zone, high, low] = self.0;
        if zone & Self::V6 != 0 {
            return IpAddr::from((u128::from(high) << 64 | u128::from(low)).to_be_bytes());
        }
        let [.., a, b, c, d] = low.to_be_bytes();
        IpAddr::from([a, b, c, d])
    }
}

/// A slot's position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub(super) struct Slot(u32);

#[derive(Debug)]
pub(super) struct Table {
    slots: Box<[[AtomicU64; WORDS]]>,
    seed: u64,
    writer: Turn,
    entries: AtomicU32,
    revision: AtomicU32,
    losses: AtomicU64,
}

impl Table {
    /// A table that is at most half full with so many entries.
    pub(super) fn new(capacity: u32, seed: u64) -> Self {
        let least = if cfg!(loom) { 1 } else { 2 };
        let buckets = (capacity as usize * 2 / BUCKET).next_power_of_two().max(least);
        Self {
            slots: zeroed(buckets * BUCKET),
            seed,
            writer: Turn::new(),
            entries: AtomicU32::new(0),
            revision: AtomicU32::new(0),
            losses: AtomicU64::new(0),
        }
    }

    pub(super) fn buckets(&self) -> usize {
        self.slots.len() / BUCKET
    }

    pub(super) fn len(&self) -> u32 {
        self.entries.load(Ordering::Relaxed)
    }

    /// Another one whenever an entry that frames could be sent by has changed or gone.
    #[inline]
    pub(super) fn revision(&self) -> u32 {
        self.revision.load(Ordering::Acquire)
    }

    pub(super) fn losses(&self) -> u64 {
        self.losses.load(Ordering::Relaxed)
    }

    pub(super) fn count_loss(&self) {
        self.losses.fetch_add(1, Ordering::Relaxed);
    }

    /// The slots in which a key may be.
    #[inline]
    fn slots_of(&self, key: &Key) -> impl Iterator<Item = Slot> + use<> {
        let hash = hash::keyed(self.seed, key.0);
        let mask = self.buckets() - 1;
        let bucket = move |hash: u64| usize::try_from(hash & 0xffff_ffff).unwrap_or(0) & mask;
        let (first, second) = (bucket(hash), bucket(hash >> 32));
        // A key is looked for once in each bucket.
        let second = Some(second).filter(|second| *second != first);
        [Some(first), second].into_iter().flatten().flat_map(bucket_slots)
    }

    /// The slot and binding of a key that is present.
    #[inline]
    pub(super) fn find(&self, key: &Key) -> Option<(Slot, Binding)> {
        self.slots_of(key).find_map(|slot| Some((slot, self.read(slot, key)?)))
    }

    /// The binding of a slot, if it holds this key: it is read before and after the key, so that both
    /// are of one incarnation of the slot.
    #[inline]
    fn read(&self, slot: Slot, key: &Key) -> Option<Binding> {
        loop {
            let before = self.binding(slot);
            before.state()?;
            if self.key(slot) != *key {
                return None;
            }
            let binding = self.binding(slot);
            if binding.version() == before.version() {
                return Some(binding);
            }
        }
    }

    fn cell(&self, slot: Slot) -> &[AtomicU64; WORDS] {
        &self.slots[slot.0 as usize]
    }

    pub(super) fn key(&self, slot: Slot) -> Key {
        let [.., a, b, c] = self.cell(slot);
        Key([a, b, c].map(|word| word.load(Ordering::Acquire)))
    }

    #[inline]
    pub(super) fn binding(&self, slot: Slot) -> Binding {
        Binding(self.cell(slot)[BINDING].load(Ordering::Acquire))
    }

    #[inline]
    pub(super) fn times(&self, slot: Slot) -> Times {
        Times(self.cell(slot)[TIMES].load(Ordering::Relaxed))
    }

    pub(super) fn stamp(&self, slot: Slot, times: Times) {
        self.cell(slot)[TIMES].store(times.0, Ordering::Relaxed);
    }

    /// Replaces the times unless they changed meanwhile.
    pub(super) fn restamp(&self, slot: Slot, old: Times, new: Times) -> bool {
        let cell = &self.cell(slot)[TIMES];
        cell.compare_exchange(old.0, new.0, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Replaces a binding unless it changed meanwhile.
    pub(super) fn replace(&self, slot: Slot, old: Binding, new: Binding) -> bool {
        let cell = &self.cell(slot)[BINDING];
        let done = cell.compare_exchange(old.0, new.0, Ordering::Relaxed, Ordering::Relaxed);
        if done.is_ok() && old != new && old.is_in_use() {
            self.revision.fetch_add(1, Ordering::Release);
        }
        done.is_ok()
    }

    /// The right to insert and remove, if nobody has it.
    pub(super) fn try_write(&self) -> Option<Writer<'_>> {
        Some(Writer { table: self, _turn: self.writer.try_take()? })
    }

    /// The right to insert and remove, waited for. Not for workers.
    pub(super) fn write(&self) -> Writer<'_> {
        Writer { table: self, _turn: self.writer.take() }
    }

    /// Every entry of some buckets, as it was when the iterator passed it.
    pub(super) fn iter(
        &self,
        from: usize,
        count: usize,
    ) -> impl Iterator<Item = (Key, Binding, Times)> + '_ {
        let end = from.saturating_add(count).min(self.buckets());
        (from..end).flat_map(bucket_slots).filter_map(|slot| {
            let key = self.key(slot);
            Some((key, self.read(slot, &key)?, self.times(slot)))
        })
    }
}

/// The right to insert and remove; given back on drop.
pub(super) struct Writer<'a> {
    table: &'a Table,
    _turn: Taken<'a>,
}

impl Writer<'_> {
    /// Enters a key that is not there, and returns its slot. `None` when there are `capacity` entries or
    /// its buckets are full, and all in the buckets are in use.
    pub(super) fn insert(
        &mut self,
        key: &Key,
        mac: MacAddr,
        state: NeighborState,
        times: Times,
        capacity: u32,
    ) -> Option<Slot> {
        let has_room = self.table.len() < capacity;
        let slot = self.vacant(key).filter(|_| has_room).or_else(|| self.evict(key))?;
        let table = self.table;
        let cell = table.cell(slot);
        for (word, value) in cell[KEY..].iter().zip(key.0) {
            word.store(value, Ordering::Release);
        }
        table.stamp(slot, times);
        let binding = table.binding(slot).filled(mac, state);
        cell[BINDING].store(binding.0, Ordering::Release);
        table.entries.fetch_add(1, Ordering::Relaxed);
        Some(slot)
    }

    fn vacant(&self, key: &Key) -> Option<Slot> {
        self.table.slots_of(key).find(|slot| self.table.binding(*slot).state().is_none())
    }

    /// Frees the slot of the entry in a key's buckets that is missed least: one that failed, or else the
    /// one that has been stale for longest.
    fn evict(&mut self, key: &Key) -> Option<Slot> {
        let table = self.table;
        let rank = |slot: Slot| match table.binding(slot).state()? {
            NeighborState::Failed => Some((0, table.times(slot).ms(), slot)),
            NeighborState::Stale => Some((1, table.times(slot).ms(), slot)),
            _ => None,
        };
        let (_, _, slot) = table.slots_of(key).filter_map(rank).min()?;
        self.free(slot);
        Some(slot)
    }

    /// Removes a key if it is there and its binding is `doomed`.
    pub(super) fn remove_if(&mut self, key: &Key, doomed: impl FnOnce(Binding) -> bool) -> bool {
        let found = self.table.find(key).filter(|(_, binding)| doomed(*binding));
        found.inspect(|(slot, _)| self.free(*slot)).is_some()
    }

    /// Frees a slot that holds an entry. A change that comes between loses.
    fn free(&mut self, slot: Slot) {
        let mut binding = self.table.binding(slot);
        while !self.table.replace(slot, binding, binding.vacated()) {
            binding = self.table.binding(slot);
        }
        self.table.entries.fetch_add(LESS, Ordering::Relaxed);
    }
}

fn bucket_slots(bucket: usize) -> impl Iterator<Item = Slot> {
    (bucket * BUCKET..(bucket + 1) * BUCKET).filter_map(|at| u32::try_from(at).ok().map(Slot))
}
