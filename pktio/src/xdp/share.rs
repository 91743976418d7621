//! [`Share`]: how much of the packet memory the kernel has to receive into.

use std::sync::atomic::Ordering;

use crate::buffer::Arena;

/// What one port has of it. The ports of an arena together should have half of its small slots at most, so that frames that
/// are on their way, and copies of floods, have the others. Any thread may drop it; the sum is advice, and orders nothing.
pub(super) struct Share {
    arena: &'static Arena,
    slots: u32,
}

impl Share {
    /// Nothing yet.
    pub(super) fn of(arena: &'static Arena) -> Self {
        Self { arena, slots: 0 }
    }

    /// How many slots all ports together may still get.
    pub(super) fn left(&self) -> u32 {
        (self.arena.small_slots() / 2).saturating_sub(self.arena.lent.load(Ordering::Relaxed))
    }

    /// The kernel got so many more.
    pub(super) fn grow(&mut self, slots: u32) {
        self.slots += slots;
        self.arena.lent.fetch_add(slots, Ordering::Relaxed);
    }

    /// So many came back with what was received.
    pub(super) fn shrink(&mut self, slots: u32) {
        // No more than it got, whatever the kernel says.
        let slots = slots.min(self.slots);
        self.slots -= slots;
        self.arena.lent.fetch_sub(slots, Ordering::Relaxed);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shrink(self.slots);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::{Pool, PoolConfig};

    #[test]
    fn ports_together_get_half_of_the_memory_and_give_it_back_when_they_go() {
        let pool = Pool::new(PoolConfig { small: 22, slabs: 1 }).unwrap();
        let [mut one, mut other] = [Share::of(pool.arena()), Share::of(pool.arena())];
        one.grow(8);
        assert_eq!(other.left(), 3);
        other.grow(5);
        assert_eq!(one.left(), 0, "and no less");
        one.shrink(4);
        assert_eq!(other.left(), 2);
        one.shrink(99);
        assert_eq!(other.left(), 6);
        drop(other);
        assert_eq!(one.left(), 11);
    }
}
