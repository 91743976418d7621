//! The records that are free: a stack, and those that were never used.

#[cfg(loom)]
use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::bits::{high32, low32};
use super::record::Record;

/// The free records. The stack is R. K. Treiber's, linked through the records; its head counts
/// changes, so that nobody exchanges it who saw it before it changed and changed back.
///
/// A push releases, and the look at the head before a pop acquires: whoever gets a record sees its link, and all that was
/// done to it before. The exchange of a pop need not acquire again, since what it replaces is what was looked at; nor need it
/// release, since it leaves pushes behind it in the modification order, whose release sequences it continues.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct FreeList {
    /// `changes 32 | slot + 1, 32`; 0 for none.
    head: AtomicU64,
    /// Slots from here on were never used.
    fresh: AtomicU32,
}

impl FreeList {
    pub(super) fn new() -> Self {
        Self { head: AtomicU64::new(0), fresh: AtomicU32::new(0) }
    }

    /// Number of slots that were ever used.
    pub(super) fn used_ever(&self) -> u32 {
        self.fresh.load(Ordering::Relaxed)
    }

    /// A free slot among `capacity`.
    pub(super) fn pop<'a>(
        &self,
        capacity: u32,
        record: impl Fn(u32) -> Option<Record<'a>>,
    ) -> Option<u32> {
        loop {
            let head = self.head.load(Ordering::Acquire);
            let Some(slot) = low32(head).checked_sub(1) else { return self.pop_fresh(capacity) };
            if self.exchange(head, record(slot)?.next(), Ordering::Relaxed) {
                return Some(slot);
            }
        }
    }

    fn pop_fresh(&self, capacity: u32) -> Option<u32> {
        let next = |fresh: u32| (fresh < capacity).then_some(fresh + 1);
        self.fresh.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).ok()
    }

    /// Gives back a slot.
    pub(super) fn push(&self, slot: u32, record: Record<'_>) {
        loop {
            let head = self.head.load(Ordering::Relaxed);
            record.set_next(low32(head));
            if self.exchange(head, slot + 1, Ordering::Release) {
                return;
            }
        }
    }

    fn exchange(&self, head: u64, next: u32, order: Ordering) -> bool {
        let new = u64::from(high32(head).wrapping_add(1)) << 32 | u64::from(next);
        self.head.compare_exchange(head, new, order, Ordering::Relaxed).is_ok()
    }
}
