//! A bucket for each source, in bounded memory.
//!
//! A source's hash chooses a set of slots, in any of which it may be. A slot whose bucket is full has
//! nothing to remember: it is as good as a free one, so nobody sweeps. When all slots of a set have
//! something to remember, who comes late shares one bucket with all others that came late: the limit
//! still holds for each of them.
//!
//! Two threads that bring the same new source at once may, rarely, put it into two slots: it then has
//! twice the burst, once.

#[cfg(loom)]
use loom::sync::atomic::{AtomicU64, Ordering::Relaxed};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::super::key::{halves, mix};
use super::{Bucket, Packet};

/// Slots per set: two cache lines.
const SET: usize = 8;
const SETS: usize = if cfg!(loom) { 1 } else { 512 };

/// Whose bucket a packet is charged to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Source(u64);

impl Source {
    /// All packets have one bucket.
    pub(crate) const EVERYBODY: Self = Self(0);
}

#[derive(Debug)]
struct Slot {
    /// The source, 0 if there never was one.
    owner: AtomicU64,
    bucket: Bucket,
}

impl Slot {
    fn free() -> Self {
        Self { owner: AtomicU64::new(0), bucket: Bucket::full() }
    }
}

#[derive(Debug)]
pub(super) struct Sources {
    slots: Box<[[Slot; SET]]>,
    /// Of those that found no slot.
    shared: Bucket,
    seed: u64,
}

impl Sources {
    /// Sources that can have a bucket of their own.
    #[cfg(all(test, not(loom)))]
    pub const MOST: usize = SETS * SET;

    pub fn new(seed: u64) -> Self {
        let slots = (0..SETS).map(|_| std::array::from_fn(|_| Slot::free())).collect();
        Self { slots, shared: Bucket::full(), seed }
    }

    /// The source of a packet: an address on a bridge, or a station.
    pub fn source(&self, packet: &Packet) -> Source {
        let [a, b] = match packet.tuple.map(|tuple| tuple.source.ip) {
            Some(std::net::IpAddr::V4(address)) => [1 << 32, address.to_bits().into()],
            Some(std::net::IpAddr::V6(address)) => halves(address.to_bits()),
            None => [2 << 32, packet.source_mac.to_bits()],
        };
        let hash = mix(mix(mix(self.seed, packet.bridge.0.into()), a), b);
        Source(hash.max(1))
    }

    /// When the bucket of a source will be full, by a time in ticks; it may get one only later.
    pub fn full_at(&self, source: Source, now: u64) -> u64 {
        let at = usize::try_from(source.0 % SETS as u64).unwrap_or(0);
        let set = &self.slots[at];
        let own = set.iter().find(|slot| slot.owner.load(Relaxed) == source.0);
        let free = || set.iter().find(|slot| slot.bucket.is_full(now));
        own.or_else(free).map_or(&self.shared, |slot| &slot.bucket).full_at()
    }

    /// The bucket of a source at a time in ticks.
    pub fn bucket(&self, source: Source, now: u64) -> &Bucket {
        let at = usize::try_from(source.0 % SETS as u64).unwrap_or(0);
        let set = &self.slots[at];
        let own = |slot: &&Slot| slot.owner.load(Relaxed) == source.0;
        let claimed = |slot: &&Slot| {
            let owner = slot.owner.load(Relaxed);
            let free = slot.bucket.is_full(now);
            match free.then(|| slot.owner.compare_exchange(owner, source.0, Relaxed, Relaxed)) {
                Some(Ok(_)) => true,
                Some(Err(other)) => other == source.0,
                None => false,
            }
        };
        let slot = set.iter().find(own).or_else(|| set.iter().find(claimed));
        slot.map_or(&self.shared, |slot| &slot.bucket)
    }
}
