//! The index: from a key's hash to the records that may have it.

#[cfg(loom)]
use loom::sync::atomic::{AtomicU64, Ordering};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicU64, Ordering};

use pktio::hint::prefetch;

use super::Direction;
use super::bits::{high32, low32};
use super::key::{KEY_WORDS, Packed};
use crate::hash::secrets;
use crate::lines::Lines;

/// Words of a bucket: a cache line.
const BUCKET: usize = if cfg!(loom) { 4 } else { 8 };
/// A key goes to its second bucket when its home has fewer vacancies than this, and the other has
/// more. With this, 95 % are at home in a table that is full, and some vacancy remains for
/// everybody.
const SPARE: usize = 3;
/// Words that order insertions.
const ORDERS: usize = if cfg!(loom) { 1 } else { 4096 };

const SLOT_SHIFT: u32 = 2;
const REPLY: u32 = 2;
const PRESENT: u32 = 1;
/// The most records that an index can tell apart.
pub(super) const MAX_SLOTS: u32 = 1 << 24;

/// A record and one of its directions: `slot 30 | direction 1 | 1`. It is the lower half of an
/// index word, whose upper half is the key's fingerprint, and of an order word, whose upper half is
/// the version of the session that was entered last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) slot: u32,
    pub(super) direction: Direction,
}

impl Entry {
    #[inline]
    fn under(self, upper: u32) -> u64 {
        let direction = if self.direction == Direction::Reply { REPLY } else { 0 };
        u64::from(upper) << 32 | u64::from(self.slot << SLOT_SHIFT | direction | PRESENT)
    }

    #[inline]
    fn of(word: u64) -> Option<Self> {
        let lower = low32(word);
        let direction = if lower & REPLY == 0 { Direction::Original } else { Direction::Reply };
        (lower & PRESENT != 0).then_some(Self { slot: lower >> SLOT_SHIFT, direction })
    }
}

/// The session that was entered last among those that share an order word, and in which direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Last(u64);

impl Last {
    pub(super) fn new(entry: Entry, version: u32) -> Self {
        Self(entry.under(version))
    }

    /// Entry and version; `None` if none was entered yet.
    pub(super) fn parts(self) -> Option<(Entry, u32)> {
        Some((Entry::of(self.0)?, high32(self.0)))
    }
}

/// The hash of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hash(u64);

/// The index. Its buckets order nothing, and are relaxed; the order words release and acquire. The parent module says why.
#[derive(Debug)]
pub(super) struct Index {
    buckets: Lines<AtomicU64, BUCKET>,
    order: Lines<AtomicU64, 1>,
    seed: [u64; KEY_WORDS],
}

impl Index {
    /// An index that is at most about half full with so many records.
    pub(super) fn new(slots: u32, seed: u64) -> Self {
        let words = slots as usize * 4;
        let buckets = if cfg!(loom) { 1 } else { words.div_ceil(BUCKET).next_power_of_two() };
        let (buckets, order) = (Lines::zeroed(buckets), Lines::zeroed(ORDERS));
        Self { buckets, order, seed: secrets(seed) }
    }

    #[inline]
    pub(super) fn hash(&self, key: &Packed) -> Hash {
        Hash(key.hash(&self.seed))
    }

    /// The first answer that `look` gives for an entry which may be that of the key.
    #[inline]
    pub(super) fn find<T>(&self, hash: Hash, look: impl Fn(Entry) -> Option<T>) -> Option<T> {
        let found = self.find_in(self.bucket(hash.home()), hash, &look);
        if found.is_some() { found } else { self.find_away(hash, &look) }
    }

    /// Asks for both of a key's buckets and its order word.
    pub(super) fn warm(&self, hash: Hash) {
        prefetch(self.bucket(hash.home()));
        prefetch(self.bucket(hash.second()));
        prefetch(self.order(hash));
    }

    /// Looks in a key's second bucket.
    #[inline(never)]
    fn find_away<T>(&self, hash: Hash, look: &impl Fn(Entry) -> Option<T>) -> Option<T> {
        self.find_in(self.bucket(hash.second()), hash, look)
    }

    #[inline]
    fn find_in<T>(
        &self,
        bucket: &[AtomicU64; BUCKET],
        hash: Hash,
        look: &impl Fn(Entry) -> Option<T>,
    ) -> Option<T> {
        // All ways are compared at once: where in its bucket a key is cannot be predicted.
        let mut hits = 0u32;
        for (way, word) in bucket.iter().enumerate() {
            let word = word.load(Ordering::Relaxed);
            hits |= u32::from(high32(word) == hash.fingerprint()) << way;
        }
        while hits != 0 {
            let way = hits.trailing_zeros() as usize;
            hits &= hits - 1;
            let word = bucket.get(way)?.load(Ordering::Relaxed);
            let found = Entry::of(word).and_then(look);
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// Puts an entry into one of its key's buckets. False when both are full.
    pub(super) fn place(&self, hash: Hash, entry: Entry) -> bool {
        let word = entry.under(hash.fingerprint());
        while let Some(vacancy) = self.vacancy(hash) {
            if vacancy.compare_exchange(0, word, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                return true;
            }
        }
        false
    }

    /// A vacancy in a key's home, or else in the roomier one of its buckets.
    fn vacancy(&self, hash: Hash) -> Option<&AtomicU64> {
        let vacancies = |bucket: usize| {
            self.bucket(bucket).iter().filter(|word| word.load(Ordering::Relaxed) == 0)
        };
        let room = vacancies(hash.home()).count();
        let stays = room >= SPARE || room >= vacancies(hash.second()).count();
        vacancies(if stays { hash.home() } else { hash.second() }).next()
    }

    /// Takes out an entry that was placed, or was to be. Only whoever ended its session does.
    pub(super) fn remove(&self, hash: Hash, entry: Entry) {
        let word = entry.under(hash.fingerprint());
        for bucket in [hash.home(), hash.second()] {
            for way in self.bucket(bucket) {
                if way.load(Ordering::Relaxed) == word {
                    way.store(0, Ordering::Relaxed);
                    return;
                }
            }
        }
    }

    /// Who was entered last among the keys that share this one's order word.
    pub(super) fn last(&self, hash: Hash) -> Last {
        Last(self.order(hash).load(Ordering::Acquire))
    }

    /// Makes `next` the one that was entered last, unless another than `last` was meanwhile.
    pub(super) fn follow(&self, hash: Hash, last: Last, next: Last) -> bool {
        self.order(hash)
            .compare_exchange(last.0, next.0, Ordering::Release, Ordering::Relaxed)
            .is_ok()
    }

    fn order(&self, hash: Hash) -> &AtomicU64 {
        let [word] = self.order.wrapping(hash.home());
        word
    }

    #[inline]
    fn bucket(&self, bucket: usize) -> &[AtomicU64; BUCKET] {
        self.buckets.wrapping(bucket)
    }
}

impl Hash {
    #[inline]
    fn home(self) -> usize {
        low32(self.0) as usize
    }

    #[inline]
    fn second(self) -> usize {
        high32(self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15)) as usize
    }

    #[inline]
    fn fingerprint(self) -> u32 {
        high32(self.0)
    }
}
