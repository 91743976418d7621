//! [`RuleCounters`]: how much every rule was used, and which have outlived their timeouts.
//!
//! Counts survive every change of the set: they go by [`RuleId`]. Each worker counts in a [`Tally`] of its own, which
//! nobody else writes to. So counting is loads and stores of lines that are the worker's, and no atomic addition, which
//! would cost as much as the rest of a hit. Whoever reads sums up all tallies.
//!
//! Only the control thread begins rules. It does not touch what was tallied, which is a worker's to write, but notes how
//! much of it is another rule's that had the number before.
//!
//! Everything is relaxed: the numbers order nothing, and a reading is as consistent as a worker's last word. Slots
//! come in pages, made when the first of their rules begins: counting allocates nothing.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use super::RuleId;
use crate::Nanos;

/// Slots per page.
const PAGE: usize = 1024;
const PAGES: usize = RuleId::LIMIT as usize / PAGE;

/// Slots by [`RuleId`], in pages that are made as they are needed.
type Pages<T> = Box<[OnceLock<Box<[T]>>]>;

/// How long a rule lives, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timeouts {
    /// After its last use.
    pub idle_seconds: Option<u32>,
    /// At all.
    pub hard_seconds: Option<u32>,
}

/// How much a rule was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hits {
    /// Frames.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When the last of them came; `None` if there was none.
    pub last_used: Option<Nanos>,
}

/// What a worker counted for a rule.
#[derive(Debug, Default)]
struct Count {
    frames: AtomicU64,
    bytes: AtomicU64,
    /// When it counted last, in nanoseconds.
    active_ns: AtomicU64,
}

/// What one worker counted. Its clones are the same tally: only one thread may count at a time, or counts are lost.
#[derive(Debug, Clone)]
pub struct Tally(Arc<Pages<Count>>);

impl Tally {
    fn new() -> Self {
        Self(Arc::new(empty_pages()))
    }

    /// Counts a frame for a rule. Nothing is counted for numbers that never began.
    #[inline]
    pub fn count(&self, id: RuleId, bytes: u64, now: Nanos) {
        let Some(count) = slot(&self.0, id) else { return };
        count.frames.store(count.frames.load(Relaxed) + 1, Relaxed);
        count.bytes.store(count.bytes.load(Relaxed) + bytes, Relaxed);
        count.active_ns.store(now.as_nanos(), Relaxed);
    }

    fn hits(&self, id: RuleId) -> Hits {
        let Some(count) = slot(&self.0, id) else { return Hits::default() };
        let frames = count.frames.load(Relaxed);
        let active = Nanos::from_nanos(count.active_ns.load(Relaxed));
        let last_used = (frames > 0).then_some(active);
        Hits { frames, bytes: count.bytes.load(Relaxed), last_used }
    }
}

/// When a rule began, and what had been counted for its number before.
#[derive(Debug, Default)]
struct Beginning {
    since_ns: AtomicU64,
    frames: AtomicU64,
    bytes: AtomicU64,
}

/// Counters of all rules.
#[derive(Debug)]
pub struct RuleCounters {
    beginnings: Pages<Beginning>,
    /// One for each worker that there ever was. Nobody takes the lock on the packet path.
    tallies: RwLock<Vec<Tally>>,
}

impl Default for RuleCounters {
    fn default() -> Self {
        Self { beginnings: empty_pages(), tallies: RwLock::default() }
    }
}

impl RuleCounters {
    /// Counters for no rule yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A tally for a worker that begins.
    pub fn tally(&self) -> Tally {
        let mut tallies = self.tallies.write().unwrap_or_else(PoisonError::into_inner);
        let tally = Tally::new();
        for (page, own) in self.beginnings.iter().zip(&*tally.0) {
            if page.get().is_some() {
                fill(own);
            }
        }
        tallies.push(tally.clone());
        tally
    }

    /// Begins to count for a rule, from zero. Called by the control thread before a set with the rule is
    /// given to workers; nothing is counted for numbers that never began. A worker that still has an old
    /// set may count a few frames of a removed rule for the one that has its number now.
    pub fn begin(&self, id: RuleId, now: Nanos) {
        let page = id.slot() / PAGE;
        let Some(beginnings) = self.beginnings.get(page) else { return };
        let tallies = self.tallies.write().unwrap_or_else(PoisonError::into_inner);
        fill(beginnings);
        tallies.iter().filter_map(|tally| tally.0.get(page)).for_each(fill);
        let Some(beginning) = slot(&self.beginnings, id) else { return };
        let before = total(&tallies, id);
        beginning.frames.store(before.frames, Relaxed);
        beginning.bytes.store(before.bytes, Relaxed);
        beginning.since_ns.store(now.as_nanos(), Relaxed);
    }

    /// How much a rule was used.
    pub fn hits(&self, id: RuleId) -> Hits {
        let Some(beginning) = slot(&self.beginnings, id) else { return Hits::default() };
        let total = total(&self.tallies.read().unwrap_or_else(PoisonError::into_inner), id);
        let frames = total.frames.wrapping_sub(beginning.frames.load(Relaxed));
        let bytes = total.bytes.wrapping_sub(beginning.bytes.load(Relaxed));
        Hits { frames, bytes, last_used: total.last_used.filter(|_| frames > 0) }
    }

    /// When a rule began; `None` if it never did.
    pub fn begun(&self, id: RuleId) -> Option<Nanos> {
        Some(Nanos::from_nanos(slot(&self.beginnings, id)?.since_ns.load(Relaxed)))
    }

    /// Whether a rule's time is over.
    pub fn is_over(&self, id: RuleId, timeouts: Timeouts, now: Nanos) -> bool {
        let Some(begun) = self.begun(id) else { return false };
        let over = |limit: Option<u32>, moment: Nanos| {
            limit.is_some_and(|limit| now.since(moment).as_secs() >= limit.into())
        };
        let active = || self.hits(id).last_used.map_or(begun, |used| used.max(begun));
        over(timeouts.hard_seconds, begun)
            || timeouts.idle_seconds.is_some() && over(timeouts.idle_seconds, active())
    }
}

/// What all workers counted for a rule, or for others that had its number before.
fn total(tallies: &[Tally], id: RuleId) -> Hits {
    tallies.iter().map(|tally| tally.hits(id)).fold(Hits::default(), |sum, one| Hits {
        frames: sum.frames.wrapping_add(one.frames),
        bytes: sum.bytes.wrapping_add(one.bytes),
        last_used: sum.last_used.max(one.last_used),
    })
}

fn empty_pages<T>() -> Pages<T> {
    (0..PAGES).map(|_| OnceLock::new()).collect()
}

fn fill<T: Default>(page: &OnceLock<Box<[T]>>) {
    page.get_or_init(|| (0..PAGE).map(|_| T::default()).collect());
}

#[inline]
fn slot<T>(pages: &Pages<T>, id: RuleId) -> Option<&T> {
    pages.get(id.slot() / PAGE)?.get()?.get(id.slot() % PAGE)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const ID: RuleId = RuleId(5);

    #[test]
    fn counts_add_up_and_begin_again_with_the_rule() {
        let counters = RuleCounters::new();
        let early = counters.tally();
        counters.begin(ID, Nanos::from_secs(1));
        let late = counters.tally();
        assert_eq!(counters.hits(ID), Hits::default());
        early.count(ID, 60, Nanos::from_secs(3));
        late.count(ID, 1500, Nanos::from_secs(2));
        let last_used = Some(Nanos::from_secs(3));
        assert_eq!(counters.hits(ID), Hits { frames: 2, bytes: 1560, last_used });
        counters.begin(ID, Nanos::from_secs(4));
        assert_eq!(counters.hits(ID), Hits::default());
        late.count(ID, 100, Nanos::from_secs(5));
        let last_used = Some(Nanos::from_secs(5));
        assert_eq!(counters.hits(ID), Hits { frames: 1, bytes: 100, last_used });
    }

    #[test]
    fn workers_count_at_once_and_nothing_is_lost() {
        const FRAMES: u64 = 100_000;
        let counters = RuleCounters::new();
        counters.begin(ID, Nanos::from_secs(1));
        std::thread::scope(|scope| {
            for _ in 0..2 {
                let tally = counters.tally();
                scope
                    .spawn(move || (0..FRAMES).for_each(|_| tally.count(ID, 64, Nanos::default())));
            }
        });
        let Hits { frames, bytes, .. } = counters.hits(ID);
        assert_eq!((frames, bytes), (2 * FRAMES, 2 * FRAMES * 64));
    }

    #[test]
    fn numbers_that_never_began_count_nothing() {
        let counters = RuleCounters::new();
        let tally = counters.tally();
        for id in [RuleId(0), RuleId(RuleId::LIMIT - 1), RuleId(RuleId::LIMIT), RuleId(u32::MAX)] {
            tally.count(id, 1, Nanos::from_secs(1));
            assert_eq!(counters.hits(id), Hits::default());
        }
        counters.begin(RuleId(u32::MAX), Nanos::from_secs(1));
        assert_eq!(counters.hits(RuleId(u32::MAX)), Hits::default());
    }

    #[test]
    fn use_puts_off_the_idle_timeout_and_nothing_puts_off_the_hard_one() {
        let counters = RuleCounters::new();
        let tally = counters.tally();
        counters.begin(ID, Nanos::from_secs(100));
        let over = |idle_seconds, hard_seconds, second| {
            let timeouts = Timeouts { idle_seconds, hard_seconds };
            counters.is_over(ID, timeouts, Nanos::from_secs(second))
        };
        assert!(!over(Some(10), None, 109));
        assert!(over(Some(10), None, 110));
        tally.count(ID, 60, Nanos::from_secs(109));
        assert!(!over(Some(10), None, 118));
        assert!(over(Some(10), None, 119));
        assert!(!over(None, Some(15), 114));
        assert!(over(None, Some(15), 115));
        assert!(!over(None, None, 1_000_000));
        assert_eq!(counters.begun(ID), Some(Nanos::from_secs(100)));
    }
}
