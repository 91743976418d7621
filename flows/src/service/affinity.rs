//! [`Affinities`]: which backend each client had last, of all services whose clients keep theirs.
//!
//! A table of words in buckets of a cache line. A word says all about one client, so that it is read, made and
//! replaced at once, by any thread; who loses a race heeds what the winner wrote. Relaxed order is enough: no word
//! refers to memory. The table is bounded: where a bucket is full, the client that was away longest makes room, and is
//! given a backend anew when it comes again.
//!
//! ```text
//!   fingerprint of service and client 28 | backend's number + 1, 12 | second of its last session, 24       0 = vacant
//! ```
//!
//! Two clients with one fingerprint in one bucket share a word, which does no harm: they share a backend.

#[cfg(loom)]
use loom::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::net::IpAddr;
#[cfg(not(loom))]
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::Seconds;
use crate::lines::Lines;
use crate::router::hash::{keyed, words};

/// Words of a bucket.
const BUCKET: usize = 8;
/// Bits of a time: half a year.
const SECONDS: u32 = 24;
/// Bits of a backend's number.
const NUMBER: u32 = 12;
/// The highest number that a backend can have.
pub(super) const MAX_NUMBER: u16 = (1 << NUMBER) - 2;

/// Which client, of which service by its number.
type Client = (u32, IpAddr);

/// See the module's documentation.
#[derive(Debug)]
pub struct Affinities {
    buckets: Lines<AtomicU64, BUCKET>,
    seed: u64,
}

/// A word of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Word(u64);

impl Word {
    fn new(print: u64, number: u16, now: Seconds) -> Self {
        let number = u64::from(number.min(MAX_NUMBER)) + 1;
        Self(print | number << SECONDS | u64::from(now.0) & ((1 << SECONDS) - 1))
    }

    /// Whether it is a client's.
    fn is(self, print: u64) -> bool {
        self.0 != 0 && self.0 >> (SECONDS + NUMBER) == print >> (SECONDS + NUMBER)
    }

    fn number(self) -> Option<u16> {
        let number = self.0 >> SECONDS & ((1 << NUMBER) - 1);
        u16::try_from(number).ok()?.checked_sub(1)
    }

    fn idle_seconds(self, now: Seconds) -> u64 {
        u64::from(now.0).wrapping_sub(self.0) & ((1 << SECONDS) - 1)
    }
}

impl Affinities {
    /// A table with room for `clients`, rounded up to a power of two. `seed` keys the hash, so that no client can
    /// choose whom it displaces.
    pub fn new(clients: usize, seed: u64) -> Self {
        let buckets = clients.div_ceil(BUCKET).next_power_of_two();
        Self { buckets: Lines::zeroed(buckets), seed }
    }

    /// The number of the backend that a client had in the last `most` seconds.
    pub fn find(&self, client: Client, most: u32, now: Seconds) -> Option<u16> {
        let (bucket, print) = self.place(client);
        let mut all = bucket.iter().map(|word| Word(word.load(Relaxed)));
        let word = all.find(|word| word.is(print))?;
        word.number().filter(|_| word.idle_seconds(now) <= u64::from(most))
    }

    /// Remembers that a client has a backend now, and says which it has: another one, if somebody remembered that in
    /// the last `most` seconds, and `takes` says that this one will do.
    pub fn keep(
        &self,
        client: Client,
        number: u16,
        most: u32,
        now: Seconds,
        takes: impl Fn(u16) -> bool,
    ) -> u16 {
        let (bucket, print) = self.place(client);
        loop {
            let (at, old) = Self::seat(bucket, print, now);
            let lately = old.is(print) && old.idle_seconds(now) <= u64::from(most);
            let other = old.number().filter(|number| lately && takes(*number));
            let new = Word::new(print, other.unwrap_or(number), now);
            let is_ours = new == old || at.compare_exchange(old.0, new.0, Relaxed, Relaxed).is_ok();
            if is_ours {
                return other.unwrap_or(number);
            }
        }
    }

    /// Where a client's word is or may go: its own, a vacant one, or that of who was away longest.
    fn seat(bucket: &[AtomicU64; BUCKET], print: u64, now: Seconds) -> (&AtomicU64, Word) {
        let rank = |word: Word| match word {
            word if word.is(print) => u64::MAX,
            Word(0) => u64::MAX - 1,
            word => word.idle_seconds(now),
        };
        let [first, rest @ ..] = bucket;
        let begin = (first, Word(first.load(Relaxed)));
        rest.iter()
            .map(|at| (at, Word(at.load(Relaxed))))
            .fold(begin, |best, other| if rank(other.1) > rank(best.1) { other } else { best })
    }

    /// A client's bucket and fingerprint.
    fn place(&self, (service, ip): Client) -> (&[AtomicU64; BUCKET], u64) {
        let [high, low] = words(ip);
        let hash = keyed(self.seed, [service.into(), high, low]);
        let bucket = usize::try_from(hash & u64::from(u32::MAX)).unwrap_or(0);
        (self.buckets.wrapping(bucket), hash >> (SECONDS + NUMBER) << (SECONDS + NUMBER))
    }
}

#[cfg(loom)]
#[cfg(test)]
mod loom_tests;
#[cfg(all(test, not(loom)))]
mod tests;
