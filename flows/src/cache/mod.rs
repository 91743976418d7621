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
//! Full is a normal state: a new flow then takes the place of one that was not used since the hand passed it
//! (second chance, as in CLOCK), and at worst its next packet is decided about again.

mod key;
#[cfg(test)]
mod tests;

pub use key::{FlowKey, KeyFields};

/// Words per bucket.
const WAYS: usize = 8;
/// Bits of a word that number an entry, counted from 1; the others are the tag.
const NUMBER_BITS: u32 = 24;
const NUMBER: u32 = (1 << NUMBER_BITS) - 1;

/// A worker's flow cache. See the module's documentation.
#[derive(Debug)]
pub struct FlowCache<T> {
    buckets: Box<[[u32; WAYS]]>,
    entries: Vec<Entry<T>>,
    capacity: usize,
    seed: u64,
    /// Where to look for a flow to forget.
    hand: usize,
}

#[derive(Debug, Clone, Copy)]
struct Entry<T> {
    key: FlowKey,
    hash: u64,
    /// Used since the hand passed.
    is_used: bool,
    value: T,
}

/// A key with its hash, which both finding and putting need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hashed {
    key: FlowKey,
    hash: u64,
}

impl<T: Copy> FlowCache<T> {
    /// An empty cache for `capacity` flows, at least 8 and at most 16 million. Memory is used as it fills.
    pub fn new(capacity: usize, seed: u64) -> Self {
        let capacity = capacity.clamp(WAYS, position(NUMBER) - 1);
        let buckets = (capacity * 2 / WAYS).next_power_of_two();
        Self {
            buckets: vec![[0; WAYS]; buckets].into_boxed_slice(),
            entries: Vec::with_capacity(capacity),
            capacity,
            seed,
            hand: 0,
        }
    }

    /// Hashes a key, and brings its bucket near.
    #[inline]
    pub fn prepare(&self, key: FlowKey) -> Hashed {
        Hashed { key, hash: key.hash(self.seed) }
    }

    /// What is known of a flow.
    #[inline]
    pub fn find(&mut self, wanted: &Hashed) -> Option<&mut T> {
        let number = self.number_of(wanted)?;
        let entry = self.entries.get_mut(number)?;
        entry.is_used = true;
        Some(&mut entry.value)
    }

    /// Remembers a flow, in place of what was known of it.
    pub fn put(&mut self, flow: Hashed, value: T) {
        let Hashed { key, hash } = flow;
        let entry = Entry { key, hash, is_used: true, value };
        if let Some(number) = self.number_of(&flow) {
            self.entries[number] = entry;
            return;
        }
        let bucket = self.bucket(hash);
        let way = self.buckets[bucket].iter().position(|word| *word == 0);
        let (way, number) = match way {
            Some(way) => (way, self.vacancy()),
            // Every place of the bucket is taken: one of its own flows goes.
            None => self.crowd_out(bucket, hash),
        };
        if number == self.entries.len() {
            self.entries.push(entry);
        } else {
            self.entries[number] = entry;
        }
        self.buckets[bucket][way] = word(hash, number);
    }

    /// Forgets a flow.
    pub fn forget(&mut self, flow: &Hashed) {
        if let Some(number) = self.number_of(flow) {
            // The entry stays where it is, unreachable, until the hand comes to it.
            self.unlink(number);
            self.entries[number].is_used = false;
        }
    }

    /// Entries in use or waiting to be reused.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no flow was ever put.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    #[inline]
    fn bucket(&self, hash: u64) -> usize {
        position(lower(hash)) & (self.buckets.len() - 1)
    }

    /// The number of a flow's entry.
    #[inline]
    fn number_of(&self, wanted: &Hashed) -> Option<usize> {
        let tag = word(wanted.hash, 0) & !NUMBER;
        let words = &self.buckets[self.bucket(wanted.hash)];
        for word in words {
            if *word != 0 && *word & !NUMBER == tag {
                let number = position(*word & NUMBER) - 1;
                if self.entries.get(number).is_some_and(|entry| entry.key == wanted.key) {
                    return Some(number);
                }
            }
        }
        None
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
    fn crowd_out(&self, bucket: usize, hash: u64) -> (usize, usize) {
        let words = &self.buckets[bucket];
        let number = |word: u32| position(word & NUMBER) - 1;
        let unused = words.iter().position(|word| !self.entries[number(*word)].is_used);
        let way = unused.unwrap_or_else(|| position(lower(hash >> 32)) % WAYS);
        (way, number(words[way]))
    }

    /// Takes the word of an entry out of its bucket, if it is there.
    fn unlink(&mut self, number: usize) {
        let hash = self.entries[number].hash;
        let bucket = self.bucket(hash);
        let own = word(hash, number);
        if let Some(word) = self.buckets[bucket].iter_mut().find(|word| **word == own) {
            *word = 0;
        }
    }
}

/// The word that leads to an entry.
#[inline]
fn word(hash: u64, number: usize) -> u32 {
    let number = u32::try_from(number + 1).unwrap_or(NUMBER);
    lower(hash >> 32) & !NUMBER | number
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
