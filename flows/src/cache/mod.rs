//! [`FlowCache`]: a worker's own memory of what was decided about each flow.
//!
//! An exact-match table from [`FlowKey`] to a small value. It is private to one worker: no atomics. What it
//! holds may be out of date: whoever looks something up checks by the versions that the value carries
//! whether it still holds, and decides anew if not. So nothing ever has to be swept.
//!
//! # Structure
//! Entries are packed from the front of one array, so that a thousand flows are a thousand neighbouring
//! entries and the rest of the memory is never touched. A bucket of eight words finds them: a tag of the hash
//! and the entry's number, 32 bytes. A hit reads one bucket and one entry.
//!
//! Neither is near when there are many flows. Who has many packets at hand goes over them three times, so that their
//! memory comes all at once: [`FlowCache::prepare`] asks for the bucket, [`FlowCache::approach`] for the entry that
//! the bucket names, and [`FlowCache::find`] is there.
//!
//! Full is a normal state: a new flow then takes the place of one that was not used since the hand passed it
//! (second chance, as in CLOCK), and at worst its next packet is decided about again.

mod key;
#[cfg(test)]
mod tests;

use key::Secrets;
use pktio::hint::{prefer_huge_pages, prefetch};

use crate::hash::secrets;
use crate::lines::Lines;

pub use key::{FlowKey, KeyFields};

/// Words per bucket.
const WAYS: usize = 8;
/// Bits of a word that number an entry, counted from 1; the others are the tag.
const NUMBER_BITS: u32 = 24;
const NUMBER: u32 = (1 << NUMBER_BITS) - 1;

/// The entries of so many flows, and their sessions, are in the second cache or nearer, where that has two mebibytes.
const NEAR_FLOWS: usize = 4096;

/// A worker's flow cache. See the module's documentation.
#[derive(Debug)]
pub struct FlowCache<T> {
    buckets: Lines<u32, WAYS>,
    entries: Vec<Entry<T>>,
    capacity: usize,
    secrets: Secrets,
    /// Where to look for a flow to forget.
    hand: usize,
}

/// An entry: what recognises the flow is one cache line.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Entry<T> {
    key: FlowKey,
    /// Used since the hand passed.
    is_used: bool,
    value: T,
}

impl<T> Entry<T> {
    /// The value, now that it is used.
    #[inline]
    fn used(&mut self) -> &mut T {
        self.is_used = true;
        &mut self.value
    }
}

/// A flow that is looked for: its key with what both finding and putting need.
#[derive(Debug, Clone, Copy)]
pub struct Sought {
    key: FlowKey,
    hash: u64,
    /// The entry that its bucket named when it was approached.
    expected: usize,
}

/// The number of no entry.
const NOWHERE: usize = usize::MAX;

impl<T: Copy> FlowCache<T> {
    /// An empty cache for `capacity` flows, at least 8 and at most 16 million. Memory is used as it fills.
    pub fn new(capacity: usize, seed: u64) -> Self {
        let capacity = capacity.clamp(WAYS, position(NUMBER) - 1);
        let buckets = (capacity * 2 / WAYS).next_power_of_two();
        let mut entries = Vec::with_capacity(capacity);
        prefer_huge_pages(entries.spare_capacity_mut());
        Self { buckets: Lines::zeroed(buckets), entries, capacity, secrets: secrets(seed), hand: 0 }
    }

    /// Hashes a key, and asks for its bucket.
    #[inline(always)]
    pub fn prepare(&self, key: FlowKey) -> Sought {
        let hash = key.hash(&self.secrets);
        prefetch(self.buckets.wrapping(bucket_of(hash)));
        Sought { key, hash, expected: NOWHERE }
    }

    /// Reads the bucket of a flow, and asks for the entry that is probably the flow's.
    #[inline(always)]
    pub fn approach(&self, flow: &mut Sought) {
        let candidate = self.candidates(flow.hash).next();
        flow.expected = candidate.unwrap_or(NOWHERE);
        if let Some(entry) = self.entries.get(flow.expected) {
            prefetch(entry);
        }
    }

    /// What is probably known of a flow that was approached. It may be another one's.
    #[inline]
    pub fn guess(&self, flow: &Sought) -> Option<&T> {
        Some(&self.entries.get(flow.expected)?.value)
    }

    /// What is known of a flow.
    #[inline]
    pub fn find(&mut self, flow: &Sought) -> Option<&mut T> {
        // By itself, so that the number is checked once where it is the expected one, as it nearly always is.
        if !self.is_at(flow.expected, flow) {
            return self.search(flow).map(|number| self.entries[number].used());
        }
        Some(self.entries[flow.expected].used())
    }

    /// Remembers a flow, in place of what was known of it.
    pub fn put(&mut self, flow: &Sought, value: T) {
        let Sought { key, hash, .. } = *flow;
        let entry = Entry { key, is_used: true, value };
        if let Some(number) = self.number_of(flow) {
            self.entries[number] = entry;
            return;
        }
        let way = self.bucket(hash).iter().position(|word| *word == 0);
        let (way, number) = match way {
            Some(way) => (way, self.vacancy()),
            // Every place of the bucket is taken: one of its own flows goes.
            None => self.crowd_out(hash),
        };
        if number == self.entries.len() {
            self.entries.push(entry);
        } else {
            self.entries[number] = entry;
        }
        self.buckets.wrapping_mut(bucket_of(hash))[way] = word(hash, number);
    }

    /// Whether so many flows are known that what belongs to them is in no near cache.
    #[inline]
    pub fn is_large(&self) -> bool {
        self.len() > NEAR_FLOWS
    }

    /// Flows that are known.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no flow was ever put.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    #[inline]
    fn bucket(&self, hash: u64) -> &[u32; WAYS] {
        self.buckets.wrapping(bucket_of(hash))
    }

    /// The number of a flow's entry.
    #[inline]
    fn number_of(&self, flow: &Sought) -> Option<usize> {
        if self.is_at(flow.expected, flow) { Some(flow.expected) } else { self.search(flow) }
    }

    /// Whether an entry is a flow's.
    #[inline]
    fn is_at(&self, number: usize, flow: &Sought) -> bool {
        self.entries.get(number).is_some_and(|entry| entry.key == flow.key)
    }

    /// The number of the entry of a flow that is not where it was expected.
    #[inline(never)]
    fn search(&self, flow: &Sought) -> Option<usize> {
        self.candidates(flow.hash).find(|number| self.entries[*number].key == flow.key)
    }

    /// The numbers of the entries that may be those of a flow with this hash.
    #[inline]
    fn candidates(&self, hash: u64) -> impl Iterator<Item = usize> + '_ {
        let tag = tag(hash);
        let words = self.bucket(hash).iter().filter(move |word| **word & !NUMBER == tag);
        words.map(|word| position(*word & NUMBER) - 1)
    }

    /// A number for a new entry: the next, or that of a flow that is forgotten for it.
    fn vacancy(&mut self) -> usize {
        if self.entries.len() < self.capacity {
            return self.entries.len();
        }
        // Whom the hand finds used gets a second chance, but only so many do.
        for _ in 0..2 * WAYS {
            let at = self.hand;
            self.hand = (self.hand + 1) % self.capacity;
            if !std::mem::take(&mut self.entries[at].is_used) {
                self.unlink(at);
                return at;
            }
        }
        let at = self.hand;
        self.hand = (self.hand + 1) % self.capacity;
        self.unlink(at);
        at
    }

    /// Chooses a place of a full bucket.
    fn crowd_out(&self, hash: u64) -> (usize, usize) {
        let words = self.bucket(hash);
        let number = |word: u32| position(word & NUMBER) - 1;
        let unused = words.iter().position(|word| !self.entries[number(*word)].is_used);
        let way = unused.unwrap_or_else(|| position(lower(hash >> 32)) % WAYS);
        (way, number(words[way]))
    }

    /// Takes the word of an entry out of its bucket, if it is there.
    fn unlink(&mut self, number: usize) {
        let hash = self.entries[number].key.hash(&self.secrets);
        let own = word(hash, number);
        let bucket = self.buckets.wrapping_mut(bucket_of(hash));
        if let Some(word) = bucket.iter_mut().find(|word| **word == own) {
            *word = 0;
        }
    }
}

/// The bucket of a hash, modulo their number.
#[inline]
fn bucket_of(hash: u64) -> usize {
    position(lower(hash))
}

/// The word that leads to an entry.
#[inline]
fn word(hash: u64, number: usize) -> u32 {
    tag(hash) | u32::try_from(number + 1).unwrap_or(NUMBER)
}

/// What is kept of a hash in the words of its bucket. It is not 0, which is that of the words that lead nowhere.
#[inline]
fn tag(hash: u64) -> u32 {
    (lower(hash >> 32) | 1 << NUMBER_BITS) & !NUMBER
}

#[inline]
fn lower(word: u64) -> u32 {
    let [a, b, c, d, ..] = word.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

#[inline]
fn position(word: u32) -> usize {
    usize::try_from(word).unwrap_or(usize::MAX)
}
