//! [`Meter`]: a rate limit, of a rule as a whole or of each source by itself.
//!
//! A token bucket in the form of the Generic Cell Rate Algorithm (ITU-T I.371): instead of
//! tokens and the time of the last refill, a bucket is one number, the *theoretical arrival time* at
//! which it is full again. A frame that costs `c` moves it by `c`; it conforms if that leaves the
//! number no further in the future than the bucket is deep. So a bucket is one atomic word, and there
//! is nothing to refill.
//!
//! Within any time `t` no more than `burst + rate × t` pass. The one exception: a frame that costs more
//! than the whole burst passes a full bucket, and is paid for afterwards, so that a super-frame does
//! not starve; the larger of the two counts then.
//!
//! # Threads
//! Any thread takes, without a lock: a compare-exchange that fails means that another thread has made
//! progress. Everything is relaxed: a bucket protects no other memory.

#[cfg(all(test, loom))]
mod loom_tests;
mod sources;
#[cfg(all(test, not(loom)))]
mod tests;

#[cfg(loom)]
use loom::sync::atomic::{AtomicU64, Ordering::Relaxed};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::Packet;
use crate::Nanos;
pub use sources::Source;
use sources::Sources;

/// The resolution of a bucket: a frame of 64 bytes at 100 Gbit/s takes 82 of these.
const TICKS_PER_NANO: u64 = 16;
const TICKS_PER_SECOND: u64 = TICKS_PER_NANO * 1_000_000_000;
/// Fractional bits of the ticks that a unit takes.
const FRACTION: u32 = 32;

/// What is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unit {
    /// Frames.
    Frames,
    /// Bits of frames.
    Bits,
}

/// Whose rate is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// That of all packets together.
    Rule,
    /// That of each source: an IP address on a bridge, or a station, of packets that are not IP.
    Source,
}

/// A limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LimitSpec {
    /// Units per second; 0 counts as 1.
    pub rate: u64,
    /// Units that may come at once.
    pub burst: u64,
    /// What the units are.
    pub unit: Unit,
    /// Whose rate it is.
    pub scope: Scope,
}

/// A limit and the state of its buckets. It outlives the sets of rules that refer to it.
#[derive(Debug)]
pub struct Meter {
    spec: LimitSpec,
    price: Price,
    buckets: Buckets,
}

#[derive(Debug)]
enum Buckets {
    One(Bucket),
    PerSource(Sources),
}

/// What a unit costs and a burst is worth, in time.
#[derive(Debug, Clone, Copy)]
struct Price {
    /// Ticks per unit, with [`FRACTION`] bits after the point.
    ticks: u128,
    /// How far a bucket's time may be in the future, in ticks.
    depth: u64,
}

impl Price {
    fn of(spec: &LimitSpec) -> Self {
        let rate = u128::from(spec.rate.max(1));
        // Frames take whole ticks, so that a burst of them is exactly as deep as they are expensive.
        let ticks = match spec.unit {
            Unit::Frames => u128::from(TICKS_PER_SECOND).div_ceil(rate) << FRACTION,
            Unit::Bits => (u128::from(TICKS_PER_SECOND) << FRACTION).div_ceil(rate),
        };
        let depth = u128::from(spec.burst).saturating_mul(ticks) >> FRACTION;
        // Beyond half of all time, arithmetic with the present would overflow.
        Self { ticks, depth: u64::try_from(depth).unwrap_or(u64::MAX).min(u64::MAX / 2) }
    }

    /// The ticks that so many units take, rounded up: what passes is never too much.
    fn ticks(self, units: u64) -> u64 {
        let ticks = u128::from(units).saturating_mul(self.ticks).div_ceil(1 << FRACTION);
        u64::try_from(ticks).unwrap_or(u64::MAX)
    }
}

impl Meter {
    /// A meter with full buckets. `seed` keys the hash of sources, so that nobody outside can choose
    /// some that collide.
    pub fn new(spec: LimitSpec, seed: u64) -> Self {
        let buckets = match spec.scope {
            Scope::Rule => Buckets::One(Bucket::full()),
            Scope::Source => Buckets::PerSource(Sources::new(seed)),
        };
        Self { spec, price: Price::of(&spec), buckets }
    }

    /// The limit.
    pub fn spec(&self) -> LimitSpec {
        self.spec
    }

    /// Whose bucket a packet is charged to. All packets of a flow have one source: it may be kept.
    pub fn source(&self, packet: &Packet) -> Source {
        match &self.buckets {
            Buckets::One(_) => Source::EVERYBODY,
            Buckets::PerSource(sources) => sources.source(packet),
        }
    }

    /// Whether so many frames of together so many bytes might pass now. They are not paid for.
    pub fn has(&self, source: Source, frames: u32, bytes: u64, now: Nanos) -> bool {
        let now = now.as_nanos().saturating_mul(TICKS_PER_NANO);
        let full_at = match &self.buckets {
            Buckets::One(bucket) => bucket.full_at(),
            Buckets::PerSource(sources) => sources.full_at(source, now),
        };
        full_at.max(now).saturating_add(self.cost(frames, bytes)) - now <= self.price.depth
            || full_at <= now
    }

    fn cost(&self, frames: u32, bytes: u64) -> u64 {
        self.price.ticks(match self.spec.unit {
            Unit::Frames => frames.into(),
            Unit::Bits => bytes.saturating_mul(8),
        })
    }

    /// Whether so many frames of together so many bytes may pass now; then they are paid for.
    pub fn take(&self, source: Source, frames: u32, bytes: u64, now: Nanos) -> bool {
        let cost = self.cost(frames, bytes);
        let now = now.as_nanos().saturating_mul(TICKS_PER_NANO);
        let bucket = match &self.buckets {
            Buckets::One(bucket) => bucket,
            Buckets::PerSource(sources) => sources.bucket(source, now),
        };
        bucket.take(now, cost, self.price.depth)
    }
}

/// The time at which it is full again, in ticks.
#[derive(Debug)]
struct Bucket(AtomicU64);

impl Bucket {
    fn full() -> Self {
        Self(AtomicU64::new(0))
    }

    fn full_at(&self) -> u64 {
        self.0.load(Relaxed)
    }

    fn is_full(&self, now: u64) -> bool {
        self.full_at() <= now
    }

    fn take(&self, now: u64, cost: u64, depth: u64) -> bool {
        let mut full_at = self.0.load(Relaxed);
        loop {
            let then = full_at.max(now).saturating_add(cost);
            if full_at > now && then - now > depth {
                return false;
            }
            match self.0.compare_exchange_weak(full_at, then, Relaxed, Relaxed) {
                Ok(_) => return true,
                Err(other) => full_at = other,
            }
        }
    }
}
