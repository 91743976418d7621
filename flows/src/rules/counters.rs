//! [`RuleCounters`]: how much every rule was used, and which have outlived their timeouts.
//!
//! One slot per [`RuleId`], so that counts survive every change of the set. Any thread counts and
//! reads; the control thread begins rules. Everything is relaxed: the numbers order nothing, and a
//! reading is as consistent as a worker's last word. Slots come in pages, made when the first of their
//! rules begins: counting allocates nothing.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::RuleId;
use crate::Nanos;

/// Slots per page.
const PAGE: usize = 1024;
const PAGES: usize = RuleId::LIMIT as usize / PAGE;

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

#[derive(Debug, Default)]
struct Slot {
    frames: AtomicU64,
    bytes: AtomicU64,
    /// When the rule began, in nanoseconds.
    since_ns: AtomicU64,
    /// When it was used last, or began.
    active_ns: AtomicU64,
}

/// Counters of all rules.
#[derive(Debug)]
pub struct RuleCounters {
    pages: Box<[OnceLock<Box<[Slot]>>]>,
}

impl Default for RuleCounters {
    fn default() -> Self {
        Self { pages: (0..PAGES).map(|_| OnceLock::new()).collect() }
    }
}

impl RuleCounters {
    /// Counters for no rule yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins to count for a rule, from zero. Called by the control thread before a set with the rule is
    /// given to workers; nothing is counted for numbers that never began. A worker that still has an old
    /// set may count a few frames of a removed rule for the one that has its number now.
    pub fn begin(&self, id: RuleId, now: Nanos) {
        let Some(page) = self.pages.get(id.slot() / PAGE) else { return };
        let page = page.get_or_init(|| (0..PAGE).map(|_| Slot::default()).collect());
        let slot = &page[id.slot() % PAGE];
        slot.frames.store(0, Relaxed);
        slot.bytes.store(0, Relaxed);
        slot.since_ns.store(now.as_nanos(), Relaxed);
        slot.active_ns.store(now.as_nanos(), Relaxed);
    }

    /// Counts frames for a rule. A worker that counts by the flow may do so in one call for many frames.
    #[inline]
    pub fn count(&self, id: RuleId, frames: u64, bytes: u64, now: Nanos) {
        let Some(slot) = self.slot(id) else { return };
        slot.frames.fetch_add(frames, Relaxed);
        slot.bytes.fetch_add(bytes, Relaxed);
        // Between workers whose clocks are read at different moments, either reading is right.
        slot.active_ns.store(now.as_nanos(), Relaxed);
    }

    /// How much a rule was used.
    pub fn hits(&self, id: RuleId) -> Hits {
        let Some(slot) = self.slot(id) else { return Hits::default() };
        let frames = slot.frames.load(Relaxed);
        let active = Nanos::from_nanos(slot.active_ns.load(Relaxed));
        Hits { frames, bytes: slot.bytes.load(Relaxed), last_used: (frames > 0).then_some(active) }
    }

    /// When a rule began; `None` if it never did.
    pub fn begun(&self, id: RuleId) -> Option<Nanos> {
        Some(Nanos::from_nanos(self.slot(id)?.since_ns.load(Relaxed)))
    }

    /// Whether a rule's time is over.
    pub fn is_over(&self, id: RuleId, timeouts: Timeouts, now: Nanos) -> bool {
        let Some(slot) = self.slot(id) else { return false };
        let seconds_since =
            |ns: &AtomicU64| now.since(Nanos::from_nanos(ns.load(Relaxed))).as_secs();
        let over =
            |limit: Option<u32>, ns| limit.is_some_and(|limit| seconds_since(ns) >= limit.into());
        over(timeouts.idle_seconds, &slot.active_ns) || over(timeouts.hard_seconds, &slot.since_ns)
    }

    #[inline]
    fn slot(&self, id: RuleId) -> Option<&Slot> {
        self.pages.get(id.slot() / PAGE)?.get()?.get(id.slot() % PAGE)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const ID: RuleId = RuleId(5);

    #[test]
    fn counts_add_up_and_begin_again_with_the_rule() {
        let counters = RuleCounters::new();
        counters.begin(ID, Nanos::from_secs(1));
        assert_eq!(counters.hits(ID), Hits::default());
        counters.count(ID, 1, 60, Nanos::from_secs(2));
        counters.count(ID, 10, 15_000, Nanos::from_secs(3));
        let last_used = Some(Nanos::from_secs(3));
        assert_eq!(counters.hits(ID), Hits { frames: 11, bytes: 15_060, last_used });
        counters.begin(ID, Nanos::from_secs(4));
        assert_eq!(counters.hits(ID), Hits::default());
    }

    #[test]
    fn numbers_that_never_began_count_nothing() {
        let counters = RuleCounters::new();
        for id in [RuleId(0), RuleId(RuleId::LIMIT - 1), RuleId(RuleId::LIMIT), RuleId(u32::MAX)] {
            counters.count(id, 1, 1, Nanos::from_secs(1));
            assert_eq!(counters.hits(id), Hits::default());
        }
        counters.begin(RuleId(u32::MAX), Nanos::from_secs(1));
        assert_eq!(counters.hits(RuleId(u32::MAX)), Hits::default());
    }

    #[test]
    fn use_puts_off_the_idle_timeout_and_nothing_puts_off_the_hard_one() {
        let counters = RuleCounters::new();
        counters.begin(ID, Nanos::from_secs(100));
        let over = |idle_seconds, hard_seconds, second| {
            let timeouts = Timeouts { idle_seconds, hard_seconds };
            counters.is_over(ID, timeouts, Nanos::from_secs(second))
        };
        assert!(!over(Some(10), None, 109));
        assert!(over(Some(10), None, 110));
        counters.count(ID, 1, 60, Nanos::from_secs(109));
        assert!(!over(Some(10), None, 118));
        assert!(over(Some(10), None, 119));
        assert!(!over(None, Some(15), 114));
        assert!(over(None, Some(15), 115));
        assert!(!over(None, None, 1_000_000));
        assert_eq!(counters.begun(ID), Some(Nanos::from_secs(100)));
    }
}
